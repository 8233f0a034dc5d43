//! What do silken's sockets have in common? Each wraps std's type, and keeps the descriptor table informed.

use crate::io::sockets::{self, Change};
use crate::net::Shutdown;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A socket of std's type. Its end is noted in the descriptor table.
pub(super) struct Socket<T: AsRawFd>(Option<T>);

impl<T: AsRawFd> Socket<T> {
    /// Wraps a socket that was made here, and is known to the table.
    pub(super) fn new(socket: T) -> Self {
        Self(Some(socket))
    }

    /// Wraps a socket that comes from elsewhere.
    pub(super) fn adopt(socket: T) -> Self {
        sockets::pass(socket.as_raw_fd());
        Self::new(socket)
    }

    pub(super) fn get(&self) -> &T {
        self.0.as_ref().expect("taken only on the way out")
    }

    /// The socket, which stays among silken's types.
    pub(super) fn into_known(mut self) -> T {
        self.0.take().expect("taken only on the way out")
    }

    pub(super) fn number(&self) -> RawFd {
        self.get().as_raw_fd()
    }

    /// Gives the socket away.
    pub(super) fn into_inner(mut self) -> T {
        let socket = self.0.take().expect("taken only on the way out");
        sockets::pass(socket.as_raw_fd());
        socket
    }

    /// Wraps a second handle of the same socket.
    pub(super) fn copy(&self, copy: T) -> Self {
        sockets::copied(self.get().as_raw_fd(), copy.as_raw_fd());
        Self::new(copy)
    }

    /// Notes a change that was made to the socket.
    pub(super) fn changed(&self, change: Change) {
        sockets::changed(self.get().as_raw_fd(), change);
    }

    /// Tells those who wait that the socket was shut down.
    pub(super) fn was_shut_down(&self, how: Shutdown) {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        sockets::was_shut_down(self.get().as_raw_fd(), how);
    }
}

impl<T: AsRawFd + AsFd> Socket<T> {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.get().as_fd()
    }
}

impl<T: AsRawFd> Drop for Socket<T> {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            sockets::pass(socket.as_raw_fd());
        }
    }
}

impl<T: AsRawFd + fmt::Debug> fmt::Debug for Socket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// The settings that change how calls wait, and the shutdown that ends them: the table must know of both.
macro_rules! settings {
    (nonblocking: $example:literal) => {
        /// Chooses whether calls that would wait fail with [`WouldBlock`](std::io::ErrorKind::WouldBlock) instead. The
        /// choice holds for all handles of the socket.
        ///
        /// # Errors
        /// Those of `ioctl(2)`.
        ///
        /// # Examples
        /// ```
        #[doc = $example]
        /// ```
        pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
            self.0.get().set_nonblocking(nonblocking)?;
            self.0.changed(Change::Nonblocking(nonblocking));
            Ok(())
        }
    };
    (shutdown: $example:literal) => {
        /// Ends the reading, the writing, or both. Calls that wait end: see the [module](crate::net#errors).
        ///
        /// # Errors
        /// Those of `shutdown(2)`.
        ///
        /// # Examples
        /// ```
        #[doc = $example]
        /// ```
        pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
            self.0.get().shutdown(how)?;
            self.0.was_shut_down(how);
            Ok(())
        }
    };
    (timeouts: $example:literal) => {
        /// Sets how long a call that reads may wait; `None`: for ever. A call that has waited for so long fails with
        /// [`WouldBlock`](std::io::ErrorKind::WouldBlock). The timeout holds for all handles of the socket.
        ///
        /// # Errors
        /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) for a timeout of zero.
        ///
        /// # Examples
        /// ```
        #[doc = $example]
        /// ```
        pub fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
            self.0.get().set_read_timeout(timeout)?;
            self.0.changed(Change::Timeouts);
            Ok(())
        }

        /// Sets how long a call that writes may wait: see [`set_read_timeout`](Self::set_read_timeout).
        ///
        /// # Errors
        /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) for a timeout of zero.
        pub fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
            self.0.get().set_write_timeout(timeout)?;
            self.0.changed(Change::Timeouts);
            Ok(())
        }
    };
}
pub(super) use settings;

/// What all wrappers offer: a second handle, and at the border to std conversions both ways, the descriptor, and std's
/// methods.
macro_rules! at_the_border {
    ($name:ident, $std:ty) => {
        impl $name {
            /// Makes another handle of the same socket.
            ///
            /// # Errors
            /// Those of `fcntl(2)`: no descriptor is free.
            pub fn try_clone(&self) -> std::io::Result<Self> {
                self.0.get().try_clone().map(|copy| Self(self.0.copy(copy)))
            }
        }

        impl std::ops::Deref for $name {
            type Target = $std;

            fn deref(&self) -> &$std {
                self.0.get()
            }
        }

        impl From<$std> for $name {
            fn from(socket: $std) -> Self {
                Self(Socket::adopt(socket))
            }
        }

        impl From<$name> for $std {
            fn from(socket: $name) -> Self {
                socket.0.into_inner()
            }
        }

        impl From<std::os::fd::OwnedFd> for $name {
            fn from(fd: std::os::fd::OwnedFd) -> Self {
                Self(Socket::adopt(fd.into()))
            }
        }

        impl From<$name> for std::os::fd::OwnedFd {
            fn from(socket: $name) -> Self {
                socket.0.into_inner().into()
            }
        }

        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.0.fd()
            }
        }

        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.0.get().as_raw_fd()
            }
        }

        impl std::os::fd::IntoRawFd for $name {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                self.0.into_inner().into_raw_fd()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(super) use at_the_border;

/// `Read` and `Write` for a stream and for its reference.
macro_rules! stream_of_bytes {
    ($name:ident) => {
        stream_of_bytes!(@for $name);
        stream_of_bytes!(@for &$name);
    };
    (@for $($name:tt)+) => {
        impl std::io::Read for $($name)+ {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                sockets::recv(self.0.fd(), buffer, 0)
            }

            fn read_vectored(&mut self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                sockets::read_vectored(self.0.fd(), buffers)
            }
        }

        impl std::io::Write for $($name)+ {
            fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
                sockets::send(self.0.fd(), buffer)
            }

            fn write_vectored(&mut self, buffers: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                sockets::write_vectored(self.0.fd(), buffers)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}
pub(super) use stream_of_bytes;
