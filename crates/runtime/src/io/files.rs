//! How is one try made on a pollable file that is no socket, such as a pipe, a terminal or an eventfd?
//!
//! The try uses RWF_NOWAIT if the file knows it. Otherwise it is `poll(0)` and the plain call, which is sound where
//! poll tells what the call would do. In three cases poll does not tell: for a write to a terminal (there is some room,
//! but not known how much), for an eventfd that is to be raised by more than one, and for a read of a terminal that
//! counts bytes or measures time (VMIN, VTIME). These calls are made on a thread of the offload pool.

use super::memory::faults;
use crate::driver::fd_table::FdEntry;
use crate::driver::readiness::Direction;
use crate::offload;
use crate::sys::raw::Errno;
use crate::sys::{file, socket};
use libc::{c_int, iovec};
use std::ptr;

/// Makes one call on a pollable file that is no socket. `elsewhere` makes it on a thread that may wait.
#[inline]
pub(crate) fn file_now(
    fd: c_int,
    entry: &FdEntry,
    direction: Direction,
    nowait: impl FnOnce() -> Result<usize, Errno>,
    plain: impl FnOnce() -> Result<usize, Errno>,
    elsewhere: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if entry.knows_nowait() {
        match nowait() {
            Err(Errno::OPNOTSUPP) => entry.set_no_nowait(),
            // Either the kernel does not know the flag, or the caller has made a mistake: the plain call tells.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            result => return result,
        }
    }
    // With O_NONBLOCK the call does not wait. Poll would know less: it does not tell of a FIFO that has no writer yet.
    if !entry.blocks(fd) {
        return plain();
    }
    if direction == Direction::Read && file::is_untold_terminal(fd) {
        return elsewhere();
    }
    match socket::events_now(fd, direction.poll_event()) {
        0 => Err(Errno::AGAIN),
        _ => plain(),
    }
}

/// Makes a vectored call on a thread of the offload pool.
#[cold]
pub(crate) fn elsewhere(
    parts: *const iovec,
    mut call: impl FnMut(*const iovec) -> Result<usize, Errno> + Send + 'static,
) -> Result<usize, Errno> {
    let parts = parts.expose_provenance();
    offload::try_wait_out(move || call(ptr::with_exposed_provenance(parts)))
}

/// Whether this may be a write to an eventfd whose counter has no room for the value.
///
/// # Safety
/// S5, S7: the contract of writev.
unsafe fn adds_more_than_one(fd: c_int, parts: *const iovec, count: c_int) -> bool {
    if count != 1 || file::file_kind(fd) != Ok(file::FileKind::AnonInode) {
        return false;
    }
    // SAFETY: S5: one part, which was looked at.
    let part = unsafe { parts.read() };
    // SAFETY: S7: on a coroutine the fault handler is in place.
    part.iov_len == size_of::<u64>()
        && !unsafe { faults(part.iov_base.cast_const().cast::<u64>(), 1) }
        // SAFETY: S5: lent, and readable.
        && unsafe { part.iov_base.cast::<u64>().read_unaligned() } != 1
}

/// Writes to a file that has some room, but not known how much. A write that may have to wait until all fits (to a
/// terminal, or of more than one to an eventfd) is made on a thread of the offload pool.
///
/// # Safety
/// S5, S7: the contract of writev.
pub(crate) unsafe fn write_when_ready(
    fd: c_int,
    entry: &FdEntry,
    parts: *const iovec,
    count: c_int,
) -> Result<usize, Errno> {
    // An eventfd that is ready has room for the value one.
    // SAFETY: S5: the caller lends the parts.
    let fits = || !file::is_terminal(fd) && !unsafe { adds_more_than_one(fd, parts, count) };
    if !entry.blocks(fd) || fits() {
        // SAFETY: S5: the caller lends the parts.
        return unsafe { file::writev(fd, parts, count) };
    }
    // SAFETY: S5: the caller lends the parts, and waits until the call has ended.
    elsewhere(parts, move |parts| unsafe { file::writev(fd, parts, count) })
}
