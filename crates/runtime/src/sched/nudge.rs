//! How does a worker tell the monitor of another worker that a call blocks?
//!
//! # Protocol
//! The monitor's turns are long while nothing stands still, since each costs a wake-up. Workers that pick coroutines
//! run anyway, and so does a watcher. So each of them looks at the others' counts of picks, at an event interval or
//! after a watcher's turn, at most once in the time of `hand_off` (`watch.rs`). A count that has not changed since its
//! last look, and a thread that sleeps in the kernel, are a *sighting*: the worker notes it in the processor that
//! stands still, with the time of its last look, and *nudges* the monitor. The monitor ends its pause, finds the
//! sighting, and decides as after turns of its own.
//!
//! Workers look at each pick once. If its coroutine computed then, and blocks later, the monitor finds out by itself.
//! So coroutines that compute for milliseconds cost one look each, and no wake-up of the monitor.
//!
//! # The race
//! A nudge comes while the monitor is between a look and its pause. Each nudge sets a word, and the monitor pauses only
//! while the word is clear; the kernel compares it under the lock that wakes take. The monitor clears the word before
//! it looks. Example: the monitor looks, a worker notes a sighting and sets the word, the monitor wants to pause: the
//! word is set, so it looks again. If it had cleared the word after the look, it would have lost the sighting.

use crate::loom::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::loom::const_unless_loom;

/// The monitor's word: whether it has been nudged since it began its last look.
#[derive(Debug)]
pub(super) struct Nudge(AtomicU32);

const CLEAR: u32 = 0;
const NUDGED: u32 = 1;

impl Nudge {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self(AtomicU32::new(CLEAR))
        }
    }

    /// The caller has noted a sighting, and wakes the monitor afterwards.
    pub(super) fn give(&self) {
        // Release: pairs with the Acquire in `clear`: a look that begins afterwards sees the sighting. A swap, since
        // loom does not order a plain store against the other swap.
        self.0.swap(NUDGED, Ordering::Release);
    }

    /// The monitor begins a look.
    pub(super) fn clear(&self) {
        // Acquire: pairs with the Release in `give`.
        self.0.swap(CLEAR, Ordering::Acquire);
    }

    /// Pauses the monitor until the time, or a nudge.
    #[cfg(not(loom))]
    pub(super) fn pause_until(&self, end_ns: u64) {
        let _ = crate::sys::futex::wait(&self.0, CLEAR, Some(end_ns));
    }

    #[cfg(not(loom))]
    pub(super) fn wake(&self) {
        crate::sys::futex::wake(&self.0, 1);
    }

    #[cfg(loom)]
    pub(super) fn is_clear(&self) -> bool {
        // Relaxed: the kernel's comparison.
        self.0.load(Ordering::Relaxed) == CLEAR
    }
}

/// What workers have seen of the processor's present pick: its count of picks in the upper half, and in the lower half
/// the time since which a blocked thread has stood, in units; 0: the coroutine computed.
#[derive(Debug)]
pub(super) struct Sighting(AtomicU64);

/// Units of the time: 2^16 ns. A time of 32 bits repeats after three days, and a sighting is used within milliseconds.
const UNIT_BITS: u32 = 16;

const TICK_BITS: u32 = 32;

/// No sighting yet: a count that the first picks do not have, and no blocked thread.
const NOTHING: u64 = (u32::MAX as u64) << TICK_BITS;

impl Sighting {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(NOTHING))
    }

    /// Claims the look at the pick of this count. Returns whether the caller is the one that looks.
    pub(super) fn begin(&self, tick: u32) -> bool {
        // Relaxed: at worst two workers look.
        let seen = self.0.load(Ordering::Relaxed);
        let own = u64::from(tick) << TICK_BITS;
        // Relaxed: as above.
        let begins = || {
            self.0
                .compare_exchange(seen, own, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        seen >> TICK_BITS != u64::from(tick) && begins()
    }

    /// Notes that the kernel has blocked the thread of this pick, which has stood since the time.
    pub(super) fn note_blocked(&self, tick: u32, since_ns: u64) {
        // Rounded up, so that nothing seems to stand for longer than it does; and never 0.
        let units = (((since_ns >> UNIT_BITS) + 1) as u32).max(1);
        let word = u64::from(tick) << TICK_BITS | u64::from(units);
        // Relaxed: the nudge that follows orders it.
        self.0.store(word, Ordering::Relaxed);
    }

    /// Since when the thread of this pick has been blocked, if it was seen so.
    pub(super) fn blocked_since(&self, tick: u32, now_ns: u64) -> Option<u64> {
        // Relaxed: as in `note_blocked`.
        let word = self.0.load(Ordering::Relaxed);
        if word >> TICK_BITS != u64::from(tick) || word as u32 == 0 {
            return None;
        }
        let stood_units = ((now_ns >> UNIT_BITS) as u32).wrapping_sub(word as u32);
        // Rounding makes a time that is not past by a unit later than now.
        let stood_units = if stood_units > u32::MAX / 2 { 0 } else { stood_units };
        Some(now_ns.saturating_sub(u64::from(stood_units) << UNIT_BITS))
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn times_are_never_earlier_than_they_were() {
        let sighting = Sighting::new();
        let day_ns = 24 * 3600 * 1_000_000_000_u64;
        for since_ns in [0, 1, 65_535, 65_536, 5_000_000, 30 * day_ns, 400 * day_ns] {
            sighting.note_blocked(3, since_ns);
            for later_ns in [200_000, 1_000_000, 50_000_000] {
                let now_ns = since_ns + later_ns;
                let seen_ns = sighting.blocked_since(3, now_ns).expect("it was noted");
                assert!(
                    (since_ns..=since_ns + (2 << UNIT_BITS)).contains(&seen_ns),
                    "{since_ns} {later_ns} {seen_ns}"
                );
            }
            assert_eq!(sighting.blocked_since(4, since_ns), None);
        }
    }

    #[test]
    fn a_pick_is_looked_at_once() {
        let sighting = Sighting::new();
        for tick in [1, 2, u32::MAX, 5] {
            assert!(sighting.begin(tick));
            assert!(!sighting.begin(tick));
            assert_eq!(sighting.blocked_since(tick, 1 << 40), None);
        }
    }
}
