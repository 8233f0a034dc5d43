//! What kind of file a descriptor is, as far as waiting is concerned.

use crate::sys::raw::Errno;
use crate::sys::{file, socket};
use std::os::fd::RawFd;

/// The bits of an entry's facts that hold the kind.
pub(super) const KIND_MASK: u32 = 0b111;

/// What kind of file a descriptor is, as far as waiting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum FdKind {
    /// The kernel has not been asked.
    Unknown = 0,
    /// TCP: a short read empties the socket.
    InetStream = 1,
    /// Another byte-stream socket.
    Stream = 2,
    /// A socket of messages.
    Message = 3,
    /// A pipe, a terminal, an eventfd: any other file that may be pollable.
    Pollable = 4,
    /// A file or directory: calls on it never would-block, and it is not pollable.
    Plain = 5,
}

impl FdKind {
    const ALL: [FdKind; 6] = [
        FdKind::Unknown,
        FdKind::InetStream,
        FdKind::Stream,
        FdKind::Message,
        FdKind::Pollable,
        FdKind::Plain,
    ];

    pub(super) fn of_facts(facts: u32) -> Self {
        Self::ALL[(facts & KIND_MASK) as usize % Self::ALL.len()]
    }

    /// The kind of a new socket.
    pub(crate) fn of_socket(domain: i32, socket_type: i32, protocol: i32) -> Self {
        let is_inet = matches!(domain, libc::AF_INET | libc::AF_INET6);
        match socket_type & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
            libc::SOCK_STREAM if is_inet && protocol == libc::IPPROTO_TCP => FdKind::InetStream,
            libc::SOCK_STREAM => FdKind::Stream,
            _ => FdKind::Message,
        }
    }

    pub(crate) fn is_socket(self) -> bool {
        matches!(self, FdKind::InetStream | FdKind::Stream | FdKind::Message)
    }

    /// Asks the kernel for the kind.
    pub(super) fn ask(fd: RawFd) -> Result<FdKind, Errno> {
        Ok(match file::file_kind(fd)? {
            file::FileKind::Socket => {
                FdKind::of_socket(socket::so_domain(fd)?, socket::so_type(fd)?, socket::so_protocol(fd)?)
            }
            file::FileKind::Regular | file::FileKind::Directory | file::FileKind::BlockDevice => FdKind::Plain,
            _ => FdKind::Pollable,
        })
    }
}
