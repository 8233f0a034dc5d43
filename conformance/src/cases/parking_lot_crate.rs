//! parking_lot, unmodified: it parks on futexes of its own, one per thread.

use crate::{Executor, join_all};
use parking_lot::{Condvar, Mutex, MutexGuard, ReentrantMutex, RwLock, RwLockUpgradableReadGuard};
use std::cell::Cell;
use std::sync::Arc;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

/// Increments under contention are all kept, with guards held over yields.
pub fn mutex_contention(ex: &dyn Executor) {
    let total = Arc::new(Mutex::new(0));
    let shared = Arc::clone(&total);
    join_all(ex.start_each(16, move |unit| {
        for number in 0..500 {
            let mut guard = shared.lock();
            *guard += 1;
            if (unit + number) % 50 == 0 {
                yield_now();
            }
        }
    }));
    assert_eq!(*total.lock(), 8_000);
}

/// A fair unlock hands over to a parked waiter.
pub fn mutex_fair_unlock(ex: &dyn Executor) {
    let total = Arc::new(Mutex::new(0));
    let shared = Arc::clone(&total);
    join_all(ex.start_each(8, move |_| {
        for _ in 0..100 {
            let mut guard = shared.lock();
            *guard += 1;
            MutexGuard::unlock_fair(guard);
        }
    }));
    assert_eq!(*total.lock(), 800);
}

/// try_lock_for gives up, not early, while the lock is held.
pub fn mutex_try_lock_for(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(()));
    let guard = lock.lock();
    let shared = Arc::clone(&lock);
    ex.start(move || {
        let started = Instant::now();
        assert!(shared.try_lock_for(SHORT).is_none());
        assert!(started.elapsed() >= SHORT);
    })
    .join();
    drop(guard);
    assert!(lock.try_lock_for(SHORT).is_some());
}

/// Readers together, writers alone.
pub fn rwlock(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new((0, 0)));
    let shared = Arc::clone(&lock);
    join_all(ex.start_each(12, move |unit| {
        for _ in 0..200 {
            if unit % 4 == 0 {
                let mut guard = shared.write();
                guard.0 += 1;
                yield_now();
                guard.1 += 1;
            } else {
                let guard = shared.read();
                assert_eq!(guard.0, guard.1);
            }
        }
    }));
    assert_eq!(*lock.read(), (600, 600));
}

/// An upgradable reader becomes the writer without anybody in between.
pub fn rwlock_upgrade(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let shared = Arc::clone(&lock);
    join_all(ex.start_each(8, move |_| {
        for _ in 0..50 {
            let guard = shared.upgradable_read();
            let before = *guard;
            yield_now();
            *RwLockUpgradableReadGuard::upgrade(guard) = before + 1;
        }
    }));
    assert_eq!(*lock.read(), 400);
}

/// Condvar: notify_one and notify_all both reach their waiters.
pub fn condvar(ex: &dyn Executor) {
    let state = Arc::new((Mutex::new(0), Condvar::new()));
    let shared = Arc::clone(&state);
    let units = ex.start_each(20, move |_| {
        let mut tokens = shared.0.lock();
        shared.1.wait_while(&mut tokens, |tokens| *tokens == 0);
        *tokens -= 1;
    });
    for _ in 0..10 {
        *state.0.lock() += 1;
        state.1.notify_one();
    }
    sleep(SHORT);
    *state.0.lock() += 10;
    state.1.notify_all();
    join_all(units);
    assert_eq!(*state.0.lock(), 0);
}

/// Condvar::wait_for gives up, not early.
pub fn condvar_timeout(ex: &dyn Executor) {
    ex.start(|| {
        let (lock, condvar) = (Mutex::new(()), Condvar::new());
        let started = Instant::now();
        assert!(condvar.wait_for(&mut lock.lock(), SHORT).timed_out());
        assert!(started.elapsed() >= SHORT);
    })
    .join();
}

/// The reentrant mutex belongs to the unit: it may lock again, others may not.
pub fn reentrant(ex: &dyn Executor) {
    let lock = Arc::new(ReentrantMutex::new(Cell::new(0)));
    let shared = Arc::clone(&lock);
    join_all(ex.start_each(10, move |_| {
        for _ in 0..20 {
            let outer = shared.lock();
            let before = outer.get();
            yield_now();
            let inner = shared.lock();
            inner.set(before + 1);
        }
    }));
    assert_eq!(lock.lock().get(), 200);
}
