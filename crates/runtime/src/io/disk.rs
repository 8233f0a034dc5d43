//! What do the calls do that may wait for a disk?
//!
//! # Protocol
//! Of a call on a regular file nobody can be told when it could go on, so the caller cannot wait for an event. Two
//! kinds of calls are known to wait, and hand the waiting over at once, instead of blocking the worker until the
//! monitor notices (`sched/monitor.rs`). The kernel makes them asynchronously, by io_uring (`wait/ring.rs`), or *a
//! thread* of the offload pool does, where there is no io_uring:
//!
//! | call | what is done |
//! |---|---|
//! | a read at an offset (`pread`, `preadv`, `preadv2` without flags) | it is tried with RWF_NOWAIT, which copies what is in the page cache. What is not there io_uring or a thread reads, and the caller parks |
//! | a read at the file's own position | if some of its pages are not in the page cache (`cachestat(2)`), io_uring brings them in by a read at that offset. Then the read is made. Where io_uring does not bring them, and for O_DIRECT, a thread makes the read |
//! | `fsync`, `fdatasync` | io_uring or a thread makes it |
//! | other calls that write back: `syncfs`, `sync_file_range`, `msync`, `sync` | a thread makes it |
//!
//! Where the kernel does not tell what is in the page cache (before Linux 6.5, of files that the process may not write
//! and does not own, of procfs) a read at the file's own position is made plainly. The same holds for a file whose data
//! is in the cache of another one (overlayfs, FUSE): that is known once a read has brought nothing in. A wait here is
//! not cancelled, as that of a thread is not: the memory is lent to the kernel until the call has ended.
//!
//! # Reads are whole
//! A plain read of a regular file is short at the file's end only. A try at an offset may be short because the rest is
//! not in memory. So after a short try the rest is tried again. A result of zero means the file's end. An error after
//! some bytes is not reported: the next call finds it, as the kernel's own would.
//!
//! A read at the file's own position is one call of the kernel, never two: others who share the open file would read
//! between the two, and both results would be torn. So io_uring's read only brings the pages in, at an offset. It fills
//! the caller's buffer with what the one call then copies there again; a copy costs much less than another thread. If
//! another reader moves the position meanwhile, the call may block, and the buffer may have been written beyond the
//! count that it returns.
//!
//! # What still blocks
//! Opening, `stat`, directory listings, writes to a file when too much memory waits to be written, and page faults of
//! mapped files block the worker, and the monitor continues it on another thread.
//!
//! # Rejected
//! *Reading on the pool always*: most reads find their data in memory, and another thread costs ten times as much as
//! such a read. *RWF_NOWAIT at the file's own position*: a short try has moved the position already. *io_uring at the
//! file's own position*: it does not take the lock that keeps readers of a shared open file apart.

use super::files::elsewhere;
use super::parts::Parts;
use crate::driver::fd_table::{self, FdEntry, FdKind};
use crate::offload;
use crate::sys::file;
use crate::sys::raw::{self, Errno, repeat_interrupted};
use crate::sys::uring::RingOperation;
use crate::wait::ring;
use libc::{c_int, c_long, c_void, iovec};

/// The most bytes that one call moves (MAX_RW_COUNT).
const BYTES_MAX: usize = 0x7fff_f000;

/// Reads from a regular file at its own position. `read` is the caller's call, which fills `bytes` bytes of the parts.
///
/// # Safety
/// S5: the caller lends the parts.
pub(crate) unsafe fn read_here(
    fd: c_int,
    entry: &FdEntry,
    parts: *const iovec,
    count: c_int,
    bytes: usize,
    read: impl Fn() -> Result<usize, Errno> + Copy + Send + 'static,
) -> Result<usize, Errno> {
    if bytes == 0 || bytes > BYTES_MAX || !entry.tells_what_is_cached() {
        return repeat_interrupted(read);
    }
    match missing_here(fd, bytes) {
        Ok(None) => repeat_interrupted(read),
        // SAFETY: S5: the caller lends the parts.
        Ok(Some(range)) => unsafe { read_missing_here(fd, entry, parts, count, range, read) },
        Err(_) => {
            entry.set_untold();
            repeat_interrupted(read)
        }
    }
}

/// The range (offset and length) of a read at the file's own position, if some of it is missing in the page cache.
fn missing_here(fd: c_int, bytes: usize) -> Result<Option<[u64; 2]>, Errno> {
    let (position, bytes) = (file::position(fd)?, bytes as u64);
    // As a rule all of it is there, and the file's size is not asked for.
    if file::missing_pages(fd, [position, bytes])?.0 == 0 {
        return Ok(None);
    }
    let range = [position, bytes.min(file::size(fd)?.saturating_sub(position))];
    Ok((file::missing_pages(fd, range)?.0 > 0).then_some(range))
}

/// Makes a read at the file's own position that finds some of its range missing in the page cache.
///
/// # Safety
/// S5: the caller lends the parts.
#[cold]
unsafe fn read_missing_here(
    fd: c_int,
    entry: &FdEntry,
    parts: *const iovec,
    count: c_int,
    range: [u64; 2],
    read: impl Fn() -> Result<usize, Errno> + Copy + Send + 'static,
) -> Result<usize, Errno> {
    if file::is_direct(fd) {
        return offload::wait_out(read);
    }
    // SAFETY: S5: the caller lends the parts.
    let result = match unsafe { bring_in(fd, parts, count, range[0]) } {
        true => repeat_interrupted(read),
        false => offload::wait_out(read),
    };
    // What was read just now is in some other cache, so the kernel tells nothing about this file.
    if matches!(file::missing_pages(fd, range), Ok((missing, pages)) if missing == pages) {
        entry.set_untold();
    }
    result
}

/// Has the kernel bring in what a read at the file's own position will copy; returns whether it has done so.
///
/// # Safety
/// S5: the caller lends the parts.
#[cold]
unsafe fn bring_in(fd: c_int, parts: *const iovec, count: c_int, position: u64) -> bool {
    // SAFETY: S5: the caller lends the parts, and waits until the call has ended.
    let read = unsafe { ring::call(&RingOperation::read(fd, parts, count, position)) };
    matches!(read, Some(Ok(_)))
}

/// Reads at an offset what is not in memory.
///
/// # Safety
/// S5: the caller lends the parts.
#[cold]
unsafe fn read_missing(fd: c_int, parts: *const iovec, count: c_int, offset: i64) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the parts, and waits until the call has ended.
    if let Some(result) = unsafe { ring::call(&RingOperation::read(fd, parts, count, offset as u64)) } {
        return result;
    }
    // SAFETY: S5: the caller lends the parts, and waits until the call has ended.
    elsewhere(parts, move |parts| unsafe {
        file::preadv2(fd, parts, count, offset, 0)
    })
}

/// Reads from a regular file at an offset. `plain` is the caller's call.
///
/// # Safety
/// S5, S7: the contract of preadv.
unsafe fn read_file_at(
    fd: c_int,
    entry: &FdEntry,
    parts: *const iovec,
    count: c_int,
    offset: i64,
    plain: impl Fn() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if !entry.knows_nowait() {
        return repeat_interrupted(plain);
    }
    // SAFETY: S5: the caller lends the parts.
    let Some(mut rest) = (unsafe { Parts::new(parts, count as usize) }) else {
        return repeat_interrupted(plain);
    };
    if rest.total() == 0 || rest.total() > BYTES_MAX {
        return repeat_interrupted(plain);
    }
    let mut done = 0;
    while done < rest.total() {
        let (tail, count) = rest.from(done);
        let (tail, count) = (tail.cast_const(), count as c_int);
        let at = offset.saturating_add(done as i64);
        // SAFETY: S5: a tail of what the caller lends.
        match unsafe { file::preadv2(fd, tail, count, at, libc::RWF_NOWAIT) } {
            Ok(0) => return Ok(done),
            Ok(more) => done += more,
            // SAFETY: S5: a tail of what the caller lends.
            Err(Errno::AGAIN) => match unsafe { read_missing(fd, tail, count, at) } {
                Ok(0) => return Ok(done),
                Ok(more) => done += more,
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno),
            },
            Err(_) if done > 0 => return Ok(done),
            Err(Errno::OPNOTSUPP) => {
                entry.set_no_nowait();
                return repeat_interrupted(plain);
            }
            // Either the kernel does not know the flag, or the caller has made a mistake: the plain call tells.
            Err(_) => return repeat_interrupted(plain),
        }
    }
    Ok(done)
}

/// Reads at an offset. Files that are no regular ones refuse that, or do not wait.
///
/// # Safety
/// S5, S7: the contract of preadv.
unsafe fn read_at(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: i64,
    plain: impl Fn() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    match fd_table::entry(fd) {
        // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
        Some(entry) if offset >= 0 && entry.kind(fd) == FdKind::Plain => unsafe {
            read_file_at(fd, entry, parts, count, offset, plain)
        },
        _ => plain(),
    }
}

/// # Safety
/// S5, S7: the contract of preadv.
pub(crate) unsafe fn read_parts_at(fd: c_int, parts: *const iovec, count: c_int, offset: i64) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the parts.
    let plain = || unsafe { file::preadv(fd, parts, count, offset) };
    // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
    unsafe { read_at(fd, parts, count, offset, plain) }
}

/// # Safety
/// S5, S7: the contract of pread.
pub(crate) unsafe fn read_buffer_at(fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> Result<usize, Errno> {
    let part = iovec {
        iov_base: buffer,
        iov_len: bytes,
    };
    // SAFETY: S5: the caller lends the buffer.
    let plain = || unsafe { file::pread(fd, buffer, bytes, offset) };
    // SAFETY: S5: one part, which is the buffer that the caller lends.
    unsafe { read_at(fd, &raw const part, 1, offset, plain) }
}

/// Makes a call that writes one file back.
///
/// # Safety
/// S5: `number` is that of fsync or fdatasync.
pub(crate) unsafe fn write_back_file(number: c_long, fd: c_int) -> Result<usize, Errno> {
    let operation = RingOperation::write_back(fd, number == libc::SYS_fdatasync);
    // SAFETY: S5: names no memory.
    if let Some(result) = unsafe { ring::call(&operation) } {
        return result;
    }
    // SAFETY: S5: the caller's promise; names no memory.
    unsafe { write_back(number, [fd as usize, 0, 0, 0]) }
}

/// Makes a call that writes back, on a thread of the offload pool.
///
/// # Safety
/// S5: the call touches no memory but what the caller lends until it has ended.
pub(crate) unsafe fn write_back(number: c_long, arguments: [usize; 4]) -> Result<usize, Errno> {
    let [a, b, c, d] = arguments;
    // SAFETY: S5: the caller's promise.
    offload::wait_out(move || unsafe { raw::syscall4(number, a, b, c, d) })
}
