//! How do `accept` and `connect` wait, which block and know no MSG_DONTWAIT?
//!
//! # accept
//! `poll(0)` tells whether a listener has a connection; then `accept4` takes it. Between the two another acceptor could
//! take the connection and leave this call blocked in the kernel. So both happen under the entry's `accepting` lock.
//! The lock cannot see an acceptor in another process on the same listener. O_NONBLOCK on the listener would prevent
//! the block, but would break that other process, which blocks on purpose. So where there may be such a process (the
//! listener was duplicated and there are child processes, or it was passed on) a thread of the offload pool takes the
//! connection. A listener that this process has inherited looks as if it belonged to this process alone: then the
//! worker may block until the next connection.
//!
//! # connect
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

use super::call::{answer, caller};
use super::full_backlog::FullBacklog;
use super::io::deadline::{IoDeadline, WaitError};
use super::io::transfer::{Try, take};
use crate::coroutine::{Critical, budget};
use crate::driver::fd_table::{self, FdEntry, FdKind, Sharers};
use crate::driver::readiness::Direction;
use crate::offload;
use crate::sys::raw::{self, Errno};
use crate::sys::{process, socket};
use libc::{c_int, sockaddr, socklen_t};
use silken_interpose::next;
use std::ptr;

/// The flags that are known; the kernel refuses others.
const ACCEPT_FLAGS: c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// # Safety
/// S5, S7: the contract of accept4.
unsafe fn accept_on_coroutine(
    fd: c_int,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends both.
    let accept = || unsafe { socket::accept4(fd, address, address_bytes, flags) };
    let entry = match fd_table::entry(fd) {
        Some(entry) if flags & !ACCEPT_FLAGS == 0 => entry,
        _ => return accept(),
    };
    let accepted = take(fd, entry, 0, |how| match how {
        Try::Blocking => accept(),
        Try::Now => {
            let is_contended = {
                let _critical = Critical::enter();
                let _accepting = entry.accepting.lock();
                match socket::events_now(fd, libc::POLLIN) {
                    // `listens` is asked before each wait, not for each connection.
                    0 if socket::listens(fd) => return Err(Errno::AGAIN),
                    // A socket that does not listen never becomes ready, and is refused at once.
                    0 => false,
                    _ if has_other_acceptors(entry) => true,
                    _ => return accept(),
                }
            };
            if is_contended {
                let (address, address_bytes) = (address.expose_provenance(), address_bytes.expose_provenance());
                // SAFETY: S5: the caller lends both, and waits until the call has ended.
                return offload::try_wait_out(move || unsafe {
                    socket::accept4(
                        fd,
                        ptr::with_exposed_provenance_mut(address),
                        ptr::with_exposed_provenance_mut(address_bytes),
                        flags,
                    )
                });
            }
            accept()
        }
    })?;
    begin_accepted(entry, accepted as c_int, flags);
    Ok(accepted)
}

/// Whether another process may accept on the listener too.
#[inline]
fn has_other_acceptors(listener: &FdEntry) -> bool {
    match listener.sharers() {
        Sharers::Nobody => false,
        Sharers::ThisProcess => process::has_children(),
        Sharers::Others => true,
    }
}

/// Notes a new connection. Its kind is the listener's; its mode comes from the flags, and is not inherited.
fn begin_accepted(listener: &FdEntry, accepted: c_int, flags: c_int) {
    if let Some(entry) = fd_table::entry(accepted) {
        entry.begin(accepted, listener.known_kind(), flags & libc::SOCK_NONBLOCK != 0);
        entry.inherit(listener);
    }
}

/// # Safety
/// S5, S7: the contract of connect.
unsafe fn connect_on_coroutine(fd: c_int, address: *const sockaddr, address_bytes: socklen_t) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the address.
    let connect = || unsafe { socket::connect(fd, address, address_bytes) };
    let Some(entry) = fd_table::entry(fd) else {
        return connect();
    };
    if entry.kind(fd) == FdKind::InetStream {
        budget::before_connect();
    }
    if !may_wait(fd, entry) || !entry.blocks(fd) {
        return connect();
    }
    let forgotten = {
        let _critical = Critical::enter();
        entry.readiness.forget_ends()
    };
    let result = connect_and_wait(fd, entry, connect);
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
    set_nonblocking(fd, true);
    let result = connect();
    if !entry.is_nonblocking() {
        set_nonblocking(fd, false);
    }
    // A caller that asked for the mode of a shared description in between has to ask again.
    entry.mode_was_touched();
    result
}

/// FIONBIO changes one flag with one call; F_SETFL would write all flags back.
fn set_nonblocking(fd: c_int, nonblocking: bool) {
    let mut value = c_int::from(nonblocking);
    // SAFETY: S5: FIONBIO reads one int, a live local. A failure shows in the connect.
    let _ = unsafe {
        raw::syscall3(
            libc::SYS_ioctl,
            fd as usize,
            libc::FIONBIO as usize,
            ptr::from_mut(&mut value) as usize,
        )
    };
}

/// `accept(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn accept(fd: c_int, address: *mut sockaddr, address_bytes: *mut socklen_t) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        let accepted = unsafe { next::accept(fd, address, address_bytes) };
        return super::fd::made(accepted);
    }
    budget::spend();
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { accept_on_coroutine(fd, address, address_bytes, 0) }) as c_int
}

/// `accept4(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
    flags: c_int,
) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        let accepted = unsafe { next::accept4(fd, address, address_bytes, flags) };
        return super::fd::made(accepted);
    }
    budget::spend();
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { accept_on_coroutine(fd, address, address_bytes, flags) }) as c_int
}

/// `connect(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, address_bytes: socklen_t) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::connect(fd, address, address_bytes) };
    }
    budget::spend();
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { connect_on_coroutine(fd, address, address_bytes) }) as c_int
}
