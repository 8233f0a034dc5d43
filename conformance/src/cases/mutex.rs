//! std::sync::Mutex: exclusion, poisoning, and holding it over a wait.

use crate::harness::deliberate_panic;
use crate::{Executor, join_all};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex, TryLockError};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// Increments under contention are all kept.
pub fn contention_count(ex: &dyn Executor) {
    let total = Arc::new(Mutex::new(0u64));
    let shared = Arc::clone(&total);
    join_all(ex.start_each(16, move |_| (0..2_000).for_each(|_| *shared.lock().unwrap() += 1)));
    assert_eq!(*total.lock().unwrap(), 32_000);
}

/// A guard held over a yield keeps the others out.
pub fn held_over_yield(ex: &dyn Executor) {
    let total = Arc::new(Mutex::new(0u64));
    let shared = Arc::clone(&total);
    join_all(ex.start_each(8, move |_| {
        for _ in 0..100 {
            let mut guard = shared.lock().unwrap();
            let before = *guard;
            yield_now();
            *guard = before + 1;
        }
    }));
    assert_eq!(*total.lock().unwrap(), 800);
}

/// A guard held over a sleep keeps the others out, and they get their turn after it.
pub fn held_over_sleep(ex: &dyn Executor) {
    let inside = Arc::new(AtomicBool::new(false));
    let lock = Arc::new(Mutex::new(()));
    let flag = Arc::clone(&inside);
    join_all(ex.start_each(20, move |_| {
        let _guard = lock.lock().unwrap();
        assert!(!flag.swap(true, SeqCst));
        sleep(Duration::from_millis(1));
        flag.store(false, SeqCst);
    }));
    assert!(!inside.load(SeqCst));
}

/// A panic under the guard poisons, and the value is still there.
pub fn poisoned_by_panic(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(1));
    let shared = Arc::clone(&lock);
    let unit = ex.start(move || {
        let mut guard = shared.lock().unwrap();
        *guard = 2;
        deliberate_panic();
    });
    assert!(unit.try_join().is_err());
    assert!(lock.is_poisoned());
    assert_eq!(*lock.lock().unwrap_err().into_inner(), 2);
    lock.clear_poison();
    assert_eq!(*lock.lock().unwrap(), 2);
}

/// Waiters of a lock that is poisoned while they wait are woken with the poison.
pub fn waiters_see_poison(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(()));
    let gate = Arc::new(Barrier::new(2));
    let (shared, entered) = (Arc::clone(&lock), Arc::clone(&gate));
    let owner = ex.start(move || {
        let _guard = shared.lock().unwrap();
        entered.wait();
        sleep(Duration::from_millis(20));
        deliberate_panic();
    });
    gate.wait();
    let shared = Arc::clone(&lock);
    let waiters = ex.start_each(5, move |_| shared.lock().is_err());
    assert_eq!(join_all(waiters), [true; 5]);
    assert!(owner.try_join().is_err());
}

/// try_lock fails while another unit holds the guard over a wait.
pub fn try_lock_would_block(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(()));
    let gate = Arc::new(Barrier::new(2));
    let (shared, held) = (Arc::clone(&lock), Arc::clone(&gate));
    let owner = ex.start(move || {
        let _guard = shared.lock().unwrap();
        held.wait();
        held.wait();
    });
    gate.wait();
    assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
    gate.wait();
    owner.join();
    assert!(lock.try_lock().is_ok());
}

/// Philosophers who take their forks in order all eat.
pub fn philosophers(ex: &dyn Executor) {
    let forks: Arc<Vec<Mutex<u32>>> = Arc::new((0..5).map(|_| Mutex::new(0)).collect());
    let table = Arc::clone(&forks);
    join_all(ex.start_each(5, move |seat| {
        let (low, high) = (seat.min((seat + 1) % 5), seat.max((seat + 1) % 5));
        for _ in 0..200 {
            let mut first = table[low].lock().unwrap();
            yield_now();
            let mut second = table[high].lock().unwrap();
            *first += 1;
            *second += 1;
        }
    }));
    assert!(forks.iter().all(|fork| *fork.lock().unwrap() == 400));
}

/// A value that is locked by its own destructor's peer ends well: drop waits for the lock.
pub fn lock_in_drop(ex: &dyn Executor) {
    struct Report(Arc<Mutex<Vec<usize>>>, usize);
    impl Drop for Report {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(self.1);
        }
    }
    let log = Arc::new(Mutex::new(Vec::new()));
    let guard = log.lock().unwrap();
    let shared = Arc::clone(&log);
    let (ready, wait) = channel();
    let ready = Mutex::new(ready);
    let units = ex.start_each(10, move |unit| {
        let _report = Report(Arc::clone(&shared), unit);
        ready.lock().unwrap().send(()).unwrap();
    });
    // Polled, not received: a blocking receive would make this case depend on identity.
    let mut arrived = 0;
    while arrived < 10 {
        arrived += wait.try_iter().count();
        sleep(Duration::from_millis(1));
    }
    drop(guard);
    join_all(units);
    let mut seen = log.lock().unwrap().clone();
    seen.sort_unstable();
    assert!((0..10).eq(seen));
}
