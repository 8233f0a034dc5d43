//! Calls whose addresses may be anything: numbers, for cases about what a call says to an address that is none.

use super::{check, check_int, owned};
use libc::{c_int, c_void};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::ptr;

fn at<T>(address: usize) -> *mut T {
    ptr::with_exposed_provenance_mut(address)
}

/// read(2)
pub fn read(fd: RawFd, address: usize, length: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check(unsafe { libc::read(fd, at(address), length) })
}

/// write(2)
pub fn write(fd: RawFd, address: usize, length: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check(unsafe { libc::write(fd, at(address), length) })
}

/// recv(2)
pub fn recv(fd: RawFd, address: usize, length: usize, flags: c_int) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check(unsafe { libc::recv(fd, at(address), length, flags) })
}

/// send(2)
pub fn send(fd: RawFd, address: usize, length: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check(unsafe { libc::send(fd, at(address), length, 0) })
}

/// A buffer for `readv` and its kin.
pub fn slice(address: usize, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: at::<c_void>(address),
        iov_len: length,
    }
}

/// A message header with this vector.
pub fn message(vector: usize, count: usize) -> libc::msghdr {
    super::message(at(vector), count)
}

/// The address of a value that outlives the call.
pub fn address_of<T>(value: &mut T) -> usize {
    ptr::from_mut(value).expose_provenance()
}

/// Two pages of memory, of which only the first may be touched, kept for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct HalfPages(usize);

impl HalfPages {
    const PAGE: usize = 4_096;

    /// Fresh pages.
    pub fn new() -> Self {
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: S8: a fresh mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), 2 * Self::PAGE, access, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        let pages = Self(start.expose_provenance());
        // SAFETY: S8: the second page, to which nobody holds a reference.
        let result = unsafe { libc::mprotect(at(pages.end()), Self::PAGE, libc::PROT_NONE) };
        assert_eq!(result, 0);
        pages
    }

    /// The first address that may not be touched.
    pub fn end(self) -> usize {
        self.0 + Self::PAGE
    }
}

impl Default for HalfPages {
    fn default() -> Self {
        Self::new()
    }
}

/// readv(2)
pub fn readv(fd: RawFd, vector: usize, count: c_int) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the addresses; that is what the cases are about.
    check(unsafe { libc::readv(fd, at(vector), count) })
}

/// writev(2)
pub fn writev(fd: RawFd, vector: usize, count: c_int) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the addresses; that is what the cases are about.
    check(unsafe { libc::writev(fd, at(vector), count) })
}

/// recvmsg(2)
pub fn recvmsg(fd: RawFd, header: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the addresses; that is what the cases are about.
    check(unsafe { libc::recvmsg(fd, at(header), 0) })
}

/// sendmsg(2)
pub fn sendmsg(fd: RawFd, header: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the addresses; that is what the cases are about.
    check(unsafe { libc::sendmsg(fd, at(header), 0) })
}

/// recvmmsg(2) without flags
pub fn recvmmsg(fd: RawFd, headers: usize, count: u32, timeout: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the addresses; that is what the cases are about.
    check_int(unsafe { libc::recvmmsg(fd, at(headers), count, 0, at(timeout)) })
}

/// poll(2)
pub fn poll(fds: usize, count: u64, timeout_ms: c_int) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check_int(unsafe { libc::poll(at(fds), count, timeout_ms) })
}

/// epoll_wait(2)
pub fn epoll_wait(epoll: RawFd, events: usize, timeout_ms: c_int) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check_int(unsafe { libc::epoll_wait(epoll, at(events), 1, timeout_ms) })
}

/// nanosleep(2)
pub fn nanosleep(request: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check_int(unsafe { libc::nanosleep(at(request), ptr::null_mut()) })
}

/// connect(2)
pub fn connect(fd: RawFd, address: usize, length: u32) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check_int(unsafe { libc::connect(fd, at(address), length) })
}

/// accept(2) with a place for the peer's address and one for its length.
pub fn accept(fd: RawFd, address: usize, length: usize) -> io::Result<OwnedFd> {
    // SAFETY: S7: the kernel checks the addresses; that is what the cases are about.
    check_int(unsafe { libc::accept(fd, at(address), at(length)) }).map(owned)
}

/// splice(2) without flags
pub fn splice(from: RawFd, from_place: usize, to: RawFd, to_place: usize, length: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the addresses; that is what the cases are about.
    check(unsafe { libc::splice(from, at(from_place), to, at(to_place), length, 0) })
}

/// sendfile(2)
pub fn sendfile(to: RawFd, from: RawFd, place: usize, length: usize) -> io::Result<usize> {
    // SAFETY: S7: the kernel checks the address; that is what the cases are about.
    check(unsafe { libc::sendfile(to, from, at(place), length) })
}
