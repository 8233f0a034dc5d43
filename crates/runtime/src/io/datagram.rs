//! How does a send to an address wait when the receiver is a Unix socket whose queue is full?
//!
//! A Unix datagram that finds the receiver's queue full would block, and the sender's own socket does not tell when it
//! no longer would. It is writable all the time, and each refused try raises that event again. A socket that is
//! *connected* to the receiver does tell: it is writable when the queue has room. So the coroutine makes one, connects
//! it to the address, waits until it is writable, and tries again. All waiters of a queue are woken when it has room;
//! those that come too late wait on.
//!
//! A thread has found the receiver when it begins to wait, and the receiver's path may vanish meanwhile. A sender
//! without a name therefore sends through the socket that it has made, which stays connected and has no name either. A
//! sender with a name has to find the receiver again.
//!
//! If the receiver is connected to another socket, the new socket cannot connect to it; or no new descriptor may be
//! available. Then the coroutine tries again after a pause that doubles, as `connect` does it for a full
//! backlog.
//!
//! The call would also block if the sender's own buffer is full. Then the sender's socket is not writable, and an event
//! will come, as for other sockets.

use super::deadline::{IoDeadline, WaitError};
use super::full_backlog::FullBacklog;
use super::interruption::refused;
use super::own::Own;
use super::transfer::Try;
use crate::coroutine::Outcome;
use crate::driver::fd_table::{self, FdEntry, FdKind};
use crate::driver::readiness::Direction;
use crate::sys::raw::{self, Errno};
use crate::sys::socket;
use libc::{sa_family_t, sockaddr, socklen_t};
use std::os::fd::RawFd;

/// The receiver of a message, as the caller named it.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) address: *const sockaddr,
    pub(crate) address_bytes: socklen_t,
}

impl Destination {
    /// Whether this is the address of a Unix socket.
    ///
    /// # Safety
    /// S5: the kernel has read the address.
    unsafe fn is_unix(self) -> bool {
        // SAFETY: S5: the caller's contract; the family comes first.
        self.address_bytes as usize >= size_of::<sa_family_t>()
            && unsafe { self.address.cast::<sa_family_t>().read_unaligned() } == libc::AF_UNIX as sa_family_t
    }
}

/// Sends a message to an address, whole or not at all. `call` sends it through the caller's own socket, or through a
/// given one that is connected to the receiver.
///
/// # Safety
/// S5: the address is the caller's, as the one that `call` sends to.
#[inline(never)]
pub(crate) unsafe fn send_to(
    fd: RawFd,
    entry: &'static FdEntry,
    receiver: Destination,
    mut call: impl FnMut(Try, Option<RawFd>) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    entry.take_pending_error()?;
    let mut io_deadline = IoDeadline::new(fd, entry, Direction::Write);
    let mut full_queue: Option<FullQueue> = None;
    loop {
        let seen = entry.readiness.look(Direction::Write);
        let way = full_queue.as_ref().and_then(FullQueue::way);
        match call(Try::Now, way) {
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => continue,
            // The buffer of the new socket has the default size, which may be too small for the message.
            Err(Errno(libc::EMSGSIZE)) if way.is_some() => {
                full_queue.iter_mut().for_each(FullQueue::forget_way);
                continue;
            }
            result => return result,
        }
        // SAFETY: S5: the call above has read it.
        let is_unix = unsafe { receiver.is_unix() };
        if is_unix && entry.blocks(fd) && socket::events_now(fd, libc::POLLOUT) != 0 {
            full_queue
                .get_or_insert_with(|| FullQueue::new(fd, entry))
                .wait(receiver)?;
            continue;
        }
        match io_deadline.wait(seen) {
            Ok(()) => {}
            Err(WaitError::Native) => return call(Try::Blocking, None),
            // The timeout is over; a message for which there is room now is still sent.
            Err(WaitError::Fail(Errno::AGAIN)) if io_deadline.blocks() => return call(Try::Now, None),
            Err(WaitError::Fail(errno)) => return Err(errno),
        }
    }
}

/// The waits of one send to a Unix socket whose queue is full.
struct FullQueue {
    /// Outer `None`: not made yet. Inner `None`: it could not be made.
    probe: Option<Option<Probe>>,
    /// Whether the message may go through the probe.
    is_way: bool,
    pauses: FullBacklog,
}

impl FullQueue {
    #[cold]
    fn new(fd: RawFd, entry: &'static FdEntry) -> Self {
        Self {
            probe: None,
            is_way: socket::is_unnamed(fd),
            pauses: FullBacklog::new(fd, entry),
        }
    }

    fn way(&self) -> Option<RawFd> {
        let probe = self.probe.as_ref()?.as_ref()?;
        self.is_way.then(|| probe.0.fd())
    }

    fn forget_way(&mut self) {
        self.is_way = false;
    }

    fn wait(&mut self, receiver: Destination) -> Result<(), Errno> {
        let probe = self.probe.get_or_insert_with(|| Probe::connect(receiver).ok());
        match probe {
            Some(probe) if probe.wait(self.pauses.deadline_ns())? => Ok(()),
            // The probe could not be made, or cannot be registered.
            _ => self.pauses.pause(),
        }
    }
}

/// A socket that is connected to the receiver.
struct Probe(Own);

impl Probe {
    fn connect(receiver: Destination) -> Result<Self, Errno> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: S5: no memory.
        let fd = unsafe { raw::syscall3(libc::SYS_socket, libc::AF_UNIX as usize, kind as usize, 0) }? as RawFd;
        let probe = Self(Own::new(fd, FdKind::Message, true));
        // SAFETY: S5: the caller's address, which it lends.
        unsafe { socket::connect(fd, receiver.address, receiver.address_bytes) }?;
        Ok(probe)
    }

    /// Waits until the queue has room. Returns `false` if the probe cannot be waited for.
    fn wait(&self, deadline_ns: Option<u64>) -> Result<bool, Errno> {
        let fd = self.0.fd();
        let Some(entry) = fd_table::entry(fd) else {
            return Ok(false);
        };
        let seen = entry.readiness.look(Direction::Write);
        if socket::events_now(fd, libc::POLLOUT) != 0 {
            return Ok(true);
        }
        match entry.readiness.wait(fd, Direction::Write, seen, deadline_ns) {
            Ok(Outcome::TimedOut) => Err(Errno::AGAIN),
            Ok(Outcome::Cancelled) => Err(refused()),
            Ok(Outcome::Woken | Outcome::Closed) => Ok(true),
            Err(_) => Ok(false),
        }
    }
}
