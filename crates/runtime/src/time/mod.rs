//! Waits for time to pass: sleeps and tickers. The feature `extras` adds dates, as `Time`.

mod ticker;

pub use crate::names::time::*;
pub use ticker::{MissedTicks, Ticker, Ticks, interval, interval_at};

use crate::coroutine::{Outcome, WaitCell, WaitReason, current_core, effective_deadline_ns, raise_if_cancelled};
use crate::wait;
pub use std::time::{Duration, Instant};

/// Sleeps for at least `duration`; never wakes early.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Sleep`), or blocks the calling OS thread.
///
/// # Cancellation
/// If the coroutine is cancelled before or during the sleep, it unwinds.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let begun = Instant::now();
/// silken::spawn(|| silken::sleep(Duration::from_millis(5))).join().unwrap();
/// assert!(begun.elapsed() >= Duration::from_millis(5));
/// ```
pub fn sleep(duration: Duration) {
    if current_core().is_none() && effective_deadline_ns().is_none() {
        return std::thread::sleep(duration);
    }
    raise_if_cancelled();
    let deadline_ns = wait::deadline_after(duration);
    // While the caller unwinds, its cancellation does not interrupt waits of its destructors.
    let cancellable = !std::thread::panicking();
    if wait::wait(&WaitCell::new(), WaitReason::Sleep, Some(deadline_ns), cancellable) == Outcome::Cancelled {
        raise_if_cancelled();
    }
}

/// Sleeps until `deadline`; never wakes early. It does not sleep if the deadline is past. It blocks and is cancelled as
/// [`sleep`] is.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let deadline = Instant::now() + Duration::from_millis(2);
/// silken::sleep_until(deadline);
/// assert!(Instant::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) {
    sleep(deadline.saturating_duration_since(Instant::now()));
}

/// Sleeps for at least `ms` milliseconds, as [`sleep`] does; the name is coio's.
///
/// # Examples
/// ```
/// silken::spawn(|| silken::sleep_ms(5)).join().unwrap();
/// ```
pub fn sleep_ms(ms: u64) {
    sleep(Duration::from_millis(ms));
}
