//! Promises.

use super::{LONG, everywhere, ms, on_coroutines};
use silken::{Promise, PromiseError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Number = Promise<u32, &'static str>;

#[test]
fn all_who_wait_get_the_first_outcome() {
    everywhere(|world| {
        let (promise, resolver) = Number::new();
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let promise = promise.clone();
                world.spawn(move || promise.wait())
            })
            .collect();
        assert_eq!(promise.wait_timeout(ms(1)), None);
        assert!(!promise.is_settled() && promise.get().is_none());
        let resolving: Vec<_> = (0..4)
            .map(|number| {
                let resolver = resolver.clone();
                world.spawn(move || resolver.resolve(number).is_ok())
            })
            .collect();
        let winners = resolving.into_iter().map(super::Part::join).filter(|won| *won).count();
        assert_eq!(winners, 1);
        assert_eq!((resolver.resolve(9), resolver.reject("late")), (Err(9), Err("late")));
        let outcome = promise.wait();
        assert!(outcome.unwrap() < 4);
        assert_eq!(promise.wait_ref(), Ok(&outcome.unwrap()));
        for waiting in waiting {
            assert_eq!(waiting.join(), outcome);
        }
    });
}

#[test]
fn steps_pass_values_and_errors_on() {
    everywhere(|_| {
        let runs = Arc::new(AtomicUsize::new(0));
        let (promise, resolver) = Number::new();
        let doubled = promise.then(|number| number * 2);
        let refused = doubled.and_then(|number| if number > 5 { Err("too big") } else { Ok(number) });
        let skipped = refused.then(|_| unreachable!("an error passes by"));
        let skipped: Number = skipped.finally({
            let runs = runs.clone();
            move || {
                runs.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mended = skipped.fail(|error| Ok::<_, &str>(error.rejected().unwrap().len() as u32));
        let length = mended.chain(|outcome| outcome.map(|number| number + 1).map_err(|_| ()));
        resolver.resolve(3).unwrap();
        assert_eq!(length.wait_timeout(LONG), Some(Ok(8)));
        assert_eq!(refused.wait(), Err(PromiseError::Rejected("too big")));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(
            doubled.then(|number| number + 1).wait(),
            Ok(7),
            "a step on a settled promise"
        );
        assert_eq!(Number::resolved(1).wait(), Ok(1));
        assert_eq!(
            Number::rejected("no").fail(|_| Err::<_, ()>(())).wait(),
            Err(PromiseError::Rejected(()))
        );
    });
}

#[test]
fn nobody_waits_for_an_abandoned_promise() {
    everywhere(|world| {
        let (promise, resolver) = Number::new();
        let other = resolver.clone();
        let waiting = world.spawn({
            let promise = promise.clone();
            move || promise.then(|number| number + 1).wait()
        });
        drop(resolver);
        assert!(!promise.is_settled());
        drop(other);
        assert_eq!(waiting.join(), Err(PromiseError::Abandoned));
        let panicked = Number::resolved(1).then(|_| -> u32 { std::panic::resume_unwind(Box::new(())) });
        assert_eq!(panicked.wait(), Err(PromiseError::Abandoned));
        let panicked = Number::spawn(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(panicked.wait(), Err(PromiseError::Abandoned));
    });
}

#[test]
fn all_and_race() {
    everywhere(|_| {
        let spawned = (0..10).map(|number| Number::spawn(move || Ok(number)));
        assert_eq!(Promise::all(spawned).wait(), Ok((0..10).collect()));
        assert_eq!(Promise::<Vec<()>, ()>::all([]).wait(), Ok(vec![]));
        let (never, resolver) = Number::new();
        let failing = Number::spawn(|| Err("no"));
        assert_eq!(
            Promise::all([never.clone(), failing]).wait(),
            Err(PromiseError::Rejected("no"))
        );
        assert_eq!(Promise::race([never.clone(), Number::resolved(4)]).wait(), Ok(4));
        resolver.resolve(1).unwrap();
        assert_eq!(Promise::race([never]).wait(), Ok(1));
        assert_eq!(Promise::<(), ()>::race([]).wait(), Err(PromiseError::Abandoned));
    });
}

#[test]
fn steps_and_values_are_dropped() {
    on_coroutines(|| {
        let value = Arc::new(());
        let (promise, resolver) = Promise::<Arc<()>, ()>::new();
        let step = promise.then({
            let value = value.clone();
            move |_| drop(value)
        });
        drop((promise, resolver));
        assert!(step.wait().is_err());
        drop(step);
        while Arc::strong_count(&value) > 1 {
            silken::yield_now();
        }
    });
}

#[test]
fn a_cancelled_wait_leaves_the_promise() {
    on_coroutines(|| {
        let (promise, resolver) = Number::new();
        let waiting = silken::spawn({
            let promise = promise.clone();
            move || promise.wait()
        });
        silken::yield_now();
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is_cancelled());
        resolver.resolve(1).unwrap();
        assert_eq!(promise.wait(), Ok(1));
    });
}
