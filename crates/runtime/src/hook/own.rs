//! A descriptor that a hook makes for its own wait, known to nobody else.

use crate::driver::fd_table::{self, FdKind};
use crate::sys::file::Descriptor;
use std::os::fd::RawFd;

/// Closed when it goes, and forgotten in the table before the number is free.
pub(super) struct Own(Descriptor);

impl Own {
    /// Takes ownership of a number that was just made.
    pub(super) fn new(fd: RawFd, kind: FdKind, nonblocking: bool) -> Self {
        if let Some(entry) = fd_table::entry(fd) {
            entry.begin(fd, kind, nonblocking);
        }
        Self(Descriptor::new(fd))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.fd()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        fd_table::reset(self.0.fd());
    }
}
