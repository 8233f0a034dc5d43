//! How does a coroutine open a FIFO, which waits until the other end is opened too?
//!
//! Only the open itself tells when the other end has come: a FIFO that was opened without a wait does not show whether
//! it has a writer yet. So the open is made on a thread of the offload pool. Before each open in blocking mode the hook
//! asks whether the file is a FIFO. That costs a look-up of the path (`newfstatat`), which the open then finds in the
//! kernel's cache. If another file takes the name in between, that file is opened, and the worker waits.
//!
//! The hook does not ask with O_RDWR, which does not wait on Linux, nor with O_NONBLOCK, O_PATH and O_DIRECTORY.
//! Devices that wait for a carrier block the worker.
//!
//! The calls that come here are cancellation points of threads, so nothing here may panic on an OS thread (`makers`).

use super::call::set_errno;
use super::call::{answer, caller, errno};
use crate::offload;
use crate::sys::file;
use crate::sys::raw;
use libc::{FILE, c_char, c_int};
use std::os::fd::RawFd;
use std::ptr;

/// Flags with which an open does not wait.
const AT_ONCE: c_int = libc::O_NONBLOCK | libc::O_PATH | libc::O_DIRECTORY;

/// Whether the open would wait on a coroutine.
///
/// # Safety
/// S7: the path is the caller's.
#[inline(never)]
pub(super) unsafe extern "C" fn waits(directory: RawFd, path: *const c_char, flags: c_int) -> bool {
    // A new file is no FIFO.
    let is_new = flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
    if flags & AT_ONCE != 0 || flags & libc::O_ACCMODE == libc::O_RDWR || is_new || caller().is_none() {
        return false;
    }
    let links = if flags & libc::O_NOFOLLOW != 0 {
        libc::AT_SYMLINK_NOFOLLOW
    } else {
        0
    };
    // SAFETY: S7: the caller promises: the path is the caller's.
    unsafe { file::is_fifo(directory, path, links) }
}

/// Opens the FIFO, which exists.
///
/// # Safety
/// S5: the path is the caller's; the caller waits until this returns; on a coroutine.
#[cold]
#[inline(never)]
pub(super) unsafe extern "C" fn open(directory: RawFd, path: *const c_char, flags: c_int) -> c_int {
    let path = path.expose_provenance();
    // If the FIFO has gone meanwhile, no file is to be made in its place: there is no mode for it.
    let flags = flags & !libc::O_CREAT;
    answer(offload::try_wait_out(move || {
        // SAFETY: S5: the caller promises: the path is the caller's; the caller waits until this returns.
        unsafe { raw::syscall4(libc::SYS_openat, directory as usize, path, flags as usize, 0) }
    })) as c_int
}

/// Whether the open of a stream would wait on a coroutine. The mode is `"r"` or `"w"` or `"a"`, and `+` for both
/// directions.
///
/// # Safety
/// S7: both texts are the caller's.
#[inline(never)]
pub(super) unsafe extern "C" fn stream_waits(path: *const c_char, mode: *const c_char) -> bool {
    if caller().is_none() {
        return false;
    }
    // SAFETY: S7: the caller's text, which the C function reads as well.
    let mode = unsafe { std::ffi::CStr::from_ptr(mode) }.to_bytes();
    let flags = match mode {
        mode if mode.contains(&b'+') => libc::O_RDWR,
        [b'r', ..] => libc::O_RDONLY,
        _ => libc::O_WRONLY,
    };
    // SAFETY: S7: the caller promises: both texts are the caller's.
    unsafe { waits(libc::AT_FDCWD, path, flags) }
}

/// Makes the C library's call on a thread of the offload pool.
///
/// # Safety
/// S5: both texts are the caller's; the caller waits until this returns; on a coroutine.
#[cold]
#[inline(never)]
pub(super) unsafe fn open_stream(
    call: unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE,
    path: *const c_char,
    mode: *const c_char,
) -> *mut FILE {
    let texts = [path, mode].map(<*const c_char>::expose_provenance);
    let (stream, number) = offload::wait_or((0, libc::ENOMEM), move || {
        let [path, mode] = texts.map(ptr::with_exposed_provenance);
        // SAFETY: S5: the caller promises: both texts are the caller's; the caller waits until this returns.
        let stream = unsafe { call(path, mode) };
        (stream.expose_provenance(), errno())
    });
    if stream == 0 {
        set_errno(number);
    }
    ptr::with_exposed_provenance_mut(stream)
}
