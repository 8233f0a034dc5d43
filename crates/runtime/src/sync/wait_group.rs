//! How a caller waits until all members of a group have left: the count of a `WaitGroup`.
//!
//! # Protocol
//! The group is a count of members. Atomic operations alone change it as long as it does not fall to one or zero. A
//! caller that lets it fall there takes the queue's lock and wakes all waiters, which look again. A waiter looks at the
//! count under that lock, in the hold in which it joins the queue. So either it sees the fall, or the waker finds it.

use crate::coroutine::{Outcome, WaitCell, WaitReason};
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::wait::list::{QueuedWaiter, WaitList, WaitOptions, WaitQueue, WakeList};
use crate::wait::{deadline_after, deadline_at};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Waits until all members of a group have left it. Members are the handles, which are cloned and dropped, and those
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
/// With members added by number, and the group borrowed:
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
    /// Makes a group whose only member is this handle.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                members: AtomicUsize::new(1),
                queue: WaitQueue::new(()),
            }),
        }
    }

    /// Adds members that have no handle; each leaves by a call of [`done`](Self::done).
    ///
    /// # Panics
    /// If the count of members overflows.
    pub fn add(&self, members: usize) {
        // Relaxed: the caller that adds is a member itself, so no waiter is about to see the count at zero.
        let before = self.inner.members.fetch_add(members, Ordering::Relaxed);
        assert!(before.checked_add(members).is_some(), "too many members of a WaitGroup");
    }

    /// Removes one of the members that were [added](Self::add).
    ///
    /// # Panics
    /// If no member without a handle is left: handles leave by being dropped.
    pub fn done(&self) {
        // This handle is a member, so there must be a second one, which leaves.
        assert!(self.inner.leave_if(2), "WaitGroup::done without add");
    }

    /// Leaves the group, and waits until all other members have left.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds. The handle is no member any more then.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::WaitGroup;
    /// let group = WaitGroup::new();
    /// let member = group.clone();
    /// let child = silken::spawn(move || {
    ///     drop(member);
    ///     "left"
    /// });
    /// group.wait();
    /// assert_eq!(child.join().unwrap(), "left");
    /// ```
    pub fn wait(self) {
        let inner = self.inner.clone();
        drop(self);
        inner.wait_until(0, None);
    }

    /// As [`wait`](Self::wait), but waits for at most `timeout`.
    ///
    /// # Errors
    /// If the timeout has passed; the error holds the handle, which is a member again.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::WaitGroup;
    /// use std::time::Duration;
    /// let group = WaitGroup::new();
    /// let member = group.clone();
    /// let group = group.wait_timeout(Duration::from_millis(1)).unwrap_err();
    /// drop(member);
    /// assert!(group.wait_timeout(Duration::from_millis(1)).is_ok());
    /// ```
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), WaitGroup> {
        self.wait_to(deadline_after(timeout))
    }

    /// As [`wait`](Self::wait), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// If the deadline has passed; the error holds the handle, which is a member again.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::WaitGroup;
    /// use std::time::{Duration, Instant};
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert!(WaitGroup::new().wait_deadline(deadline).is_ok(), "there are no others");
    /// ```
    pub fn wait_deadline(self, deadline: Instant) -> Result<(), WaitGroup> {
        self.wait_to(deadline_at(deadline))
    }

    /// Waits until this handle is the only member. It is meant for a group that is borrowed or shared. Two handles that
    /// both call it wait for each other.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds. The handle stays a member.
    ///
    /// # Examples
    /// ```
    /// let group = silken::sync::WaitGroup::new();
    /// let member = group.clone();
    /// silken::spawn(move || drop(member));
    /// group.wait_others();
    /// assert_eq!(group.members(), 1);
    /// ```
    pub fn wait_others(&self) {
        self.inner.wait_until(1, None);
    }

    /// As [`wait_others`](Self::wait_others), but waits for at most `timeout`; returns whether the others have left.
    ///
    /// # Examples
    /// ```
    /// let group = silken::sync::WaitGroup::new();
    /// let _member = group.clone();
    /// assert!(!group.wait_others_timeout(std::time::Duration::from_millis(1)));
    /// ```
    pub fn wait_others_timeout(&self, timeout: Duration) -> bool {
        self.inner.wait_until(1, Some(deadline_after(timeout)))
    }

    /// The number of members at this moment, this handle included.
    #[must_use]
    pub fn members(&self) -> usize {
        // Relaxed: it may be wrong as soon as it is known.
        self.inner.members.load(Ordering::Relaxed)
    }

    /// The handle leaves the group, and joins it again if the deadline has passed.
    fn wait_to(self, deadline_ns: u64) -> Result<(), WaitGroup> {
        let inner = self.inner.clone();
        drop(self);
        if inner.wait_until(0, Some(deadline_ns)) {
            return Ok(());
        }
        // Relaxed: as in `add`. If the group has become empty just now, it has one member again.
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
    /// Waits until the group's other members have left.
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

    /// Makes the last member that leaves settle the cell; `false` if the others have left already.
    ///
    /// # Safety
    /// This value and the cell stay in place until [`unlist`](Self::unlist) has returned (S8).
    pub(crate) unsafe fn list(&self, cell: &WaitCell) -> bool {
        let decide = |_: &mut WaitList<()>| self.is_over().then_some(());
        // SAFETY: S8: the caller promises: both stay in place until `unlist` has returned.
        let listed = unsafe { self.inner.queue.list(&self.waiter, cell, decide) }.is_none();
        self.listed.set(listed);
        listed
    }

    pub(crate) fn unlist(&self) {
        if self.listed.replace(false) {
            // The grant carries nothing: the select looks at the count.
            let _ = self.inner.queue.unlist(&self.waiter, |_, _| WakeList::none());
        }
    }

    /// There is nothing to give back: the end of a group is there for everybody.
    pub(crate) fn let_go(&self) {}
}

impl Inner {
    /// Removes one member if there are at least `at_least`; returns whether there were.
    fn leave_if(&self, at_least: usize) -> bool {
        let one_less = |members: usize| (members >= at_least).then(|| members - 1);
        // AcqRel: Release pairs with the Acquire in `is_down_to`, so that a waiter sees what members did; Acquire pairs
        // with the other members' Release. Relaxed on failure: nothing has changed.
        let left = self.members.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less);
        if left.is_ok_and(|before| before <= 2) {
            self.queue.wake_all(Outcome::Woken);
        }
        left.is_ok()
    }

    fn is_down_to(&self, members: usize) -> bool {
        // Acquire: pairs with the Release in `leave_if`.
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
        // The handle is a member, so there is one to remove.
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
