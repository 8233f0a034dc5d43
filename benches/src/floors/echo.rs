//! The raw echo server: one epoll loop, one recv and one send per request, no allocation once a connection stands.

use crate::echo::{BUFFER_BYTES, announce};
use crate::epoll::{Epoll, receive, send};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

const EVENTS_PER_WAIT: usize = 1024;

/// Serves until it is killed. The token of a connection is its descriptor, the listener's is its own.
pub fn serve() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a listener can be nonblocking");
    let epoll = Epoll::new().expect("an epoll instance");
    epoll
        .add(listener.as_raw_fd(), listener.as_raw_fd() as u64)
        .expect("a listener can be watched");
    announce(listener.local_addr().expect("bound").port());
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT];
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let count = epoll.wait(&mut events, -1).expect("no handler interrupts this process");
        for event in &events[..count] {
            let fd = event.u64 as i32;
            if fd == listener.as_raw_fd() {
                accept_all(&listener, &epoll, &mut connections);
            } else if !echo(fd, &mut buffer) {
                connections[fd as usize] = None;
            }
        }
    }
}

/// Echoes what has come; whether the connection still stands. A reply that the socket cannot take whole ends the
/// connection: with one request outstanding that cannot happen, and the load generator would report it.
#[inline]
fn echo(fd: i32, buffer: &mut [u8; BUFFER_BYTES]) -> bool {
    loop {
        match receive(fd, buffer) {
            Ok(0) => return false,
            Ok(count) if send(fd, &buffer[..count]).ok() != Some(count) => return false,
            Ok(count) if count < BUFFER_BYTES => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn accept_all(listener: &TcpListener, epoll: &Epoll, connections: &mut Vec<Option<TcpStream>>) {
    while let Ok((stream, _)) = listener.accept() {
        let fd = stream.as_raw_fd();
        epoll.add(fd, fd as u64).expect("a socket can be watched");
        if connections.len() <= fd as usize {
            connections.resize_with(fd as usize + 1, || None);
        }
        connections[fd as usize] = Some(stream);
    }
}
