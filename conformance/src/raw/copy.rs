//! The calls that move bytes inside the kernel, and reads and writes that name a place.

use super::check;
use libc::{c_int, c_uint};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::RawFd;
use std::ptr;

fn place(offset: Option<&mut i64>) -> *mut i64 {
    offset.map_or(ptr::null_mut(), ptr::from_mut)
}

/// A descriptor, and the place there if it is not the descriptor's own.
pub type End<'a> = (RawFd, Option<&'a mut i64>);

/// splice(2)
pub fn splice(from: End<'_>, to: End<'_>, length: usize, flags: c_uint) -> io::Result<usize> {
    let (from_place, to_place) = (place(from.1), place(to.1));
    // SAFETY: S5: the offsets are lent for the call.
    check(unsafe { libc::splice(from.0, from_place, to.0, to_place, length, flags) })
}

/// tee(2)
pub fn tee(from: RawFd, to: RawFd, length: usize, flags: c_uint) -> io::Result<usize> {
    // SAFETY: S7: integer arguments.
    check(unsafe { libc::tee(from, to, length, flags) })
}

/// vmsplice(2) into a pipe, of memory that nobody changes.
pub fn vmsplice(pipe: RawFd, slices: &[IoSlice<'static>], flags: c_uint) -> io::Result<usize> {
    // SAFETY: S5: IoSlice has the layout of iovec, and what the slices name is there for ever.
    check(unsafe { libc::vmsplice(pipe, slices.as_ptr().cast(), slices.len(), flags) })
}

/// vmsplice(2) out of a pipe.
pub fn vmsplice_out(pipe: RawFd, slices: &mut [IoSliceMut<'_>], flags: c_uint) -> io::Result<usize> {
    // SAFETY: S5: IoSliceMut has the layout of iovec, and out of a pipe the bytes are copied during the call.
    check(unsafe { libc::vmsplice(pipe, slices.as_mut_ptr().cast(), slices.len(), flags) })
}

/// sendfile(2)
pub fn sendfile(to: RawFd, from: End<'_>, length: usize) -> io::Result<usize> {
    // SAFETY: S5: the offset is lent for the call.
    check(unsafe { libc::sendfile(to, from.0, place(from.1), length) })
}

/// copy_file_range(2)
pub fn copy_file_range(from: End<'_>, to: End<'_>, length: usize) -> io::Result<usize> {
    let (from_place, to_place) = (place(from.1), place(to.1));
    // SAFETY: S5: the offsets are lent for the call.
    check(unsafe { libc::copy_file_range(from.0, from_place, to.0, to_place, length, 0) })
}

/// preadv2(2)
pub fn preadv2(fd: RawFd, slices: &mut [IoSliceMut<'_>], offset: i64, flags: c_int) -> io::Result<usize> {
    let count = slices.len() as c_int;
    // SAFETY: S5: IoSliceMut has the layout of iovec, and the slices are lent for the call.
    check(unsafe { libc::preadv2(fd, slices.as_mut_ptr().cast(), count, offset, flags) })
}

/// pwritev2(2)
pub fn pwritev2(fd: RawFd, slices: &[IoSlice<'_>], offset: i64, flags: c_int) -> io::Result<usize> {
    let count = slices.len() as c_int;
    // SAFETY: S5: IoSlice has the layout of iovec, and the slices are lent for the call.
    check(unsafe { libc::pwritev2(fd, slices.as_ptr().cast(), count, offset, flags) })
}
