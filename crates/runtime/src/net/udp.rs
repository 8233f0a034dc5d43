//! UDP: std's type, which waits by `io::sockets`.

use super::socket::{Socket, at_the_border, settings};
use super::{SocketAddr, ToSocketAddrs, resolve};
use crate::io::sockets::{self, Change};
use crate::sys::address::KernelAddress;
use std::io;

/// A UDP socket: [`std::net::UdpSocket`] for coroutines of both kinds. See the [module](crate::net).
///
/// # Examples
/// ```
/// use silken::net::UdpSocket;
///
/// let one = UdpSocket::bind("127.0.0.1:0").unwrap();
/// let other = UdpSocket::bind("127.0.0.1:0").unwrap();
/// one.send_to(b"hello", other.local_addr().unwrap()).unwrap();
/// let mut text = [0; 8];
/// assert_eq!(other.recv_from(&mut text).unwrap(), (5, one.local_addr().unwrap()));
/// assert_eq!(&text[..5], b"hello");
/// ```
pub struct UdpSocket(Socket<std::net::UdpSocket>);

at_the_border!(UdpSocket, std::net::UdpSocket);

impl UdpSocket {
    /// Binds a socket to the first of these addresses that can be bound.
    ///
    /// # Blocking
    /// Parks the calling coroutine while a name is looked up (with hooks).
    ///
    /// # Errors
    /// The error of the last address, if none can be bound.
    ///
    /// # Examples
    /// ```
    /// let socket = silken::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    /// assert_ne!(socket.local_addr().unwrap().port(), 0);
    /// ```
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        std::net::UdpSocket::bind(address).map(Self::from)
    }

    /// Receives a message from the address that the socket is connected to. What does not fit is lost.
    ///
    /// # Blocking
    /// Parks the calling coroutine until there is one.
    ///
    /// # Errors
    /// Those of `recv(2)`: nobody listens at the peer's port (ECONNREFUSED).
    ///
    /// # Examples
    /// ```
    /// let one = silken::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    /// one.connect(one.local_addr().unwrap()).unwrap();
    /// one.send(b"to myself").unwrap();
    /// assert_eq!(one.recv(&mut [0; 16]).unwrap(), 9);
    /// ```
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
    /// See [`UdpSocket`].
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_from_with(buffer, 0)
    }

    fn recv_from_with(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<(usize, SocketAddr)> {
        let (count, sender) = sockets::recv_from(self.0.fd(), buffer, flags)?;
        Ok((count, sender.to_inet()?))
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
    /// let one = silken::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    /// one.connect(one.local_addr().unwrap()).unwrap();
    /// one.send(b"!").unwrap();
    /// assert_eq!(one.peek(&mut [0; 16]).unwrap(), one.recv(&mut [0; 16]).unwrap());
    /// ```
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sockets::recv(self.0.fd(), buffer, libc::MSG_PEEK)
    }

    /// Receives as [`recv_from`](Self::recv_from) does, without taking.
    ///
    /// # Blocking
    /// Parks the calling coroutine until there is a message.
    ///
    /// # Errors
    /// Those of `recvfrom(2)`.
    ///
    /// # Examples
    /// ```
    /// let one = silken::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    /// one.send_to(b"!", one.local_addr().unwrap()).unwrap();
    /// assert_eq!(one.peek_from(&mut [0; 8]).unwrap(), one.recv_from(&mut [0; 8]).unwrap());
    /// ```
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_from_with(buffer, libc::MSG_PEEK)
    }

    /// Sends a message to the address that the socket is connected to.
    ///
    /// # Blocking
    /// Parks the calling coroutine while the kernel's buffer is full.
    ///
    /// # Errors
    /// Those of `send(2)`: the message is too long (EMSGSIZE).
    ///
    /// # Examples
    /// See [`recv`](Self::recv).
    pub fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        sockets::send(self.0.fd(), buffer)
    }

    /// Sends a message to the first of these addresses.
    ///
    /// # Blocking
    /// Parks the calling coroutine while a name is looked up (with hooks), and while the kernel's buffer is full.
    ///
    /// # Errors
    /// Those of `sendto(2)`.
    ///
    /// # Examples
    /// See [`UdpSocket`].
    pub fn send_to<A: ToSocketAddrs>(&self, buffer: &[u8], address: A) -> io::Result<usize> {
        let receiver = KernelAddress::from(resolve(address)?[0]);
        sockets::send_to(self.0.fd(), buffer, &receiver)
    }

    settings!(nonblocking: "let socket = silken::net::UdpSocket::bind(\"127.0.0.1:0\").unwrap();
socket.set_nonblocking(true).unwrap();
assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);");
    settings!(timeouts: "let socket = silken::net::UdpSocket::bind(\"127.0.0.1:0\").unwrap();
socket.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);");
}
