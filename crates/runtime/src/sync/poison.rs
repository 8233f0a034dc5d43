//! When does a panic poison a lock? When it begins while its context has the right to write.
//!
//! The flag works as std's does, with one difference: the unwinding of a cancellation is no panic. A context that takes
//! the right while it unwinds already, in a destructor, does not poison either, as in std: that panic began before.

use crate::coroutine::is_panicking;
use crate::loom::static_atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError};

/// The flag beside a lock. It is not loom's atomic, because the lock orders it and it orders nothing.
#[derive(Debug)]
pub(super) struct Flag(AtomicBool);

/// What a guard remembers of the moment at which it was made.
#[derive(Clone, Copy)]
pub(super) struct Since {
    panicking: bool,
}

impl Flag {
    pub(super) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        // Relaxed: written by holders of the lock, and ordered by it; to others a hint.
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        // Relaxed: as above.
        self.0.store(false, Ordering::Relaxed);
    }

    /// Called by a context that has just taken the lock.
    #[inline]
    pub(super) fn since(&self) -> Since {
        Since {
            panicking: is_panicking(),
        }
    }

    /// Called by a context that is about to release the lock.
    #[inline]
    pub(super) fn done(&self, since: Since) {
        if !since.panicking && is_panicking() {
            // Relaxed: the lock's release follows.
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Wraps a guard in `Ok` or in a poison error, as the flag says.
    #[inline]
    pub(super) fn result<G>(&self, guard: G) -> LockResult<G> {
        match self.is_set() {
            false => Ok(guard),
            true => Err(PoisonError::new(guard)),
        }
    }
}

/// Maps the value of a result, poisoned or not.
#[inline]
pub(super) fn map<A, B>(result: LockResult<A>, f: impl FnOnce(A) -> B) -> LockResult<B> {
    match result {
        Ok(guard) => Ok(f(guard)),
        Err(poisoned) => Err(PoisonError::new(f(poisoned.into_inner()))),
    }
}
