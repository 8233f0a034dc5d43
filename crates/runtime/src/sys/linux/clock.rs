//! What time it is: clocks in nanoseconds of a `u64`. A `u64` reaches 584 years from the clock's origin, so sums
//! saturate instead of wrapping.
//!
//! `clock_gettime` is libc's: it reads the vDSO page, enters the kernel only for unusual clocks, is on POSIX's list of
//! async-signal-safe functions, and no hook replaces it.

use libc::{c_long, clockid_t, time_t, timespec};

/// Nanoseconds in a second.
pub(crate) const NS_PER_SECOND: u64 = 1_000_000_000;

/// The monotonic clock in ns: every deadline in the runtime is measured on it.
#[inline]
pub(crate) fn now_ns() -> u64 {
    clock_now_ns(libc::CLOCK_MONOTONIC)
}

/// The time of the clock `clock` in ns. 0 where the kernel has no such clock (the caller's own call on it then reports
/// EINVAL), or where the clock stands before its origin.
#[inline]
pub(crate) fn clock_now_ns(clock: clockid_t) -> u64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: S5: `now` is a live local for the length of the call. On failure it keeps its zeros.
    unsafe { libc::clock_gettime(clock, &mut now) };
    timespec_to_ns(&now).unwrap_or(0)
}

/// The CPU time in ns that a thread of this process has used. 0 if there is no such thread.
#[inline]
pub(crate) fn thread_cpu_ns(thread: libc::pid_t) -> u64 {
    // The kernel's clocks of threads (include/linux/posix-timers.h): the thread's number, complemented, then "per
    // thread" and "scheduler's time". The C library's own function takes a `pthread_t`.
    const PER_THREAD_SCHEDULED: clockid_t = 4 | 2;
    clock_now_ns((!thread << 3) | PER_THREAD_SCHEDULED)
}

/// The length of `time` in ns, saturating. `None` where the kernel would answer EINVAL (negative, or a nanosecond field
/// outside one second).
#[inline]
pub(crate) fn timespec_to_ns(time: &timespec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u64::try_from(time.tv_nsec).ok().filter(|&ns| ns < NS_PER_SECOND)?;
    Some(seconds.saturating_mul(NS_PER_SECOND).saturating_add(nanoseconds))
}

/// A time of the realtime or the monotonic clock as a deadline of the latter. A time before the clock's beginning is
/// over. `None` where the C library would answer EINVAL.
pub(crate) fn deadline_on(clock: clockid_t, time: &timespec) -> Option<u64> {
    let is_whole = (0..NS_PER_SECOND as c_long).contains(&time.tv_nsec);
    if !is_whole || !matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC) {
        return None;
    }
    let left_ns = timespec_to_ns(time).unwrap_or(0).saturating_sub(clock_now_ns(clock));
    Some(now_ns().saturating_add(left_ns))
}

/// The inverse of [`timespec_to_ns`], exact for every `u64`.
#[inline]
pub(crate) fn ns_to_timespec(time_ns: u64) -> timespec {
    timespec {
        tv_sec: (time_ns / NS_PER_SECOND) as time_t,
        tv_nsec: (time_ns % NS_PER_SECOND) as c_long,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_moves_with_std() {
        let (ours, theirs) = (now_ns(), std::time::Instant::now());
        std::thread::sleep(std::time::Duration::from_millis(5));
        let (ours, theirs) = (now_ns() - ours, theirs.elapsed().as_nanos() as u64);
        assert!(ours >= 5_000_000);
        assert!(ours.abs_diff(theirs) < 50_000_000);
    }

    #[test]
    fn deadlines_of_two_clocks_are_monotonic_times() {
        for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
            let later = ns_to_timespec(clock_now_ns(clock) + NS_PER_SECOND);
            let before_ns = now_ns();
            let left_ns = deadline_on(clock, &later).unwrap() - before_ns;
            assert!(left_ns.abs_diff(NS_PER_SECOND) < NS_PER_SECOND / 2, "{left_ns}");
            let long_ago = timespec { tv_sec: -5, tv_nsec: 0 };
            assert!(deadline_on(clock, &long_ago).is_some_and(|deadline_ns| deadline_ns <= now_ns()));
            for tv_nsec in [-1, NS_PER_SECOND as c_long] {
                assert_eq!(deadline_on(clock, &timespec { tv_sec: 5, tv_nsec }), None);
            }
        }
        assert_eq!(deadline_on(libc::CLOCK_TAI, &ns_to_timespec(5)), None);
    }

    #[test]
    fn other_clocks_answer_and_unknown_ones_give_zero() {
        let unix = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        assert!(clock_now_ns(libc::CLOCK_REALTIME).abs_diff(unix) < 1_000_000_000);
        assert_eq!(clock_now_ns(12345), 0);
    }

    #[test]
    fn a_thread_that_computes_uses_time_and_one_that_sleeps_does_not() {
        let own = crate::sys::signal::gettid();
        let before = thread_cpu_ns(own);
        while thread_cpu_ns(own) < before + 2_000_000 {
            std::hint::spin_loop();
        }
        let (told, asked) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            told.send(crate::sys::signal::gettid()).unwrap();
            let _ = ended.recv();
        });
        let other = asked.recv().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(thread_cpu_ns(other) < 10_000_000);
        drop(end);
        sleeper.join().unwrap();
        // More than the kernel ever numbers a thread.
        assert_eq!(thread_cpu_ns((1 << 22) + 1), 0);
    }

    #[test]
    fn timespecs_convert_both_ways() {
        for ns in [0, 1, NS_PER_SECOND - 1, NS_PER_SECOND, 123_456_789_012, u64::MAX] {
            assert_eq!(timespec_to_ns(&ns_to_timespec(ns)), Some(ns));
        }
    }

    #[test]
    fn invalid_timespecs_are_refused_and_long_ones_saturate() {
        let of = |tv_sec, tv_nsec| timespec_to_ns(&timespec { tv_sec, tv_nsec });
        assert_eq!(of(-1, 0), None);
        assert_eq!(of(0, -1), None);
        assert_eq!(of(0, 1_000_000_000), None);
        assert_eq!(of(time_t::MAX, 999_999_999), Some(u64::MAX));
    }
}
