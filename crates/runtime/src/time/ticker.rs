//! Ticks at regular times.
//!
//! # Protocol
//! A ticker is the time of its next tick behind a short lock; there is no coroutine, no thread and no channel behind
//! it. Who asks for a tick waits until that time and moves it on, so each tick goes to one of those who ask.
//! [`Ticker::reset`] and [`Ticker::stop`] change the time and wake those who wait, who then look again: they never wait
//! for a tick to pass.
//!
//! # A missed tick
//! is one that nobody had asked for when the one after it was due. A tick that is asked for late, but before the next,
//! is late and no more: the ticks after it stay where they were, under every policy, so that the time it takes to be
//! scheduled does not add up.

use crate::coroutine::WaitCell;
use crate::coroutine::WaitReason;
use crate::driver::monitor::{Look, Monitor, MonitorWaiter, MonitorWake};
use crate::driver::timers::{deadline_after, deadline_at};
use std::fmt;
use std::time::{Duration, Instant};

/// What happens when ticks were missed: period 10, ticks due at 10, 20, 30 …, and the one of 10 is asked for at 35.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// They are made up for at once: 10, 20 and 30 at 35, then 40. The number of ticks is right in the long run.
    #[default]
    Burst,
    /// The schedule moves: 10 at 35, then 45, 55. At least a period between ticks.
    Delay,
    /// They are left out: 10 at 35, then 40, 50. Ticks stay at multiples of the period.
    Skip,
}

/// When the next tick is due.
struct TickSchedule {
    /// `None`: stopped.
    next: Option<Instant>,
    period: Duration,
    policy: MissedTicks,
}

/// Gives ticks at regular times: see [`interval`].
///
/// It can be shared: a tick goes to one of those who wait for it, and [`stop`](Self::stop) and [`reset`](Self::reset)
/// reach them at once.
pub struct Ticker {
    schedule: Monitor<TickSchedule>,
}

/// A ticker whose first tick is due at once, and the others each a `period` after the one before.
///
/// # Panics
/// When `period` is zero.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let begun = Instant::now();
/// let ticker = silken::time::interval(Duration::from_millis(2));
/// let ticks: Vec<Instant> = (0..3).map(|_| ticker.tick()).collect();
/// assert_eq!(ticks[2] - ticks[0], Duration::from_millis(4));
/// assert!(begun.elapsed() >= Duration::from_millis(4));
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Ticker {
    interval_at(Instant::now(), period)
}

/// A ticker whose first tick is due at `start`, and the others each a `period` after the one before.
///
/// # Panics
/// When `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Ticker {
    assert!(!period.is_zero(), "a ticker's period is longer than nothing");
    Ticker {
        schedule: Monitor::new(TickSchedule {
            next: Some(start),
            period,
            policy: MissedTicks::Burst,
        }),
    }
}

/// A time so far away that it does not come, for sums that would overflow.
fn later(instant: Instant, by: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    instant
        .checked_add(by)
        .or_else(|| instant.checked_add(CENTURY))
        .unwrap_or(instant)
}

impl TickSchedule {
    /// The tick that is due at `now`, and moves on to the next.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next.filter(|due| *due <= now)?;
        let after = later(due, self.period);
        self.next = Some(match self.policy {
            _ if after > now => after,
            MissedTicks::Burst => after,
            MissedTicks::Delay => later(now, self.period),
            MissedTicks::Skip => later(due, self.periods_until(now - due)),
        });
        Some(due)
    }

    /// The whole periods that end after `late`.
    fn periods_until(&self, late: Duration) -> Duration {
        let period_ns = self.period.as_nanos();
        let whole_ns = (late.as_nanos() / period_ns + 1).saturating_mul(period_ns);
        Duration::from_nanos(u64::try_from(whole_ns).unwrap_or(u64::MAX))
    }
}

impl Ticker {
    /// As [`interval`], but the first tick is due one period from now: Go's `NewTicker`.
    ///
    /// # Panics
    /// When `period` is zero.
    #[track_caller]
    pub fn new(period: Duration) -> Self {
        interval_at(later(Instant::now(), period), period)
    }

    /// Waits for the next tick, and says when it was due. Never early. While the ticker is [stopped](Self::stop) none
    /// comes, until it is reset.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Sleep`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the tick is left to the next who asks.
    pub fn tick(&self) -> Instant {
        self.schedule
            .wait(WaitReason::Sleep, |schedule, _| match schedule.take(Instant::now()) {
                Some(due) => Look::Done(due),
                None => Look::Wait(schedule.next.map(deadline_at)),
            })
    }

    /// As [`tick`](Self::tick), for at most `timeout`; `None` when the time is up.
    pub fn tick_timeout(&self, timeout: Duration) -> Option<Instant> {
        let end_ns = deadline_after(timeout);
        let mut at_end = false;
        self.schedule.wait(WaitReason::Sleep, |schedule, expired| {
            if let Some(due) = schedule.take(Instant::now()) {
                return Look::Done(Some(due));
            }
            if expired && at_end {
                return Look::Done(None);
            }
            let next_ns = schedule.next.map_or(u64::MAX, deadline_at);
            at_end = end_ns <= next_ns;
            Look::Wait(Some(end_ns.min(next_ns)))
        })
    }

    /// Takes the next tick if it is due. Never waits.
    pub fn try_tick(&self) -> Option<Instant> {
        self.schedule.with(|schedule| schedule.take(Instant::now()))
    }

    /// Lets a wait for several things hear of changes, unless a tick is due; says whether it did.
    ///
    /// # Safety
    /// As for [`Monitor::watch`].
    pub(crate) unsafe fn watch(&self, waiter: &MonitorWaiter, cell: &WaitCell) -> bool {
        let is_due = |schedule: &mut TickSchedule| schedule.next.is_some_and(|next| next <= Instant::now());
        // SAFETY: S8: the caller promises what `Monitor::watch` asks.
        unsafe { self.schedule.watch(waiter, cell, is_due) }
    }

    pub(crate) fn withdraw(&self, waiter: &MonitorWaiter) {
        self.schedule.withdraw(waiter);
    }

    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.next_due().map(deadline_at)
    }

    /// The ticks one after the other, until the ticker is [stopped](Self::stop).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let ticker = silken::time::interval(Duration::from_millis(1));
    /// for (number, _due) in ticker.ticks().enumerate() {
    ///     if number == 2 {
    ///         ticker.stop();
    ///     }
    /// }
    /// ```
    pub fn ticks(&self) -> Ticks<'_> {
        Ticks(self)
    }

    /// Makes the next tick due one period from now. Starts a stopped ticker.
    pub fn reset(&self) {
        self.reschedule(|schedule| Some(later(Instant::now(), schedule.period)));
    }

    /// Makes the next tick due `delay` from now, and the others a period after the one before. Starts a stopped ticker.
    pub fn reset_after(&self, delay: Duration) {
        self.reschedule(|_| Some(later(Instant::now(), delay)));
    }

    /// Gives the ticker another period, and makes the next tick due one such period from now: Go's `Reset`. Starts a
    /// stopped ticker.
    ///
    /// # Panics
    /// When `period` is zero.
    #[track_caller]
    pub fn reset_period(&self, period: Duration) {
        assert!(!period.is_zero(), "a ticker's period is longer than nothing");
        self.reschedule(|schedule| {
            schedule.period = period;
            Some(later(Instant::now(), period))
        });
    }

    /// Ends the ticks: [`ticks`](Self::ticks) end, and a [`tick`](Self::tick) waits until the ticker is reset.
    pub fn stop(&self) {
        self.reschedule(|_| None);
    }

    fn reschedule(&self, next: impl FnOnce(&mut TickSchedule) -> Option<Instant>) {
        self.schedule.update(|schedule| {
            schedule.next = next(schedule);
            ((), MonitorWake::All)
        });
    }

    /// The time from tick to tick.
    pub fn period(&self) -> Duration {
        self.schedule.with(|schedule| schedule.period)
    }

    /// What happens when ticks are missed; [`MissedTicks::Burst`] at first.
    pub fn missed_tick_policy(&self) -> MissedTicks {
        self.schedule.with(|schedule| schedule.policy)
    }

    /// Sets what happens when ticks are missed.
    pub fn set_missed_tick_policy(&self, policy: MissedTicks) {
        self.schedule.with(|schedule| schedule.policy = policy);
    }

    /// When the next tick is due; `None` if stopped.
    pub fn next_due(&self) -> Option<Instant> {
        self.schedule.with(|schedule| schedule.next)
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker")
            .field("period", &self.period())
            .finish_non_exhaustive()
    }
}

/// The ticks of a ticker: see [`Ticker::ticks`].
#[derive(Clone, Debug)]
pub struct Ticks<'a>(&'a Ticker);

impl Iterator for Ticks<'_> {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        self.0
            .schedule
            .wait(WaitReason::Sleep, |schedule, _| match schedule.take(Instant::now()) {
                Some(due) => Look::Done(Some(due)),
                None if schedule.next.is_none() => Look::Done(None),
                None => Look::Wait(schedule.next.map(deadline_at)),
            })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    /// The times, in ms after the start, at which ticks come that are asked for at `asked`, each as late as the
    /// schedule has it.
    fn ticks(policy: MissedTicks, asked_ms: &[u64]) -> Vec<(u64, u64)> {
        let start = Instant::now();
        let mut schedule = TickSchedule {
            next: Some(start + PERIOD),
            period: PERIOD,
            policy,
        };
        let ms = |instant: Instant| (instant - start).as_millis() as u64;
        asked_ms
            .iter()
            .map(|asked| {
                let due = schedule.next.unwrap();
                let now = due.max(start + Duration::from_millis(*asked));
                assert_eq!(schedule.take(now), Some(due));
                (ms(due), ms(now))
            })
            .collect()
    }

    #[test]
    fn the_three_policies() {
        let asked = [35, 36, 37, 38, 41];
        assert_eq!(
            ticks(MissedTicks::Burst, &asked),
            [(10, 35), (20, 36), (30, 37), (40, 40), (50, 50)]
        );
        assert_eq!(
            ticks(MissedTicks::Delay, &asked),
            [(10, 35), (45, 45), (55, 55), (65, 65), (75, 75)]
        );
        assert_eq!(
            ticks(MissedTicks::Skip, &asked),
            [(10, 35), (40, 40), (50, 50), (60, 60), (70, 70)]
        );
    }

    #[test]
    fn a_late_tick_is_no_missed_one() {
        for policy in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            assert_eq!(ticks(policy, &[19, 28, 37]), [(10, 19), (20, 28), (30, 37)]);
        }
    }

    #[test]
    fn a_tick_asked_for_when_the_next_is_due_has_missed_it() {
        assert_eq!(ticks(MissedTicks::Skip, &[20, 0]), [(10, 20), (30, 30)]);
        assert_eq!(ticks(MissedTicks::Delay, &[20, 0]), [(10, 20), (30, 30)]);
        assert_eq!(ticks(MissedTicks::Burst, &[20, 0]), [(10, 20), (20, 20)]);
    }

    #[test]
    fn a_period_without_end_does_not_overflow() {
        let mut schedule = TickSchedule {
            next: Some(Instant::now()),
            period: Duration::MAX,
            policy: MissedTicks::Skip,
        };
        assert!(schedule.take(Instant::now()).is_some());
        assert!(schedule.take(Instant::now()).is_none());
    }
}
