//! The four system calls of a readiness loop, as thin as they can be: shared by the raw echo server and by the load
//! generator.
//!
//! Edge-triggered: a descriptor is registered once, and reported again only after new data came. A reader with a buffer
//! larger than the message knows from a short read that the socket is drained (epoll(7)), so a request costs one recv
//! and one send.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// An epoll instance.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// Creates one.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: S5: no memory is passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: S5: the kernel has just given us `fd`, and nobody else owns it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Reports arrivals on `fd` with `token`, edge-triggered.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: token,
        };
        // SAFETY: S5: the kernel reads `event` during the call only.
        let status = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        if status == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits for events, at most `timeout_ms` (for ever if negative); how many entries of `events` it filled.
    pub fn wait(&self, events: &mut [libc::epoll_event], timeout_ms: i32) -> io::Result<usize> {
        let capacity = events.len() as i32;
        // SAFETY: S5: the kernel writes at most `capacity` entries of `events`, during the call only.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), capacity, timeout_ms) };
        if count >= 0 {
            Ok(count as usize)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Receives without waiting.
pub fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: S5: the kernel writes at most the buffer's length into it, during the call only.
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    if count >= 0 {
        Ok(count as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends without waiting.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: S5: the kernel reads `bytes` during the call only.
    let count = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    if count >= 0 {
        Ok(count as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}
