//! Networking: std's own types, under the name that may, cogo, mco and coio have for theirs.
//!
//! The hooks make std's sockets park the coroutine that waits on them, so there is little to wrap: these are
//! re-exports, and a program that says `use silken::net::TcpStream` where it said `use may::net::TcpStream` has std's
//! type, with all of std's methods. That costs no conversion between "their" socket and "ours" at the border to other
//! crates, which is why separate types were not the first choice.
//!
//! The exception is [`TcpListener`], because the older systems do not agree on what `incoming()` gives: may, cogo and
//! mco give the stream, as std does, coio gives the stream and the peer's address. Ours gives what the loop's body
//! takes: see [`TcpListener::incoming`].
//!
//! Without the feature `interpose` there are no hooks, and these types block the worker.
//!
//! # Examples
//! ```
//! use silken::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0").unwrap();
//! let address = listener.local_addr().unwrap();
//! let server = silken::spawn(move || listener.accept().unwrap().0.write_all(b"hello").unwrap());
//! let mut text = String::new();
//! TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
//! server.join().unwrap();
//! assert_eq!(text, "hello");
//! ```

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream,
    ToSocketAddrs, UdpSocket,
};
pub use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

/// A socket that accepts connections: [`std::net::TcpListener`], to which it dereferences, with an
/// [`incoming`](Self::incoming) for two customs.
#[derive(Debug)]
pub struct TcpListener(std::net::TcpListener);

impl TcpListener {
    /// Listens on the first of these addresses that can be had: [`std::net::TcpListener::bind`].
    ///
    /// # Blocking
    /// Parks the coroutine while a name is looked up.
    ///
    /// # Errors
    /// That of the last address.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        std::net::TcpListener::bind(address).map(Self)
    }

    /// The connections as they come, for ever: a loop of `accept`.
    ///
    /// An item is what its user makes of it: a [`TcpStream`], as std, may, cogo and mco have it, or a pair of stream
    /// and peer's address, as coio has it. It follows from a pattern, a call or a type. Where nothing tells (only
    /// methods are called on the stream) the compiler asks for a type: `let mut stream: TcpStream = stream?;`.
    /// [`std::net::TcpListener`] gives streams in any case.
    ///
    /// # Blocking
    /// Each step parks the coroutine until a connection comes.
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

    /// Another handle of the same socket.
    ///
    /// # Errors
    /// As [`std::net::TcpListener::try_clone`].
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// What [`TcpListener::incoming`] can give; only this module implements it.
pub trait Accepted: sealed::Sealed {
    /// From what `accept` returned.
    fn from_accept(stream: TcpStream, peer: SocketAddr) -> Self;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::net::TcpStream {}
    impl Sealed for (std::net::TcpStream, std::net::SocketAddr) {}
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

/// The connections of a [`TcpListener`]; never ends.
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

impl Deref for TcpListener {
    type Target = std::net::TcpListener;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<std::net::TcpListener> for TcpListener {
    fn from(listener: std::net::TcpListener) -> Self {
        Self(listener)
    }
}

impl From<TcpListener> for std::net::TcpListener {
    fn from(listener: TcpListener) -> Self {
        listener.0
    }
}

impl From<OwnedFd> for TcpListener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl From<TcpListener> for OwnedFd {
    fn from(listener: TcpListener) -> Self {
        listener.0.into()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl IntoRawFd for TcpListener {
    fn into_raw_fd(self) -> RawFd {
        self.0.into_raw_fd()
    }
}
