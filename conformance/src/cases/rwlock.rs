//! std::sync::RwLock: readers together, writers alone, poison by writers only.

use crate::harness::deliberate_panic;
use crate::{Executor, join_all};
use std::sync::{Arc, Barrier, RwLock, TryLockError};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// Readers are inside at the same time: they meet at a barrier there.
pub fn readers_share(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(3));
    let inside = Arc::new(Barrier::new(8));
    let units = ex.start_each(8, move |_| {
        let guard = lock.read().unwrap();
        inside.wait();
        *guard
    });
    assert_eq!(join_all(units), [3; 8]);
}

/// Writers exclude each other and the readers.
pub fn writers_exclude(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new((0u32, 0u32)));
    let shared = Arc::clone(&lock);
    join_all(ex.start_each(12, move |unit| {
        for _ in 0..200 {
            if unit % 3 == 0 {
                let mut guard = shared.write().unwrap();
                guard.0 += 1;
                yield_now();
                guard.1 += 1;
            } else {
                let guard = shared.read().unwrap();
                assert_eq!(guard.0, guard.1);
            }
        }
    }));
    assert_eq!(*lock.read().unwrap(), (800, 800));
}

/// A writer waits for a reader that sleeps.
pub fn writer_waits_for_reader(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let reader = lock.read().unwrap();
    let shared = Arc::clone(&lock);
    let writer = ex.start(move || *shared.write().unwrap() = 1);
    sleep(Duration::from_millis(20));
    assert_eq!(*reader, 0);
    drop(reader);
    writer.join();
    assert_eq!(*lock.read().unwrap(), 1);
}

/// Readers that wait for a writer are all let in when it leaves.
pub fn writer_releases_all_readers(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(0));
    let mut writer = lock.write().unwrap();
    let shared = Arc::clone(&lock);
    let readers = ex.start_each(20, move |_| *shared.read().unwrap());
    sleep(Duration::from_millis(10));
    *writer = 9;
    drop(writer);
    assert_eq!(join_all(readers), [9; 20]);
}

/// The try forms fail exactly when they would wait.
pub fn try_forms(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(()));
    let reader = lock.read().unwrap();
    let shared = Arc::clone(&lock);
    ex.start(move || {
        assert!(shared.try_read().is_ok());
        assert!(matches!(shared.try_write(), Err(TryLockError::WouldBlock)));
    })
    .join();
    drop(reader);
    let writer = lock.write().unwrap();
    let shared = Arc::clone(&lock);
    ex.start(move || assert!(matches!(shared.try_read(), Err(TryLockError::WouldBlock))))
        .join();
    drop(writer);
}

/// A reader's panic does not poison, a writer's does.
pub fn poisoned_by_writer_only(ex: &dyn Executor) {
    let lock = Arc::new(RwLock::new(()));
    let shared = Arc::clone(&lock);
    let reader = ex.start(move || {
        let _guard = shared.read().unwrap();
        deliberate_panic();
    });
    assert!(reader.try_join().is_err());
    assert!(!lock.is_poisoned());
    let shared = Arc::clone(&lock);
    let writer = ex.start(move || {
        let _guard = shared.write().unwrap();
        deliberate_panic();
    });
    assert!(writer.try_join().is_err());
    assert!(lock.read().is_err());
}
