//! How does `connect` wait, which blocks and knows no MSG_DONTWAIT?
//!
//! A blocking socket gets O_NONBLOCK for the length of the `connect` call itself and loses it before the wait. That
//! costs two cheap calls per connection, and std's `connect_timeout` does it for the whole of its wait. A datagram
//! socket is left alone: its connect does not wait, and others may be receiving on it. The alternative, a blocking
//! connect on an offload thread, costs a thread per connection attempt. After the call the coroutine waits for the
//! socket to be writable; if SO_SNDTIMEO passes, the result is EINPROGRESS, as in the kernel. When the socket is
//! writable, `connect` is called again. It reports how the attempt ended, without waiting. SO_ERROR would report that
//! too, but would not update the socket's state. Events from before the connect (an unconnected socket reports a
//! hang-up) may wake the coroutine early, so each wake is checked with `poll(0)`. Such events must not be mistaken for
//! the end of the new connection, nor its end for one of them. So they are forgotten before the call: after it, a fast
//! peer may have answered and gone before its first event is seen.
//!
//! A Unix listener whose backlog is full answers EAGAIN and announces nothing: the coroutine tries again after a pause
//! that doubles.

use super::deadline::{IoDeadline, WaitError};
use super::full_backlog::FullBacklog;
use crate::coroutine::{Critical, budget};
use crate::driver::fd_table::{self, FdEntry, FdKind};
use crate::driver::readiness::Direction;
use crate::sys::raw::{self, Errno};
use crate::sys::socket;
use libc::{c_int, sockaddr, socklen_t};
use std::ptr;

/// # Safety
/// S5, S7: the contract of connect.
pub(crate) unsafe fn connect(fd: c_int, address: *const sockaddr, address_bytes: socklen_t) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the address.
    let call = || unsafe { socket::connect(fd, address, address_bytes) };
    let Some(entry) = fd_table::entry(fd) else {
        return call();
    };
    if entry.kind(fd) == FdKind::InetStream {
        budget::before_connect();
    }
    if !may_wait(fd, entry) || !entry.blocks(fd) {
        return call();
    }
    let forgotten = {
        let _critical = Critical::enter();
        entry.readiness.forget_ends()
    };
    let result = connect_and_wait(fd, entry, call);
    if result.is_err() {
        let _critical = Critical::enter();
        entry.readiness.remember_ends(forgotten);
    }
    result
}

/// Whether a connect may wait. Datagrams need no handshake: their connect only notes the address.
fn may_wait(fd: c_int, entry: &FdEntry) -> bool {
    match entry.kind(fd) {
        FdKind::Message => socket::so_type(fd) != Ok(libc::SOCK_DGRAM),
        kind => kind.is_socket(),
    }
}

fn connect_and_wait(
    fd: c_int,
    entry: &'static FdEntry,
    connect: impl Fn() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut io_deadline = IoDeadline::new(fd, entry, Direction::Write);
    let mut full_backlog = FullBacklog::new(fd, entry);
    loop {
        let mut seen = entry.readiness.look(Direction::Write);
        let started = try_connect(fd, entry, &connect);
        match started {
            Ok(_) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => full_backlog.pause()?,
            Err(pending @ (Errno::INPROGRESS | Errno::ALREADY)) => loop {
                // Asked before the first wait too: a peer on this machine has answered before the call returns.
                if socket::events_now(fd, libc::POLLOUT) != 0 {
                    return match try_connect(fd, entry, &connect) {
                        // The end of the first attempt is gone: a shutdown has taken it, and this call has begun
                        // another attempt.
                        Err(Errno::INPROGRESS | Errno::ALREADY) => {
                            socket::disconnect(fd);
                            Err(Errno(libc::ECONNRESET))
                        }
                        // Another call has already reported the success.
                        Err(Errno(libc::EISCONN)) => Ok(0),
                        // The socket was connected (a refusal has another number), and the peer has gone since. The
                        // next call reports that.
                        Err(Errno(libc::ECONNRESET)) => {
                            entry.set_pending_error(Errno(libc::ECONNRESET));
                            Ok(0)
                        }
                        result => result,
                    };
                }
                match io_deadline.wait(seen) {
                    Ok(()) => {}
                    // The connect goes on; another call blocks until it has ended.
                    Err(WaitError::Native) => return connect(),
                    Err(WaitError::Fail(Errno::AGAIN)) => return Err(pending),
                    Err(WaitError::Fail(errno)) => return Err(errno),
                }
                seen = entry.readiness.look(Direction::Write);
            },
            Err(errno) => return Err(errno),
        }
    }
}

/// One connect that does not wait. O_NONBLOCK is cleared again, unless the user has set it meanwhile.
fn try_connect(fd: c_int, entry: &FdEntry, connect: &impl Fn() -> Result<usize, Errno>) -> Result<usize, Errno> {
    let _critical = Critical::enter();
    // A failure shows in the connect.
    let _ = set_nonblocking(fd, true);
    let result = connect();
    if !entry.is_nonblocking() {
        let _ = set_nonblocking(fd, false);
    }
    // A caller that asked for the mode of a shared description in between has to ask again.
    entry.mode_was_touched();
    result
}

/// FIONBIO changes one flag with one call; F_SETFL would write all flags back.
pub(super) fn set_nonblocking(fd: c_int, nonblocking: bool) -> Result<(), Errno> {
    let mut value = c_int::from(nonblocking);
    // SAFETY: S5: FIONBIO reads one int, a live local.
    unsafe {
        raw::syscall3(
            libc::SYS_ioctl,
            fd as usize,
            libc::FIONBIO as usize,
            ptr::from_mut(&mut value) as usize,
        )
    }
    .map(drop)
}
