//! The calls of silken's own files (`fs`): slices and std's errors, instead of C's pointers and numbers.
//!
//! On a coroutine of either kind they wait as the hooks do (`io/disk.rs`). On an OS thread, and in the runtime's
//! critical sections, they are the plain calls of the kernel, which block. Neither needs the hooks.

use super::caller::caller;
use super::{disk, read, read_parts, write, write_parts};
use crate::coroutine::budget;
use crate::sys::file;
use crate::sys::raw::{Errno, repeat_interrupted};
use libc::{c_int, c_long, c_void, iovec};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most parts that the kernel takes at once (IOV_MAX).
const PARTS_MAX: usize = 1024;

/// Makes the call that parks on a coroutine, and the plain call elsewhere. Counts as a call of the budget.
#[inline]
fn by_caller(
    parks: impl FnOnce() -> Result<usize, Errno>,
    plain: impl FnMut() -> Result<usize, Errno>,
) -> io::Result<usize> {
    let result = if caller().is_some() {
        budget::spend();
        parks()
    } else {
        repeat_interrupted(plain)
    };
    result.map_err(io::Error::from)
}

/// Reads at the file's own position.
pub(crate) fn read_into(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (fd, place, bytes) = (fd.as_raw_fd(), buffer.as_mut_ptr().cast::<c_void>(), buffer.len());
    // SAFETY: S5: the caller's slice, for both.
    by_caller(
        || unsafe { read(fd, place, bytes) },
        || unsafe { file::read(fd, place, bytes) },
    )
}

/// Writes at the file's own position.
pub(crate) fn write_from(fd: BorrowedFd<'_>, buffer: &[u8]) -> io::Result<usize> {
    let (fd, place, bytes) = (fd.as_raw_fd(), buffer.as_ptr().cast::<c_void>(), buffer.len());
    // SAFETY: S5: the caller's slice, for both.
    by_caller(
        || unsafe { write(fd, place, bytes) },
        || unsafe { file::write(fd, place, bytes) },
    )
}

/// Reads into the buffers, one after the other.
pub(crate) fn read_into_all(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let count = buffers.len().min(PARTS_MAX) as c_int;
    // An `IoSliceMut` has the layout of an iovec.
    let (fd, list) = (fd.as_raw_fd(), buffers.as_ptr().cast::<iovec>());
    // SAFETY: S5: the caller's slices, for both.
    by_caller(
        || unsafe { read_parts(fd, list, count) },
        || unsafe { file::readv(fd, list, count) },
    )
}

/// Writes the buffers, one after the other.
pub(crate) fn write_from_all(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = buffers.len().min(PARTS_MAX) as c_int;
    // An `IoSlice` has the layout of an iovec.
    let (fd, list) = (fd.as_raw_fd(), buffers.as_ptr().cast::<iovec>());
    // SAFETY: S5: the caller's slices, for both.
    by_caller(
        || unsafe { write_parts(fd, list, count) },
        || unsafe { file::writev(fd, list, count) },
    )
}

/// Reads at an offset.
pub(crate) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let (fd, place, bytes) = (fd.as_raw_fd(), buffer.as_mut_ptr().cast::<c_void>(), buffer.len());
    let offset = signed(offset)?;
    by_caller(
        // SAFETY: S5: the caller's slice.
        || unsafe { disk::read_buffer_at(fd, place, bytes, offset) },
        // SAFETY: S5: the caller's slice.
        || unsafe { file::pread(fd, place, bytes, offset) },
    )
}

/// Writes at an offset.
pub(crate) fn write_at(fd: BorrowedFd<'_>, buffer: &[u8], offset: u64) -> io::Result<usize> {
    let (fd, place, bytes) = (fd.as_raw_fd(), buffer.as_ptr().cast::<c_void>(), buffer.len());
    let offset = signed(offset)?;
    // SAFETY: S5: the caller's slice.
    let plain = || unsafe { file::pwrite(fd, place, bytes, offset) };
    by_caller(|| repeat_interrupted(plain), plain)
}

/// Writes the file back: all of it, or its data and what is needed to find it.
pub(crate) fn sync(fd: BorrowedFd<'_>, data_only: bool) -> io::Result<()> {
    let number: c_long = if data_only {
        libc::SYS_fdatasync
    } else {
        libc::SYS_fsync
    };
    let fd = fd.as_raw_fd();
    // SAFETY: S5: one of the two numbers.
    let parks = || unsafe { disk::write_back_file(number, fd) };
    by_caller(parks, || file::sync(fd, data_only)).map(drop)
}

fn signed(offset: u64) -> io::Result<i64> {
    // What the kernel says of a negative offset, which is what so large a number is to it.
    i64::try_from(offset).map_err(|_| io::Error::from(Errno::INVAL))
}
