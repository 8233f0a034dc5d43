//! Whether somebody panicked while he had the right to write.
//!
//! As std's, with one difference: the unwinding of a cancellation is no panic. Who takes the right while he unwinds
//! already, in a destructor, does not poison either, as in std: the panic began before.

use crate::coroutine::is_panicking;
use crate::loom::static_atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError};

/// The flag beside a lock. Not loom's: it orders nothing, the lock does.
#[derive(Debug)]
pub(super) struct Flag(AtomicBool);

/// What a guard remembers of the moment it was made.
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

    /// For who has just taken the lock.
    #[inline]
    pub(super) fn since(&self) -> Since {
        Since {
            panicking: is_panicking(),
        }
    }

    /// For who is about to let go of it.
    #[inline]
    pub(super) fn done(&self, since: Since) {
        if !since.panicking && is_panicking() {
            // Relaxed: the lock's release follows.
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// A guard, as the flag stands.
    #[inline]
    pub(super) fn result<G>(&self, guard: G) -> LockResult<G> {
        match self.is_set() {
            false => Ok(guard),
            true => Err(PoisonError::new(guard)),
        }
    }
}

/// Turns both sides of a result into another.
#[inline]
pub(super) fn map<A, B>(result: LockResult<A>, f: impl FnOnce(A) -> B) -> LockResult<B> {
    match result {
        Ok(guard) => Ok(f(guard)),
        Err(poisoned) => Err(PoisonError::new(f(poisoned.into_inner()))),
    }
}
