//! Who makes a call on descriptors: a coroutine that may park, a thread, or the runtime itself? And how does the
//! descriptor table learn of a change from each?

use crate::coroutine::{Core, Critical, current_core};
use crate::driver::fd_table::{self, FdKind};
use std::os::fd::RawFd;

/// The running coroutine, if its call may park it. `None` in a critical section, where the caller is the runtime.
#[inline(always)]
pub(crate) fn caller() -> Option<&'static Core> {
    current_core().filter(|_| !Critical::is_entered())
}

/// Whether the caller is the runtime itself, or a signal handler that has interrupted it. The runtime may then hold a
/// lock that the bookkeeping would take.
#[inline(always)]
pub(crate) fn is_runtime() -> bool {
    Critical::is_entered()
}

/// The function that forgets a number for this caller.
#[inline(always)]
pub(crate) fn resetting() -> fn(RawFd) {
    if is_runtime() {
        fd_table::reset_later
    } else {
        fd_table::reset
    }
}

/// The function that, for this caller, lets a number become another file. Calls that wait for the number try again.
#[inline(always)]
pub(crate) fn replacing() -> fn(RawFd) {
    if is_runtime() {
        fd_table::reset_later
    } else {
        fd_table::replace
    }
}

/// Notes a new description, of known kind and mode.
pub(crate) fn begin(fd: RawFd, kind: FdKind, nonblocking: bool) {
    if is_runtime() {
        return fd_table::reset_later(fd);
    }
    let entry = if caller().is_some() {
        fd_table::entry(fd)
    } else {
        fd_table::existing(fd)
    };
    if let Some(entry) = entry {
        entry.begin(fd, kind, nonblocking);
    }
}
