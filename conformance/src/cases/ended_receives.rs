//! shutdown of the reading side of sockets that carry messages: a receive finds its end there, though nothing arrived.
//!
//! The kernel wakes the receiver without anything to read, so a runtime that waits for something readable and then
//! tries without waiting gets EAGAIN and could wait for ever.

use crate::help::{LONG, SHORT, code, still_wait};
use crate::raw::net::{recvfrom, shutdown};
use crate::{Executor, raw};
use libc::{EAGAIN, ENOTCONN, MSG_DONTWAIT, SHUT_RD, SHUT_RDWR, SHUT_WR, SOCK_DGRAM, SOCK_SEQPACKET, c_int};
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread::sleep;

type Receive = fn(RawFd) -> io::Result<usize>;

const RECEIVES: [Receive; 4] = [
    |fd| raw::recv(fd, &mut [0; 16], 0),
    |fd| recvfrom(fd, &mut [0; 16], 0),
    |fd| raw::recvmsg(fd, &mut [IoSliceMut::new(&mut [0; 16])]).map(|(length, _)| length),
    |fd| raw::read(fd, &mut [0; 16]),
];

/// A socket to receive at and its peer.
type Pair = (OwnedFd, OwnedFd);

fn udp_pair() -> Pair {
    let [one, two] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(two.local_addr().unwrap()).unwrap();
    two.connect(one.local_addr().unwrap()).unwrap();
    (one.into(), two.into())
}

/// The socket is not connected; the peer sends to it.
fn udp_unconnected() -> Pair {
    let [one, two] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    two.connect(one.local_addr().unwrap()).unwrap();
    (one.into(), two.into())
}

fn unix_pair() -> Pair {
    raw::net::socketpair(SOCK_DGRAM).unwrap()
}

fn seqpacket_pair() -> Pair {
    raw::net::socketpair(SOCK_SEQPACKET).unwrap()
}

/// Each way to receive with each way to shut the reading side down.
fn ways() -> impl Iterator<Item = (Receive, c_int)> {
    [SHUT_RD, SHUT_RDWR]
        .into_iter()
        .flat_map(|how| RECEIVES.into_iter().map(move |receive| (receive, how)))
}

/// Receives that begin after the end return 0.
fn ended_before(ex: &dyn Executor, pair: fn() -> Pair, end: impl Fn(&Pair, c_int)) {
    for (receive, how) in ways() {
        let pair = pair();
        end(&pair, how);
        let unit = ex.start(move || (receive(pair.0.as_raw_fd()), pair));
        assert_eq!(unit.join().0.unwrap(), 0);
    }
}

/// Receives that wait when the end comes return 0.
fn ended_while(ex: &dyn Executor, pair: fn() -> Pair, end: impl Fn(&Pair, c_int)) {
    let pairs: Vec<_> = ways().map(|(receive, how)| (Arc::new(pair()), receive, how)).collect();
    let start = |(pair, receive, _): &(Arc<Pair>, Receive, c_int)| {
        let (pair, receive) = (Arc::clone(pair), *receive);
        ex.start(move || receive(pair.0.as_raw_fd()))
    };
    let units: Vec<_> = pairs.iter().map(start).collect();
    still_wait(&units);
    for (pair, _, how) in &pairs {
        end(pair, *how);
    }
    for unit in units {
        assert_eq!(unit.join().unwrap(), 0);
    }
}

fn shut_down(pair: &Pair, how: c_int) {
    shutdown(pair.0.as_raw_fd(), how).unwrap();
}

fn shut_down_unconnected(pair: &Pair, how: c_int) {
    assert_eq!(code(shutdown(pair.0.as_raw_fd(), how)), ENOTCONN);
}

/// What was queued before the end is received first.
fn queued_first(ex: &dyn Executor, pair: fn() -> Pair, end: impl Fn(&Pair, c_int)) {
    for (receive, how) in ways() {
        let pair = pair();
        for message in [&b"a"[..], b"bcd", b"ef"] {
            raw::send(pair.1.as_raw_fd(), message, 0).unwrap();
        }
        end(&pair, how);
        let lengths = ex.start(move || [(); 5].map(|()| receive(pair.0.as_raw_fd()).unwrap()));
        assert_eq!(lengths.join(), [1, 3, 2, 0, 0]);
    }
}

/// A connected UDP socket that was shut down.
pub fn connected_udp_before(ex: &dyn Executor) {
    ended_before(ex, udp_pair, shut_down);
}

/// A connected UDP socket that is shut down under its receiver.
pub fn connected_udp_while(ex: &dyn Executor) {
    ended_while(ex, udp_pair, shut_down);
}

/// shutdown says ENOTCONN for an unconnected UDP socket, and ends its receives all the same.
pub fn unconnected_udp_before(ex: &dyn Executor) {
    ended_before(ex, udp_unconnected, shut_down_unconnected);
}

/// So it does under a receiver that waits.
pub fn unconnected_udp_while(ex: &dyn Executor) {
    ended_while(ex, udp_unconnected, shut_down_unconnected);
}

/// A Unix datagram socket that was shut down.
pub fn unix_datagram_before(ex: &dyn Executor) {
    ended_before(ex, unix_pair, shut_down);
}

/// A Unix datagram socket that is shut down under its receiver.
pub fn unix_datagram_while(ex: &dyn Executor) {
    ended_while(ex, unix_pair, shut_down);
}

/// A seqpacket socket, before its receives and under them.
pub fn seqpacket_own_side(ex: &dyn Executor) {
    ended_before(ex, seqpacket_pair, shut_down);
    ended_while(ex, seqpacket_pair, shut_down);
}

/// A seqpacket socket whose peer ends its writing side, before the receives and under them.
pub fn seqpacket_peers_side(ex: &dyn Executor) {
    let end = |pair: &Pair, _how| shutdown(pair.1.as_raw_fd(), SHUT_WR).unwrap();
    ended_before(ex, seqpacket_pair, end);
    ended_while(ex, seqpacket_pair, end);
    queued_first(ex, seqpacket_pair, end);
}

/// Queued messages come before the end, for each family.
pub fn queued_messages_come_first(ex: &dyn Executor) {
    queued_first(ex, udp_pair, shut_down);
    queued_first(ex, udp_unconnected, shut_down_unconnected);
    queued_first(ex, unix_pair, shut_down);
    queued_first(ex, seqpacket_pair, shut_down);
}

/// A receive that is not to wait does not see the end of a datagram socket: EAGAIN, where seqpacket says 0.
pub fn dontwait_afterwards(ex: &dyn Executor) {
    ex.start(|| {
        for pair in [udp_pair(), unix_pair()] {
            shut_down(&pair, SHUT_RD);
            let fd = pair.0.as_raw_fd();
            assert_eq!(code(raw::recv(fd, &mut [0; 8], MSG_DONTWAIT)), EAGAIN);
            assert_eq!(raw::recv(fd, &mut [0; 8], 0).unwrap(), 0);
            raw::set_nonblocking_by_fcntl(fd).unwrap();
            assert_eq!(code(raw::read(fd, &mut [0; 8])), EAGAIN);
        }
        let pair = seqpacket_pair();
        assert_eq!(code(raw::recv(pair.0.as_raw_fd(), &mut [0; 8], MSG_DONTWAIT)), EAGAIN);
        shut_down(&pair, SHUT_RD);
        assert_eq!(raw::recv(pair.0.as_raw_fd(), &mut [0; 8], MSG_DONTWAIT).unwrap(), 0);
    })
    .join();
}

/// The end comes before a receive time-out that is still far, and a time-out before an end that never comes.
pub fn end_and_timeout(ex: &dyn Executor) {
    let with_timeout = |pair: fn() -> Pair, timeout| {
        let pair = pair();
        raw::set_socket_timeout(pair.0.as_raw_fd(), libc::SO_RCVTIMEO, timeout).unwrap();
        Arc::new(pair)
    };
    for pair in [udp_pair, unix_pair, seqpacket_pair] {
        let ended = with_timeout(pair, LONG);
        let receiver = Arc::clone(&ended);
        let unit = ex.start(move || raw::recv(receiver.0.as_raw_fd(), &mut [0; 8], 0));
        let late = with_timeout(pair, SHORT);
        let timed_out = ex.start(move || raw::recv(late.0.as_raw_fd(), &mut [0; 8], 0));
        sleep(SHORT);
        shut_down(&ended, SHUT_RD);
        assert_eq!(unit.join().unwrap(), 0);
        assert_eq!(code(timed_out.join()), EAGAIN);
    }
}

/// poll reports the end as something to read, and the receive after it returns 0.
pub fn poll_sees_the_end(ex: &dyn Executor) {
    let pairs = [udp_pair, udp_unconnected, unix_pair, seqpacket_pair].map(|pair| Arc::new(pair()));
    let units = pairs.clone().map(|pair| {
        ex.start(move || {
            let fd = pair.0.as_raw_fd();
            let mut fds = [raw::pollfd(fd, libc::POLLIN)];
            assert_eq!(raw::poll(&mut fds, LONG.as_millis() as c_int).unwrap(), 1);
            assert_ne!(fds[0].revents & libc::POLLIN, 0);
            raw::recv(fd, &mut [0; 8], 0).unwrap()
        })
    });
    still_wait(&units);
    for pair in &pairs {
        // The unconnected one says ENOTCONN.
        let _ = shutdown(pair.0.as_raw_fd(), SHUT_RD);
    }
    assert_eq!(units.map(crate::Unit::join), [0; 4]);
}

/// Two units receive at one socket: the end is for both.
pub fn all_receivers_hear_it(ex: &dyn Executor) {
    for pair in [udp_pair, unix_pair, seqpacket_pair] {
        let pair = Arc::new(pair());
        let shared = Arc::clone(&pair);
        let units = ex.start_each(4, move |unit| RECEIVES[unit](shared.0.as_raw_fd()).unwrap());
        still_wait(&units);
        shut_down(&pair, SHUT_RD);
        assert_eq!(crate::join_all(units), [0; 4]);
    }
}
