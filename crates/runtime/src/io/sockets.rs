//! The calls of silken's own socket types (`net`): slices and std's errors, instead of C's pointers and numbers.
//!
//! On a coroutine of either kind they wait as the hooks do. On an OS thread, and in the runtime's critical sections,
//! they are the plain calls of the kernel, which block. Neither needs the hooks.
//!
//! # What the table has to know
//! Without the hooks nobody else tells the descriptor table of descriptors that come and go. So the types do: they
//! note a new socket, a second number of the same description ([`copied`]), a mode or a timeout that they set
//! ([`changed`]), and a number that is about to be free or that came from elsewhere ([`pass`]). With the hooks the
//! table learns some of this twice, which changes nothing.

use super::caller::{begin, caller, is_runtime, resetting};
use super::{accept, connect, parts, read_parts, receive, transmit, write_parts};
use crate::coroutine::{Critical, budget};
use crate::driver::fd_table::{self, FdEntry, FdKind};
use crate::driver::readiness::Direction;
use crate::sys::address::KernelAddress;
use crate::sys::raw::{Errno, repeat_interrupted};
use crate::sys::{file, socket};
use libc::{c_int, c_void, iovec};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Whether the caller is a coroutine that may park. Counts as a call of its budget.
#[inline]
fn may_park() -> bool {
    let may = caller().is_some();
    if may {
        budget::spend();
    }
    may
}

/// A broken pipe is an error, as in std, and never a signal.
const SEND_FLAGS: c_int = libc::MSG_NOSIGNAL;

/// Receives into the buffer.
#[inline]
pub(crate) fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: c_int) -> io::Result<usize> {
    let (fd, place, bytes) = (fd.as_raw_fd(), buffer.as_mut_ptr().cast::<c_void>(), buffer.len());
    let (nobody, nothing) = (ptr::null_mut(), ptr::null_mut());
    let result = if may_park() {
        // SAFETY: S5: the caller's slice.
        unsafe { receive(fd, place, bytes, flags, nobody, nothing) }
    } else {
        // SAFETY: S5: the caller's slice.
        unsafe { socket::recvfrom(fd, place, bytes, flags, nobody, nothing) }
    };
    result.map_err(io::Error::from)
}

/// Receives into the buffer. Returns also who has sent.
pub(crate) fn recv_from(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: c_int) -> io::Result<(usize, KernelAddress)> {
    let (fd, place, bytes) = (fd.as_raw_fd(), buffer.as_mut_ptr().cast::<c_void>(), buffer.len());
    let mut sender = KernelAddress::room();
    let (address, address_bytes) = sender.places();
    let result = if may_park() {
        // SAFETY: S5: the caller's slice, and live places.
        unsafe { receive(fd, place, bytes, flags, address, address_bytes) }
    } else {
        // SAFETY: S5: the caller's slice, and live places.
        unsafe { socket::recvfrom(fd, place, bytes, flags, address, address_bytes) }
    };
    Ok((result?, sender))
}

/// Sends what is in the buffer, all of it unless the call is cut short after a part.
#[inline]
pub(crate) fn send(fd: BorrowedFd<'_>, buffer: &[u8]) -> io::Result<usize> {
    send_parts_to(fd, buffer, ptr::null(), 0)
}

/// Sends what is in the buffer to the address.
pub(crate) fn send_to(fd: BorrowedFd<'_>, buffer: &[u8], receiver: &KernelAddress) -> io::Result<usize> {
    send_parts_to(fd, buffer, receiver.as_ptr(), receiver.bytes())
}

#[inline]
fn send_parts_to(
    fd: BorrowedFd<'_>,
    buffer: &[u8],
    address: *const libc::sockaddr,
    address_bytes: libc::socklen_t,
) -> io::Result<usize> {
    let (fd, place, bytes) = (fd.as_raw_fd(), buffer.as_ptr().cast::<c_void>(), buffer.len());
    let result = if may_park() {
        // SAFETY: S5: the caller's slice, and an address or none.
        unsafe { transmit(fd, place, bytes, SEND_FLAGS, address, address_bytes) }
    } else {
        // SAFETY: S5: the caller's slice, and an address or none.
        unsafe { socket::sendto(fd, place, bytes, SEND_FLAGS, address, address_bytes) }
    };
    result.map_err(io::Error::from)
}

/// The most parts that the kernel takes at once (IOV_MAX).
const PARTS_MAX: usize = 1024;

/// Reads into the buffers, one after the other.
pub(crate) fn read_vectored(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let count = buffers.len().min(PARTS_MAX) as c_int;
    // An `IoSliceMut` has the layout of an iovec.
    let (fd, list) = (fd.as_raw_fd(), buffers.as_ptr().cast::<iovec>());
    let result = if may_park() {
        // SAFETY: S5: the caller's slices.
        unsafe { read_parts(fd, list, count) }
    } else {
        // SAFETY: S5: the caller's slices.
        unsafe { file::readv(fd, list, count) }
    };
    result.map_err(io::Error::from)
}

/// Writes the buffers, one after the other.
pub(crate) fn write_vectored(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = buffers.len().min(PARTS_MAX);
    // An `IoSlice` has the layout of an iovec.
    let (fd, list) = (fd.as_raw_fd(), buffers.as_ptr().cast::<iovec>());
    let result = if may_park() {
        // SAFETY: S5: the caller's slices.
        unsafe { write_parts(fd, list, count as c_int) }
    } else {
        let message = parts::message(list, count);
        // SAFETY: S5: the caller's slices.
        unsafe { socket::sendmsg(fd, &message, SEND_FLAGS) }
    };
    result.map_err(io::Error::from)
}

/// Takes a connection. Returns also the peer.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, KernelAddress)> {
    let fd = fd.as_raw_fd();
    let mut peer = KernelAddress::room();
    let parks = may_park();
    let accepted = loop {
        let (address, address_bytes) = peer.places();
        let result = if parks {
            // SAFETY: S5: live places.
            unsafe { accept::accept(fd, address, address_bytes, libc::SOCK_CLOEXEC) }
        } else {
            // SAFETY: S5: live places.
            unsafe { socket::accept4(fd, address, address_bytes, libc::SOCK_CLOEXEC) }
        };
        match result {
            Err(Errno::INTR) => peer = KernelAddress::room(),
            result => break result?,
        }
    };
    if !parks {
        resetting()(accepted as RawFd);
    }
    // SAFETY: S5: the kernel has just made it for this call.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted as RawFd) }, peer))
}

/// Makes a stream socket of the family. It is closed when a program is executed.
pub(crate) fn stream_socket(family: c_int, flags: c_int) -> io::Result<OwnedFd> {
    let fd = socket::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags)?;
    // The families of the Internet choose TCP by themselves.
    let kind = FdKind::of_socket(family, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    begin(fd.as_raw_fd(), kind, flags & libc::SOCK_NONBLOCK != 0);
    Ok(fd)
}

/// Makes a stream socket, and begins to connect it. The socket has the mode in which calls do not wait. Returns also
/// whether it is connected.
pub(crate) fn begin_connect(address: &KernelAddress) -> io::Result<(OwnedFd, bool)> {
    if caller().is_some() {
        budget::before_connect();
    }
    let fd = stream_socket(address.family(), libc::SOCK_NONBLOCK)?;
    // SAFETY: S5: a live address.
    match unsafe { socket::connect(fd.as_raw_fd(), address.as_ptr(), address.bytes()) } {
        Ok(_) => Ok((fd, true)),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok((fd, false)),
        Err(errno) => {
            pass(fd.as_raw_fd());
            Err(errno.into())
        }
    }
}

/// Gives a socket the mode in which calls wait.
pub(crate) fn make_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    connect::set_nonblocking(fd.as_raw_fd(), false)?;
    changed(fd.as_raw_fd(), Change::Nonblocking(false));
    Ok(())
}

/// Connects a socket that has the mode in which calls wait.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: &KernelAddress) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    if may_park() {
        // SAFETY: S5: a live address.
        unsafe { connect::connect(fd, address.as_ptr(), address.bytes()) }?;
        return Ok(());
    }
    // SAFETY: S5: a live address.
    match unsafe { socket::connect(fd, address.as_ptr(), address.bytes()) } {
        // A connect that a signal interrupts goes on.
        Err(Errno::INTR) => finish_connect(fd),
        result => Ok(result.map(drop)?),
    }
}

fn finish_connect(fd: RawFd) -> io::Result<()> {
    let mut entries = [libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    }];
    repeat_interrupted(|| socket::poll_now(&mut entries, None))?;
    match socket::so_error(fd)? {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

/// The number has come from elsewhere, or is about to be closed or to go elsewhere. With the hooks all of that is
/// followed; without them nobody knows what happens to the number meanwhile.
pub(crate) fn pass(fd: RawFd) {
    if !cfg!(feature = "interpose") {
        resetting()(fd);
    }
}

/// Notes that `copy` is a second number of the same description.
pub(crate) fn copied(fd: RawFd, copy: RawFd) {
    if !cfg!(feature = "interpose") {
        resetting()(copy);
        fd_table::share(fd, copy);
    }
}

/// What a caller has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nonblocking(bool),
    Timeouts,
}

/// Notes a change of the socket's settings.
pub(crate) fn changed(fd: RawFd, change: Change) {
    let Some(entry) = fd_table::known(fd) else {
        return;
    };
    match change {
        Change::Nonblocking(nonblocking) => entry.set_nonblocking(nonblocking),
        Change::Timeouts => FdEntry::timeouts_changed(entry),
    }
}

/// Tells those who wait that the socket was shut down. A sender that waits for room in a Unix socket hears of it from
/// here: the kernel reports no event for one side alone. The peer's senders hear of it if the peer is the other end of
/// a pair that this process has made.
pub(crate) fn was_shut_down(fd: RawFd, how: c_int) {
    if is_runtime() {
        return;
    }
    let ends_writes = (how != libc::SHUT_RD).then_some(fd);
    let ends_peers_writes = (how != libc::SHUT_WR).then(|| fd_table::other_end(fd)).flatten();
    for writer in [ends_writes, ends_peers_writes].into_iter().flatten() {
        if let Some(entry) = fd_table::known(writer) {
            let _critical = Critical::enter();
            entry.readiness.stir(Direction::Write);
        }
    }
}

/// Notes the two ends of a new pair of Unix sockets.
pub(crate) fn paired(ends: [RawFd; 2]) {
    if !cfg!(feature = "interpose") {
        ends.into_iter().for_each(resetting());
        fd_table::pair(ends);
    }
}
