//! When does a call that moves data return? This is its loop: it tries, waits, and goes on until it has done what a
//! blocking call does.
//!
//! The rules are in `io/mod.rs`. The other calls that move data (`messages`, `datagram`, `copy`, `batch`) use the same
//! loop.

use super::deadline::{IoDeadline, WaitError};
use crate::driver::fd_table::{DescriptionFact, FdEntry, FdKind};
use crate::driver::readiness::{Direction, ReadinessTick};
use crate::sys::raw::{Errno, repeat_interrupted};
use crate::sys::{file, socket};
use libc::c_int;

/// `AT_ONCE` has the flags with which the kernel does not wait, whatever the mode. `SEND_AS_IS` has those with which a
/// send goes to the kernel as it is: MSG_DONTWAIT, and MSG_FASTOPEN, whose wait is left to the kernel.
pub(crate) const AT_ONCE: c_int = libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE | libc::MSG_OOB;
pub(crate) const SEND_AS_IS: c_int = libc::MSG_DONTWAIT | libc::MSG_FASTOPEN;

/// How a call is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// Fail with would-block rather than wait.
    Now,
    /// Wait in the kernel, since there is no other way.
    Blocking,
}

impl Try {
    #[inline(always)]
    pub(crate) fn flags(self) -> c_int {
        match self {
            Try::Now => libc::MSG_DONTWAIT,
            Try::Blocking => 0,
        }
    }
}

/// Repeats a call that takes data until it has taken some. A result of a TCP socket that is smaller than `short_of`
/// means that the socket is empty; `short_of` is 0 where the result does not tell.
#[inline(always)]
pub(crate) fn take(
    fd: c_int,
    entry: &'static FdEntry,
    short_of: usize,
    mut call: impl FnMut(Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut io_deadline = IoDeadline::new(fd, entry, Direction::Read);
    let mut seen = entry.readiness.look(Direction::Read);
    // With O_NONBLOCK the call is always made: the caller may know from another source what our event has not told yet.
    let mut skip_try = entry.readiness.is_drained(seen) && entry.blocks(fd);
    loop {
        skip_try = skip_try || entry.has(DescriptionFact::LowMark) && is_below_mark(fd, entry, seen, short_of);
        let result = if skip_try { Err(Errno::AGAIN) } else { call(Try::Now) };
        skip_try = false;
        match result {
            Ok(count) => {
                if count == 0 {
                    // Data comes before a pending error, and the error before the end.
                    entry.take_pending_error()?;
                }
                if count < short_of && count > 0 && entry.is_inet_stream() {
                    entry.readiness.set_drained(seen);
                }
                return Ok(count);
            }
            Err(Errno::AGAIN) => match entry
                .take_pending_error()
                .map_err(WaitError::Fail)
                .and_then(|()| io_deadline.wait(seen))
            {
                Ok(()) => {}
                Err(WaitError::Native) => return repeat_interrupted(|| call(Try::Blocking)),
                // The timeout is over, and perhaps some bytes below the mark are there.
                Err(WaitError::Fail(Errno::AGAIN)) if entry.has(DescriptionFact::LowMark) => return call(Try::Now),
                Err(WaitError::Fail(errno)) => return Err(errno),
            },
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        seen = entry.readiness.look(Direction::Read);
    }
}

/// Whether a blocking receive of `wanted` bytes of TCP would wait although some bytes are there, because SO_RCVLOWAT
/// was set. The kernel ensures that so many bytes fit. An end, an error or urgent data ends such a wait.
#[cold]
fn is_below_mark(fd: c_int, entry: &FdEntry, seen: ReadinessTick, wanted: usize) -> bool {
    let mark = socket::so_rcvlowat(fd).unwrap_or(1).min(wanted);
    entry.kind(fd) == FdKind::InetStream
        && mark > 1
        && !seen.is_sticky()
        && entry.blocks(fd)
        && file::readable_bytes(fd).is_ok_and(|present| present > 0 && present < mark)
}

/// Repeats a call until `total` bytes are moved (it may move more), or a try fails, or the end has come (of a receive).
/// `call` is told how many bytes are done.
#[inline(always)]
pub(crate) fn move_all(
    fd: c_int,
    entry: &'static FdEntry,
    direction: Direction,
    total: usize,
    mut call: impl FnMut(usize, Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if direction == Direction::Write {
        entry.take_pending_error()?;
    }
    let mut io_deadline = IoDeadline::new(fd, entry, direction);
    let mut done = 0;
    loop {
        let seen = entry.readiness.look(direction);
        let failed = match call(done, Try::Now) {
            Ok(count) => {
                done += count;
                if done == 0 {
                    entry.take_pending_error()?;
                }
                if done >= total || count == 0 || !io_deadline.blocks() {
                    return Ok(done);
                }
                continue;
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => match before_wait(entry, done).and_then(|()| io_deadline.wait(seen)) {
                Ok(()) => continue,
                Err(WaitError::Native) => match repeat_interrupted(|| call(done, Try::Blocking)) {
                    Ok(count) => return Ok(done + count),
                    Err(errno) => errno,
                },
                // The timeout is over; data for which there is room now is still sent.
                Err(WaitError::Fail(Errno::AGAIN)) if direction == Direction::Write && io_deadline.blocks() => {
                    match call(done, Try::Now) {
                        Ok(count) => return Ok(done + count),
                        Err(errno) => errno,
                    }
                }
                // The socket does not know why a wait ended, so no error is kept.
                Err(WaitError::Fail(errno)) => return if done > 0 { Ok(done) } else { Err(errno) },
            },
            Err(errno) => errno,
        };
        return after_part(entry, done, failed);
    }
}

/// If a call would wait and has moved nothing, it ends with the pending error.
fn before_wait(entry: &FdEntry, done: usize) -> Result<(), WaitError> {
    if done > 0 {
        Ok(())
    } else {
        entry.take_pending_error().map_err(WaitError::Fail)
    }
}

/// The value of SO_RCVLOWAT of a stream that is not TCP, if it was set.
#[inline(always)]
pub(crate) fn stream_mark(fd: c_int, entry: &FdEntry) -> Option<usize> {
    if !entry.has(DescriptionFact::LowMark) || entry.kind(fd) != FdKind::Stream {
        return None;
    }
    socket::so_rcvlowat(fd).ok().filter(|mark| *mark > 1)
}

/// The result of a call whose try has failed after `done` bytes were moved. EPIPE is not kept: it comes again by
/// itself, with its signal.
#[cold]
pub(crate) fn after_part(entry: &FdEntry, done: usize, failed: Errno) -> Result<usize, Errno> {
    if done == 0 {
        return Err(failed);
    }
    if failed == Errno::AGAIN {
        return Ok(done);
    }
    if failed != Errno(libc::EPIPE) && entry.known_kind().is_socket() {
        entry.set_pending_error(failed);
    }
    Ok(done)
}

/// A receive with MSG_PEEK and MSG_WAITALL: each round starts again, and nothing is taken. It ends when all bytes are
/// there, or no more will come.
pub(crate) fn peek_all(
    fd: c_int,
    entry: &'static FdEntry,
    total: usize,
    mut call: impl FnMut(Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut io_deadline = IoDeadline::new(fd, entry, Direction::Read);
    loop {
        let seen = entry.readiness.look(Direction::Read);
        let found = match repeat_interrupted(|| call(Try::Now)) {
            Ok(count) if count >= total || count == 0 || seen.is_sticky() => return Ok(count),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN) => Err(Errno::AGAIN),
            Err(errno) => return Err(errno),
        };
        match io_deadline.wait(seen) {
            Ok(()) => {}
            Err(WaitError::Native) => return repeat_interrupted(|| call(Try::Blocking)),
            Err(WaitError::Fail(errno)) => return found.map_err(|_| errno),
        }
    }
}
