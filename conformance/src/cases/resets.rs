//! Errors that come in the middle of a transfer: first what was done is counted, then the error is told, once.

use crate::help::{LONG, UNITS, code, narrow_tcp_pair, still_wait, tcp_pair};
use crate::raw::net::{set_linger, take_error};
use crate::{Executor, Unit, join_all, raw};
use libc::{ECONNRESET, EPIPE, MSG_WAITALL};
use std::io::{self, IoSlice, IoSliceMut, PipeReader, Read, Write, pipe};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::sleep;

const BYTES: usize = 8 << 20;

/// Closes with a reset.
fn reset(stream: TcpStream) {
    set_linger(stream.as_raw_fd(), 0).unwrap();
    drop(stream);
}

type Send = fn(RawFd, &[u8]) -> io::Result<usize>;

const SENDS: [Send; 4] = [
    raw::write,
    |fd, bytes| raw::send(fd, bytes, 0),
    |fd, bytes| raw::writev(fd, &[IoSlice::new(&bytes[..1_000]), IoSlice::new(&bytes[1_000..])]),
    |fd, bytes| raw::sendmsg(fd, &[IoSlice::new(bytes)]),
];

/// Starts units that send more than there is room for, three times; `end` then ends their peers.
fn interrupted<P>(
    ex: &dyn Executor,
    pairs: Vec<(OwnedFd, P)>,
    sends: &[Send],
    end: fn(P),
) -> Vec<[io::Result<usize>; 3]> {
    let bytes = Arc::new(vec![1; BYTES]);
    let (mut units, mut peers) = (Vec::new(), Vec::new());
    for ((one, two), send) in pairs.into_iter().zip(sends.iter().copied().cycle()) {
        let bytes = Arc::clone(&bytes);
        units.push(ex.start(move || [(); 3].map(|()| send(one.as_raw_fd(), &bytes))));
        peers.push(two);
    }
    still_wait(&units);
    peers.into_iter().for_each(end);
    join_all(units)
}

fn assert_part(result: &io::Result<usize>) {
    let part = *result.as_ref().unwrap();
    assert!(0 < part && part < BYTES, "{part} bytes");
}

/// A peer resets under a large write: its count, then ECONNRESET, then EPIPE.
pub fn reset_under_a_tcp_write(ex: &dyn Executor) {
    let pairs = (0..UNITS).map(|_| {
        let (one, two) = narrow_tcp_pair();
        (OwnedFd::from(one), two)
    });
    for [first, second, third] in interrupted(ex, pairs.collect(), &SENDS, reset) {
        assert_part(&first);
        assert_eq!((code(second), code(third)), (ECONNRESET, EPIPE));
    }
}

/// A peer closes under a large write to a Unix socket: its count, then EPIPE.
pub fn close_under_a_unix_write(ex: &dyn Executor) {
    let pairs = (0..UNITS).map(|_| {
        let (one, two) = UnixStream::pair().unwrap();
        (OwnedFd::from(one), two)
    });
    for [first, second, third] in interrupted(ex, pairs.collect(), &SENDS, drop) {
        assert_part(&first);
        assert_eq!((code(second), code(third)), (EPIPE, EPIPE));
    }
}

/// The reader goes away under a large write to a pipe: its count, then EPIPE.
pub fn close_under_a_pipe_write(ex: &dyn Executor) {
    let pairs = (0..UNITS).map(|_| {
        let (reader, writer) = pipe().unwrap();
        (OwnedFd::from(writer), reader)
    });
    let sends = [SENDS[0], SENDS[2]];
    for [first, second, third] in interrupted(ex, pairs.collect(), &sends, drop::<PipeReader>) {
        assert_part(&first);
        assert_eq!((code(second), code(third)), (EPIPE, EPIPE));
    }
}

/// A peer resets under a receive that waits for more: the part, then ECONNRESET, then the end.
pub fn reset_under_waitall(ex: &dyn Executor) {
    let (mut units, mut peers) = (Vec::new(), Vec::new());
    for number in 0..UNITS {
        let (one, mut two) = tcp_pair();
        if number % 2 == 0 {
            one.set_read_timeout(Some(LONG)).unwrap();
        }
        two.write_all(b"ten bytes.").unwrap();
        peers.push(two);
        units.push(ex.start(move || {
            let fd = one.as_raw_fd();
            let mut bytes = [0; 100];
            [MSG_WAITALL, MSG_WAITALL, 0].map(|flags| raw::recv(fd, &mut bytes, flags))
        }));
    }
    still_wait(&units);
    peers.into_iter().for_each(reset);
    for [first, second, third] in join_all(units) {
        assert_eq!((first.unwrap(), code(second), third.unwrap()), (10, ECONNRESET, 0));
    }
}

/// A peer resets under a receive with nothing there: ECONNRESET once, then the end; a write says EPIPE.
pub fn reset_under_a_receive(ex: &dyn Executor) {
    let (mut units, mut peers) = (Vec::new(), Vec::new());
    for number in 0..UNITS {
        let (one, two) = tcp_pair();
        peers.push(two);
        units.push(ex.start(move || {
            let fd = one.as_raw_fd();
            let mut bytes = [0; 8];
            let first = match number % 4 {
                0 => raw::recv(fd, &mut bytes, 0),
                1 => raw::read(fd, &mut bytes),
                2 => raw::readv(fd, &mut [IoSliceMut::new(&mut bytes)]),
                _ => raw::recvmsg(fd, &mut [IoSliceMut::new(&mut bytes)]).map(|(length, _)| length),
            };
            (
                code(first),
                raw::read(fd, &mut bytes).unwrap(),
                code(raw::write(fd, b"x")),
            )
        }));
    }
    still_wait(&units);
    peers.into_iter().for_each(reset);
    assert_eq!(join_all(units), [(ECONNRESET, 0, EPIPE); UNITS]);
}

/// poll does not take the error away; SO_ERROR does.
pub fn reset_under_poll(ex: &dyn Executor) {
    let (one, two) = tcp_pair();
    let (three, four) = tcp_pair();
    let wait = |stream: TcpStream, take: bool| {
        ex.start(move || {
            let mut fds = [raw::pollfd(stream.as_raw_fd(), libc::POLLIN)];
            assert_eq!(raw::poll(&mut fds, 20_000).unwrap(), 1);
            assert_ne!(fds[0].revents & libc::POLLERR, 0);
            if take {
                assert_eq!(take_error(stream.as_raw_fd()).unwrap(), ECONNRESET);
                assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0);
            } else {
                assert_eq!(code((&stream).read(&mut [0; 8])), ECONNRESET);
            }
        })
    };
    let units = vec![wait(one, true), wait(three, false)];
    still_wait(&units);
    reset(two);
    reset(four);
    join_all(units);
}

/// A Unix peer that closes with bytes unread resets its reader; what it sent before is read first.
pub fn unread_bytes_reset_a_unix_reader(ex: &dyn Executor) {
    let (mut units, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (one, two) = UnixStream::pair().unwrap();
        (&one).write_all(b"unread").unwrap();
        (&two).write_all(b"last").unwrap();
        peers.push(two);
        units.push(ex.start(move || {
            let mut bytes = [0; 16];
            let fd = one.as_raw_fd();
            let first = raw::recv(fd, &mut bytes, 0).unwrap();
            (
                first,
                code(raw::recv(fd, &mut bytes, 0)),
                raw::recv(fd, &mut bytes, 0).unwrap(),
            )
        }));
    }
    still_wait(&units);
    drop(peers);
    assert_eq!(join_all(units), [(4, ECONNRESET, 0); UNITS]);
}

/// Writers of one socket share a reset: one hears ECONNRESET, the others EPIPE, and all return.
pub fn reset_for_many_writers(ex: &dyn Executor) {
    let (one, two) = narrow_tcp_pair();
    let one = Arc::new(one);
    let units: Vec<Unit<i32>> = ex.start_each(UNITS, move |_| {
        let bytes = vec![1; 1 << 20];
        loop {
            if let Err(error) = raw::write(one.as_raw_fd(), &bytes) {
                return error.raw_os_error().unwrap();
            }
        }
    });
    still_wait(&units);
    sleep(crate::help::SHORT);
    reset(two);
    let errors = join_all(units);
    assert!(
        errors.iter().all(|error| matches!(*error, ECONNRESET | EPIPE)),
        "{errors:?}"
    );
    assert!(
        errors.iter().filter(|error| **error == ECONNRESET).count() <= 1,
        "{errors:?}"
    );
}

/// One side is shut down under a sender that waits for room: it sends no more, and says how much it has sent.
pub fn one_side_is_shut_under_a_unix_write(ex: &dyn Executor) {
    type Pair = (OwnedFd, OwnedFd);
    let ends: [fn(&Pair); 2] = [
        |(own, _)| raw::net::shutdown(own.as_raw_fd(), libc::SHUT_WR).unwrap(),
        |(_, peer)| raw::net::shutdown(peer.as_raw_fd(), libc::SHUT_RD).unwrap(),
    ];
    for end in ends {
        for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
            let pair = Arc::new(raw::net::socketpair(kind).unwrap());
            let sender = pair.clone();
            let unit = ex.start(move || {
                let bytes = vec![1; if kind == libc::SOCK_STREAM { BYTES } else { 10_000 }];
                loop {
                    let sent = raw::send(sender.0.as_raw_fd(), &bytes, libc::MSG_NOSIGNAL);
                    match sent {
                        Ok(count) if count < bytes.len() => return 0,
                        Ok(_) => {}
                        Err(error) => return error.raw_os_error().unwrap(),
                    }
                }
            });
            let units = vec![unit];
            still_wait(&units);
            end(&pair);
            let ended = join_all(units);
            assert_eq!(ended, [if kind == libc::SOCK_STREAM { 0 } else { EPIPE }]);
        }
    }
}
