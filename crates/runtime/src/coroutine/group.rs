//! Coroutines that somebody waits for together: the children of a scope.
//!
//! The group lies on the waiter's stack. A child's end is counted after its result has been settled and its thread-locals are gone, as the last
//! thing its core does with borrowed data; the last child wakes the waiter. Counting down is the last touch of the group's memory,
//! so the unparker is copied out first.

use super::park::{Unparker, WaitReason, park};
use crate::loom::static_atomic::{AtomicBool, AtomicUsize, Ordering};

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Group {
    alive: AtomicUsize,
    panicked: AtomicBool,
    waiter: Unparker,
}

impl Group {
    pub(crate) fn new() -> Self {
        Self {
            alive: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            waiter: Unparker::current(),
        }
    }

    /// One more child; before it is queued.
    pub(crate) fn enter(&self) {
        // Relaxed: the queue orders it before the child's end.
        self.alive.fetch_add(1, Ordering::Relaxed);
    }

    /// A child has ended, or was not spawned after all.
    pub(crate) fn leave(&self) {
        let waiter = self.waiter;
        // Release: pairs with the Acquire in `wait`: what the child did is seen after the wait.
        if self.alive.fetch_sub(1, Ordering::Release) == 1 {
            waiter.unpark();
        }
    }

    /// A child's panic was not taken by anyone.
    pub(crate) fn note_panic(&self) {
        // Relaxed: ordered by `leave`, or noted by the waiter itself.
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// Waits for all children, whatever happens: they may borrow from the waiter's stack. Returns whether a panic was noted.
    pub(crate) fn wait(&self) -> bool {
        // Acquire: pairs with the Release in `leave`.
        while self.alive.load(Ordering::Acquire) != 0 {
            park(WaitReason::Scope);
        }
        // Relaxed: as above.
        self.panicked.load(Ordering::Relaxed)
    }
}
