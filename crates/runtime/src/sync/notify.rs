//! How a wake-up is kept until a waiter comes: the word of `Notify` and `Blocker`.
//!
//! # States
//! | word | meaning |
//! |---|---|
//! | `EMPTY` | no waiter, no notification is kept |
//! | `NOTIFIED` | no waiter, one notification is kept |
//! | `WAITING` | a waiter is in the queue; set and cleared under the queue's lock only |
//!
//! A notifier that finds `WAITING` takes the queue's lock. If all waiters turn out to have left, it keeps the
//! notification in the word.

use crate::coroutine::{Outcome, WaitCell, WaitReason};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::const_unless_loom;
use crate::wait::list::{
    Granted, Place, QueuedWaiter, WaitList, WaitOptions, WaitQueue, WakeList, unwind_if_cancelled,
};
use crate::wait::{deadline_after, deadline_at};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
const WAITING: u32 = 2;

/// Wakes one waiter, or all. If no caller waits, the notification of one is kept for the next caller that waits.
/// Notifications do not add up: however many come while no caller waits, one is kept.
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
        /// Makes a `Notify` without a kept notification.
        #[must_use]
        pub fn new() -> Self {
            Self {
                state: AtomicU32::new(EMPTY),
                queue: WaitQueue::new(()),
            }
        }
    }

    /// Wakes the waiter that has waited longest. If there is none, the notification is kept for the next caller of
    /// [`notified`](Self::notified).
    ///
    /// Kept notifications do not add up: several calls before the next wait count as one. Calls that find waiters wake
    /// one waiter each.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Notify;
    /// use std::time::Duration;
    /// let notify = Notify::new();
    /// notify.notify_one();
    /// notify.notify_one();
    /// assert!(notify.notified_timeout(Duration::ZERO));
    /// assert!(!notify.notified_timeout(Duration::ZERO), "two were kept as one");
    /// ```
    pub fn notify_one(&self) {
        // Relaxed: the exchange decides, or `notify_waiter` under the queue's lock.
        let mut state = self.state.load(Ordering::Relaxed);
        while state != WAITING {
            // Release: pairs with the Acquire in `take`. Also where a notification is kept already: the taker must see
            // what the caller did. Relaxed on failure: it looks again.
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

    /// Wakes all callers that wait now. Keeps no notification for later ones.
    pub fn notify_waiters(&self) {
        // It takes the lock in any case, so that each waiter in the queue was there before the call.
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
    /// If the call has to wait and the coroutine is cancelled, it unwinds. It takes no notification with it: the next
    /// waiter gets that.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Arc, Notify};
    /// let ready = Arc::new(Notify::new());
    /// let notifier = ready.clone();
    /// silken::spawn(move || notifier.notify_one());
    /// ready.notified();
    /// ```
    pub fn notified(&self) {
        while !self.wait_until(WaitReason::Condition, None) {}
    }

    /// As [`notified`](Self::notified), but waits for at most `timeout`; returns whether it got a notification.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let notify = silken::sync::Notify::new();
    /// assert!(!notify.notified_timeout(Duration::from_millis(1)));
    /// ```
    pub fn notified_timeout(&self, timeout: Duration) -> bool {
        self.take() || self.wait_until(WaitReason::Condition, Some(deadline_after(timeout)))
    }

    /// As [`notified`](Self::notified), but waits no longer than until `deadline`; returns whether it got a
    /// notification.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    /// let notify = silken::sync::Notify::new();
    /// notify.notify_one();
    /// assert!(notify.notified_deadline(Instant::now() + Duration::from_millis(1)));
    /// ```
    pub fn notified_deadline(&self, deadline: Instant) -> bool {
        self.take() || self.wait_until(WaitReason::Condition, Some(deadline_at(deadline)))
    }

    /// Takes the kept notification, if there is one.
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

    /// Under the queue's lock: takes the kept notification; otherwise makes sure that the word is `WAITING`.
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
                // The queue is empty. Notifiers and takers, which need no lock, may change the word at the same time.
                // A swap and no store: another notifier's exchange stays in the release sequence that `take` acquires.
                // Release: pairs with the Acquire in `take`.
                self.state.swap(NOTIFIED, Ordering::Release);
            }
            unparker
        });
        if let Some(unparker) = unparker {
            unparker.unpark();
        }
    }

    /// Under the queue's lock: clears `WAITING` if no waiter is left.
    fn unmark_if_empty(&self, queue: &mut WaitList<()>) {
        if queue.is_empty() {
            // Relaxed, both: nothing is handed over; a kept notification stays.
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

    /// Takes the notification that it was granted, or the kept one.
    pub(crate) fn take(&self) -> bool {
        self.granted.replace(Granted::Nothing) != Granted::Nothing || self.notify.take()
    }

    /// Makes notifiers settle the cell; `false` if there is a notification already.
    ///
    /// # Safety
    /// This value and the cell stay in place until [`unlist`](Self::unlist) has returned (S8).
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

impl Notification<'_> {
    /// Passes a notification that came to this waiter alone on to another one.
    pub(crate) fn let_go(&self) {
        if self.granted.replace(Granted::Nothing) == Granted::Alone {
            self.notify.notify_one();
        }
    }
}

impl Drop for Notification<'_> {
    /// The select has chosen another arm, so another waiter gets the notification.
    fn drop(&mut self) {
        self.let_go();
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

/// A place to park on until another context unparks it: may's primitive for building others. A wake that comes before
/// the park is kept; several such wakes are kept as one.
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
///
/// # Examples
/// ```
/// use silken::sync::{Blocker, ParkError};
/// let parked = Blocker::new().park(Some(std::time::Duration::from_millis(1)));
/// assert_eq!(parked, Err(ParkError::Timeout));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParkError {
    /// The timeout or the deadline came first.
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
        /// Makes a blocker without a kept wake.
        #[must_use]
        pub fn new() -> Self {
            Self(Notify::new())
        }
    }

    /// Makes a shared blocker, for the caller to park on and for others to unpark.
    #[must_use]
    pub fn current() -> Arc<Self> {
        Arc::new(Self::new())
    }

    /// Waits until another context calls [`unpark`](Self::unpark), or takes the wake that is kept. `None` waits without
    /// a limit.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Park`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds.
    ///
    /// # Errors
    /// [`ParkError::Timeout`] if `timeout` passes first.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Blocker;
    /// let blocker = Blocker::current();
    /// let other = blocker.clone();
    /// silken::spawn(move || other.unpark());
    /// assert_eq!(blocker.park(None), Ok(()));
    /// ```
    pub fn park(&self, timeout: Option<Duration>) -> Result<(), ParkError> {
        match timeout {
            Some(timeout) => self.park_until(Some(deadline_after(timeout))),
            None => self.park_until(None),
        }
    }

    /// As [`park`](Self::park), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// [`ParkError::Timeout`] if the deadline comes first.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Blocker;
    /// use std::time::Instant;
    /// let blocker = Blocker::new();
    /// blocker.unpark();
    /// assert_eq!(blocker.park_deadline(Instant::now()), Ok(()));
    /// assert!(blocker.park_deadline(Instant::now()).is_err());
    /// ```
    pub fn park_deadline(&self, deadline: Instant) -> Result<(), ParkError> {
        self.park_until(Some(deadline_at(deadline)))
    }

    /// Wakes the context that is parked on the blocker, or keeps the wake for the next park.
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
