//! How does a coroutine wait for a lock on a file: `flock`, and `fcntl` with `F_SETLKW` and `F_OFD_SETLKW`?
//!
//! The kernel wakes only threads that are blocked on such a lock. So the hook tries without waiting, and if the lock is
//! held it waits on a thread of the offload pool. These locks belong to an open file description or to the process,
//! never to a thread, so it does not matter which thread asks. The kernel's deadlock check of record locks still knows
//! the owner. Releasing a lock needs no thread of the pool.
//!
//! Callers that want the same lock (mode and range) of the same file wait for each other before they wait for the lock
//! (`offload::turns`), so one thread is enough for all of them. None of them could have the lock before the first of
//! them, and when the first gets a shared lock, the others get it at once. (A `flock` gives up what it holds before it
//! waits, and record locks belong to the process. A caller that waits for a lock of a description may hold another on
//! the same file, so there only callers with the same descriptor wait for each other.)
//!
//! The wait cannot be cancelled. `lockf` calls its fcntl inside the C library, and blocks the worker.

use super::call::{answer, caller};
use crate::offload::{self, turns};
use crate::sys::file;
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

/// Takes a record lock on a coroutine: tries with `at_once`, else waits with `command`.
///
/// # Safety
/// S5, S7: `lock` is the argument of the caller of fcntl.
pub(super) unsafe fn lock_record(fd: c_int, command: c_int, at_once: c_int, lock: usize) -> Result<usize, Errno> {
    let call = move |command: c_int| {
        // SAFETY: S5: the caller lends the lock, and waits until the call has ended.
        unsafe { raw::syscall3(libc::SYS_fcntl, fd as usize, command as usize, lock) }
    };
    let is_held = |result: &Result<usize, Errno>| matches!(result, Err(Errno::AGAIN | Errno(libc::EACCES)));
    let tried = call(at_once);
    if !is_held(&tried) {
        return tried;
    }
    // SAFETY: S5: the kernel has just read it there.
    let wanted = unsafe { std::ptr::with_exposed_provenance::<libc::flock>(lock).read_unaligned() };
    // A range that is not counted from the file's start may be another range for the next caller, so it has no key.
    let file = (c_int::from(wanted.l_whence) == libc::SEEK_SET).then(|| file::id(fd).ok());
    let turn = file.flatten().map(|[device, number]| {
        let range = [wanted.l_start as u64, wanted.l_len as u64];
        // A lock of a description may be held by another description of this process, whose next call would have to
        // wait behind the caller that waits for its lock.
        let owner = if command == libc::F_OFD_SETLKW { fd as u64 } else { 0 };
        turns::take([
            command as u64 | owner << 32,
            wanted.l_type as u64,
            device,
            number,
            range[0],
            range[1],
        ])
    });
    if turn.is_some() {
        let tried = call(at_once);
        if !is_held(&tried) {
            return tried;
        }
    }
    offload::try_wait_out(move || call(command))
}

fn flock_on_coroutine(fd: c_int, operation: c_int) -> Result<usize, Errno> {
    let call = move |operation: c_int| {
        // SAFETY: S5: no memory.
        unsafe { raw::syscall2(libc::SYS_flock, fd as usize, operation as usize) }
    };
    let at_once = operation | libc::LOCK_NB;
    match call(at_once) {
        Err(Errno::AGAIN) if operation != at_once => {}
        result => return result,
    }
    let [device, number] = file::id(fd)?;
    // The first word is no command of fcntl.
    let _turn = turns::take([u64::MAX, operation as u64, device, number, 0, 0]);
    match call(at_once) {
        Err(Errno::AGAIN) => offload::try_wait_out(move || call(operation)),
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
