//! TCP: std's two types, which wait by `io::sockets`.

use super::dial::dial;
use super::socket::{Socket, at_the_border, settings, stream_of_bytes};
use super::split::{OwnedReadHalf, OwnedWriteHalf, has_two_directions, split};
use super::{SocketAddr, ToSocketAddrs, resolve};
use crate::io::sockets::{self, Change};
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

/// A TCP connection: [`std::net::TcpStream`] for coroutines of both kinds. See the [module](crate::net).
pub struct TcpStream(Socket<std::net::TcpStream>);

at_the_border!(TcpStream, std::net::TcpStream);

impl TcpStream {
    pub(super) fn known(fd: std::os::fd::OwnedFd) -> Self {
        Self(Socket::new(fd.into()))
    }

    /// Connects to the first of these addresses that answers.
    ///
    /// Several addresses are tried as RFC 8305 (Happy Eyeballs) says: families alternate, and an attempt has 250 ms
    /// before the next one begins beside it. std waits for each address until it fails.
    ///
    /// # Blocking
    /// Parks the calling coroutine while a name is looked up (with hooks) and until a connection stands.
    /// [`connect_within`](Self::connect_within) limits the time.
    ///
    /// # Errors
    /// The error of the last address, if none can be connected to.
    ///
    /// # Examples
    /// ```
    /// use silken::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    /// ```
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        dial(&resolve(address)?, None).map(Self::known)
    }

    /// Connects to one address, within a time.
    ///
    /// # Blocking
    /// Parks the calling coroutine for at most `timeout`.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) after the time; [`InvalidInput`](io::ErrorKind::InvalidInput) for a
    /// timeout of zero.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let listener = silken::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let address = listener.local_addr().unwrap();
    /// silken::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    /// ```
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        dial(std::slice::from_ref(address), Some(timeout)).map(Self::known)
    }

    /// Connects to the first of these addresses that answers, within a time for all of them.
    ///
    /// # Blocking
    /// Parks the calling coroutine while a name is looked up, which does not count, and then for at most `timeout`.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) after the time; before, the error of the last address, if all have failed;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a timeout of zero.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let listener = silken::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// // Nobody listens at the first address.
    /// let addresses = ["127.0.0.1:1".parse().unwrap(), listener.local_addr().unwrap()];
    /// let stream = silken::net::TcpStream::connect_within(&addresses[..], Duration::from_secs(5)).unwrap();
    /// assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    /// ```
    pub fn connect_within<A: ToSocketAddrs>(address: A, timeout: Duration) -> io::Result<Self> {
        dial(&resolve(address)?, Some(timeout)).map(Self::known)
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
    /// use std::io::{Read, Write};
    ///
    /// let listener = silken::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let mut one = silken::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// let (mut other, _) = listener.accept().unwrap();
    /// one.write_all(b"!").unwrap();
    /// let mut byte = [0];
    /// assert_eq!(other.peek(&mut byte).unwrap(), 1);
    /// assert_eq!(other.read(&mut byte).unwrap(), 1);
    /// ```
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sockets::recv(self.0.fd(), buffer, libc::MSG_PEEK)
    }

    settings!(shutdown: "use silken::net::{Shutdown, TcpListener, TcpStream};
use std::io::Read;

let listener = TcpListener::bind(\"127.0.0.1:0\").unwrap();
let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
let (mut other, _) = listener.accept().unwrap();
one.shutdown(Shutdown::Write).unwrap();
assert_eq!(other.read(&mut [0; 8]).unwrap(), 0);");

    /// Gives each direction an owner, for two coroutines. When the writing half is dropped, the peer sees the end.
    ///
    /// # Examples
    /// ```
    /// use silken::net::{TcpListener, TcpStream};
    /// use std::io::{Read, Write};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let address = listener.local_addr().unwrap();
    /// silken::spawn(move || {
    ///     let (mut reader, mut writer) = listener.accept().unwrap().0.into_split();
    ///     std::io::copy(&mut reader, &mut writer).unwrap();
    /// });
    /// let (mut reader, mut writer) = TcpStream::connect(address).unwrap().into_split();
    /// let sender = silken::spawn(move || writer.write_all(b"there and back").unwrap());
    /// let mut text = String::new();
    /// reader.read_to_string(&mut text).unwrap();
    /// assert_eq!(text, "there and back");
    /// sender.join().unwrap();
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
        split(self)
    }

    settings!(nonblocking: "let listener = silken::net::TcpListener::bind(\"127.0.0.1:0\").unwrap();
let stream = silken::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
stream.set_nonblocking(true).unwrap();
let error = stream.peek(&mut [0]).unwrap_err();
assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);");
    settings!(timeouts: "let listener = silken::net::TcpListener::bind(\"127.0.0.1:0\").unwrap();
let stream = silken::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
stream.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
let error = stream.peek(&mut [0]).unwrap_err();
assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);");
}

stream_of_bytes!(TcpStream);
has_two_directions!(TcpStream);

/// A socket that accepts connections: [`std::net::TcpListener`] for coroutines of both kinds. Its
/// [`incoming`](Self::incoming) has items of two forms. See the [module](crate::net).
pub struct TcpListener(Socket<std::net::TcpListener>);

at_the_border!(TcpListener, std::net::TcpListener);

impl TcpListener {
    pub(super) fn known(fd: std::os::fd::OwnedFd) -> Self {
        Self(Socket::new(fd.into()))
    }

    /// Binds a listener to the first of these addresses that can be bound. SO_REUSEADDR is set, as in std; for other
    /// options see [`TcpSocket`](super::TcpSocket).
    ///
    /// # Blocking
    /// Parks the calling coroutine while a name is looked up (with hooks).
    ///
    /// # Errors
    /// The error of the last address, if none can be bound.
    ///
    /// # Examples
    /// ```
    /// let listener = silken::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// assert_ne!(listener.local_addr().unwrap().port(), 0);
    /// ```
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        std::net::TcpListener::bind(address).map(Self::from)
    }

    /// Takes the next connection.
    ///
    /// # Blocking
    /// Parks the calling coroutine until there is one.
    ///
    /// # Errors
    /// Those of `accept(2)`. A server goes on after most of them: the peer has gone already (ECONNABORTED), or no
    /// descriptor is free (EMFILE).
    ///
    /// # Examples
    /// ```
    /// use silken::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// let (_stream, peer) = listener.accept().unwrap();
    /// assert_eq!(peer, client.local_addr().unwrap());
    /// ```
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, peer) = sockets::accept(self.0.fd())?;
        let stream = TcpStream::known(fd);
        Ok((stream, peer.to_inet()?))
    }

    /// An iterator over the connections as they come: an endless loop of `accept`.
    ///
    /// The caller's code decides the form of an item. It is a [`TcpStream`], as in std, may, cogo and mco, or a pair of
    /// the stream and the peer's address, as in coio. The compiler infers the form from a pattern, a call or a type. If
    /// nothing tells it (the code only calls methods on the stream), the compiler asks for a type: `let mut stream:
    /// TcpStream = stream?;`.
    ///
    /// # Blocking
    /// Each step parks the calling coroutine until a connection comes.
    ///
    /// # Examples
    /// ```
    /// use silken::net::{TcpListener, TcpStream};
    /// use std::io::Write;
    ///
    /// fn greet(mut stream: TcpStream) {
    ///     stream.write_all(b"hello").unwrap();
    /// }
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let address = listener.local_addr().unwrap();
    /// let clients = silken::spawn(move || [(); 2].map(|()| TcpStream::connect(address).unwrap()));
    /// for stream in listener.incoming().take(1) {
    ///     greet(stream.unwrap());
    /// }
    /// for stream in listener.incoming().take(1) {
    ///     let (stream, peer) = stream.unwrap();
    ///     assert!(peer.ip().is_loopback());
    ///     greet(stream);
    /// }
    /// clients.join().unwrap();
    /// ```
    pub fn incoming<T: Accepted>(&self) -> Incoming<'_, T> {
        Incoming {
            listener: self,
            item: PhantomData,
        }
    }

    settings!(nonblocking: "let listener = silken::net::TcpListener::bind(\"127.0.0.1:0\").unwrap();
listener.set_nonblocking(true).unwrap();
assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);");
}

/// The forms of an item of [`TcpListener::incoming`]. Only this module implements the trait.
pub trait Accepted: sealed::Sealed {
    /// Makes an item from what `accept` returned.
    fn from_accept(stream: TcpStream, peer: SocketAddr) -> Self;
}

mod sealed {
    use super::{SocketAddr, TcpStream};

    pub trait Sealed {}
    impl Sealed for TcpStream {}
    impl Sealed for (TcpStream, SocketAddr) {}
}

impl Accepted for TcpStream {
    fn from_accept(stream: TcpStream, _: SocketAddr) -> Self {
        stream
    }
}

impl Accepted for (TcpStream, SocketAddr) {
    fn from_accept(stream: TcpStream, peer: SocketAddr) -> Self {
        (stream, peer)
    }
}

/// The connections of a [`TcpListener`]; the iterator never ends.
#[derive(Debug)]
pub struct Incoming<'a, T = TcpStream> {
    listener: &'a TcpListener,
    item: PhantomData<fn() -> T>,
}

impl<T: Accepted> Iterator for Incoming<'_, T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let accepted = self.listener.accept();
        Some(accepted.map(|(stream, peer)| T::from_accept(stream, peer)))
    }
}

impl<T: Accepted> std::iter::FusedIterator for Incoming<'_, T> {}
