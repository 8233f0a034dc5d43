//! `WaitGroup`: waits for others that end.
//!
//! # Protocol
//! A count of members, changed by atomic operations alone as long as it does not fall to one or none; whoever lets it
//! fall there takes the queue's lock and wakes all, who look again. A waiter looks at the count under that lock, in the
//! hold in which it joins the queue; so it either sees the fall, or is found.

use super::wait_queue::{QueuedWaiter, WaitList, WaitOptions, WaitQueue, WakeList};
use crate::coroutine::{Outcome, WaitCell, WaitReason};
use crate::driver::timers::{deadline_after, deadline_at};
use crate::loom::atomic::{AtomicUsize, Ordering};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Waits until all members of a group have left it: its handles, which are cloned and dropped, and those
/// [added](Self::add) and [done](Self::done) by number.
///
/// # Examples
/// ```
/// use silken::sync::WaitGroup;
/// let group = WaitGroup::new();
/// for _ in 0..3 {
///     let member = group.clone();
///     silken::spawn(move || drop(member));
/// }
/// group.wait();
/// ```
///
/// By number, and borrowed:
/// ```
/// use silken::sync::WaitGroup;
/// let group = WaitGroup::new();
/// silken::scope(|scope| {
///     group.add(3);
///     for _ in 0..3 {
///         scope.spawn(|| group.done());
///     }
///     group.wait_others();
/// });
/// ```
pub struct WaitGroup {
    inner: Arc<Inner>,
}

struct Inner {
    members: AtomicUsize,
    queue: WaitQueue,
}

impl WaitGroup {
    /// A group whose only member is this handle.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                members: AtomicUsize::new(1),
                queue: WaitQueue::new(()),
            }),
        }
    }

    /// Adds members that have no handle; each is to be [`done`](Self::done).
    ///
    /// # Panics
    /// If there are too many.
    pub fn add(&self, members: usize) {
        // Relaxed: whoever adds is a member himself, so the count is not about to be waited for.
        let before = self.inner.members.fetch_add(members, Ordering::Relaxed);
        assert!(before.checked_add(members).is_some(), "too many members of a WaitGroup");
    }

    /// One of those that were [added](Self::add) leaves.
    ///
    /// # Panics
    /// If there is none: handles leave by being dropped.
    pub fn done(&self) {
        // This handle is a member, so the other is the one that leaves.
        assert!(self.inner.leave_if(2), "WaitGroup::done without add");
    }

    /// Leaves the group, and waits until all others have.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds, if it has to wait.
    pub fn wait(self) {
        let inner = self.inner.clone();
        drop(self);
        inner.wait_until(0, None);
    }

    /// As [`wait`](Self::wait), but no longer than `timeout`.
    ///
    /// # Errors
    /// If the time was over; the error has the handle, which is a member again.
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), WaitGroup> {
        self.wait_to(deadline_after(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until a moment.
    ///
    /// # Errors
    /// As there.
    pub fn wait_deadline(self, deadline: Instant) -> Result<(), WaitGroup> {
        self.wait_to(deadline_at(deadline))
    }

    /// Waits until this handle is the only member. For a group that is borrowed or shared; two handles that wait so
    /// wait for each other.
    ///
    /// # Blocking
    /// As [`wait`](Self::wait).
    ///
    /// # Cancellation
    /// As [`wait`](Self::wait).
    pub fn wait_others(&self) {
        self.inner.wait_until(1, None);
    }

    /// As [`wait_others`](Self::wait_others), but no longer than `timeout`; whether the others have left.
    pub fn wait_others_timeout(&self, timeout: Duration) -> bool {
        self.inner.wait_until(1, Some(deadline_after(timeout)))
    }

    /// How many members there are at this moment, this handle included.
    #[must_use]
    pub fn members(&self) -> usize {
        // Relaxed: it may be wrong as soon as it is known.
        self.inner.members.load(Ordering::Relaxed)
    }

    /// The handle leaves, and comes back if the time is over.
    fn wait_to(self, deadline_ns: u64) -> Result<(), WaitGroup> {
        let inner = self.inner.clone();
        drop(self);
        if inner.wait_until(0, Some(deadline_ns)) {
            return Ok(());
        }
        // Relaxed: as in `add`. Should the group have emptied just now, it has one member again.
        inner.members.fetch_add(1, Ordering::Relaxed);
        Err(WaitGroup { inner })
    }
}

/// The end of a group as a part of a select.
pub(crate) struct Departure<'a> {
    inner: &'a Inner,
    waiter: QueuedWaiter,
    listed: Cell<bool>,
}

impl<'a> Departure<'a> {
    /// The others' leaving.
    pub(crate) fn of_others(group: &'a WaitGroup) -> Self {
        Self {
            inner: &group.inner,
            waiter: QueuedWaiter::new(0),
            listed: Cell::new(false),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.inner.is_down_to(1)
    }

    /// Makes the last one settle the cell; `false` if they have left already.
    ///
    /// # Safety
    /// Both stay in place until [`unlist`](Self::unlist) has returned (S8).
    pub(crate) unsafe fn list(&self, cell: &WaitCell) -> bool {
        let decide = |_: &mut WaitList<()>| self.is_over().then_some(());
        // SAFETY: S8: the caller promises: both stay in place until `unlist` has returned.
        let listed = unsafe { self.inner.queue.list(&self.waiter, cell, decide) }.is_none();
        self.listed.set(listed);
        listed
    }

    pub(crate) fn unlist(&self) {
        if self.listed.replace(false) {
            // What it was granted is a look.
            let _ = self.inner.queue.unlist(&self.waiter, |_, _| WakeList::none());
        }
    }
}

impl Inner {
    /// One member less, if there are so many at least; says whether there were.
    fn leave_if(&self, at_least: usize) -> bool {
        let one_less = |members: usize| (members >= at_least).then(|| members - 1);
        // AcqRel: Release pairs with the Acquire in `is_down_to`, so that who waits sees what members did; Acquire
        // pairs with the other members' Release. Relaxed on failure: nothing has changed.
        let left = self.members.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less);
        if left.is_ok_and(|before| before <= 2) {
            self.queue.wake_all(Outcome::Woken);
        }
        left.is_ok()
    }

    fn is_down_to(&self, members: usize) -> bool {
        // Acquire: pairs with the Release in `leave`.
        self.members.load(Ordering::Acquire) <= members
    }

    fn wait_until(&self, members: usize, deadline_ns: Option<u64>) -> bool {
        while !self.is_down_to(members) {
            let terms = WaitOptions::until(WaitReason::Barrier, deadline_ns);
            let ended = self.queue.wait_plain(terms, |_| self.is_down_to(members).then_some(()));
            if ended.is_ok_and(|ended| ended.outcome == Outcome::TimedOut) {
                return self.is_down_to(members);
            }
        }
        true
    }
}

impl Clone for WaitGroup {
    fn clone(&self) -> Self {
        self.add(1);
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        // A member always has itself to leave.
        let _ = self.inner.leave_if(1);
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup")
            .field("members", &self.members())
            .finish_non_exhaustive()
    }
}
