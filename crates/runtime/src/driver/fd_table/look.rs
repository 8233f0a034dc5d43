//! How does a wait that needs no facts of a descriptor look at it? It marks the entry after the look.
//!
//! A reset in between clears the mark, but also changes the word, so the wait ends at once and the caller looks again.
//! Example: a coroutine is about to wait, and another closes the number. The hook of `close` resets the entry, then the
//! kernel closes the file. If the wait begins between the two, the entry has its mark, and the number's next maker
//! resets it once more. With the mark *before* the look, the reset could clear it, and the wait begin all the same. The
//! entry would then seem to be virgin, nobody would reset it, and the next owner's waits would rely on a registration
//! that the kernel has dropped.

use super::{FdEntry, Ordering, TOUCHED};
use crate::driver::readiness::{Direction, PollSlot, ReadinessTick};
use std::os::fd::RawFd;

impl FdEntry {
    /// The version of a direction's state, for a wait until it changes.
    pub(crate) fn look(&self, direction: Direction) -> ReadinessTick {
        let seen = self.readiness.look(direction);
        self.touch();
        seen
    }

    /// A slot for a wait for several descriptors, which looks as [`look`](Self::look) does.
    pub(crate) fn poll_slot(&'static self, fd: RawFd, direction: Direction) -> PollSlot {
        let slot = PollSlot::new(&self.readiness, fd, direction);
        self.touch();
        slot
    }

    /// Notes that the number may become registered.
    pub(in crate::driver) fn touch(&self) {
        if self.is_virgin() {
            self.facts.fetch_or(TOUCHED, Ordering::Relaxed);
        }
    }
}
