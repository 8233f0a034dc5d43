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

#[test]
fn chains_of_any_length_take_no_stack() {
    everywhere(|_| {
        let (first, resolver) = Number::new();
        let last = (0..100_000).fold(first, |promise, _| Promise::race([promise]));
        resolver.resolve(1).unwrap();
        assert_eq!(last.wait(), Ok(1));
        let (first, resolver) = Number::new();
        let last = (0..100_000).fold(first, |promise, _| Promise::race([promise]));
        drop(resolver);
        assert_eq!(last.wait(), Err(PromiseError::Abandoned));
    });
    // The steps of `all` run on coroutines.
    on_coroutines(|| {
        let (first, resolver) = Promise::<u8, ()>::new();
        let last = (0..10_000).fold(first, |promise, _| Promise::all([promise]).then(|values| values[0]));
        resolver.resolve(1).unwrap();
        assert_eq!(last.wait(), Ok(1));
    });
}

#[test]
fn no_clone_runs_on_the_resolvers_stack() {
    use std::sync::Mutex;
    use std::thread::{ThreadId, current};

    /// Tells where it was cloned.
    struct Cloned(Arc<Mutex<Vec<ThreadId>>>);

    impl Clone for Cloned {
        fn clone(&self) -> Self {
            self.0.lock().unwrap().push(current().id());
            Self(self.0.clone())
        }
    }

    let clones = Arc::new(Mutex::new(Vec::new()));
    let (one, resolver) = Promise::<Cloned, ()>::new();
    let settled = [
        Promise::race([one.clone()]).then(drop),
        Promise::all([one.clone(), one.clone()]).then(drop),
        one.then(drop),
    ];
    resolver.resolve(Cloned(clones.clone())).ok().unwrap();
    settled.iter().for_each(|promise| assert!(promise.wait_ref().is_ok()));
    let clones = clones.lock().unwrap();
    // Each `then` takes what its promise has: one, two, one; and `all` two.
    assert_eq!(clones.len(), 6);
    assert!(clones.iter().all(|id| *id != current().id()));
}

#[test]
fn a_lost_coroutine_abandons_its_promise_and_gives_its_slot_back() {
    #[inline(never)]
    fn deep(depth: u64) -> u64 {
        let frame = std::hint::black_box([depth; 64]);
        if depth == 0 {
            frame[0]
        } else {
            deep(depth - 1) + std::hint::black_box(frame)[1]
        }
    }

    let overflow = || deep(std::hint::black_box(u64::MAX)) as u32;
    for workers in [1, 2] {
        super::common::run_on(workers, false, || {
            assert_eq!(
                Number::spawn(move || Ok(overflow())).wait(),
                Err(PromiseError::Abandoned)
            );
            let step = Number::resolved(1).then(move |_| overflow()).then(|number| number + 1);
            assert_eq!(step.wait(), Err(PromiseError::Abandoned));
            let pool = silken::Pool::new(1);
            let lost = pool.submit(overflow).unwrap();
            assert!(matches!(lost.join(), Err(silken::JoinError::StackOverflow)));
            assert_eq!(pool.submit(|| 7).unwrap().join().unwrap(), 7);
            pool.shutdown();
        });
    }
}
