//! `Barrier`: who comes waits until enough have come.
//!
//! # Protocol
//! Everything is under the queue's lock: how many have come, and the number of the generation. Each waiter bears the
//! generation in which it came. The last to come begins the next one, and wakes all before it. A waiter that gives up
//! is no longer counted. If its generation has ended meanwhile it was counted, and the others go on with it: then it
//! has met them, deadline and cancellation notwithstanding.

use super::wait_queue::{Place, WaitList, WaitOptions, WaitQueue, WakeList, unwind_if_cancelled};
use crate::coroutine::{Outcome, WaitReason};
use crate::driver::timers::{deadline_after, deadline_at};
use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

/// Lets so many wait for each other; [`std::sync::Barrier`] with deadlines and cancellation. It can be used again and
/// again.
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

/// Who of those that met at a [`Barrier`] the caller is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller came last; one of each meeting did.
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
        /// A barrier that opens whenever `size` have come. Of size 0 or 1 it is always open.
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

    /// Waits until all have come.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds, if it has to wait; another must come in its stead.
    pub fn wait(&self) -> BarrierWaitResult {
        loop {
            if let Some(result) = self.wait_until(None) {
                return result;
            }
        }
    }

    /// As [`wait`](Self::wait), but no longer than `timeout`; `None` if the time was over. Another must come in its
    /// stead.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(Some(deadline_after(timeout)))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until a moment.
    pub fn wait_deadline(&self, deadline: Instant) -> Option<BarrierWaitResult> {
        self.wait_until(Some(deadline_at(deadline)))
    }

    fn wait_until(&self, deadline_ns: Option<u64>) -> Option<BarrierWaitResult> {
        // Written as it comes, read as it leaves, both under the lock.
        let generation = Cell::new(0);
        // It gave up, but had been counted with those who met: they go on with it, so it has met them.
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
            // Those of the next generation are not to be woken with these.
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
