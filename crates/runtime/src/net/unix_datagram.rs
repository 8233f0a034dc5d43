//! Unix datagram sockets: std's type, which waits by `io::sockets`.

use super::socket::{Socket, at_the_border, settings};
use crate::io::sockets::{self, Change};
use crate::sys::address::KernelAddress;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

/// A socket of messages within the machine: [`std::os::unix::net::UnixDatagram`] for coroutines of both kinds. See the
/// [module](crate::net).
///
/// # Examples
/// ```
/// let (one, other) = silken::net::UnixDatagram::pair().unwrap();
/// let reader = silken::spawn(move || other.recv(&mut [0; 8]).unwrap());
/// one.send(b"hello").unwrap();
/// assert_eq!(reader.join().unwrap(), 5);
/// ```
pub struct UnixDatagram(Socket<net::UnixDatagram>);

at_the_border!(UnixDatagram, net::UnixDatagram);

impl UnixDatagram {
    /// Binds a socket to a path, where a file for it is made.
    ///
    /// # Errors
    /// Those of `bind(2)`: there is such a file already (EADDRINUSE).
    ///
    /// # Examples
    /// See [`send_to`](Self::send_to).
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        net::UnixDatagram::bind(path).map(Self::from)
    }

    /// Binds a socket to an address, which may have no path.
    ///
    /// # Errors
    /// Those of `bind(2)`.
    ///
    /// # Examples
    /// See [`send_to_addr`](Self::send_to_addr).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        net::UnixDatagram::bind_addr(address).map(Self::from)
    }

    /// Makes a socket without a name.
    ///
    /// # Errors
    /// Those of `socket(2)`: no descriptor is free.
    ///
    /// # Examples
    /// See [`send_to`](Self::send_to).
    pub fn unbound() -> io::Result<Self> {
        net::UnixDatagram::unbound().map(Self::from)
    }

    /// Makes two sockets that are connected to each other.
    ///
    /// # Errors
    /// Those of `socketpair(2)`: no descriptor is free.
    ///
    /// # Examples
    /// See [`UnixDatagram`].
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixDatagram::pair()?;
        sockets::paired([one.as_raw_fd(), other.as_raw_fd()]);
        Ok((Self(Socket::new(one)), Self(Socket::new(other))))
    }

    /// Receives a message. What does not fit is lost.
    ///
    /// # Blocking
    /// Parks the calling coroutine until there is one.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    ///
    /// # Examples
    /// See [`UnixDatagram`].
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sockets::recv(self.0.fd(), buffer, 0)
    }

    /// Receives a message and its sender. What does not fit is lost.
    ///
    /// # Blocking
    /// Parks the calling coroutine until there is one.
    ///
    /// # Errors
    /// Those of `recvfrom(2)`.
    ///
    /// # Examples
    /// See [`send_to`](Self::send_to).
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (count, sender) = sockets::recv_from(self.0.fd(), buffer, 0)?;
        Ok((count, sender.to_unix()?))
    }

    /// Receives as [`recv`](Self::recv) does, without taking: the next receive gets the same message.
    ///
    /// # Blocking
    /// Parks the calling coroutine until there is one.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    ///
    /// # Examples
    /// ```
    /// let (one, other) = silken::net::UnixDatagram::pair().unwrap();
    /// one.send(b"!").unwrap();
    /// assert_eq!(other.peek(&mut [0; 8]).unwrap(), other.recv(&mut [0; 8]).unwrap());
    /// ```
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sockets::recv(self.0.fd(), buffer, libc::MSG_PEEK)
    }

    /// Sends a message to the socket that this one is connected to.
    ///
    /// # Blocking
    /// Parks the calling coroutine while the receiver's queue is full.
    ///
    /// # Errors
    /// Those of `send(2)`: the receiver has gone (ECONNREFUSED).
    ///
    /// # Examples
    /// See [`UnixDatagram`].
    pub fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        sockets::send(self.0.fd(), buffer)
    }

    /// Sends a message to the socket at a path.
    ///
    /// # Blocking
    /// Parks the calling coroutine while the receiver's queue is full.
    ///
    /// # Errors
    /// Those of `sendto(2)`.
    ///
    /// # Examples
    /// ```
    /// use silken::net::UnixDatagram;
    /// let path = std::env::temp_dir().join(format!("silken-datagram-{}", std::process::id()));
    /// let receiver = UnixDatagram::bind(&path).unwrap();
    /// UnixDatagram::unbound().unwrap().send_to(b"hello", &path).unwrap();
    /// let (bytes, sender) = receiver.recv_from(&mut [0; 8]).unwrap();
    /// assert!(bytes == 5 && sender.is_unnamed());
    /// std::fs::remove_file(&path).unwrap();
    /// ```
    pub fn send_to<P: AsRef<Path>>(&self, buffer: &[u8], path: P) -> io::Result<usize> {
        sockets::send_to(self.0.fd(), buffer, &KernelAddress::of_path(path.as_ref())?)
    }

    /// Sends a message to an address, which may have no path.
    ///
    /// # Blocking
    /// Parks the calling coroutine while the receiver's queue is full.
    ///
    /// # Errors
    /// Those of `sendto(2)`.
    ///
    /// # Examples
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use silken::net::UnixDatagram;
    /// let name = format!("silken-datagram-{}", std::process::id());
    /// let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    /// let receiver = UnixDatagram::bind_addr(&address).unwrap();
    /// UnixDatagram::unbound().unwrap().send_to_addr(b"hello", &address).unwrap();
    /// assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 5);
    /// ```
    pub fn send_to_addr(&self, buffer: &[u8], address: &SocketAddr) -> io::Result<usize> {
        sockets::send_to(self.0.fd(), buffer, &KernelAddress::try_from(address)?)
    }

    settings!(shutdown: "let (one, _other) = silken::net::UnixDatagram::pair().unwrap();
one.shutdown(silken::net::Shutdown::Read).unwrap();
assert_eq!(one.recv(&mut [0; 8]).unwrap(), 0);");

    settings!(nonblocking: "let (one, _other) = silken::net::UnixDatagram::pair().unwrap();
one.set_nonblocking(true).unwrap();
assert_eq!(one.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);");
    settings!(timeouts: "let (one, _other) = silken::net::UnixDatagram::pair().unwrap();
one.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
assert_eq!(one.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);");
}
