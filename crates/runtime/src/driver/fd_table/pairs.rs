//! Which two descriptors are the ends of one pair of sockets: a self-pipe may be such a pair (`io/interruption.rs`).
//!
//! The entry of each end holds the number of the other end. The two are a pair as long as each names the other. A close
//! does not change that: a waiter for the other end is about to see the close, and must not be refused between the two.
//! The pair is forgotten when one of its numbers is handed out again. So an end that is found here may be closed
//! already, and the caller must tolerate that.

use super::{existing, existing_or_new};
use crate::loom::static_atomic::Ordering;
use crate::sys::process;
use std::os::fd::RawFd;

/// Notes that two numbers that have just been made are the ends of one pair.
pub(crate) fn pair(ends: [RawFd; 2]) {
    for (fd, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
        if let Some(entry) = existing_or_new(fd).filter(|_| !process::is_foreign()) {
            entry.other_end.store(other as u32 + 1, Ordering::Relaxed);
        }
    }
}

/// Notes that a number has just been handed out for a file that is no end of a pair.
#[inline]
pub(crate) fn unpair(fd: RawFd) {
    if let Some(entry) = existing(fd) {
        entry.other_end.store(0, Ordering::Relaxed);
    }
}

/// The other end of the pair, if this process had both ends when they were made, under these numbers, and has not
/// handed one of the numbers out again.
pub(crate) fn other_end(fd: RawFd) -> Option<RawFd> {
    let other_of = |fd| existing(fd).map_or(0, |entry| entry.other_end.load(Ordering::Relaxed));
    let other = other_of(fd).checked_sub(1)? as RawFd;
    (other_of(other) == fd as u32 + 1).then_some(other)
}

/// Whether the number was made as one of a pair.
pub(crate) fn was_pair(fd: RawFd) -> bool {
    existing(fd).is_some_and(|entry| entry.other_end.load(Ordering::Relaxed) != 0)
}
