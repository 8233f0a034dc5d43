//! Locks on files: `flock`, and `fcntl` with `F_SETLKW` and `F_OFD_SETLKW`.
//!
//! The kernel tells nobody when such a lock becomes free but who waits for it. So: try without waiting, and if another holds it wait on a thread of the offload
//! pool. These locks belong to an open file description or to the process, never to a thread, so it does not matter which one asks, and
//! the kernel's deadlock check of record locks still knows whom it deals with. Releasing a lock needs no thread of the pool.
//!
//! The wait cannot be cancelled. `lockf` calls its fcntl inside the C library, and blocks the worker.

use super::errno::{answer, caller};
use crate::offload;
use crate::sys::raw::{self, Errno};
use libc::c_int;
use silken_interpose::next;

/// The form of a locking command that does not wait.
pub(super) fn at_once(command: c_int) -> Option<c_int> {
    match command {
        libc::F_SETLKW => Some(libc::F_SETLK),
        libc::F_OFD_SETLKW => Some(libc::F_OFD_SETLK),
        _ => None,
    }
}

/// A record lock, on a coroutine: tried with `at_once`, else waited for with `command`.
///
/// # Safety
/// S5, S7: `lock` is the argument of the caller of fcntl.
pub(super) unsafe fn lock_record(fd: c_int, command: c_int, at_once: c_int, lock: usize) -> Result<usize, Errno> {
    let call = move |command: c_int| {
        // SAFETY: S5: the caller lends the lock, and waits until the call has ended.
        unsafe { raw::syscall3(libc::SYS_fcntl, fd as usize, command as usize, lock) }
    };
    match call(at_once) {
        Err(Errno::AGAIN | Errno(libc::EACCES)) => offload::run(move || call(command)),
        result => result,
    }
}

fn flock_on_coroutine(fd: c_int, operation: c_int) -> Result<usize, Errno> {
    let call = move |operation: c_int| {
        // SAFETY: S5: no memory.
        unsafe { raw::syscall2(libc::SYS_flock, fd as usize, operation as usize) }
    };
    match call(operation | libc::LOCK_NB) {
        Err(Errno::AGAIN) if operation & libc::LOCK_NB == 0 => offload::run(move || call(operation)),
        result => result,
    }
}

/// `flock(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn flock(fd: c_int, operation: c_int) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::flock(fd, operation) };
    }
    answer(flock_on_coroutine(fd, operation)) as c_int
}
