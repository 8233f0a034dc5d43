//! How the arena locks: a pure spin lock around a handful of pointer moves.
//!
//! *Why not `std::sync::Mutex`.* It blocks through libc's `syscall(SYS_futex)`, which the runtime hooks: a contended
//! lock would re-enter the scheduler that is asking for a stack. For the same reason a waiter may not call
//! `sched_yield` through libc.
//!
//! *Why spinning is enough.* The sections are bounded: a few words move, and nothing maps, allocates or panics inside.
//! The workers that contend refill caches, so they meet rarely. The one slow event inside is the first touch of a page
//! of the slot table, once per 512 recycled slots. If the kernel takes the core away from a holder, waiters burn at
//! most their own time slice; a parking lock would save that and make every other acquisition more expensive.
//!
//! *Another user.* The identities' list of late libraries (`identity`): its section is longer, allocates, and is
//! entered once per load of a library.
//!
//! *The rule that comes with it.* The runtime must not suspend a lock's holder inside the section: callers are in a
//! critical section of the runtime (or run on a plain thread), and a signal handler never locks.

use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value behind a spin lock, on a cache line of its own, so that spinning does not slow readers of its neighbours.
#[repr(align(128))]
pub(crate) struct SpinLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: S1: `with` hands out the value to one thread at a time, so sharing the lock only ever moves a `T` between
// threads.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> core::fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Without locking: a debug print must not wait.
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}

impl<T> SpinLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            locked: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `section` with the value. A panic in `section` leaves the lock taken for ever; sections do not panic.
    pub(crate) fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        // Acquire: pairs with the Release below. Relaxed on failure: nothing is read before a later success.
        while self
            .locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            // Relaxed: only a hint when to try again; spinning on a load keeps the line shared.
            while self.locked.load(Ordering::Relaxed) {
                spin_loop();
            }
        }
        // SAFETY: S1: `locked` went from false to true in this thread, so nobody else holds a reference to the value.
        let value = unsafe { &mut *self.value.get() };
        let result = section(value);
        // Release: pairs with the Acquire above, so that the next holder sees this section's writes.
        self.locked.store(false, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::SpinLock;

    #[test]
    fn sections_exclude_each_other() {
        let lock = SpinLock::new(0_u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        lock.with(|value| {
                            let seen = *value;
                            core::hint::black_box(());
                            *value = seen + 1;
                        });
                    }
                });
            }
        });
        assert_eq!(lock.with(|value| *value), 80_000);
    }
}
