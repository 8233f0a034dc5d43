//! How does a caller wait for events of descriptors? By `wait`, on a cell that the driver settles.

use super::{wait_or_fail, wait_to_stay};
use crate::coroutine::Outcome;
use crate::driver::readiness::{Direction, PollSlot, Readiness, ReadinessTick, wait_any_by};
use crate::sys::raw::Errno;
use std::os::fd::RawFd;

impl Readiness {
    /// Waits until something has happened in a direction since the look. An error says why the descriptor cannot be
    /// waited for.
    pub(crate) fn wait(
        &self,
        fd: RawFd,
        direction: Direction,
        seen: ReadinessTick,
        deadline_ns: Option<u64>,
    ) -> Result<Outcome, Errno> {
        self.wait_by(fd, direction, seen, deadline_ns, wait_or_fail)
    }

    /// Like [`wait`](Self::wait), for a caller that was interrupted and continues to wait: see `io/interruption.rs`.
    #[cold]
    pub(crate) fn wait_to_stay(
        &self,
        fd: RawFd,
        direction: Direction,
        seen: ReadinessTick,
        deadline_ns: Option<u64>,
    ) -> Result<Outcome, Errno> {
        self.wait_by(fd, direction, seen, deadline_ns, wait_to_stay)
    }
}

/// Waits until something has happened in any of the slots since it looked. A file that cannot be polled never changes,
/// and the wait ignores it.
pub(crate) fn wait_any(slots: &[Option<PollSlot>], deadline_ns: Option<u64>) -> Result<Outcome, Errno> {
    wait_any_by(slots, deadline_ns, wait_or_fail)
}

/// Like [`wait_any`], for a caller that was interrupted and continues to wait.
#[cold]
pub(crate) fn wait_any_to_stay(slots: &[Option<PollSlot>], deadline_ns: Option<u64>) -> Result<Outcome, Errno> {
    wait_any_by(slots, deadline_ns, wait_to_stay)
}
