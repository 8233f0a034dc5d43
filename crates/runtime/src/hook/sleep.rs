//! How does a coroutine sleep in the C library's functions? A deadline in the driver replaces the system call.
//!
//! The functions differ in how they report. `clock_nanosleep` returns the error number and leaves errno alone,
//! `nanosleep` and `usleep` return −1 and set errno, and `sleep` returns the remaining seconds. All take a relative
//! time, except `clock_nanosleep` with `TIMER_ABSTIME`.
//!
//! # Clocks
//! Deadlines are kept on the monotonic clock. A relative time is the same on each clock, except that a relative time of
//! the boot clock does not run while the machine is suspended. An absolute time of the realtime or boot clock is
//! converted, and the clock is read again at the end. If the clock was stepped back, the sleep goes on; a step forward
//! is noticed only at the guessed time. Sleeps on other clocks (processor time, TAI, alarms) are made in the kernel, on
//! a thread of the offload pool, where the clock of the *calling thread* is refused as POSIX asks.
//!
//! # Cancellation
//! A cancelled caller does not sleep, and must not be made to spin. std and C programs repeat a sleep that returns
//! `EINTR`, with the remaining time or up to the same deadline, and would repeat it until the time is over. So no time
//! is left to sleep: a relative sleep returns `EINTR` with a remaining time of zero, which ends such a loop and still
//! informs a caller that looks. An absolute sleep, and `sleep`, return 0. Each such call also yields once, since a loop
//! that sleeps between attempts has become one that does not; after many such calls it sleeps all the same
//! (`interruption.rs`).
//!
//! A time of zero, or a deadline that has passed, is a yield.

use super::call::{caller, set_errno};
use crate::coroutine::{Outcome, WaitReason};
use crate::io::interruption::cut_short;
use crate::io::memory::faults;
use crate::offload;
use crate::sched::yield_now;
use crate::sys::clock::{self, NS_PER_SECOND};
use crate::wait;
use libc::{c_int, c_uint, clockid_t, timespec};
use silken_interpose::next;
use std::ptr;

const NS_PER_MICROSECOND: u64 = 1_000;

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Slept {
    Fully,
    Cancelled,
}

/// Sleeps until `clock` shows `time_ns`.
fn until(clock: clockid_t, time_ns: u64) -> Slept {
    let mut slept = false;
    loop {
        let left_ns = time_ns.saturating_sub(clock::clock_now_ns(clock));
        if left_ns == 0 {
            if !slept {
                yield_now();
            }
            return Slept::Fully;
        }
        let deadline_ns = clock::now_ns().saturating_add(left_ns);
        if wait::sleep_until(deadline_ns, WaitReason::Sleep) == Outcome::Cancelled {
            // Yields. If this has become a loop that does not wait, it sleeps after all.
            cut_short(deadline_ns);
            return Slept::Cancelled;
        }
        slept = true;
    }
}

fn for_ns(duration_ns: u64) -> Slept {
    until(libc::CLOCK_MONOTONIC, clock::now_ns().saturating_add(duration_ns))
}

/// Makes a relative sleep. Returns its error number, or 0.
///
/// # Safety
/// `request` points to a timespec; `remaining` is null or a place for one (S7).
unsafe fn relative(request: *const timespec, remaining: *mut timespec) -> c_int {
    // SAFETY: S7: the caller's contract. Copied: `remaining` may be the same place.
    let request = unsafe { request.read() };
    let Some(duration_ns) = clock::timespec_to_ns(&request) else {
        return libc::EINVAL;
    };
    match for_ns(duration_ns) {
        Slept::Fully => 0,
        Slept::Cancelled => {
            if !remaining.is_null() {
                // SAFETY: S7: the caller promises: `request` points to a timespec.
                unsafe { remaining.write(clock::ns_to_timespec(0)) };
            }
            libc::EINTR
        }
    }
}

fn number_to_errno(number: c_int) -> c_int {
    if number == 0 {
        return 0;
    }
    set_errno(number);
    -1
}

/// The hook of `clock_nanosleep(2)`.
///
/// # Safety
/// The contract of the C function.
pub(super) unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    remaining: *mut timespec,
) -> c_int {
    // SAFETY: S7: on a coroutine the hooks are in place.
    if caller().is_none() || request.is_null() || unsafe { faults(request, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::clock_nanosleep(clock, flags, request, remaining) };
    }
    if !matches!(
        clock,
        libc::CLOCK_MONOTONIC | libc::CLOCK_REALTIME | libc::CLOCK_BOOTTIME
    ) {
        return elsewhere(clock, flags, request, remaining);
    }
    if flags & libc::TIMER_ABSTIME == 0 {
        // SAFETY: S7: the caller's contract; the request is not null.
        return unsafe { relative(request, remaining) };
    }
    // SAFETY: S7: the caller's contract; not null.
    let request = unsafe { request.read() };
    match clock::timespec_to_ns(&request) {
        Some(time_ns) => match until(clock, time_ns) {
            Slept::Fully | Slept::Cancelled => 0,
        },
        None => libc::EINVAL,
    }
}

/// Sleeps on a clock that the driver does not keep, on a thread of the offload pool.
fn elsewhere(clock: clockid_t, flags: c_int, request: *const timespec, remaining: *mut timespec) -> c_int {
    let (request, remaining) = (request.expose_provenance(), remaining.expose_provenance());
    offload::wait(move || {
        let (request, remaining) = (
            ptr::with_exposed_provenance(request),
            ptr::with_exposed_provenance_mut(remaining),
        );
        // SAFETY: S5: both places are the caller's; the caller waits until this call has ended.
        unsafe { next::clock_nanosleep(clock, flags, request, remaining) }
    })
}

/// The hook of `nanosleep(2)`.
///
/// # Safety
/// The contract of the C function.
pub(super) unsafe extern "C" fn nanosleep(request: *const timespec, remaining: *mut timespec) -> c_int {
    // SAFETY: S7: on a coroutine the hooks are in place.
    if caller().is_none() || request.is_null() || unsafe { faults(request, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::nanosleep(request, remaining) };
    }
    // SAFETY: S7: the caller's contract; the request is not null.
    number_to_errno(unsafe { relative(request, remaining) })
}

/// The hook of `usleep(3)`.
///
/// # Safety
/// The contract of the C function, which asks nothing.
pub(super) unsafe extern "C" fn usleep(duration_us: c_uint) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: no pointers.
        return unsafe { next::usleep(duration_us) };
    }
    match for_ns(u64::from(duration_us) * NS_PER_MICROSECOND) {
        Slept::Fully => 0,
        Slept::Cancelled => number_to_errno(libc::EINTR),
    }
}

/// The hook of `sleep(3)`.
///
/// # Safety
/// The contract of the C function, which asks nothing.
pub(super) unsafe extern "C" fn sleep(duration_s: c_uint) -> c_uint {
    if caller().is_none() {
        // SAFETY: S7: no pointers.
        return unsafe { next::sleep(duration_s) };
    }
    match for_ns(u64::from(duration_s) * NS_PER_SECOND) {
        Slept::Fully | Slept::Cancelled => 0,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const TEN_MS: u64 = 10_000_000;

    // The loops work on OS threads as well, where the driver's wait parks the thread.

    #[test]
    fn each_clock_is_slept_to_the_end() {
        for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME] {
            let time_ns = clock::clock_now_ns(clock) + TEN_MS;
            assert_eq!(until(clock, time_ns), Slept::Fully);
            assert!(clock::clock_now_ns(clock) >= time_ns);
        }
    }

    #[test]
    fn a_past_deadline_returns_at_once() {
        let start = Instant::now();
        assert_eq!(until(libc::CLOCK_REALTIME, 0), Slept::Fully);
        assert_eq!(for_ns(0), Slept::Fully);
        assert!(start.elapsed() < Duration::from_millis(500));
    }

    #[test]
    fn a_relative_sleep_takes_its_time_and_refuses_nonsense() {
        let start = Instant::now();
        let mut request = clock::ns_to_timespec(TEN_MS);
        // SAFETY: S7: a live timespec.
        assert_eq!(unsafe { relative(&request, ptr::null_mut()) }, 0);
        assert!(start.elapsed() >= Duration::from_millis(10));
        request.tv_nsec = -1;
        // SAFETY: S7: a live timespec.
        assert_eq!(unsafe { relative(&request, ptr::null_mut()) }, libc::EINVAL);
    }

    #[test]
    fn other_clocks_keep_the_contract_of_the_c_function() {
        let request = clock::ns_to_timespec(1_000_000);
        assert_eq!(elsewhere(libc::CLOCK_TAI, 0, &request, ptr::null_mut()), 0);
        assert_eq!(
            elsewhere(libc::CLOCK_THREAD_CPUTIME_ID, 0, &request, ptr::null_mut()),
            libc::EINVAL
        );
    }

    #[test]
    fn off_a_coroutine_the_hooks_pass() {
        let start = Instant::now();
        let request = clock::ns_to_timespec(TEN_MS);
        // SAFETY: S7: a live timespec.
        assert_eq!(unsafe { nanosleep(&request, ptr::null_mut()) }, 0);
        // SAFETY: S7: no pointers.
        assert_eq!(unsafe { usleep(10_000) }, 0);
        assert_eq!(
            // SAFETY: S7: null is refused by the kernel.
            unsafe { clock_nanosleep(libc::CLOCK_MONOTONIC, 0, ptr::null(), ptr::null_mut()) },
            libc::EFAULT
        );
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
