//! A spin lock for sections of a few pointer moves, to be replaced by the runtime's short thread-level lock.
//!
//! It is honest about what it is: it does not queue, does not sleep, and a holder that is preempted by the kernel makes others
//! burn their slice, or give it up after [`SPINS_MAX`] turns. Who holds it must be in a critical section of the runtime, so
//! that no coroutine is switched out with it.

use std::cell::UnsafeCell;
use std::thread;

use crate::loom::static_atomic::AtomicBool;
use crate::loom::static_atomic::Ordering::{Acquire, Relaxed, Release};

/// Turns before the thread gives up its slice: some microseconds, several times what a section takes.
const SPINS_MAX: u32 = 100;

pub(super) struct SpinLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: S2: the value is reached by one thread at a time, so it needs to be Send, as in any mutex.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// Unlocks when dropped, so that a failed assertion does not hang the others.
struct Unlock<'a>(&'a AtomicBool);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `with`.
        self.0.store(false, Release);
    }
}

impl<T> SpinLock<T> {
    pub(super) const fn new(value: T) -> Self {
        Self {
            locked: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `section` with the value. It must not allocate, block, or use this lock.
    pub(super) fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        let mut spins = 0;
        // Acquire: pairs with the Release of the last holder.
        while self.locked.swap(true, Acquire) {
            // Relaxed: only to wait without taking the line from the holder.
            while self.locked.load(Relaxed) {
                spins += 1;
                match spins % SPINS_MAX {
                    0 => thread::yield_now(),
                    _ => std::hint::spin_loop(),
                }
            }
        }
        let _unlock = Unlock(&self.locked);
        // SAFETY: S2: the lock is ours until `_unlock` is dropped.
        section(unsafe { &mut *self.value.get() })
    }
}
