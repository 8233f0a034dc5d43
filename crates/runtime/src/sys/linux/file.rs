//! How the runtime reads, writes and closes descriptors in raw form, and what kind of file a descriptor is.
//!
//! The raw forms serve the hook layer: they take the pointers that foreign code gave to libc, and the kernel refuses a
//! bad pointer (EFAULT). They never retry: the caller handles EINTR and EAGAIN.
//!
//! The `_nowait` forms ask for what is there now even on a *blocking* descriptor (`RWF_NOWAIT`, at the file's own
//! position). Pipes and sockets answer EAGAIN instead of blocking. They do so without O_NONBLOCK, which every process
//! that shares the file would see. A file that cannot promise this (a terminal, an old kernel's pipe) answers
//! EOPNOTSUPP.

use std::ffi::CStr;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use libc::{c_char, c_int, c_void, iovec};

use super::raw::{self, Errno};

/// What kind of file a descriptor refers to, as far as waiting is concerned: which can be polled, which block on a
/// disk, which never block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Socket,
    /// A pipe, named or not.
    Fifo,
    /// A terminal, /dev/null, a tun device, …
    CharDevice,
    BlockDevice,
    /// A file, memfds included.
    Regular,
    Directory,
    /// An object with no file type: epoll, eventfd, timerfd, signalfd, inotify, pidfd (before Linux 6.9), io_uring.
    AnonInode,
    /// A symbolic link (`O_PATH`), or a type that Linux does not have yet.
    Other,
}

fn status(fd: RawFd) -> Result<libc::stat, Errno> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: S5: `status` is a live local of the layout that the kernel fills in.
    unsafe { raw::syscall2(libc::SYS_fstat, fd as usize, status.as_mut_ptr() as usize) }?;
    // SAFETY: S5: the call succeeded, so the kernel wrote all of it.
    Ok(unsafe { status.assume_init() })
}

/// The identity of the file: its device, and its number on the device.
pub(crate) fn id(fd: RawFd) -> Result<[u64; 2], Errno> {
    status(fd).map(|status| [status.st_dev, status.st_ino])
}

/// # Safety
/// S5: `path` is the caller's text; a bad address is the kernel's to refuse.
unsafe fn status_of_path(directory: RawFd, path: *const c_char, flags: c_int) -> Result<libc::stat, Errno> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    let place = status.as_mut_ptr() as usize;
    // SAFETY: S5: the caller's contract, and a live local of the layout that the kernel fills in.
    unsafe {
        raw::syscall4(
            libc::SYS_newfstatat,
            directory as usize,
            path as usize,
            place,
            flags as usize,
        )
    }?;
    // SAFETY: S5: the call succeeded, so the kernel wrote all of it.
    Ok(unsafe { status.assume_init() })
}

/// The identity of the file that a path leads to, as of [`id`].
pub(crate) fn id_of_path(path: &CStr) -> Result<[u64; 2], Errno> {
    // SAFETY: S5: a path that ends.
    let status = unsafe { status_of_path(libc::AT_FDCWD, path.as_ptr(), 0) }?;
    Ok([status.st_dev, status.st_ino])
}

/// Whether a path names a FIFO. The path is relative to a directory, as for `openat`.
///
/// # Safety
/// S5: `path` is the caller's text; a bad address is the kernel's to refuse.
pub(crate) unsafe fn is_fifo(directory: RawFd, path: *const c_char, flags: c_int) -> bool {
    // SAFETY: S5: the caller's text; the kernel refuses a bad address.
    let status = unsafe { status_of_path(directory, path, flags) };
    status.is_ok_and(|status| status.st_mode & libc::S_IFMT == libc::S_IFIFO)
}

/// What kind of file `fd` is.
pub(crate) fn file_kind(fd: RawFd) -> Result<FileKind, Errno> {
    Ok(match status(fd)?.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFCHR => FileKind::CharDevice,
        libc::S_IFBLK => FileKind::BlockDevice,
        libc::S_IFREG => FileKind::Regular,
        libc::S_IFDIR => FileKind::Directory,
        0 => FileKind::AnonInode,
        _ => FileKind::Other,
    })
}

/// Reads where a symbolic link leads, as far as there is room. Returns the number of bytes.
fn read_link(path: &CStr, target: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: S5: a text that ends, and a live place of that length.
    unsafe {
        raw::syscall3(
            libc::SYS_readlink,
            path.as_ptr() as usize,
            target.as_mut_ptr() as usize,
            target.len(),
        )
    }
}

/// Where a symbolic link leads; `None` if that is long, or no text.
pub(crate) fn link_of(path: &CStr) -> Option<String> {
    let mut target = vec![0; 512];
    let length = read_link(path, &mut target).ok();
    target.truncate(length.filter(|length| *length < target.len())?);
    String::from_utf8(target).ok()
}

/// Whether `fd` is an eventfd, or a pipe without a name, as its name in `/proc` tells. `false` where there is no
/// `/proc`.
pub(crate) fn is_pipe_or_eventfd(fd: RawFd) -> bool {
    const EVENTFD: &[u8] = b"anon_inode:[eventfd]";
    const PIPE: &[u8] = b"pipe:[";
    let mut path = [0; 32];
    // A descriptor number has at most ten digits.
    let written = write!(&mut path[..], "/proc/self/fd/{fd}\0");
    debug_assert!(written.is_ok());
    let Ok(path) = CStr::from_bytes_until_nul(&path) else {
        return false;
    };
    let mut name = [0; EVENTFD.len() + 1];
    let read = read_link(path, &mut name);
    read.is_ok_and(|bytes| {
        let name = &name[..bytes.min(name.len())];
        name == EVENTFD || name.starts_with(PIPE)
    })
}

/// Whether `fd` is a terminal, or a side of a pseudo-terminal.
pub(crate) fn is_terminal(fd: RawFd) -> bool {
    terminal_settings(fd).is_some()
}

/// Whether `fd` is a terminal in a raw mode that counts bytes or measures time (VMIN, VTIME): poll does not tell what a
/// read of it would do.
pub(crate) fn is_untold_terminal(fd: RawFd) -> bool {
    terminal_settings(fd).is_some_and(|settings| {
        let [bytes, time] = [libc::VMIN, libc::VTIME].map(|index| settings.c_cc[index]);
        settings.c_lflag & libc::ICANON == 0 && (bytes != 1 || time != 0)
    })
}

fn terminal_settings(fd: RawFd) -> Option<libc::termios> {
    let mut settings = MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: S5: a live local, larger than what the kernel writes.
    unsafe {
        raw::syscall3(
            libc::SYS_ioctl,
            fd as usize,
            libc::TCGETS as usize,
            settings.as_mut_ptr() as usize,
        )
    }
    .ok()?;
    // SAFETY: S5: the kernel's structure is the beginning of this one, and any bytes are the rest.
    Some(unsafe { settings.assume_init() })
}

/// How many bytes could be read now (`FIONREAD`).
pub(crate) fn readable_bytes(fd: RawFd) -> Result<usize, Errno> {
    let mut count: c_int = 0;
    // SAFETY: S5: FIONREAD writes one int, a live local.
    unsafe {
        raw::syscall3(
            libc::SYS_ioctl,
            fd as usize,
            libc::FIONREAD as usize,
            (&raw mut count) as usize,
        )
    }?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// `read(2)`.
///
/// # Safety
/// S5: `buffer` may be written for `length_bytes` until the call returns.
pub(crate) unsafe fn read(fd: RawFd, buffer: *mut c_void, length_bytes: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    unsafe { raw::syscall3(libc::SYS_read, fd as usize, buffer as usize, length_bytes) }
}

/// `write(2)`.
///
/// # Safety
/// S5: `buffer` may be read for `length_bytes` until the call returns.
pub(crate) unsafe fn write(fd: RawFd, buffer: *const c_void, length_bytes: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    unsafe { raw::syscall3(libc::SYS_write, fd as usize, buffer as usize, length_bytes) }
}

/// `readv(2)`.
///
/// # Safety
/// S5: `vectors` holds `count` entries, each naming memory that may be written until the call returns.
pub(crate) unsafe fn readv(fd: RawFd, vectors: *const iovec, count: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the vectors and their buffers.
    unsafe { raw::syscall3(libc::SYS_readv, fd as usize, vectors as usize, count as usize) }
}

/// `writev(2)`.
///
/// # Safety
/// S5: `vectors` holds `count` entries, each naming memory that may be read until the call returns.
pub(crate) unsafe fn writev(fd: RawFd, vectors: *const iovec, count: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the vectors and their buffers.
    unsafe { raw::syscall3(libc::SYS_writev, fd as usize, vectors as usize, count as usize) }
}

/// `pread64(2)`.
///
/// # Safety
/// S5: as [`read`].
pub(crate) unsafe fn pread(fd: RawFd, buffer: *mut c_void, bytes: usize, offset: i64) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    unsafe { raw::syscall4(libc::SYS_pread64, fd as usize, buffer as usize, bytes, offset as usize) }
}

/// The file's own position.
pub(crate) fn position(fd: RawFd) -> Result<u64, Errno> {
    // SAFETY: S5: no memory.
    unsafe { raw::syscall3(libc::SYS_lseek, fd as usize, 0, libc::SEEK_CUR as usize) }.map(|position| position as u64)
}

/// The size of a regular file.
pub(crate) fn size(fd: RawFd) -> Result<u64, Errno> {
    status(fd).map(|status| status.st_size as u64)
}

/// How many pages of a range are not in the page cache, and how many there are. ENOSYS: the kernel does not tell
/// (before Linux 6.5); EPERM: it does not tell this process. Where another file has the data (overlayfs), all are
/// missing always.
pub(crate) fn missing_pages(fd: RawFd, range: [u64; 2]) -> Result<(u64, u64), Errno> {
    const SYS_CACHESTAT: libc::c_long = 451;
    const PAGE: u64 = 4096;
    /// `struct cachestat`: the first word is the number of pages in the cache.
    type Counts = [u64; 5];
    let [offset, length] = range;
    if length == 0 {
        // To the kernel that is the whole file.
        return Ok((0, 0));
    }
    let mut counts: Counts = [0; 5];
    let (place, range) = ((&raw mut counts) as usize, (&raw const range) as usize);
    // SAFETY: S5: live places of the kernel's sizes.
    unsafe { raw::syscall4(SYS_CACHESTAT, fd as usize, range, place, 0) }?;
    let pages = (offset + length).div_ceil(PAGE) - offset / PAGE;
    Ok((pages.saturating_sub(counts[0]), pages))
}

/// `pwrite(2)`.
///
/// # Safety
/// S5: as [`write`].
pub(crate) unsafe fn pwrite(fd: RawFd, buffer: *const c_void, bytes: usize, offset: i64) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    unsafe { raw::syscall4(libc::SYS_pwrite64, fd as usize, buffer as usize, bytes, offset as usize) }
}

/// `fsync(2)`, or `fdatasync(2)`.
pub(crate) fn sync(fd: RawFd, data_only: bool) -> Result<usize, Errno> {
    let number = if data_only {
        libc::SYS_fdatasync
    } else {
        libc::SYS_fsync
    };
    // SAFETY: S5: names no memory.
    unsafe { raw::syscall1(number, fd as usize) }
}

/// `preadv(2)`.
///
/// # Safety
/// S5: as [`readv`].
pub(crate) unsafe fn preadv(fd: RawFd, vectors: *const iovec, count: c_int, offset: i64) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the vectors and their buffers. The offset goes whole in the low half, as below.
    unsafe {
        raw::syscall5(
            libc::SYS_preadv,
            fd as usize,
            vectors as usize,
            count as usize,
            offset as usize,
            0,
        )
    }
}

/// `preadv2(2)`; an `offset` of -1 is the file's own position.
///
/// # Safety
/// S5: as [`readv`].
pub(crate) unsafe fn preadv2(
    fd: RawFd,
    vectors: *const iovec,
    count: c_int,
    offset: i64,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the vectors and their buffers. The offset goes whole in the low half: 64-bit kernels
    // shift the high half out.
    unsafe {
        raw::syscall6(
            libc::SYS_preadv2,
            fd as usize,
            vectors as usize,
            count as usize,
            offset as usize,
            0,
            flags as usize,
        )
    }
}

/// `pwritev2(2)`; an `offset` of -1 is the file's own position.
///
/// # Safety
/// S5: as [`writev`].
pub(crate) unsafe fn pwritev2(
    fd: RawFd,
    vectors: *const iovec,
    count: c_int,
    offset: i64,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the vectors and their buffers. The offset goes whole in the low half, as in
    // `preadv2`.
    unsafe {
        raw::syscall6(
            libc::SYS_pwritev2,
            fd as usize,
            vectors as usize,
            count as usize,
            offset as usize,
            0,
            flags as usize,
        )
    }
}

/// Reads what is there now. EAGAIN: there is nothing yet; EOPNOTSUPP: the file cannot promise not to block.
///
/// # Safety
/// S5: as [`readv`].
pub(crate) unsafe fn readv_nowait(fd: RawFd, vectors: *const iovec, count: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller's contract is the callee's.
    unsafe { preadv2(fd, vectors, count, -1, libc::RWF_NOWAIT) }
}

/// Writes what fits now. EAGAIN: nothing fits yet; EOPNOTSUPP: the file cannot promise not to block.
///
/// # Safety
/// S5: as [`writev`].
pub(crate) unsafe fn writev_nowait(fd: RawFd, vectors: *const iovec, count: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller's contract is the callee's.
    unsafe { pwritev2(fd, vectors, count, -1, libc::RWF_NOWAIT) }
}

/// `close(2)`, of a descriptor that the caller owns. Never repeated: after EINTR the number is free all the same, and
/// may already belong to another thread.
pub(crate) fn close(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: S5: the kernel touches no memory of ours; the number is the caller's to give up.
    unsafe { raw::syscall1(libc::SYS_close, fd as usize) }.map(drop)
}

/// Whether reads and writes go to the device itself, past the memory of the system.
pub(crate) fn is_direct(fd: RawFd) -> bool {
    // SAFETY: S5: names no memory.
    let flags = unsafe { raw::syscall3(libc::SYS_fcntl, fd as usize, libc::F_GETFL as usize, 0) };
    flags.is_ok_and(|flags| flags as c_int & libc::O_DIRECT != 0)
}

/// A descriptor that the runtime owns. Not `std::os::fd::OwnedFd`: that type closes through libc's symbol, which may be
/// the runtime's hook.
#[derive(Debug)]
pub(crate) struct Descriptor(RawFd);

impl Descriptor {
    /// Takes ownership of `fd`, which nobody else owns.
    pub(crate) fn new(fd: RawFd) -> Self {
        debug_assert!(fd >= 0);
        Self(fd)
    }

    /// Gives the descriptor up to another owner.
    pub(crate) fn into_raw(self) -> RawFd {
        std::mem::ManuallyDrop::new(self).0
    }

    /// The descriptor's number, for calls made while `self` lives.
    pub(crate) fn fd(&self) -> RawFd {
        self.0
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // The runtime's descriptors hold no unwritten data, so a failure to close loses nothing.
        let closed = close(self.0);
        debug_assert_ne!(
            closed,
            Err(Errno::BADF),
            "a descriptor of the runtime was closed by someone else"
        );
    }
}

/// Makes a second descriptor of the same description.
pub(crate) fn duplicate(fd: RawFd) -> Result<Descriptor, Errno> {
    duplicate_from(fd, 0)
}

/// The same, with a number that is not smaller than `least`.
pub(crate) fn duplicate_from(fd: RawFd, least: RawFd) -> Result<Descriptor, Errno> {
    let (command, least) = (libc::F_DUPFD_CLOEXEC as usize, least as usize);
    // SAFETY: S5: names no memory.
    let copy = unsafe { raw::syscall3(libc::SYS_fcntl, fd as usize, command, least) }?;
    Ok(Descriptor::new(copy as RawFd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    fn vector(bytes: &[u8]) -> iovec {
        iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        }
    }

    #[test]
    fn bytes_go_through_a_pipe() {
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) = (reader.as_raw_fd(), writer.as_raw_fd());
        // SAFETY: S5: a static buffer.
        assert_eq!(unsafe { write(writer, b"abc".as_ptr().cast(), 3) }, Ok(3));
        let parts = [vector(b"de"), vector(b"fgh")];
        // SAFETY: S5: live vectors over static buffers.
        assert_eq!(unsafe { writev(writer, parts.as_ptr(), 2) }, Ok(5));
        let mut head = [0u8; 2];
        // SAFETY: S5: a live local.
        assert_eq!(unsafe { read(reader, head.as_mut_ptr().cast(), 2) }, Ok(2));
        let (mut one, mut rest) = ([0u8; 1], [0u8; 9]);
        let parts = [
            iovec {
                iov_base: one.as_mut_ptr().cast(),
                iov_len: 1,
            },
            iovec {
                iov_base: rest.as_mut_ptr().cast(),
                iov_len: 9,
            },
        ];
        // SAFETY: S5: live vectors over live locals.
        assert_eq!(unsafe { readv(reader, parts.as_ptr(), 2) }, Ok(6));
        assert_eq!((&head, &one, &rest[..5]), (b"ab", b"c", &b"defgh"[..]));
    }

    #[test]
    fn nowait_answers_at_once_on_a_blocking_pipe() {
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) = (reader.as_raw_fd(), writer.as_raw_fd());
        let mut buffer = [0u8; 8];
        let into = iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: 8,
        };
        // SAFETY: S5: a live vector over a live local.
        let nothing = unsafe { readv_nowait(reader, &into, 1) };
        if nothing == Err(Errno::OPNOTSUPP) {
            eprintln!("this kernel's pipes know no RWF_NOWAIT");
            return;
        }
        assert_eq!(nothing, Err(Errno::AGAIN));
        // SAFETY: S5: a live vector over a static buffer.
        assert_eq!(unsafe { writev_nowait(writer, &vector(b"xyz"), 1) }, Ok(3));
        // SAFETY: S5: a live vector over a live local.
        assert_eq!(unsafe { readv_nowait(reader, &into, 1) }, Ok(3));
        assert_eq!(&buffer[..3], b"xyz");
        let block = [0u8; 4096];
        // SAFETY: S5: a live vector over a live local.
        let filled = std::iter::repeat_with(|| unsafe { writev_nowait(writer, &vector(&block), 1) })
            .take(1 << 20)
            .find(|written| written.is_err());
        assert_eq!(filled, Some(Err(Errno::AGAIN)));
    }

    #[test]
    fn an_offset_is_honoured() {
        let path = std::env::temp_dir().join(format!("silken-file-{}", std::process::id()));
        std::fs::write(&path, b"0123456789").unwrap();
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // SAFETY: S5: a live vector over a static buffer.
        let written = unsafe { pwritev2(file.as_raw_fd(), &vector(b"AB"), 1, 4, 0) };
        assert_eq!(written, Ok(2));
        let mut buffer = [0u8; 4];
        let into = iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: 4,
        };
        // SAFETY: S5: a live vector over a live local.
        assert_eq!(unsafe { preadv2(file.as_raw_fd(), &into, 1, 3, 0) }, Ok(4));
        assert_eq!(&buffer, b"3AB6");
        assert_eq!(file_kind(file.as_raw_fd()), Ok(FileKind::Regular));
    }

    #[test]
    fn kinds_are_told_apart() {
        let (pipe, _writer) = std::io::pipe().unwrap();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let directory = std::fs::File::open("/").unwrap();
        let event = crate::sys::epoll::EventFd::new().unwrap();
        let epoll = crate::sys::epoll::Epoll::new().unwrap();
        for (fd, kind) in [
            (pipe.as_raw_fd(), FileKind::Fifo),
            (socket.as_raw_fd(), FileKind::Socket),
            (null.as_raw_fd(), FileKind::CharDevice),
            (directory.as_raw_fd(), FileKind::Directory),
            (event.fd(), FileKind::AnonInode),
            (epoll.fd(), FileKind::AnonInode),
        ] {
            assert_eq!(file_kind(fd), Ok(kind));
        }
        assert_eq!(file_kind(-1), Err(Errno::BADF));
    }

    #[test]
    fn the_owner_closes_what_the_number_is_now() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let null = Descriptor::new(std::fs::File::open("/dev/null").unwrap().into_raw_fd());
        // SAFETY: S7: numbers only, and the second one is ours.
        let number = unsafe { libc::dup3(reader.as_raw_fd(), null.fd(), libc::O_CLOEXEC) };
        assert_eq!(number, null.fd());
        assert_eq!(file_kind(null.fd()), Ok(FileKind::Fifo));
        drop(reader);
        std::io::Write::write_all(&mut writer, b"still a reader").unwrap();
        drop(null);
        // Both read ends are closed now, which only the drop of the owner can have done.
        let broken = std::io::Write::write_all(&mut writer, b"none left").unwrap_err();
        assert_eq!(broken.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(close(-1), Err(Errno::BADF));
    }
}
