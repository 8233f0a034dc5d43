//! Durations and instants as the monotonic nanoseconds that waits count in.

use crate::sys::clock;
use std::time::{Duration, Instant};

/// When `timeout` will be over. More than five centuries are for ever.
pub(super) fn after(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos())
        .unwrap_or(u64::MAX)
        .saturating_add(clock::now_ns())
}

/// The same moment on the runtime's clock; now, if it is past.
pub(super) fn at(deadline: Instant) -> u64 {
    after(deadline.saturating_duration_since(Instant::now()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn moments_agree_and_eternity_saturates() {
        let now_ns = clock::now_ns();
        assert_eq!(after(Duration::MAX), u64::MAX);
        assert!(at(Instant::now() + Duration::from_secs(1)).abs_diff(now_ns + 1_000_000_000) < 500_000_000);
        assert!(at(Instant::now() - Duration::from_millis(1)) >= now_ns);
    }
}
