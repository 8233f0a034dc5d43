//! Sockets for coroutines: std's own types, under the name that may, cogo, mco and coio have for theirs.
//!
//! The hooks make std's sockets park the coroutine that waits on them, so there is little to wrap. Most names here are
//! re-exports. A program that says `use silken::net::TcpStream` instead of `use may::net::TcpStream` has std's type,
//! with all of std's methods. No conversion between two kinds of socket is needed at the border to other crates.
//! Therefore separate types were not the first choice.
//!
//! The exception is [`TcpListener`], because the older systems differ in what `incoming()` gives. In may, cogo and mco
//! it gives the stream, as in std; in coio it gives the stream and the peer's address. Here it gives what the body of
//! the loop takes: see [`TcpListener::incoming`].
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

/// A socket that accepts connections. It dereferences to [`std::net::TcpListener`], and adds an
/// [`incoming`](Self::incoming) whose items come in two forms.
#[derive(Debug)]
pub struct TcpListener(std::net::TcpListener);

impl TcpListener {
    /// Binds a listener to the first of these addresses that can be bound: [`std::net::TcpListener::bind`].
    ///
    /// # Blocking
    /// Parks the calling coroutine while a name is looked up.
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
        std::net::TcpListener::bind(address).map(Self)
    }

    /// An iterator over the connections as they come: an endless loop of `accept`.
    ///
    /// The caller's code decides the form of an item. It is a [`TcpStream`], as in std, may, cogo and mco, or a pair of
    /// the stream and the peer's address, as in coio. The compiler infers the form from a pattern, a call or a type. If
    /// nothing tells it (the code only calls methods on the stream), the compiler asks for a type: `let mut stream:
    /// TcpStream = stream?;`. [`std::net::TcpListener`] gives streams in any case.
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

    /// Makes another handle of the same socket.
    ///
    /// # Errors
    /// Those of [`std::net::TcpListener::try_clone`].
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// The forms of an item of [`TcpListener::incoming`]. Only this module implements the trait.
pub trait Accepted: sealed::Sealed {
    /// Makes an item from what `accept` returned.
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
