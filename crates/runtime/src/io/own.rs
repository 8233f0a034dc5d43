//! How does a hook own a descriptor that it makes for its own wait, and that no other code knows?

use crate::driver::fd_table::{self, FdKind};
use crate::sys::file::Descriptor;
use std::os::fd::RawFd;

/// A descriptor that is closed on drop. The table forgets it before the number is free.
pub(crate) struct Own(Descriptor);

impl Own {
    /// Takes ownership of a number that was just handed out.
    pub(crate) fn new(fd: RawFd, kind: FdKind, nonblocking: bool) -> Self {
        if let Some(entry) = fd_table::entry(fd) {
            entry.begin(fd, kind, nonblocking);
        }
        Self(Descriptor::new(fd))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.fd()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        fd_table::reset(self.0.fd());
    }
}
