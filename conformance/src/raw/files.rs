//! Files, FIFOs, stdio streams and locks, as a C program uses them.

use super::{check, check_int, owned};
use libc::{c_int, c_uint};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
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
