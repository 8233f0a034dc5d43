//! How long does a call on a descriptor wait, and why does it stop? The reasons are the caller's mode, its socket
//! timeout, a cancellation, and a close (table in `io/mod.rs`).
//!
//! The mode and the timeout are looked up at the first wait, not at the call, since most calls never wait. The mode
//! then holds for the whole call, even if it is changed meanwhile. The deadline runs over all waits of the call, as the
//! kernel's does over its own waits.
//!
//! A socket of messages that was shut down for reading is no more readable than before: asked with MSG_DONTWAIT, the
//! kernel answers would-block, for ever. A blocking receive returns 0 at once. So where an event has told of the end,
//! that blocking call is made.

use super::interruption::{refused, stays};
use crate::coroutine::Outcome;
use crate::driver::fd_table::{FdEntry, FdKind};
use crate::driver::readiness::{Direction, ReadinessTick};
use crate::sys::raw::Errno;
use crate::sys::{clock, socket};
use libc::c_int;

/// Why a wait does not lead to another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitError {
    /// The descriptor cannot be waited for, or the kernel would not wait: the blocking call is to be made.
    Native,
    Fail(Errno),
}

/// How long one call may wait: the deadline runs from the first wait, over all waits.
pub(crate) struct IoDeadline {
    fd: c_int,
    entry: &'static FdEntry,
    direction: Direction,
    /// The caller's mode; `None` until it is asked.
    blocks: Option<bool>,
    /// Outer `None`: the call has not waited yet. Inner `None`: there is no deadline.
    deadline_ns: Option<Option<u64>>,
    /// Whether a wait was interrupted, and the call is tried for the last time.
    is_last_try: bool,
}

/// Whether the socket was shut down for reading.
fn is_read_shut(fd: c_int) -> bool {
    socket::events_now(fd, libc::POLLRDHUP) & libc::POLLRDHUP != 0
}

impl IoDeadline {
    #[inline(always)]
    pub(crate) fn new(fd: c_int, entry: &'static FdEntry, direction: Direction) -> Self {
        Self {
            fd,
            entry,
            direction,
            blocks: None,
            deadline_ns: None,
            is_last_try: false,
        }
    }

    /// Whether the caller's mode is to wait. The first answer holds for the whole call.
    pub(crate) fn blocks(&mut self) -> bool {
        *self.blocks.get_or_insert_with(|| self.entry.blocks(self.fd))
    }

    /// For the socket's timeout, the next wait counts as the first wait of another call.
    pub(crate) fn start_anew(&mut self) {
        self.deadline_ns = None;
    }

    /// Makes the caller wait whatever the descriptor's mode is.
    pub(crate) fn wait_in_any_mode(&mut self) {
        self.blocks = Some(true);
    }

    /// Waits until the direction has changed since the look that returned `seen`, if the caller's mode is to wait at
    /// all.
    #[inline(never)]
    pub(crate) fn wait(&mut self, seen: ReadinessTick) -> Result<(), WaitError> {
        self.entry.reset_if_stale(self.fd);
        if !self.blocks() {
            return Err(WaitError::Fail(Errno::AGAIN));
        }
        let kind = self.entry.kind(self.fd);
        let has_ended = || self.direction == Direction::Read && seen.is_sticky() && is_read_shut(self.fd);
        if kind == FdKind::Plain || kind == FdKind::Message && has_ended() {
            return Err(WaitError::Native);
        }
        let deadline_ns = match self.deadline_ns {
            Some(deadline_ns) => deadline_ns,
            None => self.start(kind),
        };
        let mut outcome = self.entry.readiness.wait(self.fd, self.direction, seen, deadline_ns);
        if outcome == Ok(Outcome::Cancelled) && stays(self.fd, self.entry, self.direction) {
            outcome = self
                .entry
                .readiness
                .wait_to_stay(self.fd, self.direction, seen, deadline_ns);
        }
        match outcome {
            Ok(Outcome::Woken) => Ok(()),
            Ok(Outcome::TimedOut) => Err(WaitError::Fail(Errno::AGAIN)),
            // The awaited event may have come together with the request: the end of a partner that was cancelled first.
            Ok(Outcome::Cancelled) if !std::mem::replace(&mut self.is_last_try, true) => Ok(()),
            Ok(Outcome::Cancelled) => Err(WaitError::Fail(refused())),
            Ok(Outcome::Closed) | Err(Errno::BADF) => Err(WaitError::Fail(Errno::BADF)),
            Err(errno) => {
                // EPERM: the file is not pollable, for good. Other errors: no memory or no watch is left for it this
                // time.
                if errno == Errno::PERM {
                    self.entry.set_kind(FdKind::Plain);
                }
                Err(WaitError::Native)
            }
        }
    }

    fn start(&mut self, kind: FdKind) -> Option<u64> {
        let timeout_ns = match kind.is_socket() {
            true => self.entry.timeout_ns(self.fd, self.direction),
            false => None,
        };
        let deadline_ns = timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns));
        self.deadline_ns = Some(deadline_ns);
        deadline_ns
    }
}
