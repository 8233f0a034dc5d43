//! How do `epoll_wait` and its forms wait, for programs that bring their own event loop?
//!
//! # Protocol
//! An epoll descriptor is pollable itself: it is readable while it has an event to give. So the hook looks at the
//! descriptor's word, and asks the kernel with a timeout of zero. If there is no event, it waits for the word to
//! change, then starts again. The answer is always one that the kernel gave to the call itself, so level- and
//! edge-triggered, one-shot and exclusive entries keep their meaning. `readiness` deals with the race: an event after
//! the look changes the word.
//!
//! An event wakes all waiters on one epoll, and those that find no event wait on. That is more waking than the kernel
//! does, never less.
//!
//! With a signal mask the call waits on a thread of the offload pool, whose mask it becomes (`poll`). A wait on an
//! epoll that is nested too deep to be put into the runtime's is made there too.

use super::call::hooks;
use super::call::{answer, caller};
use super::lent::{Lent, elsewhere};
use crate::coroutine::{Outcome, budget};
use crate::driver::fd_table;
use crate::driver::readiness::Direction;
use crate::io::interruption;
use crate::io::memory::faults;
use crate::offload;
use crate::sys::clock;
use crate::sys::raw::{self, Errno};
use libc::{c_int, epoll_event, sigset_t, timespec};
use silken_interpose::next;

const NS_PER_MS: u64 = 1_000_000;

/// # Safety
/// S5, S7: the contract of epoll_wait.
unsafe fn ask(fd: c_int, events: usize, event_count: c_int, timeout_ms: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller's arguments, under the contract of the C function.
    unsafe {
        raw::syscall4(
            libc::SYS_epoll_wait,
            fd as usize,
            events,
            event_count as usize,
            timeout_ms as isize as usize,
        )
    }
}

/// # Safety
/// S5, S7: the contract of epoll_wait.
unsafe fn wait_on_coroutine(
    fd: c_int,
    events: *mut epoll_event,
    event_count: c_int,
    timeout_ns: Option<u64>,
) -> Result<usize, Errno> {
    let events = events.expose_provenance();
    // SAFETY: S5: the caller lends the array for the length of the call.
    let ask_now = || unsafe { ask(fd, events, event_count, 0) };
    let deadline_ns = timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns));
    if let Some(entry) = fd_table::entry(fd) {
        loop {
            let seen = entry.look(Direction::Read);
            match ask_now() {
                Ok(0) if timeout_ns != Some(0) => {}
                Err(Errno::INTR) => continue,
                result => return result,
            }
            entry.reset_if_stale(fd);
            let mut outcome = entry.readiness.wait(fd, Direction::Read, seen, deadline_ns);
            if outcome == Ok(Outcome::Cancelled) {
                if interruption::count_first() {
                    return Err(Errno::INTR);
                }
                outcome = entry.readiness.wait_to_stay(fd, Direction::Read, seen, deadline_ns);
            }
            match outcome {
                Ok(Outcome::Woken) => {}
                Ok(Outcome::TimedOut) => return ask_now(),
                // A call that stays is not told of a cancellation.
                Ok(Outcome::Cancelled) => return Err(Errno::INTR),
                Ok(Outcome::Closed) | Err(Errno::BADF) => return Err(Errno::BADF),
                Err(_) => break,
            }
        }
    }
    // SAFETY: S7: the caller's arguments.
    unsafe { wait_elsewhere(fd, events, event_count, deadline_ns) }
}

/// # Safety
/// S5, S7: the contract of epoll_wait.
#[cold]
unsafe fn wait_elsewhere(
    fd: c_int,
    events: usize,
    event_count: c_int,
    deadline_ns: Option<u64>,
) -> Result<usize, Errno> {
    offload::try_wait(move || {
        loop {
            let left_ns = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(clock::now_ns()));
            // Rounded up, so the wait may end late but never early. If an int cannot hold the milliseconds, the call is
            // repeated.
            let left_ms = left_ns.map_or(-1, |left_ns| {
                c_int::try_from(left_ns.div_ceil(NS_PER_MS)).unwrap_or(c_int::MAX)
            });
            // SAFETY: S5: the array is the caller's; the caller waits until the call has ended.
            match unsafe { ask(fd, events, event_count, left_ms) } {
                Ok(0) if left_ms == c_int::MAX => {}
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    })
}

hooks! {
    /// `epoll_wait(2)`.
    fn epoll_wait(fd: c_int, events: *mut epoll_event, event_count: c_int, timeout_ms: c_int) -> c_int {
        wait_on_coroutine(fd, events, event_count, u64::try_from(timeout_ms).ok().map(|ms| ms * NS_PER_MS))
    }
}

/// `epoll_pwait(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn epoll_pwait(
    fd: c_int,
    events: *mut epoll_event,
    event_count: c_int,
    timeout_ms: c_int,
    mask: *const sigset_t,
) -> c_int {
    if mask.is_null() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { epoll_wait(fd, events, event_count, timeout_ms) };
    }
    if caller().is_some() {
        let lent = Lent((fd, events, event_count, timeout_ms, mask));
        return elsewhere(lent, |(fd, events, event_count, timeout_ms, mask)| {
            // SAFETY: S5, S7: the caller's arguments; the caller waits until the call has ended.
            unsafe { next::epoll_pwait(fd, events, event_count, timeout_ms, mask) }
        });
    }
    // SAFETY: S7: the caller's arguments under the caller's contract.
    unsafe { next::epoll_pwait(fd, events, event_count, timeout_ms, mask) }
}

/// `epoll_pwait2(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn epoll_pwait2(
    fd: c_int,
    events: *mut epoll_event,
    event_count: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || unsafe { faults(timeout, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::epoll_pwait2(fd, events, event_count, timeout, mask) };
    }
    // SAFETY: S5: null or the caller's, readable.
    let timeout_ns = unsafe { timeout.as_ref() }.map(clock::timespec_to_ns);
    if timeout_ns == Some(None) {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::epoll_pwait2(fd, events, event_count, timeout, mask) };
    }
    if !mask.is_null() {
        let lent = Lent((fd, events, event_count, timeout, mask));
        return elsewhere(lent, |(fd, events, event_count, timeout, mask)| {
            // SAFETY: S5, S7: the caller's arguments; the caller waits until the call has ended.
            unsafe { next::epoll_pwait2(fd, events, event_count, timeout, mask) }
        });
    }
    budget::spend();
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { wait_on_coroutine(fd, events, event_count, timeout_ns.flatten()) }) as c_int
}
