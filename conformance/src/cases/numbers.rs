//! Descriptors' numbers that are given back by one call and handed out again by another, and modes set through a second
//! number: what was known of a number must not outlive it, and what belongs to the description holds for all numbers.

use crate::help::{SHORT, TempPath, code, still_wait, tcp_pair};
use crate::raw::files::{Stream, close_by_syscall, close_range, duplicate, mkfifo, open};
use crate::raw::files::{set_blocking_by_fcntl, set_nonblocking_by_ioctl};
use crate::raw::net::{recvmsg_with_control, send_with_right};
use crate::{Executor, Unit, join_all, raw};
use libc::{EAGAIN, O_NONBLOCK, O_RDONLY, O_RDWR};
use std::io::{Read, Write, pipe};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Instant;

/// Gives a number back.
type Closer = fn(OwnedFd);

const CLOSERS: [(&str, Closer); 4] = [
    ("close", |fd| raw::close(fd.into_raw_fd()).unwrap()),
    ("fclose", |fd| {
        let stream = Stream::of_number(fd.into_raw_fd(), c"r").unwrap();
        stream.close().unwrap();
    }),
    ("close_range", |fd| {
        let number = fd.into_raw_fd();
        close_range(number, number).unwrap();
    }),
    ("syscall", |fd| close_by_syscall(fd.into_raw_fd()).unwrap()),
];

/// A descriptor whose state is known by now: it was read from, and in non-blocking mode if so asked.
fn used(nonblocking: bool) -> OwnedFd {
    let (one, mut two) = UnixStream::pair().unwrap();
    two.write_all(b"x").unwrap();
    assert_eq!((&one).read(&mut [0; 4]).unwrap(), 1);
    if nonblocking {
        one.set_nonblocking(true).unwrap();
        assert_eq!(code((&one).read(&mut [0; 4])), EAGAIN);
    } else {
        one.set_read_timeout(Some(SHORT / 20)).unwrap();
        assert_eq!(code((&one).read(&mut [0; 4])), EAGAIN);
    }
    one.into()
}

/// The next descriptor is in non-blocking mode though its number was not: the read says EAGAIN.
pub fn open_makes_it_nonblocking(ex: &dyn Executor) {
    let path = TempPath::new();
    mkfifo(&path).unwrap();
    let _writer = open(&path, O_RDWR).unwrap();
    ex.start(move || {
        for (name, close) in CLOSERS {
            close(used(false));
            let reader = open(&path, O_RDONLY | O_NONBLOCK).unwrap();
            assert_eq!(code(raw::read(reader.as_raw_fd(), &mut [0; 4])), EAGAIN, "{name}");
        }
    })
    .join();
}

/// The next descriptor is in blocking mode though its number was not: a timer is waited for.
pub fn timer_is_waited_for(ex: &dyn Executor) {
    ex.start(|| {
        for (name, close) in CLOSERS {
            close(used(true));
            let started = Instant::now();
            let timer = raw::timerfd(SHORT).unwrap();
            assert_eq!(raw::read(timer.as_raw_fd(), &mut [0; 8]).unwrap(), 8, "{name}");
            assert!(started.elapsed() >= SHORT, "{name}");
        }
    })
    .join();
}

/// The only descriptor that came along with a message.
fn received(socket: &UnixStream) -> OwnedFd {
    let mut received = recvmsg_with_control(socket.as_raw_fd(), &mut [0; 4], 0).unwrap();
    assert_eq!((received.length, received.rights.len()), (1, 1));
    received.rights.remove(0)
}

/// A second number for the description, by way of a message.
fn sent_to_itself(fd: RawFd) -> OwnedFd {
    let (one, two) = UnixStream::pair().unwrap();
    send_with_right(one.as_raw_fd(), b"x", fd).unwrap();
    received(&two)
}

/// A blocking socket arrives by SCM_RIGHTS where a non-blocking one was: its reader waits.
pub fn right_is_waited_for(ex: &dyn Executor) {
    let (mut units, mut writers) = (Vec::new(), Vec::new());
    for (name, close) in CLOSERS {
        let (one, two) = UnixStream::pair().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        writers.push(two);
        units.push(ex.start(move || {
            let old = used(true);
            send_with_right(near.as_raw_fd(), b"x", one.as_raw_fd()).unwrap();
            close(old);
            let right = received(&far);
            assert_eq!(raw::read(right.as_raw_fd(), &mut [0; 8]).unwrap(), 3, "{name}");
        }));
    }
    still_wait(&units);
    for mut writer in writers {
        writer.write_all(b"abc").unwrap();
    }
    join_all(units);
}

/// A non-blocking socket arrives by SCM_RIGHTS where a blocking one was: its reader does not wait.
pub fn right_is_nonblocking(ex: &dyn Executor) {
    ex.start(|| {
        for (name, close) in CLOSERS {
            let (one, _two) = UnixStream::pair().unwrap();
            let (near, far) = UnixStream::pair().unwrap();
            let old = used(false);
            one.set_nonblocking(true).unwrap();
            send_with_right(near.as_raw_fd(), b"x", one.as_raw_fd()).unwrap();
            close(old);
            let right = received(&far);
            assert_eq!(code(raw::read(right.as_raw_fd(), &mut [0; 8])), EAGAIN, "{name}");
            assert_eq!(code(raw::recv(right.as_raw_fd(), &mut [0; 8], 0)), EAGAIN, "{name}");
        }
    })
    .join();
}

/// O_NONBLOCK set through a number that came by SCM_RIGHTS holds for the first one, which was used before.
pub fn nonblocking_through_a_second_number(ex: &dyn Executor) {
    ex.start(|| {
        let (stream, _one) = UnixStream::pair().unwrap();
        let (tcp, _two) = tcp_pair();
        let (reader, _three) = pipe().unwrap();
        for socket in [OwnedFd::from(stream), tcp.into(), reader.into()] {
            let fd = socket.as_raw_fd();
            let mut look = [raw::pollfd(fd, libc::POLLIN)];
            assert_eq!(raw::poll(&mut look, 0).unwrap(), 0);
            let second = sent_to_itself(fd);
            raw::set_nonblocking_by_fcntl(second.as_raw_fd()).unwrap();
            assert_eq!(code(raw::read(fd, &mut [0; 4])), EAGAIN);
            drop(second);
            assert_eq!(code(raw::read(fd, &mut [0; 4])), EAGAIN);
        }
    })
    .join();
}

/// So does its end: the reader at the first number waits again.
pub fn blocking_through_a_second_number(ex: &dyn Executor) {
    let (mut units, mut writers) = (Vec::new(), Vec::new());
    for by_right in [true, false] {
        let (one, two) = UnixStream::pair().unwrap();
        writers.push(two);
        units.push(ex.start(move || {
            let fd = one.as_raw_fd();
            set_nonblocking_by_ioctl(fd).unwrap();
            assert_eq!(code(raw::read(fd, &mut [0; 4])), EAGAIN);
            let second = if by_right {
                sent_to_itself(fd)
            } else {
                duplicate(fd, 0).unwrap()
            };
            set_blocking_by_fcntl(second.as_raw_fd()).unwrap();
            drop(second);
            raw::read(fd, &mut [0; 4]).unwrap()
        }));
    }
    still_wait(&units);
    for mut writer in writers {
        writer.write_all(b"abc").unwrap();
    }
    assert_eq!(join_all(units), [3, 3]);
}

/// Another description takes a number that somebody reads at. Whether the old or the new one is read is not promised;
/// that the call returns one's bytes is.
pub fn dup2_over_a_number_in_use(ex: &dyn Executor) {
    for _ in 0..4 {
        let (old, old_writer) = UnixStream::pair().unwrap();
        let (new, new_writer) = UnixStream::pair().unwrap();
        let fd = old.as_raw_fd();
        let unit = ex.start(move || {
            let mut bytes = [0; 8];
            let length = raw::read(fd, &mut bytes).unwrap();
            bytes[..length].to_vec()
        });
        sleep(SHORT);
        raw::dup2(new.as_raw_fd(), fd).unwrap();
        sleep(SHORT);
        // The old description may be gone with its last number.
        let _ = (&old_writer).write(b"same");
        (&new_writer).write_all(b"same").unwrap();
        assert_eq!(unit.join(), b"same");
    }
}

/// Two readers wait at one description, with O_NONBLOCK set meanwhile: a message ends one call, and the other goes on.
fn set_midway(ex: &dyn Executor, reader: OwnedFd, set: fn(RawFd), send: impl Fn()) {
    let reader = Arc::new(reader);
    let shared = Arc::clone(&reader);
    let mut units = ex.start_each(2, move |_| raw::read(shared.as_raw_fd(), &mut [0; 1]).unwrap());
    still_wait(&units);
    set(reader.as_raw_fd());
    still_wait(&units);
    send();
    let first = loop {
        match units.iter().position(Unit::has_ended) {
            Some(first) => break units.remove(first),
            None => sleep(SHORT / 10),
        }
    };
    assert_eq!(first.join(), 1);
    still_wait(&units);
    send();
    assert_eq!(join_all(units), [1]);
    // Calls that begin now do not wait.
    assert_eq!(code(raw::read(reader.as_raw_fd(), &mut [0; 1])), EAGAIN);
}

/// At Unix and TCP sockets.
pub fn nonblocking_set_under_stream_readers(ex: &dyn Executor) {
    let set = |fd| raw::set_nonblocking_by_fcntl(fd).unwrap();
    let (one, two) = UnixStream::pair().unwrap();
    set_midway(ex, one.into(), set, || (&two).write_all(b"x").unwrap());
    let (one, two) = tcp_pair();
    set_midway(ex, one.into(), set, || (&two).write_all(b"x").unwrap());
}

/// At a pipe and a UDP socket, by ioctl.
pub fn nonblocking_set_under_other_readers(ex: &dyn Executor) {
    let set = |fd| set_nonblocking_by_ioctl(fd).unwrap();
    let (reader, writer) = pipe().unwrap();
    set_midway(ex, reader.into(), set, || (&writer).write_all(b"x").unwrap());
    let [one, two] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = one.local_addr().unwrap();
    set_midway(ex, one.into(), set, move || {
        assert_eq!(two.send_to(b"x", address).unwrap(), 1)
    });
}
