//! How callers wait for each other until enough have come: the generations of a `Barrier`.
//!
//! # Protocol
//! Everything is under the queue's lock: how many callers have come, and the number of the generation. Each waiter
//! remembers the generation in which it came. The last caller to come begins the next generation, and wakes all waiters
//! before it. A waiter that gives up is no longer counted. If its generation has ended meanwhile, it was counted, and
//! the others go on with it. It has met them then, in spite of its deadline or cancellation.

use crate::coroutine::{Outcome, WaitReason};
use crate::loom::const_unless_loom;
use crate::wait::list::{Place, WaitList, WaitOptions, WaitQueue, WakeList, unwind_if_cancelled};
use crate::wait::{deadline_after, deadline_at};
use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

/// Lets a fixed number of callers wait for each other: [`std::sync::Barrier`] with deadlines and cancellation. It can
/// be used again and again.
///
/// # Examples
/// ```
/// use silken::sync::Barrier;
/// static BARRIER: Barrier = Barrier::new(4);
/// let children: Vec<_> = (0..4).map(|_| silken::spawn(|| BARRIER.wait().is_leader())).collect();
/// let leads = children.into_iter().map(|child| child.join().unwrap());
/// assert_eq!(leads.filter(|leads| *leads).count(), 1);
/// ```
pub struct Barrier {
    size: usize,
    queue: WaitQueue<Arrivals>,
}

struct Arrivals {
    count: usize,
    generation: u64,
}

/// Which of the callers that met at a [`Barrier`] this one is.
///
/// # Examples
/// ```
/// use silken::sync::{Barrier, BarrierWaitResult};
/// let result: BarrierWaitResult = Barrier::new(1).wait();
/// assert!(result.is_leader());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller came last. One caller of each meeting did.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult").field("is_leader", &self.0).finish()
    }
}

impl Barrier {
    const_unless_loom! {
        /// Makes a barrier that opens whenever `size` callers have come. A barrier of size 0 or 1 is always open.
        #[must_use]
        pub fn new(size: usize) -> Self {
            Self {
                size,
                queue: WaitQueue::new(Arrivals {
                    count: 0,
                    generation: 0,
                }),
            }
        }
    }

    /// Waits until as many callers have come as the barrier's size.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds, and another caller must come in its place. A
    /// caller that has met the others already returns.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Barrier;
    /// static BOTH: Barrier = Barrier::new(2);
    /// let child = silken::spawn(|| BOTH.wait().is_leader());
    /// let is_leader = BOTH.wait().is_leader();
    /// assert_ne!(child.join().unwrap(), is_leader);
    /// ```
    pub fn wait(&self) -> BarrierWaitResult {
        loop {
            if let Some(result) = self.wait_until(None) {
                return result;
            }
        }
    }

    /// As [`wait`](Self::wait), but waits for at most `timeout`. `None` if that passed first: another caller must come
    /// in its place.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Barrier;
    /// use std::time::Duration;
    /// let barrier = Barrier::new(2);
    /// assert!(barrier.wait_timeout(Duration::from_millis(1)).is_none());
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(Some(deadline_after(timeout)))
    }

    /// As [`wait`](Self::wait), but waits no longer than until `deadline`. `None` if that came first: another caller
    /// must come in its place.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Barrier;
    /// use std::time::{Duration, Instant};
    /// let barrier = Barrier::new(1);
    /// assert!(barrier.wait_deadline(Instant::now() + Duration::from_millis(1)).unwrap().is_leader());
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> Option<BarrierWaitResult> {
        self.wait_until(Some(deadline_at(deadline)))
    }

    fn wait_until(&self, deadline_ns: Option<u64>) -> Option<BarrierWaitResult> {
        // Written as the caller comes, read as it leaves, both under the lock.
        let generation = Cell::new(0);
        // The caller gave up, but was counted with those that met: they go on with it, so it has met them.
        let has_met = Cell::new(false);
        let arrive = |queue: &mut WaitList<Arrivals>| {
            let arrivals = &mut queue.state;
            generation.set(arrivals.generation);
            arrivals.count += 1;
            let is_last = arrivals.count >= self.size;
            if is_last {
                arrivals.count = 0;
                arrivals.generation += 1;
            }
            // Waiters of the next generation must not be woken with these.
            is_last.then(|| queue.end_ticket())
        };
        let leave = |queue: &mut WaitList<Arrivals>, _| {
            match queue.state.generation == generation.get() {
                true => queue.state.count -= 1,
                false => has_met.set(true),
            }
            WakeList::none()
        };
        let terms = WaitOptions::until(WaitReason::Barrier, deadline_ns);
        match self.queue.wait(terms, (0, Place::Back), arrive, leave) {
            Err(end_ticket) => {
                self.queue.wake_before(end_ticket, Outcome::Woken);
                Some(BarrierWaitResult(true))
            }
            Ok(_) if has_met.get() => Some(BarrierWaitResult(false)),
            Ok(ended) => {
                unwind_if_cancelled(ended.outcome);
                (ended.outcome == Outcome::Woken).then_some(BarrierWaitResult(false))
            }
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}
