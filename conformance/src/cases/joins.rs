//! silken's own handles: who may wait for a coroutine's end, how often, and what of the result.

use crate::harness::deliberate_panic;
use crate::probe::{FAR, SHORT, Tally, coroutine};
use crate::{Executor, join_all};
use silken::channel::bounded;
use silken::{JoinTimeout, Promise};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A join gives the value, whether the coroutine has ended or not.
pub fn value(ex: &dyn Executor) {
    let (early, late) = (
        coroutine(ex, || 1),
        coroutine(ex, || {
            silken::sleep(SHORT);
            2
        }),
    );
    early.wait();
    assert!(early.is_finished());
    assert_eq!(
        ex.start(move || (early.join().unwrap(), late.join().unwrap())).join(),
        (1, 2)
    );
}

/// Two who wait for one coroutine, and more, are all woken.
pub fn many_wait_for_one(ex: &dyn Executor) {
    for waiters in [2, 20] {
        let (tx, rx) = bounded::<()>(0);
        let handle = Arc::new(coroutine(ex, move || rx.recv().is_ok()));
        let shared = handle.clone();
        let units = ex.start_each(waiters, move |_| {
            shared.wait();
            assert!(shared.is_finished());
        });
        sleep(SHORT);
        tx.send(()).unwrap();
        join_all(units);
        handle.wait();
    }
}

/// A join with a limit gives the handle back, not before its time, and may be tried again.
pub fn timeout_gives_the_handle_back(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let handle = coroutine(ex, move || rx.recv().unwrap());
    let unit = ex.start(move || {
        let started = Instant::now();
        let Err(JoinTimeout(handle)) = handle.join_timeout(SHORT) else {
            panic!("it waits");
        };
        assert!(started.elapsed() >= SHORT);
        handle.join_timeout(FAR).unwrap().unwrap()
    });
    sleep(2 * SHORT);
    tx.send("late").unwrap();
    assert_eq!(unit.join(), "late");
}

/// A panic is the joiner's to have.
pub fn panic_is_an_error(ex: &dyn Executor) {
    let handle = coroutine(ex, || deliberate_panic());
    let error = ex.start(move || handle.join().unwrap_err()).join();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.message(), Some("deliberate"));
}

/// A result is dropped once: by who takes it, with the handle, or by the coroutine that was let go.
pub fn result_is_dropped_once(ex: &dyn Executor) {
    let tally = Tally::default();
    let units: Vec<_> = (0..60)
        .map(|number| {
            let value = tally.value();
            let handle = coroutine(ex, move || {
                if number % 2 == 0 {
                    silken::sleep(Duration::from_micros(50));
                }
                value
            });
            ex.start(move || match number % 3 {
                0 => drop(handle.join()),
                1 => drop(handle),
                _ => {
                    handle.wait();
                    drop(handle);
                }
            })
        })
        .collect();
    join_all(units);
    let deadline = Instant::now() + Duration::from_secs(20);
    while tally.dropped() < 60 {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(1));
    }
    assert_eq!(tally.dropped(), 60);
}

/// park and unpark: a wake before the park is kept, one at most.
pub fn park_and_unpark(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let handle = coroutine(ex, move || {
        tx.send(()).unwrap();
        silken::park();
        let started = Instant::now();
        silken::park_timeout(SHORT);
        assert!(started.elapsed() >= SHORT, "the wakes added up");
        tx.send(()).unwrap();
    });
    let name = handle.coroutine();
    ex.start(move || {
        name.unpark();
        name.unpark();
        rx.recv().unwrap();
        rx.recv().unwrap();
    })
    .join();
    handle.join().unwrap();
}

/// A promise has one outcome, and everybody who waits gets it.
pub fn promise_has_one_outcome(ex: &dyn Executor) {
    let (promise, resolver) = Promise::<usize, usize>::new();
    let waiting = promise.clone();
    let waiters = ex.start_each(8, move |_| waiting.wait());
    let won = join_all(ex.start_each(4, move |unit| {
        let decided = if unit % 2 == 0 {
            resolver.resolve(unit)
        } else {
            resolver.reject(unit)
        };
        decided.is_ok().then_some(unit)
    }));
    let winner = won.into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(winner.len(), 1);
    for outcome in join_all(waiters) {
        let number = outcome.unwrap_or_else(|error| error.rejected().expect("it was decided"));
        assert_eq!(number, winner[0]);
    }
}
