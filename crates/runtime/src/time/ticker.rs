//! How callers wait for ticks at regular times, and what happens to ticks that none of them took in time.
//!
//! # Protocol
//! A ticker is the time of its next tick behind a short lock. No coroutine, no thread and no channel is behind it. A
//! caller that asks for a tick waits until that time and moves it on, so each tick goes to one of the callers that ask.
//! [`Ticker::reset`] and [`Ticker::stop`] change the time and wake all waiters, which then look again. So neither of
//! them waits for a tick to pass.
//!
//! # Vocabulary: missed and late
//! A tick is *missed* if no caller had asked for it when the tick after it was due. A tick that is asked for later than
//! it was due, but before the next is due, is only *late*. The ticks after a late one stay where they were, under every
//! policy. So the time that scheduling takes does not add up.

use crate::coroutine::WaitCell;
use crate::coroutine::WaitReason;
use crate::wait::monitor::{Look, Monitor, MonitorWaiter, MonitorWake};
use crate::wait::{deadline_after, deadline_at};
use std::fmt;
use std::time::{Duration, Instant};

/// What a ticker does after missed ticks. In the examples the period is 10, ticks are due at 10, 20, 30 and so on, and
/// the tick of 10 is asked for at 35.
///
/// # Examples
/// ```
/// use silken::time::{MissedTicks, interval};
/// let ticker = interval(std::time::Duration::from_millis(1));
/// assert_eq!(ticker.missed_tick_policy(), MissedTicks::Burst);
/// ticker.set_missed_tick_policy(MissedTicks::Skip);
/// assert_eq!(ticker.missed_tick_policy(), MissedTicks::Skip);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// Missed ticks are made up for at once: 10, 20 and 30 come at 35, then 40. The number of ticks is right in the
    /// long run.
    #[default]
    Burst,
    /// The schedule moves: 10 comes at 35, then 45, 55. There is at least a period between ticks.
    Delay,
    /// Missed ticks are left out: 10 comes at 35, then 40, 50. Ticks stay at multiples of the period.
    Skip,
}

/// When the next tick is due.
struct TickSchedule {
    /// `None`: the ticker is stopped.
    next: Option<Instant>,
    period: Duration,
    policy: MissedTicks,
}

/// Gives ticks at regular times: see [`interval`].
///
/// A ticker can be shared: each tick goes to one of the callers that wait, and [`stop`](Self::stop) and
/// [`reset`](Self::reset) reach them at once.
///
/// # Examples
/// ```
/// use silken::time::Ticker;
/// use std::time::Duration;
/// let ticker = Ticker::new(Duration::from_millis(1));
/// silken::scope(|scope| {
///     scope.spawn(|| ticker.tick());
///     ticker.tick();
/// });
/// ```
pub struct Ticker {
    schedule: Monitor<TickSchedule>,
}

/// Makes a ticker whose first tick is due at once; each other tick is due a `period` after the one before.
///
/// # Panics
/// If `period` is zero.
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

/// Makes a ticker whose first tick is due at `start`; each other tick is due a `period` after the one before.
///
/// # Panics
/// If `period` is zero.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let start = Instant::now() + Duration::from_millis(1);
/// let ticker = silken::time::interval_at(start, Duration::from_millis(2));
/// assert_eq!(ticker.tick(), start);
/// assert_eq!(ticker.tick(), start + Duration::from_millis(2));
/// ```
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

/// The sum; if it overflows, a time so far away that it does not come.
fn later(instant: Instant, by: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    instant
        .checked_add(by)
        .or_else(|| instant.checked_add(CENTURY))
        .unwrap_or(instant)
}

impl TickSchedule {
    /// Takes the tick that is due at `now`, and moves the schedule on to the next.
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

    /// The shortest multiple of the period that is longer than `late`.
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
    /// If `period` is zero.
    #[track_caller]
    pub fn new(period: Duration) -> Self {
        interval_at(later(Instant::now(), period), period)
    }

    /// Waits for the next tick, and returns the time at which it was due. Never returns early. While the ticker is
    /// [stopped](Self::stop) no tick comes, until it is reset.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Sleep`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds. The tick is left to the next caller that
    /// asks.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    /// let ticker = silken::time::Ticker::new(Duration::from_millis(2));
    /// let due = ticker.tick();
    /// assert!(Instant::now() >= due);
    /// ```
    pub fn tick(&self) -> Instant {
        self.schedule
            .wait(WaitReason::Sleep, |schedule, _| match schedule.take(Instant::now()) {
                Some(due) => Look::Done(due),
                None => Look::Wait(schedule.next.map(deadline_at)),
            })
    }

    /// As [`tick`](Self::tick), but waits for at most `timeout`; `None` if that passes first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let ticker = silken::time::Ticker::new(Duration::from_secs(60));
    /// assert_eq!(ticker.tick_timeout(Duration::from_millis(1)), None);
    /// ```
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

    /// Takes the next tick if it is due, and returns the time at which it was due. Never waits.
    pub fn try_tick(&self) -> Option<Instant> {
        self.schedule.with(|schedule| schedule.take(Instant::now()))
    }

    /// Lists a waiter of a wait for several things, which then hears of changes, unless a tick is due; returns whether
    /// it did.
    ///
    /// # Safety
    /// The caller keeps the promises that [`Monitor::watch`] asks for.
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

    /// An iterator over the ticks, which waits for each; it ends once the ticker is [stopped](Self::stop). Each step
    /// blocks and is cancelled as [`tick`](Self::tick) is.
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

    /// Makes the next tick due `delay` from now, and each other tick a period after the one before. Starts a stopped
    /// ticker.
    pub fn reset_after(&self, delay: Duration) {
        self.reschedule(|_| Some(later(Instant::now(), delay)));
    }

    /// Gives the ticker another period, and makes the next tick due one such period from now: Go's `Reset`. Starts a
    /// stopped ticker.
    ///
    /// # Panics
    /// If `period` is zero.
    #[track_caller]
    pub fn reset_period(&self, period: Duration) {
        assert!(!period.is_zero(), "a ticker's period is longer than nothing");
        self.reschedule(|schedule| {
            schedule.period = period;
            Some(later(Instant::now(), period))
        });
    }

    /// Stops the ticker. An iterator of [`ticks`](Self::ticks) ends, and a [`tick`](Self::tick) waits until the ticker
    /// is reset.
    pub fn stop(&self) {
        self.reschedule(|_| None);
    }

    fn reschedule(&self, next: impl FnOnce(&mut TickSchedule) -> Option<Instant>) {
        self.schedule.update(|schedule| {
            schedule.next = next(schedule);
            ((), MonitorWake::All)
        });
    }

    /// The time from one tick to the next.
    pub fn period(&self) -> Duration {
        self.schedule.with(|schedule| schedule.period)
    }

    /// What the ticker does after missed ticks; [`MissedTicks::Burst`] at first.
    pub fn missed_tick_policy(&self) -> MissedTicks {
        self.schedule.with(|schedule| schedule.policy)
    }

    /// Sets what the ticker does after missed ticks.
    pub fn set_missed_tick_policy(&self, policy: MissedTicks) {
        self.schedule.with(|schedule| schedule.policy = policy);
    }

    /// The time at which the next tick is due; `None` if the ticker is stopped.
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
///
/// # Examples
/// ```
/// use silken::time::{Ticks, interval};
/// let ticker = interval(std::time::Duration::from_millis(1));
/// let mut ticks: Ticks<'_> = ticker.ticks();
/// let first = ticks.next().unwrap();
/// assert_eq!(ticks.next().unwrap() - first, ticker.period());
/// ticker.stop();
/// assert_eq!(ticks.next(), None);
/// ```
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

    /// For each tick, the times at which it is due and at which it comes, in ms after the start. Each tick is asked for
    /// at the time in `asked_ms`, and comes then, or when it is due if that is later.
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
