//! How long a call on a descriptor waits, and why it stops: the caller's mode, its socket timeout, a cancellation, a close (table in `io.rs`).
//!
//! The mode and the timeout are asked for at the first wait, not at the call: most calls never wait. The deadline then runs over all
//! waits of the call, as the kernel's does over its own.

use super::errno::cancelled;
use crate::coroutine::Outcome;
use crate::driver::fd_table::{Entry, Kind};
use crate::driver::readiness::{Direction, Seen};
use crate::sys::clock;
use crate::sys::raw::Errno;
use libc::c_int;

/// Why a wait does not lead to another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The descriptor cannot be waited for.
    Native,
    Fail(Errno),
}

/// The patience of one call: its deadline runs from the first wait, over all waits.
pub(super) struct Patience {
    fd: c_int,
    entry: &'static Entry,
    direction: Direction,
    /// Outer `None`: not waited yet.
    deadline_ns: Option<Option<u64>>,
}

impl Patience {
    #[inline(always)]
    pub(super) fn new(fd: c_int, entry: &'static Entry, direction: Direction) -> Self {
        Self {
            fd,
            entry,
            direction,
            deadline_ns: None,
        }
    }

    /// Waits for something to happen since the look, if the caller's mode is to wait at all.
    #[inline(never)]
    pub(super) fn wait(&mut self, seen: Seen) -> Result<(), Stop> {
        self.entry.settle(self.fd);
        if !self.entry.blocks(self.fd) {
            return Err(Stop::Fail(Errno::AGAIN));
        }
        let kind = self.entry.kind(self.fd);
        if kind == Kind::Plain {
            return Err(Stop::Native);
        }
        let deadline_ns = match self.deadline_ns {
            Some(deadline_ns) => deadline_ns,
            None => self.start(kind),
        };
        match self.entry.readiness.wait(self.fd, self.direction, seen, deadline_ns) {
            Ok(Outcome::Woken) => Ok(()),
            Ok(Outcome::TimedOut) => Err(Stop::Fail(Errno::AGAIN)),
            Ok(Outcome::Cancelled) => Err(Stop::Fail(cancelled())),
            Ok(Outcome::Closed) | Err(Errno::BADF) => Err(Stop::Fail(Errno::BADF)),
            Err(errno) => {
                // EPERM: not pollable, for good. Else: no memory or no watch left for it, this time.
                if errno == Errno::PERM {
                    self.entry.set_kind(Kind::Plain);
                }
                Err(Stop::Native)
            }
        }
    }

    fn start(&mut self, kind: Kind) -> Option<u64> {
        let timeout_ns = match kind.is_socket() {
            true => self.entry.timeout_ns(self.fd, self.direction),
            false => None,
        };
        let deadline_ns = timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns));
        self.deadline_ns = Some(deadline_ns);
        deadline_ns
    }
}
