//! Sockets for coroutines: std's names and methods, and some more.
//!
//! `use silken::net` instead of `use std::net` (and of `std::os::unix::net`) is the only edit, but for one: where a
//! loop over [`TcpListener::incoming`] only calls methods on the stream, it has to name the stream's type. The types
//! park the coroutine that waits on them, of either kind, and need no hooks: they work without the feature
//! `interpose`. On an OS thread they block the thread. The hooks do the same for std's own types, so a program on
//! isolated coroutines that has the hooks needs these types for what they add:
//!
//! - [`TcpStream::connect`] tries a name's addresses side by side, by Happy Eyeballs, and
//!   [`TcpStream::connect_within`] limits the time for all of them;
//! - [`TcpStream::into_split`] and [`UnixStream::into_split`] give each direction an owner;
//! - [`TcpSocket`] sets options before a socket is bound, SO_REUSEPORT among them;
//! - [`TcpListener::incoming`] gives a stream, or a stream and its peer, as the loop wants it.
//!
//! # Beside std
//! Each type dereferences to std's, so all of std's methods are there, and converts from it and to it. What waits, or
//! changes how calls wait, is defined here. So a function that takes `&std::net::TcpStream` takes `&stream`; what it
//! does then are std's calls, which park if there are hooks.
//!
//! # Errors
//! Those of std. A cancelled call, or one whose [`timeout`](crate::timeout) is over, fails with ECANCELED or ETIMEDOUT,
//! as a hooked call does. `shutdown` ends a call that waits, as the kernel has it: a read returns 0, a write fails, an
//! accept fails with EINVAL. With the hooks, a `close` of the number ends it too, with EBADF.
//!
//! # Without hooks
//! The runtime hears of closes and settings from these types alone. So a setting must be made through them, not
//! through std's reference. A name is looked up by a call that blocks the worker; [`lookup_host`] parks.
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

#[forbid(unsafe_code)]
mod dial;
#[forbid(unsafe_code)]
mod socket;
#[forbid(unsafe_code)]
mod split;
#[forbid(unsafe_code)]
mod tcp;
#[forbid(unsafe_code)]
mod tcp_socket;
#[forbid(unsafe_code)]
mod udp;
#[forbid(unsafe_code)]
mod unix_datagram;
#[forbid(unsafe_code)]
mod unix_stream;

pub use split::{OwnedReadHalf, OwnedWriteHalf, ReuniteError, SplitStream};
pub use tcp::{Accepted, Incoming, TcpListener, TcpStream};
pub use tcp_socket::TcpSocket;
pub use udp::UdpSocket;
pub use unix_datagram::UnixDatagram;
pub use unix_stream::{UnixListener, UnixStream};

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs,
};

use crate::offload;
use std::io;

/// Looks up the addresses of a host.
///
/// # Blocking
/// Parks the calling coroutine: a thread of the runtime's pool asks the C library. With the hooks,
/// [`ToSocketAddrs::to_socket_addrs`] parks too.
///
/// # Errors
/// Those of `getaddrinfo(3)`.
///
/// # Examples
/// ```
/// let addresses = silken::net::lookup_host("localhost", 80).unwrap();
/// assert!(addresses.iter().all(|address| address.ip().is_loopback()));
/// ```
pub fn lookup_host(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.to_owned();
    offload::run(move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect))
}

/// What std says of a name without an address.
fn resolve(address: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = address.to_socket_addrs()?.collect();
    if addresses.is_empty() {
        let text = "could not resolve to any addresses";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(addresses)
}
