//! Pairs of sockets whose both ends this process has: a self-pipe may be one (`hook/interruption.rs`).
//!
//! Each end's entry has the number of the other one. The two are a pair as long as each names the other. A close does
//! not change that: who waits for the other end is about to see the close, and must not be refused between the two. It
//! is forgotten when a number is handed out again. So what is found here may be closed already, and whoever asks bears
//! that.

use super::{existing, existing_or_new};
use crate::loom::static_atomic::Ordering;
use crate::sys::process;
use std::os::fd::RawFd;

/// Two numbers that have just been made are the ends of one pair.
pub(crate) fn pair(ends: [RawFd; 2]) {
    for (fd, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
        if let Some(entry) = existing_or_new(fd).filter(|_| !process::is_foreign()) {
            entry.other_end.store(other as u32 + 1, Ordering::Relaxed);
        }
    }
}

/// A number has just been handed out, for a file that is no end of a pair.
#[inline]
pub(crate) fn unpair(fd: RawFd) {
    if let Some(entry) = existing(fd) {
        entry.other_end.store(0, Ordering::Relaxed);
    }
}

/// The other end of the pair, if this process had both when they were made, under these numbers, and has not handed one
/// of them out again.
pub(crate) fn other_end(fd: RawFd) -> Option<RawFd> {
    let other_of = |fd| existing(fd).map_or(0, |entry| entry.other_end.load(Ordering::Relaxed));
    let other = other_of(fd).checked_sub(1)? as RawFd;
    (other_of(other) == fd as u32 + 1).then_some(other)
}

/// Whether it was made as one of a pair.
pub(crate) fn was_pair(fd: RawFd) -> bool {
    existing(fd).is_some_and(|entry| entry.other_end.load(Ordering::Relaxed) != 0)
}
