//! Barrier, Once, OnceLock, LazyLock: one leader, one initialisation, everybody else waits for it.

use crate::harness::deliberate_panic;
use crate::{Executor, join_all};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, LazyLock, Once, OnceLock};
use std::thread::sleep;
use std::time::Duration;

/// A barrier lets all go at once and names one leader a round.
pub fn barrier_has_one_leader(ex: &dyn Executor) {
    let barrier = Arc::new(Barrier::new(10));
    let units = ex.start_each(10, move |_| (0..20).filter(|_| barrier.wait().is_leader()).count());
    assert_eq!(join_all(units).into_iter().sum::<usize>(), 20);
}

/// Nobody leaves a round before everybody entered it.
pub fn barrier_keeps_rounds_apart(ex: &dyn Executor) {
    let barrier = Arc::new(Barrier::new(6));
    let entered = Arc::new(AtomicUsize::new(0));
    join_all(ex.start_each(6, move |_| {
        for round in 1..=50 {
            entered.fetch_add(1, SeqCst);
            barrier.wait();
            assert!(entered.load(SeqCst) >= round * 6);
            barrier.wait();
        }
    }));
}

/// Once runs once, and the others return only after it ended.
pub fn once_runs_once(ex: &dyn Executor) {
    let state = Arc::new((Once::new(), AtomicUsize::new(0)));
    let shared = Arc::clone(&state);
    join_all(ex.start_each(20, move |_| {
        shared.0.call_once(|| {
            sleep(Duration::from_millis(10));
            shared.1.fetch_add(1, SeqCst);
        });
        assert_eq!(shared.1.load(SeqCst), 1);
    }));
    assert!(state.0.is_completed());
}

/// A panic in Once poisons it, and call_once_force recovers.
pub fn once_poison(ex: &dyn Executor) {
    let once = Arc::new(Once::new());
    let shared = Arc::clone(&once);
    assert!(
        ex.start(move || shared.call_once(|| deliberate_panic()))
            .try_join()
            .is_err()
    );
    let shared = Arc::clone(&once);
    ex.start(move || shared.call_once_force(|state| assert!(state.is_poisoned())))
        .join();
    assert!(once.is_completed());
}

/// OnceLock::get_or_init: one value for all.
pub fn once_lock_one_value(ex: &dyn Executor) {
    let cell = Arc::new(OnceLock::new());
    let units = ex.start_each(20, move |unit| {
        *cell.get_or_init(|| {
            sleep(Duration::from_millis(5));
            unit
        })
    });
    let values = join_all(units);
    assert!(values.iter().all(|value| *value == values[0]));
}

/// OnceLock::wait parks until somebody sets it.
pub fn once_lock_wait(ex: &dyn Executor) {
    let cell = Arc::new(OnceLock::new());
    let shared = Arc::clone(&cell);
    let waiters = ex.start_each(10, move |_| *shared.wait());
    sleep(Duration::from_millis(10));
    cell.set(42).unwrap();
    assert_eq!(join_all(waiters), [42; 10]);
}

/// LazyLock is initialised by the first of many.
pub fn lazy_lock_once(ex: &dyn Executor) {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let before = RUNS.load(SeqCst);
    let lazy = Arc::new(LazyLock::new(|| {
        sleep(Duration::from_millis(5));
        RUNS.fetch_add(1, SeqCst)
    }));
    let units = ex.start_each(20, move |_| **lazy);
    assert_eq!(join_all(units), [before; 20]);
    assert_eq!(RUNS.load(SeqCst), before + 1);
}

/// A LazyLock whose initialiser panicked stays poisoned for everybody.
pub fn lazy_lock_poison(ex: &dyn Executor) {
    let lazy: Arc<LazyLock<u8>> = Arc::new(LazyLock::new(|| deliberate_panic()));
    let shared = Arc::clone(&lazy);
    assert!(ex.start(move || **shared).try_join().is_err());
    let again = ex.start(move || catch_unwind(AssertUnwindSafe(|| **lazy)).is_err());
    assert!(again.join());
}
