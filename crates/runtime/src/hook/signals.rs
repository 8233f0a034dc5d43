//! How does a coroutine wait for a signal: `sigwait`, `sigwaitinfo`, `sigtimedwait`, `sigsuspend`, `pause`?
//!
//! # Protocol
//! A signal that is sent to the process, and that all threads block, is pending for the process, and any thread may
//! take it. So the hook asks without waiting (`rt_sigtimedwait` with no time). If no signal is pending, it waits until
//! a `signalfd` of the same set is readable, then asks again. The answer is always the kernel's own. `readiness` deals
//! with the race: a signal after the look changes the word. Several callers may wait for one signal: one gets it, the
//! others wait on.
//!
//! `sigsuspend` and `pause` end when a handler has run on the thread that waits. They wait on a thread of the offload
//! pool. Its mask is that of the worker that made it, or the one that `sigsuspend` gives it. A signal that is unblocked
//! only in that mask is therefore delivered there, and its handler runs there. A signal that is unblocked in other
//! threads too may be delivered to one of them, as in every process with several threads; the kernel prefers the main
//! thread.
//!
//! # Not kept
//! A signal sent to one thread (`raise`, `pthread_kill`) is pending for the worker on which it was raised, and is seen
//! only if that worker asks.

use super::call::hooks;
use super::call::{answer, caller};
use crate::coroutine::Outcome;
use crate::driver::fd_table::{self, FdKind};
use crate::driver::readiness::Direction;
use crate::io::interruption::refused;
use crate::io::memory::faults;
use crate::io::own::Own;
use crate::offload;
use crate::sys::clock;
use crate::sys::raw::Errno;
use crate::sys::signal;
use libc::{c_int, siginfo_t, sigset_t, timespec};
use silken_interpose::next;
use std::ptr;

/// A descriptor that is readable while a signal of the set is pending.
///
/// # Safety
/// S5: the set is the caller's.
unsafe fn open_signalfd(set: *const sigset_t) -> Option<Own> {
    // SAFETY: S5: the caller promises: the set is the caller's.
    let fd = unsafe { signal::descriptor(set) }.ok()?;
    Some(Own::new(fd, FdKind::Pollable, true))
}

/// # Safety
/// S5, S7: the contract of sigtimedwait; the places are valid until the call returns.
unsafe fn take_signal(set: *const sigset_t, info: *mut siginfo_t, timeout_ns: Option<u64>) -> Result<usize, Errno> {
    let deadline_ns = timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns));
    // SAFETY: S5: the caller's arguments, under the contract of the C function.
    let ask = |timeout_ns| unsafe { signal::take_pending(set, info, timeout_ns) };
    match ask(Some(0)) {
        Err(Errno::AGAIN) if timeout_ns != Some(0) => {}
        result => return result,
    }
    // SAFETY: S5: the caller's arguments, under the contract of the C function.
    let pending = unsafe { open_signalfd(set) };
    if let Some(pending) = &pending
        && let Some(entry) = fd_table::entry(pending.fd())
    {
        loop {
            let seen = entry.readiness.look(Direction::Read);
            match ask(Some(0)) {
                Err(Errno::AGAIN) => {}
                result => return result,
            }
            match entry.readiness.wait(pending.fd(), Direction::Read, seen, deadline_ns) {
                Ok(Outcome::Cancelled) => return Err(refused()),
                Ok(Outcome::TimedOut) => return ask(Some(0)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    let (set, info) = (set.expose_provenance(), info.expose_provenance());
    offload::try_wait(move || {
        let left_ns = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(clock::now_ns()));
        let info = ptr::with_exposed_provenance_mut(info);
        // SAFETY: S5: the caller's places; the caller waits until the call has ended.
        unsafe { signal::take_pending(ptr::with_exposed_provenance(set), info, left_ns) }
    })
}

/// `sigwait(3)`: returns the error number and leaves errno alone.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sigwait(set: *const sigset_t, number: *mut c_int) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::sigwait(set, number) };
    }
    loop {
        // SAFETY: S5, S7: the caller's set, and no place for more.
        match unsafe { take_signal(set, ptr::null_mut(), None) } {
            Ok(taken) => {
                // SAFETY: S7: the caller's place.
                unsafe { number.write(taken as c_int) };
                return 0;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return errno.0,
        }
    }
}

/// `sigtimedwait(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sigtimedwait(
    set: *const sigset_t,
    info: *mut siginfo_t,
    timeout: *const timespec,
) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || unsafe { faults(timeout, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::sigtimedwait(set, info, timeout) };
    }
    // SAFETY: S5: null or the caller's, readable.
    let timeout_ns = unsafe { timeout.as_ref() }.map(clock::timespec_to_ns);
    answer(match timeout_ns {
        Some(None) => Err(Errno::INVAL),
        // SAFETY: S5, S7: the caller's arguments under the caller's contract.
        timeout_ns => unsafe { take_signal(set, info, timeout_ns.flatten()) },
    }) as c_int
}

/// # Safety
/// S5: the mask is null or the caller's.
unsafe fn suspend(mask: *const sigset_t) -> Result<usize, Errno> {
    // The mask is copied here, before the call moves to another thread: a bad address is refused before, and no signal
    // can come between.
    // SAFETY: S5: the caller promises: the mask is null or the caller's.
    let mask = unsafe { mask.as_ref() }.copied();
    offload::try_wait(move || signal::suspend(mask.as_ref()))
}

hooks! {
    /// `sigwaitinfo(2)`.
    fn sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int { take_signal(set, info, None) }
    /// `pause(2)`.
    fn pause() -> c_int { suspend(ptr::null()) }
}

/// `sigsuspend(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sigsuspend(mask: *const sigset_t) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || mask.is_null() || unsafe { faults(mask, 1) } {
        // SAFETY: S7: the caller's argument under the caller's contract.
        return unsafe { next::sigsuspend(mask) };
    }
    // SAFETY: S7: the caller's mask, readable.
    answer(unsafe { suspend(mask) }) as c_int
}
