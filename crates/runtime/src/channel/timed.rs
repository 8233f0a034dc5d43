//! How do the clock's channels, which [`after`](super::after) and [`tick`](super::tick) return, deliver their messages
//! without a sender?
//!
//! The message lies in the word that says when it is due. The receiver that moves the word to its next value has
//! received the message. So the channel needs no list, no timer of its own and no thread. A receiver waits with the due
//! time as its deadline and then looks again, because another receiver may have been faster.
//!
//! A tick that is received late by less than a period keeps the rhythm. If it is received later than that, the missed
//! ticks are skipped, and the next tick is due one period after this receive. (The receivers of crossbeam reserve the
//! next tick before they sleep; there, a receiver that is cancelled or loses a select would take the tick with it.)
//!
//! All accesses to the word are relaxed: it carries a time and nothing else.

use super::core::is_past;
use super::waiter::Ticket;
use crate::coroutine::{Outcome, WaitReason, raise_if_cancelled};
use crate::loom::atomic::{AtomicU64, Ordering};
use crate::sys::clock;
use crate::wait;
use std::time::{Duration, Instant};

/// The message is never due: it has been received, or its time lies too far in the future.
const NEVER: u64 = u64::MAX;

/// A channel of the clock: see the head of the file.
pub(super) struct Timed<T> {
    due_ns: AtomicU64,
    /// The period, if this is a tick.
    period_ns: Option<u64>,
    /// One moment, as shown by the clock of std and by the runtime's clock.
    origin: (Instant, u64),
    message: fn(Instant) -> T,
}

impl<T> Timed<T> {
    pub(super) fn new(delay: Duration, is_periodic: bool, message: fn(Instant) -> T) -> Self {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(NEVER);
        let now_ns = clock::now_ns();
        Self {
            due_ns: AtomicU64::new(now_ns.saturating_add(delay_ns)),
            period_ns: is_periodic.then_some(delay_ns),
            origin: (Instant::now(), now_ns),
            message,
        }
    }

    pub(super) fn due_ns(&self) -> Option<u64> {
        // Relaxed: see the head of the file.
        Some(self.due_ns.load(Ordering::Relaxed)).filter(|&due_ns| due_ns != NEVER)
    }

    pub(super) fn is_due(&self) -> bool {
        self.due_ns().is_some_and(|due_ns| due_ns <= clock::now_ns())
    }

    /// Takes the message, if it is due.
    pub(super) fn take(&self) -> Option<T> {
        self.take_at(clock::now_ns())
    }

    fn take_at(&self, now_ns: u64) -> Option<T> {
        let due_ns = self.due_ns().filter(|&due_ns| due_ns <= now_ns)?;
        let next_ns = match self.period_ns {
            None => NEVER,
            Some(period_ns) if now_ns - due_ns < period_ns => due_ns.saturating_add(period_ns),
            Some(period_ns) => now_ns.saturating_add(period_ns),
        };
        // Relaxed: see the head of the file.
        self.due_ns
            .compare_exchange(due_ns, next_ns, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        let (origin, origin_ns) = self.origin;
        Some((self.message)(origin + Duration::from_nanos(due_ns - origin_ns)))
    }

    /// Takes the message; waits for it until the deadline.
    pub(super) fn recv(&self, deadline_ns: Option<u64>) -> Option<T> {
        loop {
            if let Some(message) = self.take() {
                return Some(message);
            }
            if is_past(deadline_ns) {
                return None;
            }
            sleep_until(earlier(self.due_ns(), deadline_ns));
        }
    }
}

/// The earlier of two deadlines.
pub(super) fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Waits until the deadline; `None`: waits for ever.
pub(super) fn wait_for_nothing(deadline_ns: Option<u64>) {
    while !is_past(deadline_ns) {
        sleep_until(deadline_ns);
    }
}

/// Sleeps until the deadline; unwinds when the caller is cancelled.
fn sleep_until(deadline_ns: Option<u64>) {
    raise_if_cancelled();
    let cancellable = !std::thread::panicking();
    if wait::wait(Ticket::new().cell(), WaitReason::Receive, deadline_ns, cancellable) == Outcome::Cancelled {
        raise_if_cancelled();
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    /// Two threads that take at the same time get one message together.
    #[test]
    fn loom_channel_a_timer_is_received_once() {
        loom::model(|| {
            let timed = Arc::new(Timed::new(Duration::ZERO, false, |_| ()));
            let other = loom::thread::spawn({
                let timed = timed.clone();
                move || timed.take().is_some()
            });
            let mine = timed.take().is_some();
            assert!(mine ^ other.join().unwrap());
            assert!(timed.take().is_none() && timed.due_ns().is_none());
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_the_rhythm_and_skip_what_was_missed() {
        let tick = Timed::new(Duration::from_nanos(100), true, |at| at);
        let (origin, start) = tick.origin;
        let at = |offset| origin + Duration::from_nanos(offset);
        assert_eq!(tick.take_at(start + 99), None);
        assert_eq!(tick.take_at(start + 130), Some(at(100)));
        assert_eq!(tick.take_at(start + 199), None);
        assert_eq!(tick.take_at(start + 200), Some(at(200)));
        // Received late by more than a period.
        assert_eq!(tick.take_at(start + 1000), Some(at(300)));
        assert_eq!(tick.take_at(start + 1099), None);
        assert_eq!(tick.take_at(start + 1100), Some(at(1100)));
    }

    #[test]
    fn what_never_comes_is_not_due() {
        let never = Timed::new(Duration::MAX, false, |at| at);
        assert_eq!(never.due_ns(), None);
        assert!(never.take().is_none());
    }
}
