//! Locks and permits. Who waits for these needs no release, as every holder goes on; so one that is forgotten hangs,
//! and is found by the watchdog.

use super::{Part, Wait};
use crate::plan::Rng;
use silken::sync::{Mutex, RwLock, RwLockWriteGuard, Semaphore, TryLockError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Two numbers that are equal whenever nobody holds the lock for writing.
#[derive(Debug, Default)]
struct Pair {
    left: u64,
    right: u64,
}

/// Makes the numbers equal again, also when its holder unwinds.
struct Change<'a>(&'a mut Pair);

impl<'a> Change<'a> {
    fn begin(pair: &'a mut Pair) -> Self {
        assert_eq!(pair.left, pair.right, "two held the lock");
        pair.left += 1;
        Self(pair)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.right += 1;
    }
}

fn is_poisoned<T>(error: &TryLockError<T>) -> bool {
    matches!(error, TryLockError::Poisoned(_))
}

#[derive(Default)]
pub(super) struct Mutexes {
    mutex: Mutex<Pair>,
}

impl Wait for Mutexes {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            let guard = match part.rng.below(4) {
                0 => self.mutex.lock_timeout(part.moment()),
                1 => self.mutex.try_lock(),
                _ => self.mutex.lock().map_err(TryLockError::Poisoned),
            };
            match guard {
                Ok(mut guard) => {
                    let _change = Change::begin(&mut guard);
                    part.pause();
                }
                Err(error) => assert!(!is_poisoned(&error), "a cancelled holder poisoned"),
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let guard = self.mutex.try_lock().map_err(|error| format!("left locked: {error}"))?;
        if guard.left != guard.right {
            return Err(format!("{guard:?}"));
        }
        // Somebody waits while it is held, and gets it.
        silken::scope(|s| {
            let waiter = s.spawn(|| self.mutex.lock().is_ok());
            silken::yield_now();
            drop(guard);
            match waiter.join() {
                Ok(true) => Ok(()),
                outcome => Err(format!("the next holder: {outcome:?}")),
            }
        })
    }
}

#[derive(Default)]
pub(super) struct RwLocks {
    lock: RwLock<Pair>,
    readers: AtomicUsize,
}

impl RwLocks {
    fn write(&self, part: &mut Part) {
        let guard = match part.rng.below(4) {
            0 => self.lock.write_timeout(part.moment()),
            1 => self.lock.try_write(),
            _ => self.lock.write().map_err(TryLockError::Poisoned),
        };
        match guard {
            Ok(mut guard) => {
                assert_eq!(self.readers.load(Ordering::Relaxed), 0, "a reader and a writer");
                {
                    let _change = Change::begin(&mut guard);
                    part.pause();
                }
                if part.rng.chance(30) {
                    let guard = RwLockWriteGuard::downgrade(guard);
                    self.look(&guard, part);
                }
            }
            Err(error) => assert!(!is_poisoned(&error), "a cancelled writer poisoned"),
        }
    }

    fn look(&self, pair: &Pair, part: &mut Part) {
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        // Ordering::Relaxed, as above: the lock orders them.
        self.readers.fetch_add(1, Ordering::Relaxed);
        let _leave = Leave(&self.readers);
        assert_eq!(pair.left, pair.right, "a reader and a writer");
        part.pause();
        assert_eq!(pair.left, pair.right, "a reader and a writer");
    }
}

impl Wait for RwLocks {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            if part.rng.chance(40) {
                self.write(part);
                continue;
            }
            let guard = match part.rng.below(4) {
                0 => self.lock.read_timeout(part.moment()),
                1 => self.lock.try_read(),
                _ => self.lock.read().map_err(TryLockError::Poisoned),
            };
            match guard {
                Ok(guard) => self.look(&guard, part),
                Err(error) => assert!(!is_poisoned(&error), "a cancelled holder poisoned"),
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let guard = self.lock.try_write().map_err(|error| format!("left locked: {error}"))?;
        if guard.left != guard.right {
            return Err(format!("{guard:?}"));
        }
        silken::scope(|s| {
            let reader = s.spawn(|| self.lock.read().is_ok());
            let writer = s.spawn(|| self.lock.write().is_ok());
            silken::yield_now();
            drop(guard);
            match (reader.join(), writer.join()) {
                (Ok(true), Ok(true)) => Ok(()),
                outcome => Err(format!("the next reader and writer: {outcome:?}")),
            }
        })
    }
}

pub(super) struct Semaphores {
    semaphore: Semaphore,
    permits: usize,
    held: AtomicUsize,
}

impl Semaphores {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let permits = 1 + rng.below(6);
        Self {
            semaphore: Semaphore::new(permits),
            permits,
            held: AtomicUsize::new(0),
        }
    }
}

/// So many permits are in somebody's hands.
struct Held<'a>(&'a AtomicUsize, usize);

impl<'a> Held<'a> {
    fn new(semaphores: &'a Semaphores, permits: usize) -> Self {
        let before = semaphores.held.fetch_add(permits, Ordering::Relaxed);
        let held = Self(&semaphores.held, permits);
        assert!(before + permits <= semaphores.permits, "{before} and {permits} permits");
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Wait for Semaphores {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            let wanted = 1 + part.rng.below(self.permits);
            let permit = match part.rng.below(4) {
                0 => self.semaphore.acquire_many_timeout(wanted, part.moment()),
                1 => self.semaphore.try_acquire_many(wanted),
                _ => self.semaphore.acquire_many(wanted),
            };
            // Declared after the permit, so dropped before it.
            let _held = permit.as_ref().ok().map(|_| Held::new(self, wanted));
            if permit.is_ok() {
                part.pause();
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let available = self.semaphore.available_permits();
        if available != self.permits {
            return Err(format!("{available} of {} permits are left", self.permits));
        }
        let all = self.semaphore.try_acquire_many(self.permits);
        let all = all.map_err(|error| format!("the permits that are there: {error}"))?;
        silken::scope(|s| {
            let waiter = s.spawn(|| self.semaphore.acquire_timeout(Duration::from_secs(20)).is_ok());
            silken::yield_now();
            drop(all);
            match waiter.join() {
                Ok(true) => Ok(()),
                outcome => Err(format!("the next holder: {outcome:?}")),
            }
        })
    }
}
