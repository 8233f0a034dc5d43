//! How does a call wait for a Unix socket whose peer's queue is full? No event tells when there is room, so the call
//! tries again after pauses that double.

use super::interruption::refused;
use crate::coroutine::{Outcome, WaitReason};
use crate::driver::fd_table::FdEntry;
use crate::driver::readiness::Direction;
use crate::sys::clock;
use crate::sys::raw::Errno;
use crate::wait;
use libc::c_int;

/// The pauses between tries on a full Unix backlog. The first is short enough not to be noticed, and the longest makes
/// tries rare enough not to be a load. Both are guesses.
const PAUSE_FIRST_NS: u64 = 50_000;
const PAUSE_LONGEST_NS: u64 = 5_000_000;

/// The waits of one call on a Unix socket whose peer's queue is full; no event ends them.
pub(crate) struct FullBacklog {
    fd: c_int,
    entry: &'static FdEntry,
    /// Outer `None`: not asked yet. Inner `None`: there is no deadline.
    deadline_ns: Option<Option<u64>>,
    pause_ns: u64,
}

impl FullBacklog {
    pub(crate) fn new(fd: c_int, entry: &'static FdEntry) -> Self {
        Self {
            fd,
            entry,
            deadline_ns: None,
            pause_ns: PAUSE_FIRST_NS,
        }
    }

    /// The time at which the socket's send timeout ends; the timeout begins with the first call here.
    pub(crate) fn deadline_ns(&mut self) -> Option<u64> {
        *self.deadline_ns.get_or_insert_with(|| {
            let timeout_ns = self.entry.timeout_ns(self.fd, Direction::Write);
            timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns))
        })
    }

    #[cold]
    pub(crate) fn pause(&mut self) -> Result<(), Errno> {
        let deadline_ns = self.deadline_ns().unwrap_or(u64::MAX);
        let now_ns = clock::now_ns();
        if now_ns >= deadline_ns {
            return Err(Errno::AGAIN);
        }
        let until_ns = deadline_ns.min(now_ns + self.pause_ns);
        self.pause_ns = (self.pause_ns * 2).min(PAUSE_LONGEST_NS);
        match wait::sleep_until(until_ns, WaitReason::Write) {
            Outcome::Cancelled => Err(refused()),
            _ => Ok(()),
        }
    }
}
