//! silken::sync::Mutex: exclusion, poisoning, limits, and that nobody is kept out for ever.

use crate::harness::deliberate_panic;
use crate::probe::{FAR, SHORT, coroutine};
use crate::{Executor, join_all};
use silken::channel::oneshot;
use silken::sync::{Barrier, Mutex, MutexGuard, TryLockError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// Increments under contention are all kept.
pub fn contention_count(ex: &dyn Executor) {
    let total = Arc::new(Mutex::new(0));
    let shared = total.clone();
    join_all(ex.start_each(16, move |_| (0..500).for_each(|_| *shared.lock().unwrap() += 1)));
    assert_eq!(*total.lock().unwrap(), 8_000);
}

/// A guard that is held over a wait keeps the others out.
pub fn held_over_waits(ex: &dyn Executor) {
    let total = Arc::new(Mutex::new(0));
    let shared = total.clone();
    join_all(ex.start_each(8, move |unit| {
        for round in 0..20 {
            let mut guard = shared.lock().unwrap();
            let before = *guard;
            match (unit + round) % 16 {
                0 => silken::sleep(Duration::from_micros(100)),
                _ => silken::yield_now(),
            }
            *guard = before + 1;
        }
    }));
    assert_eq!(*total.lock().unwrap(), 160);
}

/// try_lock has the guard if the mutex is free, and not if it is held.
pub fn try_lock_is_not_inverted(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(1));
    let (shared, gate) = (lock.clone(), Arc::new(Barrier::new(2)));
    let held = gate.clone();
    assert_eq!(*lock.try_lock().unwrap(), 1);
    let owner = ex.start(move || {
        let mut guard = shared.lock().unwrap();
        *guard = 2;
        held.wait();
        held.wait();
    });
    gate.wait();
    assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
    gate.wait();
    owner.join();
    assert_eq!(*lock.try_lock().unwrap(), 2);
}

/// Of many who try at once one gets it.
pub fn try_lock_lets_one_in(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(()));
    let inside = Arc::new(AtomicBool::new(false));
    join_all(ex.start_each(8, move |_| {
        for _ in 0..200 {
            if let Ok(_guard) = lock.try_lock() {
                assert!(!inside.swap(true, SeqCst));
                silken::yield_now();
                inside.store(false, SeqCst);
            }
        }
    }));
}

/// A limit runs out, not early; a lock that is given back in time is had.
pub fn lock_timeout(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(0));
    let guard = lock.lock().unwrap();
    let shared = lock.clone();
    let unit = ex.start(move || {
        let started = Instant::now();
        assert!(matches!(shared.lock_timeout(SHORT), Err(TryLockError::WouldBlock)));
        assert!(started.elapsed() >= SHORT);
        assert!(shared.lock_deadline(started).is_err());
        *shared.lock_timeout(FAR).unwrap() += 1;
    });
    sleep(3 * SHORT);
    drop(guard);
    unit.join();
    assert_eq!(*lock.lock_timeout(Duration::ZERO).unwrap(), 1);
}

/// Waiters that give up while the lock is handed on neither lose it nor hold it.
pub fn timeouts_race_unlock(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(0));
    let shared = lock.clone();
    let got = join_all(ex.start_each(6, move |_| {
        let mut got = 0;
        for _ in 0..60 {
            if let Ok(mut guard) = shared.lock_timeout(Duration::from_micros(100)) {
                *guard += 1;
                got += 1;
                silken::sleep(Duration::from_micros(40));
            }
        }
        got
    }));
    assert_eq!(*lock.lock_timeout(FAR).unwrap(), got.iter().sum::<i32>());
}

/// A panic under the guard poisons, for those who wait as well, until it is cleared.
pub fn panic_poisons(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(1));
    let (shared, gate) = (lock.clone(), Arc::new(Barrier::new(2)));
    let entered = gate.clone();
    let owner = ex.start(move || {
        let mut guard = shared.lock().unwrap();
        entered.wait();
        silken::sleep(SHORT);
        *guard = 2;
        deliberate_panic();
    });
    gate.wait();
    let shared = lock.clone();
    assert_eq!(join_all(ex.start_each(5, move |_| shared.lock().is_err())), [true; 5]);
    assert!(owner.try_join().is_err() && lock.is_poisoned());
    assert!(matches!(lock.try_lock(), Err(TryLockError::Poisoned(_))));
    assert!(matches!(lock.lock_timeout(FAR), Err(TryLockError::Poisoned(_))));
    assert_eq!(*lock.lock().unwrap_err().into_inner(), 2);
    lock.clear_poison();
    assert_eq!(*lock.lock().unwrap(), 2);
}

/// A unit that takes the lock again at once does not keep the others out for ever.
pub fn waiter_is_not_starved(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(()));
    let done = Arc::new(AtomicBool::new(false));
    let (shared, seen) = (lock.clone(), done.clone());
    let hog = ex.start(move || {
        while !seen.load(SeqCst) {
            let _guard = shared.lock().unwrap();
            silken::yield_now();
        }
    });
    join_all(ex.start_each(3, move |_| (0..10).for_each(|_| drop(lock.lock().unwrap()))));
    done.store(true, SeqCst);
    hog.join();
}

/// Philosophers that take their forks in order all eat.
pub fn philosophers(ex: &dyn Executor) {
    let forks: Arc<Vec<_>> = Arc::new((0..5).map(|_| Mutex::new(0)).collect());
    let shared = forks.clone();
    join_all(ex.start_each(5, move |unit| {
        let (first, second) = (unit.min((unit + 1) % 5), unit.max((unit + 1) % 5));
        for _ in 0..30 {
            let mut one = shared[first].lock().unwrap();
            silken::yield_now();
            let mut other = shared[second].lock().unwrap();
            *one += 1;
            *other += 1;
        }
    }));
    assert!(forks.iter().all(|fork| *fork.lock().unwrap() == 60));
}

/// Units and OS threads of std's share it; it may be a static.
pub fn with_os_threads(ex: &dyn Executor) {
    static TOTAL: Mutex<u32> = Mutex::new(0);
    *TOTAL.lock().unwrap() = 0;
    let count = || (0..300).for_each(|_| *TOTAL.lock().unwrap() += 1);
    let units = ex.start_each(4, move |_| count());
    let threads: Vec<_> = (0..3).map(|_| thread::spawn(count)).collect();
    join_all(units);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*TOTAL.lock().unwrap(), 2_100);
}

/// A guard of a part holds the whole.
pub fn mapped_guard(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new((1, 2)));
    let shared = lock.clone();
    ex.start(move || {
        let mut part = MutexGuard::map(shared.lock().unwrap(), |pair| &mut pair.1);
        *part = 7;
        assert!(shared.try_lock().is_err());
    })
    .join();
    assert_eq!(*lock.lock().unwrap(), (1, 7));
}

/// Coroutines only: a holder that is cancelled does not poison, and one who waits and is cancelled leaves the queue.
pub fn cancellation_does_not_poison(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(0));
    let (tx, rx) = oneshot::channel();
    let shared = lock.clone();
    let holder = coroutine(ex, move || {
        let mut guard = shared.lock().unwrap();
        *guard += 1;
        tx.send(()).unwrap();
        silken::sleep(FAR);
    });
    rx.recv().unwrap();
    let shared = lock.clone();
    let waiter = coroutine(ex, move || shared.lock().is_ok());
    sleep(SHORT / 2);
    waiter.cancel();
    assert!(waiter.join().unwrap_err().is_cancelled());
    assert!(lock.try_lock().is_err());
    holder.cancel();
    assert!(holder.join().unwrap_err().is_cancelled());
    assert_eq!(*lock.lock_timeout(FAR).unwrap(), 1);
    assert!(!lock.is_poisoned());
}
