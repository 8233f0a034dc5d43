//! How does a coroutine wait for child processes (`wait`, `waitpid`, `wait4`, `waitid`), and what becomes of the
//! runtime in a child?
//!
//! # Protocol
//! The hook first asks with WNOHANG. If nothing has happened and the caller waits for the end of one process, the hook
//! waits until a descriptor of that process (pidfd) is readable, then asks again. A caller that uses `P_PIDFD` has
//! brought the descriptor. All other waits are made in the kernel, on a thread of the offload pool: for any child, for
//! a group, for stops and continuations, on a kernel without pidfds, and for an end that a tracer holds back. Children
//! belong to the process, so any thread may wait for them, and one thread is enough for all callers with the same
//! question. `__WNOTHREAD` demands the opposite, and passes.
//!
//! # The race
//! Between the question and the making of the pidfd only a thread that reaps the same child can intervene. Then no
//! process is left, and the last question answers ECHILD. A stranger could be mistaken for the child only if its number
//! were used again within these microseconds.
//!
//! # In a child
//! `fork` runs the handlers of `pthread_atfork`, and ours does what is needed (`sched/shutdown.rs`). `_Fork`, and
//! `fork` or `clone` by `syscall`, run no handlers, so their hooks do it. A child of `vfork` runs in the parent's
//! memory, on the parent's stack, until it calls `exec`. A coroutine calls `vfork` in a critical section, which the
//! child never leaves, and which the parent leaves when it comes back. So the child's calls pass, and the child cannot
//! park the coroutine on whose stack it runs.
//!
//! # Not kept
//! A tracer that waits for stops of its tracee by number, without WUNTRACED, is not woken by them. Tracing binds to an
//! OS thread anyway, so no coroutine can do it. The waits of `system` and of `popen`'s `pclose` are called inside the C
//! library, where no hook sees them: they block the worker.

use super::call::hooks;
use crate::coroutine::{Critical, Outcome, current_core};
use crate::driver::fd_table::{self, FdKind};
use crate::driver::readiness::Direction;
use crate::io::interruption::refused;
use crate::io::own::Own;
use crate::offload::{self, turns};
use crate::sys::raw::{self, Errno};
use crate::sys::{clock, process, socket};
use libc::{c_int, id_t, idtype_t, pid_t, rusage, siginfo_t};
use silken_interpose::next;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

/// Does in the child what is needed after a fork that ran no handlers.
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

/// Called after a system call that makes a child with its own memory, with its result, in parent or child.
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

/// Opens a descriptor of a process.
fn open_pidfd(pid: pid_t) -> Option<Own> {
    // SAFETY: S5: no memory.
    let fd = unsafe { raw::syscall2(libc::SYS_pidfd_open, pid as usize, 0) }.ok()?;
    Some(Own::new(fd as RawFd, FdKind::Pollable, false))
}

/// Parks until the process of a pidfd has ended, or until nothing more can be learnt in this way; in both cases the
/// caller asks again. `has_ended` is called after the look at the readiness. A descriptor that was never waited for
/// reports its state when it is registered, and needs no such question.
fn await_end(pid_fd: RawFd, pid: Option<pid_t>, mut has_ended: impl FnMut() -> bool) -> Result<(), Errno> {
    let Some(entry) = fd_table::entry(pid_fd) else {
        return Ok(());
    };
    let seen = entry.look(Direction::Read);
    if has_ended() {
        return Ok(());
    }
    let mut outcome = entry.readiness.wait(pid_fd, Direction::Read, seen, None);
    if outcome == Ok(Outcome::Cancelled) {
        let end_ns = clock::now_ns() + LAST_WAIT_NS;
        let copy_end_ns = clock::now_ns() + LAST_WAIT_FOR_COPY_NS;
        let is_copy = || clock::now_ns() < copy_end_ns && pid.is_some_and(process::runs_own_program);
        loop {
            // A new look is needed, since the registration has changed the word.
            let seen = entry.readiness.look(Direction::Read);
            if socket::events_now(pid_fd, libc::POLLIN) != 0 {
                return Ok(());
            }
            let until_ns = end_ns.max(clock::now_ns() + LAST_WAIT_NS / 10);
            outcome = entry
                .readiness
                .wait_to_stay(pid_fd, Direction::Read, seen, Some(until_ns));
            if outcome != Ok(Outcome::TimedOut) || !is_copy() {
                break;
            }
        }
    }
    match outcome {
        Ok(Outcome::Cancelled | Outcome::TimedOut) => Err(refused()),
        _ => Ok(()),
    }
}

/// How long an interrupted wait for a child goes on at most: see `interruption.rs`.
const LAST_WAIT_NS: u64 = 100_000_000;

/// The same for a child that has not executed a program yet. On a busy machine one that could not execute may take
/// longer to end.
const LAST_WAIT_FOR_COPY_NS: u64 = 10 * clock::NS_PER_SECOND;

/// The first word of this file's keys of `turns`. It is no command of fcntl, so it collides with no key of `file_lock`.
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
        await_end(pid_fd.fd(), Some(pid), || false)?;
        match ask(options | libc::WNOHANG) {
            Ok(0) => {}
            result => return result,
        }
    }
    // Callers that wait for any child wait for the same thing, and one thread is enough.
    let _turn = turns::take([OF_CHILDREN, pid as u64, options as u64, 0, 0, 0]);
    match ask(options | libc::WNOHANG) {
        Ok(0) => {}
        result => return result,
    }
    // SAFETY: S5: the caller's places; the caller waits until the call has ended.
    offload::try_wait_out(move || unsafe { wait4_in_kernel(pid, status, options, usage) })
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

/// Asks without waiting. `None` if nothing has happened.
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
    // The kernel writes to the caller's place, which may be a bad address; if nothing has happened it writes zeros.
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
    // A pidfd with O_NONBLOCK does not wait, and the kernel has a special answer for that.
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
                    await_end(pid_fd.fd(), Some(id as pid_t), || false)?;
                }
            }
            libc::P_PIDFD => await_end(id as RawFd, None, || {
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
    // SAFETY: S5: null or the caller's place; the caller waits until the call has ended.
    offload::try_wait_out(move || unsafe { waitid_in_kernel(id_type, id, place, options) })
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
