//! How the runtime makes the calls that move data from one descriptor to another, in raw form.
//!
//! As in `file`: the kernel refuses a bad pointer, and nothing is retried. Addresses are passed as words, since the
//! calls are also made on threads of the offload pool.

use super::raw::{self, Errno};
use libc::{c_int, c_uint};
use std::os::fd::RawFd;

/// One end of a splice: a descriptor, and the address of an offset, or 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) fd: RawFd,
    pub(crate) offset: usize,
}

/// `splice(2)`.
///
/// # Safety
/// S5: the offsets' addresses are null or may be read and written until the call returns.
pub(crate) unsafe fn splice(from: End, to: End, bytes: usize, flags: c_uint) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends both offsets.
    unsafe {
        raw::syscall6(
            libc::SYS_splice,
            from.fd as usize,
            from.offset,
            to.fd as usize,
            to.offset,
            bytes,
            flags as usize,
        )
    }
}

/// `tee(2)`.
pub(crate) fn tee(from: RawFd, to: RawFd, bytes: usize, flags: c_uint) -> Result<usize, Errno> {
    // SAFETY: S5: no memory.
    unsafe { raw::syscall4(libc::SYS_tee, from as usize, to as usize, bytes, flags as usize) }
}

/// `vmsplice(2)`.
///
/// # Safety
/// S5: `parts` names `count` entries of memory that may be read, or written if the pipe is read from.
pub(crate) unsafe fn vmsplice(fd: RawFd, parts: usize, count: usize, flags: c_uint) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the parts.
    unsafe { raw::syscall4(libc::SYS_vmsplice, fd as usize, parts, count, flags as usize) }
}

/// `sendfile(2)`: sends from a file, at an offset if there is one.
///
/// # Safety
/// S5: the offset's address is null or may be read and written until the call returns.
pub(crate) unsafe fn sendfile(to: RawFd, from: End, bytes: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the offset.
    unsafe { raw::syscall4(libc::SYS_sendfile, to as usize, from.fd as usize, from.offset, bytes) }
}

/// `pread(2)`.
pub(crate) fn pread(fd: RawFd, buffer: &mut [u8], offset: i64) -> Result<usize, Errno> {
    let place = buffer.as_mut_ptr().expose_provenance();
    // SAFETY: S5: a live buffer.
    unsafe { raw::syscall4(libc::SYS_pread64, fd as usize, place, buffer.len(), offset as usize) }
}

/// Moves the file's position by `bytes`, and returns the new position.
pub(crate) fn move_position(fd: RawFd, bytes: i64) -> Result<i64, Errno> {
    // SAFETY: S5: no memory.
    let position = unsafe { raw::syscall3(libc::SYS_lseek, fd as usize, bytes as usize, libc::SEEK_CUR as usize) };
    position.map(|position| position as i64)
}

/// Whether the access mode of a descriptor allows writing.
pub(crate) fn is_writable(fd: RawFd) -> bool {
    super::socket::fcntl_getfl(fd).is_ok_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// `recvmmsg(2)`, without a timeout.
///
/// # Safety
/// S5: the `count` messages, and all that they name, may be written until the call returns.
pub(crate) unsafe fn recvmmsg(fd: RawFd, messages: usize, count: usize, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the messages.
    unsafe { raw::syscall5(libc::SYS_recvmmsg, fd as usize, messages, count, flags as usize, 0) }
}

/// `sendmmsg(2)`.
///
/// # Safety
/// S5: the `count` messages may be written, and all that they name read, until the call returns.
pub(crate) unsafe fn sendmmsg(fd: RawFd, messages: usize, count: usize, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the messages.
    unsafe { raw::syscall4(libc::SYS_sendmmsg, fd as usize, messages, count, flags as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    fn end(fd: &impl AsRawFd) -> End {
        End {
            fd: fd.as_raw_fd(),
            offset: 0,
        }
    }

    #[test]
    fn pipes_are_spliced_and_teed() {
        let (first_reader, mut first_writer) = std::io::pipe().unwrap();
        let (mut second_reader, second_writer) = std::io::pipe().unwrap();
        let (from, to) = (end(&first_reader), end(&second_writer));
        // SAFETY: S5: no offsets.
        let nothing = unsafe { splice(from, to, 10, libc::SPLICE_F_NONBLOCK) };
        assert_eq!(nothing, Err(Errno::AGAIN));
        first_writer.write_all(b"twice").unwrap();
        assert_eq!(tee(from.fd, to.fd, 10, libc::SPLICE_F_NONBLOCK), Ok(5));
        // SAFETY: S5: no offsets.
        assert_eq!(unsafe { splice(from, to, 10, libc::SPLICE_F_NONBLOCK) }, Ok(5));
        let mut all = [0; 10];
        second_reader.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"twicetwice");
        assert!(is_writable(to.fd) && !is_writable(from.fd));
    }

    #[test]
    fn a_file_is_read_where_it_is_asked() {
        let mut file = tempfile();
        file.write_all(b"0123456789").unwrap();
        let mut place = [0; 4];
        assert_eq!(pread(file.as_raw_fd(), &mut place, 3), Ok(4));
        assert_eq!(&place, b"3456");
        assert_eq!(move_position(file.as_raw_fd(), -2), Ok(8));
    }

    fn tempfile() -> std::fs::File {
        // SAFETY: S5: a literal with its zero.
        let fd = unsafe { libc::memfd_create(c"copied".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: S5: just made, and nobody else's.
        unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
    }
}
