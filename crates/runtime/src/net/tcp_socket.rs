//! How does a program set what must be set before a TCP socket is bound or connected?

use super::socket::Socket;
use super::{SocketAddr, TcpListener, TcpStream};
use crate::io::sockets;
use crate::sys::address::KernelAddress;
use crate::sys::socket;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A TCP socket that is neither connected nor listens. It takes the options that cannot be set later.
///
/// # Examples
/// Several listeners on one port, among which the kernel distributes the connections:
/// ```
/// use silken::net::TcpSocket;
///
/// let listen = |address| {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_reuse_port(true)?;
///     socket.bind(address)?;
///     socket.listen(1024)
/// };
/// let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
/// let second = listen(first.local_addr().unwrap()).unwrap();
/// assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
/// ```
pub struct TcpSocket(Socket<OwnedFd>);

impl TcpSocket {
    /// Makes a socket for IPv4.
    ///
    /// # Errors
    /// Those of `socket(2)`: no descriptor is free.
    pub fn new_v4() -> io::Result<Self> {
        sockets::stream_socket(libc::AF_INET, 0).map(|fd| Self(Socket::new(fd)))
    }

    /// Makes a socket for IPv6.
    ///
    /// # Errors
    /// Those of `socket(2)`: no descriptor is free, or the system has no IPv6.
    pub fn new_v6() -> io::Result<Self> {
        sockets::stream_socket(libc::AF_INET6, 0).map(|fd| Self(Socket::new(fd)))
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: u32) -> io::Result<()> {
        let value = libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
        Ok(socket::set_option(self.0.number(), level, name, value)?)
    }

    /// Whether an address may be bound although connections of an earlier listener are still being closed
    /// (SO_REUSEADDR). [`TcpListener::bind`] sets it.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn set_reuse_address(&self, reuses: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, reuses.into())
    }

    /// Whether several sockets may listen on one port (SO_REUSEPORT). Each of them must ask for it. Nothing here sets
    /// it otherwise, since a second program on the same port would go unnoticed.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn set_reuse_port(&self, reuses: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, reuses.into())
    }

    /// Whether a socket for IPv6 takes connections of IPv6 only (IPV6_V6ONLY).
    ///
    /// # Errors
    /// Those of `setsockopt(2)`: the socket is for IPv4.
    pub fn set_only_v6(&self, only: bool) -> io::Result<()> {
        self.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only.into())
    }

    /// Whether the kernel asks a silent peer whether it is still there (SO_KEEPALIVE).
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn set_keepalive(&self, asks: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, asks.into())
    }

    /// Sets the size of the kernel's buffer for what is to be sent, in bytes (SO_SNDBUF).
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)
    }

    /// Sets the size of the kernel's buffer for what was received, in bytes (SO_RCVBUF). It decides the window only if
    /// it is set before the connection.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)
    }

    /// Binds the socket to an address of this machine.
    ///
    /// # Errors
    /// Those of `bind(2)`: the address is in use (EADDRINUSE), or is not this machine's.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        Ok(socket::bind(self.0.number(), &KernelAddress::from(address))?)
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::name(self.0.number())?.to_inet()
    }

    /// Listens. `backlog` limits the connections that wait to be accepted; the system limits it further.
    ///
    /// # Errors
    /// Those of `listen(2)`.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
        socket::listen(self.0.number(), backlog)?;
        Ok(TcpListener::known(self.0.into_known()))
    }

    /// Connects to an address.
    ///
    /// # Blocking
    /// Parks the calling coroutine until the connection stands.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    ///
    /// # Examples
    /// ```
    /// let listener = silken::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let socket = silken::net::TcpSocket::new_v4().unwrap();
    /// socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    /// let stream = socket.connect(listener.local_addr().unwrap()).unwrap();
    /// assert!(stream.local_addr().unwrap().ip().is_loopback());
    /// ```
    pub fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        sockets::connect(self.0.fd(), &KernelAddress::from(address))?;
        Ok(TcpStream::known(self.0.into_known()))
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket").field("fd", &self.0.number()).finish()
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
}

impl AsRawFd for TcpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.number()
    }
}
