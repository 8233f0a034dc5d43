//! Which symbols may wait for a disk? `io::disk` says how they wait.

use super::call::{caller, hooks};
use crate::io::disk;
use libc::{c_int, c_uint, c_void, iovec, off_t, size_t, ssize_t};
use silken_interpose::next;

hooks! {
    /// `pread(2)`.
    fn pread(fd: c_int, buffer: *mut c_void, bytes: size_t, offset: off_t) -> ssize_t {
        disk::read_buffer_at(fd, buffer, bytes, offset)
    }
    /// `pread64(2)`: the same where `off_t` has 64 bits.
    fn pread64(fd: c_int, buffer: *mut c_void, bytes: size_t, offset: i64) -> ssize_t {
        disk::read_buffer_at(fd, buffer, bytes, offset)
    }
    /// `preadv(2)`.
    fn preadv(fd: c_int, parts: *const iovec, part_count: c_int, offset: off_t) -> ssize_t {
        disk::read_parts_at(fd, parts, part_count, offset)
    }
    /// `preadv64(3)`: the same where `off_t` has 64 bits.
    fn preadv64(fd: c_int, parts: *const iovec, part_count: c_int, offset: i64) -> ssize_t {
        disk::read_parts_at(fd, parts, part_count, offset)
    }
    /// `fsync(2)`.
    fn fsync(fd: c_int) -> c_int { disk::write_back_file(libc::SYS_fsync, fd) }
    /// `fdatasync(2)`.
    fn fdatasync(fd: c_int) -> c_int { disk::write_back_file(libc::SYS_fdatasync, fd) }
    /// `syncfs(2)`.
    fn syncfs(fd: c_int) -> c_int { disk::write_back(libc::SYS_syncfs, [fd as usize, 0, 0, 0]) }
    /// `sync_file_range(2)`.
    fn sync_file_range(fd: c_int, offset: i64, bytes: i64, flags: c_uint) -> c_int {
        disk::write_back(libc::SYS_sync_file_range, [fd as usize, offset as usize, bytes as usize, flags as usize])
    }
    /// `msync(2)`.
    fn msync(address: *mut c_void, bytes: size_t, flags: c_int) -> c_int {
        disk::write_back(libc::SYS_msync, [address.expose_provenance(), bytes, flags as usize, 0])
    }
}

/// `sync(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn sync() {
    if caller().is_none() {
        // SAFETY: S7: the caller's call.
        return unsafe { next::sync() };
    }
    // It cannot fail.
    // SAFETY: S5: no memory.
    let _ = unsafe { disk::write_back(libc::SYS_sync, [0; 4]) };
}
