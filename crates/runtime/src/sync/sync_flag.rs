//! How callers wait for an event that happens once and then has happened for ever: the word of `SyncFlag`.
//!
//! A waiter sets `WAITERS` under the queue's lock, in the hold in which it joins the queue. `fire` swaps the word, and
//! then takes that lock if the bit was set. So either `fire` finds the waiter, or the waiter sees the fired word.

use crate::coroutine::{Outcome, WaitReason};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::const_unless_loom;
use crate::wait::list::{WaitList, WaitOptions, WaitQueue};
use crate::wait::{deadline_after, deadline_at};
use std::fmt;
use std::time::{Duration, Instant};

const WAITERS: u32 = 1;
const FIRED: u32 = 2;

/// A latch: before it is fired every caller waits, afterwards none does. Any number of callers may wait.
///
/// # Examples
/// ```
/// use silken::sync::SyncFlag;
/// static READY: SyncFlag = SyncFlag::new();
/// let children: Vec<_> = (0..3).map(|_| silken::spawn(|| READY.wait())).collect();
/// READY.fire();
/// children.into_iter().for_each(|child| child.join().unwrap());
/// assert!(READY.is_fired());
/// ```
pub struct SyncFlag {
    state: AtomicU32,
    queue: WaitQueue,
}

impl SyncFlag {
    const_unless_loom! {
        /// Makes a flag that is not fired.
        #[must_use]
        pub fn new() -> Self {
            Self {
                state: AtomicU32::new(0),
                queue: WaitQueue::new(()),
            }
        }
    }

    /// Fires the flag, and wakes all waiters. They see what the caller has done before. Firing again does nothing.
    pub fn fire(&self) {
        // Release: pairs with the Acquire in `is_fired`.
        let before = self.state.swap(FIRED, Ordering::Release);
        if before & WAITERS != 0 {
            self.queue.wake_all(Outcome::Woken);
        }
    }

    /// Whether the flag is fired.
    #[inline]
    #[must_use]
    pub fn is_fired(&self) -> bool {
        // Acquire: pairs with the Release in `fire`.
        self.state.load(Ordering::Acquire) == FIRED
    }

    /// Waits until the flag is fired.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Condition`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::SyncFlag;
    /// static READY: SyncFlag = SyncFlag::new();
    /// silken::spawn(|| READY.fire());
    /// READY.wait();
    /// assert!(READY.is_fired());
    /// ```
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but waits for at most `timeout`; returns whether the flag is fired.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::SyncFlag;
    /// use std::time::Duration;
    /// let flag = SyncFlag::new();
    /// assert!(!flag.wait_timeout(Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_fired() || self.wait_until(Some(deadline_after(timeout)))
    }

    /// As [`wait`](Self::wait), but waits no longer than until `deadline`; returns whether the flag is fired.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::SyncFlag;
    /// use std::time::Instant;
    /// let flag = SyncFlag::new();
    /// flag.fire();
    /// assert!(flag.wait_deadline(Instant::now()));
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.is_fired() || self.wait_until(Some(deadline_at(deadline)))
    }

    pub(super) fn wait_until(&self, deadline_ns: Option<u64>) -> bool {
        while !self.is_fired() {
            let terms = WaitOptions::until(WaitReason::Condition, deadline_ns);
            let refuse = |_: &mut WaitList<()>| {
                // Relaxed: the queue's lock orders what follows; `is_fired` looks again.
                let before = self
                    .state
                    .compare_exchange(0, WAITERS, Ordering::Relaxed, Ordering::Relaxed);
                (before == Err(FIRED)).then_some(())
            };
            let ended = self.queue.wait_plain(terms, refuse);
            if ended.is_ok_and(|ended| ended.outcome == Outcome::TimedOut) {
                break;
            }
        }
        self.is_fired()
    }
}

impl Default for SyncFlag {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SyncFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncFlag")
            .field("is_fired", &self.is_fired())
            .finish_non_exhaustive()
    }
}
