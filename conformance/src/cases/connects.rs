//! connect on a socket that was connected, refused or left waiting before, and accept where nobody can connect.

use crate::help::{LONG, SHORT, UNITS, code, name, still_wait};
use crate::raw::net::{accept, accept4, bind, bind_abstract, connect, connect_abstract, shutdown, socket, take_error};
use crate::{Executor, join_all, raw};
use libc::{
    AF_INET, AF_UNIX, EAGAIN, EALREADY, EBADF, ECONNREFUSED, EINPROGRESS, EINVAL, EISCONN, ENOTSOCK, EOPNOTSUPP,
};
use libc::{SO_SNDTIMEO, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn listen() -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ipv4(&listener);
    (listener, address)
}

fn ipv4(listener: &TcpListener) -> SocketAddrV4 {
    match listener.local_addr().unwrap() {
        SocketAddr::V4(address) => address,
        other => panic!("asked for IPv4, got {other}"),
    }
}

/// A socket that has a port and does not listen there, so that nobody does.
fn dead() -> (TcpListener, SocketAddrV4) {
    let keeper = tcp();
    bind(keeper.as_raw_fd(), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let keeper = TcpListener::from(keeper);
    let address = ipv4(&keeper);
    (keeper, address)
}

fn tcp() -> OwnedFd {
    socket(AF_INET, SOCK_STREAM).unwrap()
}

/// Refused, refused, connected, and once more: the socket can be used again after a refusal, and is connected once.
pub fn again_on_one_socket(ex: &dyn Executor) {
    let (listener, live) = listen();
    let (_keeper, dead) = dead();
    join_all(ex.start_each(UNITS, move |_| {
        let socket = tcp();
        let fd = socket.as_raw_fd();
        assert_eq!(code(connect(fd, dead)), ECONNREFUSED);
        assert_eq!(code(connect(fd, dead)), ECONNREFUSED);
        connect(fd, live).unwrap();
        assert_eq!(code(connect(fd, live)), EISCONN);
        assert_eq!(code(connect(fd, dead)), EISCONN);
        assert_eq!(take_error(fd).unwrap(), 0);
        assert_eq!(raw::write(fd, b"x").unwrap(), 1);
    }));
    for _ in 0..UNITS {
        assert_eq!(listener.accept().unwrap().0.read(&mut [0; 4]).unwrap(), 1);
    }
}

/// Connections in the backlog until it is full, which keep it so.
fn full_backlog() -> (TcpListener, SocketAddrV4, Vec<TcpStream>) {
    let (listener, address) = listen();
    raw::listen(listener.as_raw_fd(), 0).unwrap();
    let timeout = Duration::from_millis(100);
    let connect = || TcpStream::connect_timeout(&address.into(), timeout).ok();
    let queued: Vec<_> = std::iter::from_fn(connect).take(8).collect();
    assert!(queued.len() < 8, "the backlog never fills");
    (listener, address, queued)
}

/// SO_SNDTIMEO ends a connect to a full backlog with EINPROGRESS, and the next one with EALREADY; neither early.
pub fn send_timeout_on_a_full_backlog(ex: &dyn Executor) {
    let (_listener, address, _queued) = full_backlog();
    join_all(ex.start_each(UNITS, move |_| {
        let socket = tcp();
        let fd = socket.as_raw_fd();
        raw::set_socket_timeout(fd, SO_SNDTIMEO, SHORT).unwrap();
        let started = Instant::now();
        assert_eq!(code(connect(fd, address)), EINPROGRESS);
        assert!(started.elapsed() >= SHORT);
        assert_eq!(code(connect(fd, address)), EALREADY);
        assert!(started.elapsed() >= 2 * SHORT);
    }));
}

/// A socket in non-blocking mode: EINPROGRESS, then poll tells the outcome, and connect does so once.
pub fn nonblocking_connect(ex: &dyn Executor) {
    let (_listener, live) = listen();
    let (_full, stuck, _queued) = full_backlog();
    ex.start(move || {
        let nonblocking = || {
            let socket = tcp();
            raw::set_nonblocking_by_fcntl(socket.as_raw_fd()).unwrap();
            socket
        };
        let socket = nonblocking();
        let fd = socket.as_raw_fd();
        assert_eq!(code(connect(fd, live)), EINPROGRESS);
        let mut fds = [raw::pollfd(fd, libc::POLLOUT)];
        assert_eq!(raw::poll(&mut fds, 20_000).unwrap(), 1);
        assert_eq!(take_error(fd).unwrap(), 0);
        connect(fd, live).unwrap();
        assert_eq!(code(connect(fd, live)), EISCONN);
        let socket = nonblocking();
        assert_eq!(code(connect(socket.as_raw_fd(), stuck)), EINPROGRESS);
        assert_eq!(code(connect(socket.as_raw_fd(), stuck)), EALREADY);
        assert_eq!(take_error(socket.as_raw_fd()).unwrap(), 0);
    })
    .join();
}

/// A Unix listener that does not accept yet: clients wait in connect for room in its backlog, and all are served.
pub fn unix_backlog_is_waited_for(ex: &dyn Executor) {
    for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
        let name = Arc::new(name());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&*name).unwrap();
        let listener = if kind == SOCK_STREAM {
            OwnedFd::from(UnixListener::bind_addr(&address).unwrap())
        } else {
            seqpacket_listener(&name)
        };
        raw::listen(listener.as_raw_fd(), 0).unwrap();
        let first = socket(AF_UNIX, kind).unwrap();
        connect_abstract(first.as_raw_fd(), name.as_bytes()).unwrap();
        let units = ex.start_each(UNITS, move |_| {
            let socket = socket(AF_UNIX, kind).unwrap();
            connect_abstract(socket.as_raw_fd(), name.as_bytes()).unwrap();
            raw::read(socket.as_raw_fd(), &mut [0; 8]).unwrap()
        });
        still_wait(&units);
        let accepted: Vec<_> = (0..=UNITS).map(|_| accept(listener.as_raw_fd()).unwrap()).collect();
        for socket in &accepted {
            assert_eq!(raw::write(socket.as_raw_fd(), b"served").unwrap(), 6);
        }
        assert_eq!(join_all(units), [6; UNITS]);
    }
}

fn seqpacket_listener(name: &str) -> OwnedFd {
    let listener = socket(AF_UNIX, SOCK_SEQPACKET).unwrap();
    bind_abstract(listener.as_raw_fd(), name.as_bytes()).unwrap();
    listener
}

/// SO_SNDTIMEO ends a wait for room in a Unix backlog with EAGAIN, not early; O_NONBLOCK at once.
pub fn send_timeout_on_a_unix_backlog(ex: &dyn Executor) {
    let name = Arc::new(name());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&*name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    raw::listen(listener.as_raw_fd(), 0).unwrap();
    let _first = UnixStream::connect_addr(&address).unwrap();
    join_all(ex.start_each(UNITS, move |unit| {
        let socket = socket(AF_UNIX, SOCK_STREAM).unwrap();
        let fd = socket.as_raw_fd();
        let started = Instant::now();
        if unit % 2 == 0 {
            raw::set_nonblocking_by_fcntl(fd).unwrap();
            assert_eq!(code(connect_abstract(fd, name.as_bytes())), EAGAIN);
        } else {
            raw::set_socket_timeout(fd, SO_SNDTIMEO, SHORT).unwrap();
            assert_eq!(code(connect_abstract(fd, name.as_bytes())), EAGAIN);
            assert!(started.elapsed() >= SHORT);
        }
    }));
}

/// A listener that goes away refuses the clients that wait for room in its backlog.
pub fn unix_listener_goes_away(ex: &dyn Executor) {
    let name = Arc::new(name());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&*name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    raw::listen(listener.as_raw_fd(), 0).unwrap();
    let _first = UnixStream::connect_addr(&address).unwrap();
    let units = ex.start_each(UNITS, move |_| {
        let socket = socket(AF_UNIX, SOCK_STREAM).unwrap();
        code(connect_abstract(socket.as_raw_fd(), name.as_bytes()))
    });
    still_wait(&units);
    drop(listener);
    assert_eq!(join_all(units), [ECONNREFUSED; UNITS]);
}

/// accept where nobody can connect fails at once, in blocking mode too, as does accept4.
pub fn accept_without_a_listener(ex: &dyn Executor) {
    ex.start(|| {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let (reader, _writer) = pipe().unwrap();
        let (listener, address) = listen();
        let connected = TcpStream::connect(address).unwrap();
        drop(listener);
        let sockets: [(OwnedFd, i32); 9] = [
            (tcp(), EINVAL),
            (connected.into(), EINVAL),
            (socket(AF_UNIX, SOCK_STREAM).unwrap(), EINVAL),
            (socket(AF_UNIX, SOCK_SEQPACKET).unwrap(), EINVAL),
            (stream.into(), EINVAL),
            (UdpSocket::bind("127.0.0.1:0").unwrap().into(), EOPNOTSUPP),
            (socket(AF_UNIX, SOCK_DGRAM).unwrap(), EOPNOTSUPP),
            (File::open("/dev/null").unwrap().into(), ENOTSOCK),
            (reader.into(), ENOTSOCK),
        ];
        for nonblocking in [false, true] {
            for (socket, expected) in &sockets {
                let fd = socket.as_raw_fd();
                if nonblocking {
                    raw::set_nonblocking_by_fcntl(fd).unwrap();
                }
                assert_eq!(code(accept(fd)), *expected);
                assert_eq!(code(accept4(fd, libc::SOCK_CLOEXEC)), *expected);
            }
        }
        assert_eq!(code(accept(-1)), EBADF);
        assert_eq!(code(accept4(tcp().as_raw_fd(), 1)), EINVAL);
    })
    .join();
}

/// shutdown of a listener ends the accepts that wait with EINVAL, and those that follow.
pub fn shutdown_of_a_listener(ex: &dyn Executor) {
    let tcp = OwnedFd::from(listen().0);
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name()).unwrap();
    let unix = OwnedFd::from(UnixListener::bind_addr(&address).unwrap());
    for listener in [tcp, unix] {
        let listener = Arc::new(listener);
        let shared = Arc::clone(&listener);
        let units = ex.start_each(UNITS, move |unit| {
            let fd = shared.as_raw_fd();
            code(if unit % 2 == 0 { accept(fd) } else { accept4(fd, 0) })
        });
        still_wait(&units);
        shutdown(listener.as_raw_fd(), libc::SHUT_RDWR).unwrap();
        assert_eq!(join_all(units), [EINVAL; UNITS]);
        assert_eq!(code(accept(listener.as_raw_fd())), EINVAL);
    }
}

/// SO_RCVTIMEO of a listener ends its accepts with EAGAIN, not early; with time left they succeed.
pub fn receive_timeout_of_a_listener(ex: &dyn Executor) {
    let (listener, address) = listen();
    let fd = listener.as_raw_fd();
    raw::set_socket_timeout(fd, libc::SO_RCVTIMEO, SHORT).unwrap();
    let listener = Arc::new(listener);
    let shared = Arc::clone(&listener);
    join_all(ex.start_each(UNITS, move |_| {
        let started = Instant::now();
        assert_eq!(code(accept(shared.as_raw_fd())), EAGAIN);
        assert!(started.elapsed() >= SHORT);
    }));
    raw::set_socket_timeout(fd, libc::SO_RCVTIMEO, LONG).unwrap();
    let unit = ex.start(move || drop(accept(listener.as_raw_fd()).unwrap()));
    let mut client = TcpStream::connect(address).unwrap();
    unit.join();
    assert_eq!(client.write(b"x").unwrap(), 1);
}

/// A blocking connect to a listener whose queue is full; another unit shuts the socket down: the connect ends, and the
/// next unit is served meanwhile.
pub fn shutdown_under_a_connect(ex: &dyn Executor) {
    for how in [libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR] {
        let (listener, address) = listen();
        raw::net::listen_again(listener.as_raw_fd(), 0).unwrap();
        let _fills_the_queue = TcpStream::connect(address).unwrap();
        let socket = Arc::new(tcp());
        let connecting = socket.clone();
        let units = vec![ex.start(move || code(connect(connecting.as_raw_fd(), address)))];
        still_wait(&units);
        shutdown(socket.as_raw_fd(), how).unwrap();
        assert_eq!(join_all(units), [libc::ECONNRESET]);
    }
}
