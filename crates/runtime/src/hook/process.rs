//! Child processes: what waits for them, `wait`, `waitpid`, `wait4`, `waitid`, and what becomes of the runtime in one.
//!
//! # Protocol
//! Ask with WNOHANG. If nothing has happened and the end of one process is what is waited for, wait until a descriptor
//! of that process (pidfd) is readable, then ask again. Who asks by `P_PIDFD` has brought the descriptor. All else (any
//! child, a group, stops and continuations, a kernel without pidfds, an end that a tracer holds back) waits in the
//! kernel on a thread of the offload pool: children belong to the process, so any thread may wait for them, one for all
//! who ask the same. `__WNOTHREAD` says the opposite, and passes.
//!
//! # The race
//! Between the question and the pidfd only a thread that reaps the same child can intervene: there is no process then,
//! the last question answers ECHILD. Its number would have to be used again within these microseconds to be mistaken
//! for a stranger's.
//!
//! # In a child
//! `fork` runs the handlers of `pthread_atfork`, and ours does what is needed (`sched/shutdown.rs`). `_Fork`, and
//! `fork` or `clone` by `syscall`, run none, so their hooks do it. A child of `vfork` runs in the parent's memory, on
//! the parent's stack, until it calls `exec`. A coroutine makes it in a critical section, which the child never leaves
//! and the parent leaves when it comes back: the child's calls pass, and it cannot park the coroutine, whose stack it
//! stands on.
//!
//! # Not kept
//! A tracer that waits for stops of its tracee by number, without WUNTRACED, is not woken by them. Tracing binds to an
//! OS thread anyway, and no coroutine can do it. What `system` and `popen`'s `pclose` wait for is called inside the C
//! library and out of sight: they block the worker.

use super::call::hooks;
use super::interruption::refused;
use super::own::Own;
use crate::coroutine::{Critical, Outcome, current_core};
use crate::driver::fd_table::{self, FdKind};
use crate::driver::readiness::Direction;
use crate::offload::{self, turns};
use crate::sys::raw::{self, Errno};
use crate::sys::{clock, process, socket};
use libc::{c_int, id_t, idtype_t, pid_t, rusage, siginfo_t};
use silken_interpose::next;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

/// The child of a fork that ran no handlers.
fn become_child() {
    process::set_forked();
    if current_core().is_some() {
        Critical::enter_to_leave();
    }
}

/// `_Fork(3)`.
///
/// # Safety
/// S7: the contract of the C function.
#[allow(non_snake_case)]
pub(super) unsafe extern "C" fn _Fork() -> pid_t {
    // SAFETY: S7: as the caller asked.
    let pid = unsafe { next::_Fork() };
    if pid == 0 {
        become_child();
    }
    pid
}

/// A system call has had this result, in parent or child, that makes a child with memory of its own.
pub(super) fn forked(result: libc::c_long) {
    if result == 0 && process::is_foreign() {
        become_child();
    }
}

pub(super) extern "C" fn before_vfork() {
    if current_core().is_some() {
        Critical::enter_to_leave();
    }
}

pub(super) extern "C" fn after_vfork() {
    if current_core().is_some() {
        Critical::leave();
    }
}

/// A descriptor of a process.
fn open_pidfd(pid: pid_t) -> Option<Own> {
    // SAFETY: S5: no memory.
    let fd = unsafe { raw::syscall2(libc::SYS_pidfd_open, pid as usize, 0) }.ok()?;
    Some(Own::new(fd as RawFd, FdKind::Pollable, false))
}

/// Parks until the process of a pidfd has ended, or nothing more can be learnt this way: the caller asks again in both
/// cases. `has_ended` is asked after the look; a descriptor that was never waited for reports its state when it is
/// registered, and needs no such question.
fn await_end(pid_fd: RawFd, mut has_ended: impl FnMut() -> bool) -> Result<(), Errno> {
    let Some(entry) = fd_table::entry(pid_fd) else {
        return Ok(());
    };
    entry.touch();
    let seen = entry.readiness.look(Direction::Read);
    if has_ended() {
        return Ok(());
    }
    let mut outcome = entry.readiness.wait(pid_fd, Direction::Read, seen, None);
    if outcome == Ok(Outcome::Cancelled) {
        // A new look: the registration has changed the word.
        let seen = entry.readiness.look(Direction::Read);
        if socket::events_now(pid_fd, libc::POLLIN) != 0 {
            return Ok(());
        }
        let deadline_ns = Some(clock::now_ns() + LAST_WAIT_NS);
        outcome = entry.readiness.wait_to_stay(pid_fd, Direction::Read, seen, deadline_ns);
    }
    match outcome {
        Ok(Outcome::Cancelled | Outcome::TimedOut) => Err(refused()),
        _ => Ok(()),
    }
}

/// How long an interrupted wait for a child still lasts: see `interruption.rs`.
const LAST_WAIT_NS: u64 = 100_000_000;

/// The first word of the keys of `turns` here: no command of fcntl.
const OF_CHILDREN: u64 = u64::MAX - 1;

/// # Safety
/// S5, S7: the contract of wait4; the places are valid until the call returns.
unsafe fn wait4_in_kernel(pid: pid_t, status: usize, options: c_int, usage: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller's arguments, under the contract of the C function.
    unsafe { raw::syscall4(libc::SYS_wait4, pid as usize, status, options as usize, usage) }
}

/// # Safety
/// S5, S7: the contract of wait4.
unsafe fn wait4_on_coroutine(
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> Result<usize, Errno> {
    let (status, usage) = (status.expose_provenance(), usage.expose_provenance());
    // SAFETY: S5: the caller lends both places for the length of the call.
    let ask = |options| unsafe { wait4_in_kernel(pid, status, options, usage) };
    if options & (libc::WNOHANG | libc::__WNOTHREAD) != 0 {
        return ask(options);
    }
    match ask(options | libc::WNOHANG) {
        Ok(0) => {}
        result => return result,
    }
    if pid > 0
        && options & (libc::WUNTRACED | libc::WCONTINUED) == 0
        && let Some(pid_fd) = open_pidfd(pid)
    {
        await_end(pid_fd.fd(), || false)?;
        match ask(options | libc::WNOHANG) {
            Ok(0) => {}
            result => return result,
        }
    }
    // Who waits for any child waits for the same, and one thread is enough.
    let _turn = turns::take([OF_CHILDREN, pid as u64, options as u64, 0, 0, 0]);
    match ask(options | libc::WNOHANG) {
        Ok(0) => {}
        result => return result,
    }
    // SAFETY: S5: the caller's places, who waits until the call has ended.
    offload::wait_out(move || unsafe { wait4_in_kernel(pid, status, options, usage) })
}

/// # Safety
/// S5, S7: the contract of waitid; the place is null or valid until the call returns.
unsafe fn waitid_in_kernel(id_type: idtype_t, id: id_t, info: usize, options: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller's contract; no place for the usage.
    unsafe {
        raw::syscall5(
            libc::SYS_waitid,
            id_type as usize,
            id as usize,
            info,
            options as usize,
            0,
        )
    }
}

/// Asks without waiting; `None` if nothing has happened.
///
/// # Safety
/// S5, S7: the contract of waitid.
unsafe fn waitid_now(
    id_type: idtype_t,
    id: id_t,
    info: *mut siginfo_t,
    options: c_int,
) -> Option<Result<usize, Errno>> {
    let mut own = MaybeUninit::<siginfo_t>::zeroed();
    // The kernel writes to the caller's place, which may be a bad one; with nothing to say it writes zeros.
    let place = if info.is_null() { own.as_mut_ptr() } else { info };
    // SAFETY: S5: a live local, or the caller's place.
    let result = unsafe { waitid_in_kernel(id_type, id, place.expose_provenance(), options | libc::WNOHANG) };
    // SAFETY: S5: zeroes are a valid siginfo, and the kernel has written to it.
    let is_nothing = result.is_ok() && unsafe { &*place }.si_signo == 0;
    (!is_nothing).then_some(result)
}

/// # Safety
/// S5, S7: the contract of waitid.
unsafe fn waitid_on_coroutine(
    id_type: idtype_t,
    id: id_t,
    info: *mut siginfo_t,
    options: c_int,
) -> Result<usize, Errno> {
    let place = info.expose_provenance();
    // A pidfd with O_NONBLOCK does not wait, and has its own way to say so.
    let is_nonblocking =
        || id_type == libc::P_PIDFD && fd_table::entry(id as RawFd).is_some_and(|entry| !entry.blocks(id as RawFd));
    if options & (libc::WNOHANG | libc::__WNOTHREAD) != 0 || is_nonblocking() {
        // SAFETY: S7: the caller's arguments.
        return unsafe { waitid_in_kernel(id_type, id, place, options) };
    }
    // SAFETY: S7: the caller's arguments.
    let ask = || unsafe { waitid_now(id_type, id, info, options) };
    if let Some(result) = ask() {
        return result;
    }
    if options & (libc::WSTOPPED | libc::WCONTINUED) == 0 {
        let mut result = None;
        match id_type {
            libc::P_PID => {
                if let Some(pid_fd) = open_pidfd(id as pid_t) {
                    await_end(pid_fd.fd(), || false)?;
                }
            }
            libc::P_PIDFD => await_end(id as RawFd, || {
                result = ask();
                result.is_some()
            })?,
            _ => {}
        }
        if let Some(result) = result.or_else(ask) {
            return result;
        }
    }
    let _turn = turns::take([OF_CHILDREN, u64::from(id_type), u64::from(id), options as u64, 1, 0]);
    if let Some(result) = ask() {
        return result;
    }
    // SAFETY: S5: null or the caller's place, who waits until the call has ended.
    offload::wait_out(move || unsafe { waitid_in_kernel(id_type, id, place, options) })
}

hooks! {
    /// `wait(2)`.
    fn wait(status: *mut c_int) -> pid_t { wait4_on_coroutine(-1, status, 0, ptr::null_mut()) }
    /// `waitpid(2)`.
    fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
        wait4_on_coroutine(pid, status, options, ptr::null_mut())
    }
    /// `wait4(2)`.
    fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
        wait4_on_coroutine(pid, status, options, usage)
    }
    /// `waitid(2)`.
    fn waitid(id_type: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int {
        waitid_on_coroutine(id_type, id, info, options)
    }
}
