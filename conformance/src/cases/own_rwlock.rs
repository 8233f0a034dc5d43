//! silken::sync::RwLock: readers share, writers exclude, and neither keeps the other out for ever.

use crate::harness::deliberate_panic;
use crate::probe::{FAR, SHORT};
use crate::rng;
use crate::{Executor, join_all};
use silken::sync::{Barrier, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Readers hold it at once.
pub fn readers_share(ex: &dyn Executor) {
    let (lock, all_in) = (Arc::new(RwLock::new(7)), Arc::new(Barrier::new(6)));
    let values = join_all(ex.start_each(6, move |_| {
        let guard = lock.read().unwrap();
        all_in.wait();
        *guard
    }));
    assert_eq!(values, [7; 6]);
}

/// A writer is alone, also over a wait.
pub fn writers_exclude(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new((0, 0)));
    let shared = lock.clone();
    join_all(ex.start_each(8, move |unit| {
        for _ in 0..30 {
            if unit % 2 == 0 {
                let mut guard = shared.write().unwrap();
                guard.0 += 1;
                silken::yield_now();
                guard.1 += 1;
            } else {
                let guard = shared.read().unwrap();
                let before = *guard;
                silken::yield_now();
                assert!(before.0 == before.1 && *guard == before);
            }
        }
    }));
    assert_eq!(*lock.read().unwrap(), (120, 120));
}

/// Readers that come one after the other, so that some always hold it, do not keep a writer out.
pub fn writer_is_not_starved(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let (shared, seen) = (lock.clone(), done.clone());
    let readers = ex.start_each(4, move |_| {
        while !seen.load(SeqCst) {
            let guard = shared.read().unwrap();
            silken::yield_now();
            drop(guard);
        }
    });
    let writer = ex.start(move || (0..10).for_each(|_| *lock.write().unwrap() += 1));
    writer.join();
    done.store(true, SeqCst);
    join_all(readers);
}

/// Nor do writers keep a reader out.
pub fn reader_is_not_starved(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let (shared, seen) = (lock.clone(), done.clone());
    let writers = ex.start_each(3, move |_| {
        while !seen.load(SeqCst) {
            let mut guard = shared.write().unwrap();
            *guard += 1;
            silken::yield_now();
        }
    });
    let reader = ex.start(move || (0..10).for_each(|_| drop(lock.read().unwrap())));
    reader.join();
    done.store(true, SeqCst);
    join_all(writers);
}

/// The forms that do not wait succeed when they can, and only then.
pub fn try_forms_are_not_inverted(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    ex.start(move || {
        let (one, other) = (lock.try_read().unwrap(), lock.try_read().unwrap());
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        drop((one, other));
        let writer = lock.try_write().unwrap();
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        drop(writer);
        assert!(lock.try_read().is_ok() && lock.try_write().is_ok());
    })
    .join();
}

/// A writer that becomes a reader lets readers in and no writer between.
pub fn downgrade(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let mut guard = lock.write().unwrap();
    let (shared, other) = (lock.clone(), lock.clone());
    let writer = ex.start(move || *shared.write().unwrap() += 10);
    let reader = ex.start(move || *other.read().unwrap());
    sleep(SHORT / 2);
    *guard = 1;
    let guard = RwLockWriteGuard::downgrade(guard);
    assert!(lock.try_write().is_err());
    sleep(SHORT / 2);
    assert_eq!(*guard, 1);
    drop(guard);
    writer.join();
    assert!(matches!(reader.join(), 1 | 11));
    assert_eq!(*lock.read().unwrap(), 11);
    let lock = Arc::new(RwLock::new(1));
    let _guard = RwLockWriteGuard::downgrade(lock.write().unwrap());
    let shared = lock.clone();
    assert_eq!(ex.start(move || *shared.read().unwrap()).join(), 1);
}

/// A writer that goes lets all readers in that wait.
pub fn writer_releases_all_readers(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let mut guard = lock.write().unwrap();
    let (shared, all_in) = (lock.clone(), Arc::new(Barrier::new(10)));
    let readers = ex.start_each(10, move |_| {
        let guard = shared.read().unwrap();
        all_in.wait();
        *guard
    });
    sleep(SHORT);
    *guard = 3;
    drop(guard);
    assert_eq!(join_all(readers), [3; 10]);
}

/// Limits run out, not early; a writer that gave up lets readers in again.
pub fn timeouts(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let reader = lock.read().unwrap();
    let shared = lock.clone();
    ex.start(move || {
        let started = Instant::now();
        assert!(matches!(shared.write_timeout(SHORT), Err(TryLockError::WouldBlock)));
        assert!(started.elapsed() >= SHORT);
        assert_eq!(*shared.read_timeout(FAR).unwrap(), 0);
    })
    .join();
    drop(reader);
    let writer = lock.write().unwrap();
    let shared = lock.clone();
    ex.start(move || {
        let started = Instant::now();
        assert!(matches!(shared.read_timeout(SHORT), Err(TryLockError::WouldBlock)));
        assert!(started.elapsed() >= SHORT && shared.read_deadline(started).is_err());
    })
    .join();
    drop(writer);
    *lock.write_timeout(FAR).unwrap() += 1;
    assert_eq!(*lock.read_timeout(Duration::ZERO).unwrap(), 1);
}

/// A reader that panics does not poison, a writer does.
pub fn poisoned_by_writer_only(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let shared = lock.clone();
    let reader = ex.start(move || {
        let _guard = shared.read().unwrap();
        deliberate_panic();
    });
    assert!(reader.try_join().is_err() && !lock.is_poisoned());
    let shared = lock.clone();
    let writer = ex.start(move || {
        let _guard = shared.write().unwrap();
        deliberate_panic();
    });
    assert!(writer.try_join().is_err() && lock.is_poisoned());
    assert!(lock.read().is_err() && lock.write().is_err());
    assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
    lock.clear_poison();
    assert!(lock.read().is_ok());
}

/// A poisoned lock is a lock: its guards exclude as before.
pub fn poisoned_lock_excludes(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let shared = lock.clone();
    let writer = ex.start(move || {
        let _guard = shared.write().unwrap();
        deliberate_panic();
    });
    assert!(writer.try_join().is_err());
    let shared = lock.clone();
    join_all(ex.start_each(8, move |unit| {
        for _ in 0..30 {
            if unit % 4 == 0 {
                drop(shared.read().unwrap_or_else(PoisonError::into_inner));
            } else {
                let mut guard = shared.write().unwrap_or_else(PoisonError::into_inner);
                let before = *guard;
                silken::yield_now();
                *guard = before + 1;
            }
        }
    }));
    assert_eq!(*lock.read().unwrap_err().into_inner(), 180);
    assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
}

/// Every form at once: writers are alone, and every write is kept.
pub fn storm(ex: &dyn Executor) {
    let seed = rng::seed_of("rwlock_storm");
    let lock = Arc::new(RwLock::new((0, 0)));
    let shared = lock.clone();
    let wrote = join_all(ex.start_each(8, move |unit| {
        let (mut rng, mut wrote) = (rng::of_unit(seed, unit), 0);
        for _ in 0..60 {
            let limit = Duration::from_micros(rng.u64(..200));
            let (reader, writer) = match rng.u64(..6) {
                0 => (shared.read().ok(), None),
                1 => (shared.try_read().ok(), None),
                2 => (shared.read_timeout(limit).ok(), None),
                3 => (None, shared.write().ok()),
                4 => (None, shared.try_write().ok()),
                _ => (None, shared.write_timeout(limit).ok()),
            };
            let reader = match writer {
                Some(mut guard) => {
                    guard.0 += 1;
                    silken::yield_now();
                    guard.1 += 1;
                    wrote += 1;
                    rng.bool().then(|| RwLockWriteGuard::downgrade(guard))
                }
                None => reader,
            };
            if let Some(guard) = reader {
                let before = *guard;
                silken::yield_now();
                assert!(before.0 == before.1 && *guard == before);
            }
        }
        wrote
    }));
    assert_eq!(lock.read_timeout(FAR).unwrap().0, wrote.iter().sum::<i32>());
}
