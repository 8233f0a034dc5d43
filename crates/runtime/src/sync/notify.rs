//! `Notify` and `Blocker`: a wake-up that is kept if nobody is there to be woken.
//!
//! # States
//! | word | meaning |
//! |---|---|
//! | `EMPTY` | nobody waits, nothing is kept |
//! | `NOTIFIED` | nobody waits, one notification is kept |
//! | `WAITING` | somebody is in the queue; set and cleared under the queue's lock only |
//!
//! A notifier that finds `WAITING` takes the lock; should all waiters turn out to have left, the notification is kept.

use super::wait_queue::{
    Granted, Place, QueuedWaiter, WaitList, WaitOptions, WaitQueue, WakeList, unwind_if_cancelled,
};
use crate::coroutine::{Outcome, WaitCell, WaitReason};
use crate::driver::timers::{deadline_after, deadline_at};
use crate::loom::atomic::{AtomicU32, Ordering};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
const WAITING: u32 = 2;

/// Wakes those who wait, one or all. A notification of one is kept for the next who comes, if nobody waits; several are
/// kept as one.
///
/// # Examples
/// ```
/// use silken::sync::Notify;
/// static NEWS: Notify = Notify::new();
/// NEWS.notify_one();
/// silken::spawn(|| NEWS.notified()).join().unwrap();
/// ```
pub struct Notify {
    state: AtomicU32,
    queue: WaitQueue,
}

impl Notify {
    const_unless_loom! {
        /// Nobody waits, and nothing is kept.
        #[must_use]
        pub fn new() -> Self {
            Self {
                state: AtomicU32::new(EMPTY),
                queue: WaitQueue::new(()),
            }
        }
    }

    /// Wakes the one that has waited longest, or keeps the notification for the next who comes.
    pub fn notify_one(&self) {
        // Relaxed: the exchange decides, or the queue's lock.
        let mut state = self.state.load(Ordering::Relaxed);
        while state != WAITING {
            // Release: pairs with the Acquire in `take`. Also where one is kept already: what the caller did must be
            // seen. Relaxed on failure: it looks again.
            match self
                .state
                .compare_exchange(state, NOTIFIED, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.notify_waiter();
    }

    /// Wakes all who wait now. Nothing is kept.
    pub fn notify_waiters(&self) {
        // The lock in any case: who is in the queue was there before.
        let end_ticket = self.queue.with(|queue| queue.end_ticket());
        self.queue.wake_before(end_ticket, Outcome::Woken);
        self.queue.with(|queue| self.unmark_if_empty(queue));
    }

    /// Waits for a notification, or takes the one that is kept.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Condition`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds, if it has to wait. A notification goes to another.
    pub fn notified(&self) {
        while !self.wait_until(WaitReason::Condition, None) {}
    }

    /// As [`notified`](Self::notified), but no longer than `timeout`; whether it was notified.
    pub fn notified_timeout(&self, timeout: Duration) -> bool {
        self.take() || self.wait_until(WaitReason::Condition, Some(deadline_after(timeout)))
    }

    /// As [`notified_timeout`](Self::notified_timeout), until a moment.
    pub fn notified_deadline(&self, deadline: Instant) -> bool {
        self.take() || self.wait_until(WaitReason::Condition, Some(deadline_at(deadline)))
    }

    /// Takes the notification that is kept, if one is.
    #[inline]
    fn take(&self) -> bool {
        // Acquire: pairs with the Release in `notify_one`. Relaxed on failure: nothing is read on the strength of it.
        self.state
            .compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    fn wait_until(&self, reason: WaitReason, deadline_ns: Option<u64>) -> bool {
        if self.take() {
            return true;
        }
        let take = |_: &mut WaitList<()>| self.take_or_announce().then_some(());
        let leave = |queue: &mut WaitList<()>, _| {
            self.unmark_if_empty(queue);
            WakeList::none()
        };
        match self
            .queue
            .wait(WaitOptions::until(reason, deadline_ns), (0, Place::Back), take, leave)
        {
            Err(()) => true,
            Ok(ended) => {
                unwind_if_cancelled(ended.outcome);
                ended.outcome == Outcome::Woken
            }
        }
    }

    /// Under the queue's lock: takes the notification that is kept, else sees to it that the word is `WAITING`.
    fn take_or_announce(&self) -> bool {
        loop {
            if self.take() {
                return true;
            }
            // Relaxed: the queue's lock orders what follows.
            let marked = self
                .state
                .compare_exchange(EMPTY, WAITING, Ordering::Relaxed, Ordering::Relaxed);
            if marked != Err(NOTIFIED) {
                return false;
            }
        }
    }

    #[cold]
    fn notify_waiter(&self) {
        let unparker = self.queue.with(|queue| {
            let unparker = queue.settle_next(Outcome::Woken);
            self.unmark_if_empty(queue);
            if unparker.is_none() {
                // Nobody is in the queue, so nobody but notifiers changes the word.
                // Release: pairs with the Acquire in `take`.
                self.state.store(NOTIFIED, Ordering::Release);
            }
            unparker
        });
        if let Some(unparker) = unparker {
            unparker.unpark();
        }
    }

    /// Under the queue's lock.
    fn unmark_if_empty(&self, queue: &mut WaitList<()>) {
        if queue.is_empty() {
            // Relaxed, both: nothing is handed over; a notification that is kept stays.
            let _ = self
                .state
                .compare_exchange(WAITING, EMPTY, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// A notification as a part of a select.
pub(crate) struct Notification<'a> {
    notify: &'a Notify,
    waiter: QueuedWaiter,
    listed: Cell<bool>,
    granted: Cell<Granted>,
}

impl<'a> Notification<'a> {
    pub(crate) fn of(notify: &'a Notify) -> Self {
        Self {
            notify,
            waiter: QueuedWaiter::new(0),
            listed: Cell::new(false),
            granted: Cell::new(Granted::Nothing),
        }
    }

    /// Takes what it was granted, or what is kept.
    pub(crate) fn take(&self) -> bool {
        self.granted.replace(Granted::Nothing) != Granted::Nothing || self.notify.take()
    }

    /// Makes notifiers settle the cell; `false` if there is a notification already.
    ///
    /// # Safety
    /// Both stay in place until [`unlist`](Self::unlist) has returned (S8).
    pub(crate) unsafe fn list(&self, cell: &WaitCell) -> bool {
        let take = |_: &mut WaitList<()>| self.notify.take_or_announce().then_some(());
        // SAFETY: S8: the caller promises: both stay in place until `unlist` has returned.
        let listed = unsafe { self.notify.queue.list(&self.waiter, cell, take) }.is_none();
        self.listed.set(listed);
        if !listed {
            self.granted.set(Granted::Alone);
        }
        listed
    }

    pub(crate) fn unlist(&self) {
        if self.listed.replace(false) {
            let granted = self.notify.queue.unlist(&self.waiter, |queue, _| {
                self.notify.unmark_if_empty(queue);
                WakeList::none()
            });
            self.granted.set(granted);
        }
    }
}

impl Drop for Notification<'_> {
    /// The select has chosen another arm: another waiter gets it.
    fn drop(&mut self) {
        if self.granted.get() == Granted::Alone {
            self.notify.notify_one();
        }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}

/// Parks whoever holds it until somebody unparks it: may's primitive for building others. A wake that comes first is
/// kept.
///
/// # Examples
/// ```
/// use silken::sync::Blocker;
/// let blocker = Blocker::current();
/// let waker = blocker.clone();
/// silken::spawn(move || waker.unpark());
/// blocker.park(None).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct Blocker(Notify);

/// Why [`Blocker::park`] returned without a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParkError {
    /// The time was over.
    Timeout,
}

impl fmt::Display for ParkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out waiting to be unparked")
    }
}

impl std::error::Error for ParkError {}

impl Blocker {
    const_unless_loom! {
        /// A blocker that nobody has unparked yet.
        #[must_use]
        pub fn new() -> Self {
            Self(Notify::new())
        }
    }

    /// One for the caller to park on, and to give to others.
    #[must_use]
    pub fn current() -> Arc<Self> {
        Arc::new(Self::new())
    }

    /// Waits until somebody unparks it, unless somebody has since the last time.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Park`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds, if it has to wait.
    ///
    /// # Errors
    /// If `timeout` is over before.
    pub fn park(&self, timeout: Option<Duration>) -> Result<(), ParkError> {
        match timeout {
            Some(timeout) => self.park_until(Some(deadline_after(timeout))),
            None => self.park_until(None),
        }
    }

    /// As [`park`](Self::park), until a moment.
    ///
    /// # Errors
    /// If it has come before.
    pub fn park_deadline(&self, deadline: Instant) -> Result<(), ParkError> {
        self.park_until(Some(deadline_at(deadline)))
    }

    /// Wakes who is parked on it, or lets the next one through.
    pub fn unpark(&self) {
        self.0.notify_one();
    }

    fn park_until(&self, deadline_ns: Option<u64>) -> Result<(), ParkError> {
        loop {
            match self.0.wait_until(WaitReason::Park, deadline_ns) {
                true => return Ok(()),
                false if deadline_ns.is_some() => return Err(ParkError::Timeout),
                false => {}
            }
        }
    }
}
