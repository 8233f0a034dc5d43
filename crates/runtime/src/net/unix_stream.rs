//! Unix stream sockets: std's two types, which wait by `io::sockets`.

use super::socket::{Socket, at_the_border, settings, stream_of_bytes};
use super::split::{OwnedReadHalf, OwnedWriteHalf, has_two_directions, split};
use crate::io::sockets::{self, Change};
use crate::sys::address::KernelAddress;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

/// A connection within the machine: [`std::os::unix::net::UnixStream`] for coroutines of both kinds. See the
/// [module](crate::net).
///
/// # Examples
/// ```
/// use silken::net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut one, mut other) = UnixStream::pair().unwrap();
/// let reader = silken::spawn(move || {
///     let mut text = String::new();
///     other.read_to_string(&mut text).unwrap();
///     text
/// });
/// one.write_all(b"hello").unwrap();
/// drop(one);
/// assert_eq!(reader.join().unwrap(), "hello");
/// ```
pub struct UnixStream(Socket<net::UnixStream>);

at_the_border!(UnixStream, net::UnixStream);
stream_of_bytes!(UnixStream);
has_two_directions!(UnixStream);

impl UnixStream {
    /// Connects to the listener at a path.
    ///
    /// # Blocking
    /// Parks the calling coroutine while the listener's queue is full.
    ///
    /// # Errors
    /// Those of `connect(2)`: there is no such socket (ENOENT), nobody listens (ECONNREFUSED).
    ///
    /// # Examples
    /// ```
    /// let path = std::env::temp_dir().join(format!("silken-connect-{}", std::process::id()));
    /// let listener = silken::net::UnixListener::bind(&path).unwrap();
    /// silken::net::UnixStream::connect(&path).unwrap();
    /// std::fs::remove_file(&path).unwrap();
    /// ```
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::connect_to(&KernelAddress::of_path(path.as_ref())?)
    }

    /// Connects to an address, which may have no path: see [`connect`](Self::connect).
    ///
    /// # Blocking
    /// Parks the calling coroutine while the listener's queue is full.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    ///
    /// # Examples
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// let name = format!("silken-connect-addr-{}", std::process::id());
    /// let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    /// let listener = silken::net::UnixListener::bind_addr(&address).unwrap();
    /// silken::net::UnixStream::connect_addr(&address).unwrap();
    /// ```
    pub fn connect_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::connect_to(&KernelAddress::try_from(address)?)
    }

    fn connect_to(address: &KernelAddress) -> io::Result<Self> {
        let socket = Socket::new(sockets::stream_socket(libc::AF_UNIX, 0)?);
        sockets::connect(socket.fd(), address)?;
        Ok(Self(Socket::new(socket.into_known().into())))
    }

    /// Makes two sockets that are connected to each other.
    ///
    /// # Errors
    /// Those of `socketpair(2)`: no descriptor is free.
    ///
    /// # Examples
    /// See [`UnixStream`].
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixStream::pair()?;
        sockets::paired([one.as_raw_fd(), other.as_raw_fd()]);
        Ok((Self(Socket::new(one)), Self(Socket::new(other))))
    }

    /// Receives without taking: the next read gets the same bytes.
    ///
    /// # Blocking
    /// Parks the calling coroutine until there are bytes, or the end.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    ///
    /// # Examples
    /// ```
    /// use std::io::Write;
    /// let (mut one, other) = silken::net::UnixStream::pair().unwrap();
    /// one.write_all(b"!").unwrap();
    /// assert_eq!(other.peek(&mut [0; 8]).unwrap(), 1);
    /// ```
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sockets::recv(self.0.fd(), buffer, libc::MSG_PEEK)
    }

    settings!(shutdown: "use silken::net::{Shutdown, UnixStream};
use std::io::Read;
let (one, mut other) = UnixStream::pair().unwrap();
one.shutdown(Shutdown::Write).unwrap();
assert_eq!(other.read(&mut [0; 8]).unwrap(), 0);");

    /// Gives each direction an owner: see [`TcpStream::into_split`](super::TcpStream::into_split).
    ///
    /// # Examples
    /// ```
    /// use std::io::{Read, Write};
    /// let (one, other) = silken::net::UnixStream::pair().unwrap();
    /// let (_, mut writer) = one.into_split();
    /// let (mut reader, _) = other.into_split();
    /// let received = silken::spawn(move || {
    ///     let mut text = String::new();
    ///     reader.read_to_string(&mut text).unwrap();
    ///     text
    /// });
    /// writer.write_all(b"one way").unwrap();
    /// drop(writer);
    /// assert_eq!(received.join().unwrap(), "one way");
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
        split(self)
    }

    settings!(nonblocking: "let (one, _other) = silken::net::UnixStream::pair().unwrap();
one.set_nonblocking(true).unwrap();
assert_eq!(one.peek(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);");
    settings!(timeouts: "let (one, _other) = silken::net::UnixStream::pair().unwrap();
one.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
assert_eq!(one.peek(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);");
}

/// A socket that accepts connections within the machine: [`std::os::unix::net::UnixListener`] for coroutines of both
/// kinds. See the [module](crate::net).
pub struct UnixListener(Socket<net::UnixListener>);

at_the_border!(UnixListener, net::UnixListener);

impl UnixListener {
    /// Binds a listener to a path, where a file for it is made.
    ///
    /// # Errors
    /// Those of `bind(2)`: there is such a file already (EADDRINUSE).
    ///
    /// # Examples
    /// See [`UnixStream::connect`].
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        net::UnixListener::bind(path).map(Self::from)
    }

    /// Binds a listener to an address, which may have no path.
    ///
    /// # Errors
    /// Those of `bind(2)`.
    ///
    /// # Examples
    /// See [`UnixStream::connect_addr`].
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        net::UnixListener::bind_addr(address).map(Self::from)
    }

    /// Takes the next connection.
    ///
    /// # Blocking
    /// Parks the calling coroutine until there is one.
    ///
    /// # Errors
    /// Those of `accept(2)`: see [`TcpListener::accept`](super::TcpListener::accept).
    ///
    /// # Examples
    /// ```
    /// let path = std::env::temp_dir().join(format!("silken-accept-{}", std::process::id()));
    /// let listener = silken::net::UnixListener::bind(&path).unwrap();
    /// let _client = silken::net::UnixStream::connect(&path).unwrap();
    /// let (_stream, peer) = listener.accept().unwrap();
    /// assert!(peer.is_unnamed());
    /// std::fs::remove_file(&path).unwrap();
    /// ```
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (fd, peer) = sockets::accept(self.0.fd())?;
        let stream = UnixStream(Socket::new(fd.into()));
        Ok((stream, peer.to_unix()?))
    }

    /// An iterator over the connections as they come: an endless loop of `accept`.
    ///
    /// # Blocking
    /// Each step parks the calling coroutine until a connection comes.
    ///
    /// # Examples
    /// ```
    /// let path = std::env::temp_dir().join(format!("silken-incoming-{}", std::process::id()));
    /// let listener = silken::net::UnixListener::bind(&path).unwrap();
    /// let clients = [(); 3].map(|()| silken::net::UnixStream::connect(&path).unwrap());
    /// assert_eq!(listener.incoming().take(3).filter(Result::is_ok).count(), clients.len());
    /// std::fs::remove_file(&path).unwrap();
    /// ```
    pub fn incoming(&self) -> impl Iterator<Item = io::Result<UnixStream>> {
        std::iter::repeat_with(|| self.accept().map(|(stream, _)| stream))
    }

    settings!(nonblocking: "let path = std::env::temp_dir().join(format!(\"silken-nonblocking-{}\", std::process::id()));
let listener = silken::net::UnixListener::bind(&path).unwrap();
listener.set_nonblocking(true).unwrap();
assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
std::fs::remove_file(&path).unwrap();");
}
