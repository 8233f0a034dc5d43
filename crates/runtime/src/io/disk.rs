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
//! | a read at an offset (`pread`, `preadv`, `preadv2` without flags) | it is tried with RWF_NOWAIT, which copies what is in the page cache. If a part is not there, io_uring or a thread makes the whole read, and the caller parks |
//! | a read at the file's own position | if its pages are in the page cache (`cachestat(2)`) it is made at once, else by a thread |
//! | `fsync`, `fdatasync` | io_uring or a thread makes it |
//! | other calls that write back: `syncfs`, `sync_file_range`, `msync`, `sync` | a thread makes it |
//!
//! A read of more than [`RING_BYTES_MAX`] has a thread too: io_uring copies in the worker's thread, which would be
//! long.
//!
//! Where the kernel does not tell what is in the page cache (before Linux 6.5, of files that the process may not write
//! and does not own, of procfs) a read at the file's own position is made plainly. The same holds for a file whose
//! data is in no cache or in that of another file (overlayfs, FUSE): that is known once a read has brought nothing in.
//! A wait here is not cancelled, as that of a thread is not: the memory is lent to the kernel until the call has ended.
//!
//! # Reads are whole, and of one file
//! A plain read of a regular file is short at the file's end only. A try at an offset may be short because the rest is
//! not in the page cache. So after a short try the rest is asked for; nothing means the file's end. Otherwise the read
//! is made anew, as a whole, by one call that waits: the number may be another file by now, and the two parts would
//! not fit together.
//!
//! A read at the file's own position is one call of the kernel, never two: others who share the open file would read
//! between the two, and both results would be torn. A file without a cache gives other data to the second call.
//!
//! # What still blocks
//! Opening, `stat`, directory listings, writes to a file when too much memory waits to be written, and page faults of
//! mapped files block the worker, and the monitor continues it on another thread.
//!
//! # Rejected
//! *Reading on the pool always*: most reads find their data in the page cache, and another thread costs ten times as
//! much as such a read. *RWF_NOWAIT at the file's own position*: a short try has moved the position already. *io_uring
//! at the file's own position*: it does not take the lock that keeps readers of a shared open file apart. *Bringing the
//! pages in by a read at an offset first*: a file without a cache (FUSE, a device's attribute) is then read twice, and
//! the first data are lost.

use super::files::elsewhere;
use super::parts::Parts;
use crate::driver::fd_table::{self, FdEntry, FdKind};
use crate::offload;
use crate::sys::file;
use crate::sys::raw::{self, Errno, repeat_interrupted};
use crate::sys::uring::RingOperation;
use crate::wait::ring;
use libc::{c_int, c_long, c_void, iovec};

/// The most bytes that io_uring reads at once: it copies them in the worker's thread.
const RING_BYTES_MAX: usize = 128 << 10;

/// The most bytes that one call moves (MAX_RW_COUNT).
const BYTES_MAX: usize = 0x7fff_f000;

/// Reads from a regular file at its own position. `read` is the caller's call.
pub(crate) fn read_here(
    fd: c_int,
    entry: &FdEntry,
    bytes: usize,
    read: impl Fn() -> Result<usize, Errno> + Copy + Send + 'static,
) -> Result<usize, Errno> {
    if bytes == 0 || bytes > BYTES_MAX || !entry.tells_what_is_cached() {
        return repeat_interrupted(read);
    }
    match missing_here(fd, bytes) {
        Ok(None) => repeat_interrupted(read),
        Ok(Some(range)) => {
            let result = offload::wait_out(read);
            // What was read just now is in no cache, or in that of another file: nothing is told about this one.
            if matches!(file::missing_pages(fd, range), Ok((missing, pages)) if missing == pages)
                && !file::is_direct(fd)
            {
                entry.set_untold();
            }
            result
        }
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

/// Reads at an offset, some of which is not in the page cache: by one call, so that all of it is of one file.
///
/// # Safety
/// S5: the caller lends the parts.
#[cold]
unsafe fn read_missing(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: i64,
    bytes: usize,
) -> Result<usize, Errno> {
    if bytes <= RING_BYTES_MAX {
        let operation = RingOperation::read(fd, parts, count, offset as u64);
        // SAFETY: S5: the caller lends the parts, and waits until the call has ended.
        if let Some(result) = unsafe { ring::call(&operation) } {
            return result;
        }
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
    let total = rest.total();
    if total == 0 || total > BYTES_MAX {
        return repeat_interrupted(plain);
    }
    // SAFETY: S5: the caller lends the parts, or a tail of them.
    let now = |parts, count, at| unsafe { file::preadv2(fd, parts, count, at, libc::RWF_NOWAIT) };
    match now(parts, count, offset) {
        Ok(done) if done == total || done == 0 => Ok(done),
        Ok(done) => {
            // The file's end, or a page that is not there.
            let (tail, tail_count) = rest.from(done);
            match now(
                tail.cast_const(),
                tail_count as c_int,
                offset.saturating_add(done as i64),
            ) {
                Ok(0) => Ok(done),
                // SAFETY: S5: the caller lends the parts.
                _ => unsafe { read_missing(fd, parts, count, offset, total) },
            }
        }
        // SAFETY: S5: the caller lends the parts.
        Err(Errno::AGAIN) => unsafe { read_missing(fd, parts, count, offset, total) },
        Err(Errno::OPNOTSUPP) => {
            entry.set_no_nowait();
            repeat_interrupted(plain)
        }
        // Either the kernel does not know the flag, or the caller has made a mistake: the plain call tells.
        Err(_) => repeat_interrupted(plain),
    }
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
