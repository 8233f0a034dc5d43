//! How a select waits for a lock: the lock is taken for an arm, and given back if the select chooses another arm.
//!
//! A holder that unlocks grants the lock to an arm that is first in the queue: the lock stays taken, for the arm. So no
//! wake is spent on an arm that would not use it, and [`Taking`] need only know whether it holds the lock. If the
//! select has chosen another arm, dropping the `Taking` unlocks, and the next waiter in the queue gets the lock.

use crate::coroutine::WaitCell;
use crate::wait::list::QueuedWaiter;
use std::cell::Cell;

/// One way of taking a raw lock.
///
/// # Safety
/// What [`try_take`](Self::try_take) and [`unlist`](Self::unlist) say that the caller holds is the caller's until it
/// calls [`release`](Self::release) (S2).
pub(crate) unsafe trait Take {
    fn try_take(&self) -> bool;

    /// Lists a waiter for the select's wait cell; `false` if the lock can be taken now.
    ///
    /// # Safety
    /// Waiter and cell stay in place until [`unlist`](Self::unlist) has returned (S8).
    unsafe fn list(&self, waiter: &QueuedWaiter, cell: &WaitCell) -> bool;

    /// Removes the waiter from the queue; `true` if it was granted the lock.
    fn unlist(&self, waiter: &QueuedWaiter) -> bool;

    /// # Safety
    /// The caller holds the lock, in this way (S2).
    unsafe fn release(&self);

    /// The tag of the waiter, which tells the holders that unlock what it wants.
    fn tag(&self) -> u64;
}

/// A lock that an arm waits for or holds.
pub(crate) struct Taking<L: Take> {
    lock: L,
    waiter: QueuedWaiter,
    listed: Cell<bool>,
    held: Cell<bool>,
}

impl<L: Take> Taking<L> {
    pub(super) fn of(lock: L) -> Self {
        Self {
            waiter: QueuedWaiter::new(lock.tag()),
            lock,
            listed: Cell::new(false),
            held: Cell::new(false),
        }
    }

    /// Whether the arm holds the lock now.
    pub(crate) fn is_held(&self) -> bool {
        if !self.held.get() {
            self.held.set(self.lock.try_take());
        }
        self.held.get()
    }

    /// Makes holders that unlock settle the cell; `false` if the lock can be taken now.
    ///
    /// # Safety
    /// This value and the cell stay in place until [`unlist`](Self::unlist) has returned (S8).
    pub(crate) unsafe fn list(&self, cell: &WaitCell) -> bool {
        // SAFETY: S8: the caller promises: both stay in place until `unlist` has returned.
        self.listed.set(unsafe { self.lock.list(&self.waiter, cell) });
        self.listed.get()
    }

    pub(crate) fn unlist(&self) {
        if self.listed.replace(false) && self.lock.unlist(&self.waiter) {
            self.held.set(true);
        }
    }

    /// Releases the lock, if the arm holds it.
    pub(crate) fn let_go(&self) {
        if self.held.replace(false) {
            // SAFETY: S2: held until now, and not given away.
            unsafe { self.lock.release() };
        }
    }

    /// Passes the held lock to a guard; returns the lock, so that the guard can check which one it is.
    pub(super) fn give_away(&self) -> &L {
        assert!(self.held.replace(false), "a lock's arm was chosen without the lock");
        &self.lock
    }
}

impl<L: Take> Drop for Taking<L> {
    fn drop(&mut self) {
        self.let_go();
    }
}
