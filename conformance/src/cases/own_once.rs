//! silken::sync::Once, OnceLock and LazyLock: one runs, the others wait for it, and a panic is told.

use crate::harness::{deliberate_panic, quietly};
use crate::probe::{FAR, SHORT, Tally};
use crate::{Executor, join_all};
use silken::sync::{LazyLock, Once, OnceLock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn panics(f: impl FnOnce()) -> bool {
    quietly(|| catch_unwind(AssertUnwindSafe(f))).is_err()
}

/// Of many who call at once one runs, and all return after it.
pub fn runs_once(ex: &dyn Executor) {
    for _ in 0..10 {
        let (once, runs) = (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)));
        let (shared, count) = (once.clone(), runs.clone());
        join_all(ex.start_each(12, move |_| {
            shared.call_once(|| {
                silken::sleep(Duration::from_micros(300));
                count.fetch_add(1, SeqCst);
            });
            assert!(shared.is_completed() && count.load(SeqCst) == 1);
        }));
        once.call_once(|| panic!("it has run"));
        assert_eq!(runs.load(SeqCst), 1);
    }
}

/// A panic poisons: later calls panic, those that wait as well, until one that forces it succeeds.
pub fn panic_poisons(ex: &dyn Executor) {
    let once = Arc::new(Once::new());
    let shared = once.clone();
    let first = ex.start(move || {
        shared.call_once(|| {
            silken::sleep(SHORT);
            deliberate_panic();
        });
    });
    assert!(first.try_join().is_err() && !once.is_completed());
    let shared = once.clone();
    assert_eq!(
        join_all(ex.start_each(4, move |_| panics(|| shared.call_once(|| {})))),
        [true; 4]
    );
    assert!(panics(|| once.wait()));
    let shared = once.clone();
    ex.start(move || shared.call_once_force(|state| assert!(state.is_poisoned())))
        .join();
    once.call_once(|| panic!("it has run"));
    once.wait();
}

/// One may wait for whoever runs it.
pub fn wait_for_another(ex: &dyn Executor) {
    let once = Arc::new(Once::new());
    let shared = once.clone();
    let waiters = ex.start_each(5, move |_| {
        shared.wait();
        shared.is_completed()
    });
    sleep(SHORT);
    once.call_once(|| {});
    assert_eq!(join_all(waiters), [true; 5]);
}

/// Of many values one is kept; the others come back, or are dropped.
pub fn once_lock_keeps_one_value(ex: &dyn Executor) {
    let tally = Tally::default();
    let (cell, values) = (Arc::new(OnceLock::new()), tally.clone());
    let shared = cell.clone();
    let refused = join_all(ex.start_each(8, move |_| usize::from(shared.set(values.value()).is_err())));
    assert_eq!(refused.iter().sum::<usize>(), 7);
    assert_eq!((tally.made(), tally.dropped()), (8, 7));
    let kept = cell.get().unwrap().number;
    let shared = cell.clone();
    let seen = join_all(ex.start_each(4, move |_| shared.get_or_init(|| panic!("it is there")).number));
    assert_eq!(seen, [kept; 4]);
    drop(cell);
    assert_eq!(tally.dropped(), 8);
}

/// An initialiser may wait, and runs once; one that panics leaves the cell empty for the next.
pub fn once_lock_initialises_once(ex: &dyn Executor) {
    let (cell, runs) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let failing = cell.clone();
    let first = ex.start(move || *failing.get_or_init(|| deliberate_panic()));
    assert!(first.try_join().is_err() && cell.get().is_none());
    let count = runs.clone();
    let seen = join_all(ex.start_each(10, move |unit| {
        *cell.get_or_init(|| {
            silken::sleep(Duration::from_millis(1));
            count.fetch_add(1, SeqCst);
            unit
        })
    }));
    assert!(seen.iter().all(|value| *value == seen[0]));
    assert_eq!(runs.load(SeqCst), 1);
}

/// One may wait for a value, for so long.
pub fn once_lock_wait(ex: &dyn Executor) {
    let cell = Arc::new(OnceLock::new());
    let shared = cell.clone();
    let waiter = ex.start(move || {
        let started = Instant::now();
        assert!(shared.wait_timeout(SHORT).is_none() && started.elapsed() >= SHORT);
        (*shared.wait(), *shared.wait_timeout(FAR).unwrap())
    });
    sleep(2 * SHORT);
    cell.set(5).unwrap();
    assert_eq!(waiter.join(), (5, 5));
}

/// A lazy value is made once, when it is needed; it may be a static.
pub fn lazy_is_made_once(ex: &dyn Executor) {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static WORD: LazyLock<String> = LazyLock::new(|| {
        silken::sleep(Duration::from_millis(1));
        MADE.fetch_add(1, SeqCst);
        "made".to_owned()
    });
    assert!(
        join_all(ex.start_each(10, |_| WORD.len()))
            .iter()
            .all(|length| *length == 4)
    );
    assert_eq!(MADE.load(SeqCst), 1);
}

/// A lazy value whose maker panicked is not made a second time: every use panics.
pub fn lazy_poison(ex: &dyn Executor) {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let lazy = Arc::new(LazyLock::new(move || -> u8 {
        count.fetch_add(1, SeqCst);
        deliberate_panic();
    }));
    assert_eq!(join_all(ex.start_each(4, move |_| panics(|| _ = **lazy))), [true; 4]);
    assert_eq!(runs.load(SeqCst), 1);
}
