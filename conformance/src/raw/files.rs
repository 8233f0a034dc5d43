//! Files, FIFOs, stdio streams and locks, as a C program uses them.

use super::{check, check_int, owned};
use libc::{c_int, c_uint};
use std::ffi::{CStr, CString};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without a zero byte")
}

/// mkfifo(3)
pub fn mkfifo(path: &Path) -> io::Result<()> {
    let path = c_path(path);
    // SAFETY: S7: a name with its end.
    check_int(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }).map(drop)
}

/// open(2) of what exists, closed on exec.
pub fn open(path: &Path, flags: c_int) -> io::Result<OwnedFd> {
    let path = c_path(path);
    // SAFETY: S7: a name with its end; without O_CREAT there is no third argument.
    check_int(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) }).map(owned)
}

/// fcntl(2) F_DUPFD_CLOEXEC: a second number, not below `least`.
pub fn duplicate(fd: RawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) }).map(owned)
}

/// fcntl(2) F_DUPFD: a second number that children inherit over exec.
pub fn duplicate_for_children(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::fcntl(fd, libc::F_DUPFD, 0) }).map(owned)
}

/// fcntl(2) F_GETPIPE_SZ
pub fn pipe_size(fd: RawFd) -> io::Result<usize> {
    // SAFETY: S7: takes no pointer.
    check_int(unsafe { libc::fcntl(fd, libc::F_GETPIPE_SZ) })
}

/// Takes O_NONBLOCK away by fcntl(2).
pub fn set_blocking_by_fcntl(fd: RawFd) -> io::Result<()> {
    // SAFETY: S7: F_GETFL takes no pointer.
    let flags = check_int(unsafe { libc::fcntl(fd, libc::F_GETFL) })? as c_int;
    // SAFETY: S7: F_SETFL takes an integer.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) }).map(drop)
}

/// Sets O_NONBLOCK by ioctl(2) FIONBIO.
pub fn set_nonblocking_by_ioctl(fd: RawFd) -> io::Result<()> {
    let mut on: c_int = 1;
    // SAFETY: S5: the value is read during the call.
    check_int(unsafe { libc::ioctl(fd, libc::FIONBIO, &mut on) }).map(drop)
}

/// close_range(2)
pub fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: S7: integer arguments; the caller gives up the descriptors.
    check_int(unsafe { libc::close_range(first as c_uint, last as c_uint, 0) }).map(drop)
}

/// close(2) through libc's `syscall`
pub fn close_by_syscall(fd: RawFd) -> io::Result<()> {
    // SAFETY: S7: an integer argument; the caller gives up the descriptor.
    check(unsafe { libc::syscall(libc::SYS_close, fd) } as isize).map(drop)
}

/// flock(2)
pub fn flock(fd: RawFd, operation: c_int) -> io::Result<()> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::flock(fd, operation) }).map(drop)
}

/// fcntl(2) with a lock command (F_SETLK, F_SETLKW, F_OFD_SETLKW …), for the whole file.
pub fn lock(fd: RawFd, command: c_int, kind: c_int) -> io::Result<()> {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: S5: the lock is read during the call.
    check_int(unsafe { libc::fcntl(fd, command, &lock) }).map(drop)
}

/// A stdio stream.
pub struct Stream(NonNull<libc::FILE>);

// SAFETY: S7: a stream belongs to no thread; it has a lock of its own.
unsafe impl Send for Stream {}

fn stream(file: *mut libc::FILE) -> io::Result<Stream> {
    NonNull::new(file).map(Stream).ok_or_else(io::Error::last_os_error)
}

impl Stream {
    /// fopen(3)
    pub fn open(path: &Path, mode: &CStr) -> io::Result<Self> {
        let path = c_path(path);
        // SAFETY: S7: names with their ends.
        stream(unsafe { libc::fopen(path.as_ptr(), mode.as_ptr()) })
    }

    /// fdopen(3); the number belongs to the stream from now on.
    pub fn of_number(fd: RawFd, mode: &CStr) -> io::Result<Self> {
        // SAFETY: S7: a mode with its end; the caller gives up the descriptor.
        stream(unsafe { libc::fdopen(fd, mode.as_ptr()) })
    }

    /// fileno(3)
    pub fn number(&self) -> RawFd {
        // SAFETY: S7: an open stream.
        unsafe { libc::fileno(self.0.as_ptr()) }
    }

    /// fputs(3)
    pub fn put(&mut self, text: &CStr) -> io::Result<()> {
        // SAFETY: S7: a text with its end, and an open stream.
        check_int(unsafe { libc::fputs(text.as_ptr(), self.0.as_ptr()) }).map(drop)
    }

    /// fclose(3)
    pub fn close(self) -> io::Result<()> {
        // SAFETY: S7: an open stream, which nobody has from now on.
        check_int(unsafe { libc::fclose(self.0.as_ptr()) }).map(drop)
    }
}

/// pread64(2)
pub fn pread(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: i64) -> io::Result<usize> {
    // SAFETY: S5: the buffer is lent for the call.
    let count = unsafe { libc::pread64(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), offset) };
    check(count)
}

/// The error number of a pread64(2) into memory that is not there.
pub fn pread_into(fd: BorrowedFd<'_>, place: *mut u8, bytes: usize) -> c_int {
    // SAFETY: S5: the kernel refuses the place.
    let count = unsafe { libc::pread64(fd.as_raw_fd(), place.cast(), bytes, 0) };
    check(count).err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

/// preadv64(3)
pub fn preadv(fd: BorrowedFd<'_>, parts: &mut [IoSliceMut<'_>], offset: i64) -> io::Result<usize> {
    // SAFETY: S5: the buffers are lent for the call, in the form of the C structure.
    let count = unsafe { libc::preadv64(fd.as_raw_fd(), parts.as_ptr().cast(), parts.len() as c_int, offset) };
    check(count)
}

/// Asks the kernel to forget the pages of a range; a length of 0 is the rest of the file.
pub fn evict(fd: RawFd, offset: i64, bytes: i64) -> io::Result<()> {
    // SAFETY: S7: integer arguments.
    match unsafe { libc::posix_fadvise(fd, offset, bytes, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// sync_file_range(2) of the whole file.
pub fn sync_range(fd: RawFd) -> io::Result<()> {
    const ALL: c_uint =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::sync_file_range(fd, 0, 0, ALL) }).map(drop)
}

/// syncfs(2)
pub fn sync_system_of(fd: RawFd) -> io::Result<()> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::syncfs(fd) }).map(drop)
}

/// Maps the file's first page, writes it back by msync(2), and returns its first byte.
pub fn msync_of(fd: RawFd) -> io::Result<u8> {
    const PAGE: usize = 4096;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: S7: a new mapping of the file.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, both, libc::MAP_SHARED, fd, 0) };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: S5: the mapping, whose first byte is in the file.
    let byte = unsafe { place.cast::<u8>().read_volatile() };
    // SAFETY: S5: the mapping.
    let result = check_int(unsafe { libc::msync(place, PAGE, libc::MS_SYNC) });
    // SAFETY: S5: nobody uses the mapping any more.
    unsafe { libc::munmap(place, PAGE) };
    result.map(|_| byte)
}
