//! Receives that want a certain number of bytes: MSG_WAITALL with MSG_PEEK, with control data, with a time-out, and
//! SO_RCVLOWAT. What is there is not enough to return, so the readiness that poll tells is not what they wait for.

use crate::help::{SHORT, UNITS, code, still_wait, tcp_pair};
use crate::raw::net::{recvmsg_with_control, send_with_right, set_linger, set_option, shutdown};
use crate::{Executor, join_all, raw};
use libc::{EAGAIN, MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, SO_PASSCRED, SO_RCVLOWAT, SO_TIMESTAMP};
use libc::{SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};
use std::fs::File;
use std::io::{IoSliceMut, Read, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread::sleep;
use std::time::Instant;

type Pair = (OwnedFd, OwnedFd);

fn unix() -> Pair {
    let (one, two) = UnixStream::pair().unwrap();
    (one.into(), two.into())
}

fn tcp() -> Pair {
    let (one, two) = tcp_pair();
    (one.into(), two.into())
}

fn send(socket: &OwnedFd, bytes: &[u8]) {
    assert_eq!(raw::send(socket.as_raw_fd(), bytes, 0).unwrap(), bytes.len());
}

/// MSG_PEEK with MSG_WAITALL on a Unix stream returns what is there; with nothing there it waits for a part.
pub fn peek_waitall_on_unix(ex: &dyn Executor) {
    let flags = MSG_PEEK | MSG_WAITALL;
    let (one, two) = unix();
    send(&two, b"ab");
    ex.start(move || {
        let mut bytes = [0; 6];
        assert_eq!(raw::recv(one.as_raw_fd(), &mut bytes, flags).unwrap(), 2);
        assert_eq!(raw::recv(one.as_raw_fd(), &mut bytes, 0).unwrap(), 2);
        assert_eq!(&bytes[..2], b"ab");
    })
    .join();
    drop(two);
    let (receivers, senders): (Vec<_>, Vec<_>) = (0..UNITS).map(|_| unix()).unzip();
    let peek = |socket: OwnedFd| ex.start(move || (raw::recv(socket.as_raw_fd(), &mut [0; 6], flags).unwrap(), socket));
    let units: Vec<_> = receivers.into_iter().map(peek).collect();
    still_wait(&units);
    senders.iter().for_each(|sender| send(sender, b"abc"));
    for (length, socket) in join_all(units) {
        assert_eq!(length, 3);
        assert_eq!(raw::recv(socket.as_raw_fd(), &mut [0; 6], MSG_DONTWAIT).unwrap(), 3);
    }
}

/// On TCP it waits for all, and leaves all.
pub fn peek_waitall_on_tcp(ex: &dyn Executor) {
    let (receivers, senders): (Vec<_>, Vec<_>) = (0..UNITS).map(|_| tcp()).unzip();
    let peek = |socket: OwnedFd| {
        ex.start(move || {
            let mut bytes = [0; 6];
            assert_eq!(
                raw::recv(socket.as_raw_fd(), &mut bytes, MSG_PEEK | MSG_WAITALL).unwrap(),
                6
            );
            assert_eq!(&bytes, b"abcdef");
            raw::recv(socket.as_raw_fd(), &mut [0; 16], 0).unwrap()
        })
    };
    let units: Vec<_> = receivers.into_iter().map(peek).collect();
    for part in [b"ab", b"cd"] {
        still_wait(&units);
        senders.iter().for_each(|sender| send(sender, part));
    }
    still_wait(&units);
    senders.iter().for_each(|sender| send(sender, b"ef"));
    assert_eq!(join_all(units), [6; UNITS]);
}

/// MSG_WAITALL over parts that come one by one, with what each receive has to bring along.
fn waitall_with_control(ex: &dyn Executor, pair: fn() -> Pair, option: i32, kind: i32) {
    let (receivers, senders): (Vec<_>, Vec<_>) = (0..UNITS).map(|_| pair()).unzip();
    let receive = |socket: OwnedFd| {
        set_option(socket.as_raw_fd(), option, 1).unwrap();
        ex.start(move || {
            let mut bytes = [0; 11];
            let received = recvmsg_with_control(socket.as_raw_fd(), &mut bytes, MSG_WAITALL).unwrap();
            assert_eq!((received.length, &bytes), (11, b"firstsecond"));
            received.control
        })
    };
    let units: Vec<_> = receivers.into_iter().map(receive).collect();
    still_wait(&units);
    senders.iter().for_each(|sender| send(sender, b"first"));
    still_wait(&units);
    senders.iter().for_each(|sender| send(sender, b"second"));
    let control = join_all(units);
    assert!(
        control.iter().all(|kinds| *kinds == [(SOL_SOCKET, kind)]),
        "{control:?}"
    );
}

/// recvmsg with MSG_WAITALL on a Unix stream that tells its senders' credentials.
pub fn waitall_with_credentials(ex: &dyn Executor) {
    waitall_with_control(ex, unix, SO_PASSCRED, SCM_CREDENTIALS);
}

/// recvmsg with MSG_WAITALL on a TCP socket that tells the time of arrival.
pub fn waitall_with_timestamp(ex: &dyn Executor) {
    waitall_with_control(ex, tcp, SO_TIMESTAMP, libc::SCM_TIMESTAMP);
}

/// A descriptor that comes along ends a MSG_WAITALL early, after its own part; the rest is for the next call.
pub fn rights_end_waitall(ex: &dyn Executor) {
    let (mut units, mut senders) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (one, two) = unix();
        senders.push(two);
        units.push(ex.start(move || {
            let mut bytes = [0; 16];
            let mut received = recvmsg_with_control(one.as_raw_fd(), &mut bytes, MSG_WAITALL).unwrap();
            assert_eq!(&bytes[..received.length], b"abcd");
            assert_eq!(received.control, [(SOL_SOCKET, SCM_RIGHTS)]);
            let mut text = String::new();
            File::from(received.rights.remove(0)).read_to_string(&mut text).unwrap();
            assert_eq!(raw::recv(one.as_raw_fd(), &mut bytes[..2], MSG_WAITALL).unwrap(), 2);
            (text, bytes[..2].to_vec())
        }));
    }
    still_wait(&units);
    senders.iter().for_each(|sender| send(sender, b"ab"));
    still_wait(&units);
    for sender in &senders {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(b"inside").unwrap();
        assert_eq!(
            send_with_right(sender.as_raw_fd(), b"cd", reader.as_raw_fd()).unwrap(),
            2
        );
        send(sender, b"ef");
    }
    let expected = ("inside".to_owned(), b"ef".to_vec());
    assert!(join_all(units).iter().all(|got| *got == expected));
}

/// What ends a MSG_WAITALL with a part: the end of the stream, the receive time-out, the socket's own shutdown.
pub fn waitall_with_a_part(ex: &dyn Executor) {
    for pair in [unix, tcp] {
        let (one, two) = pair();
        let ended = ex.start(move || raw::recv(one.as_raw_fd(), &mut [0; 16], MSG_WAITALL).unwrap());
        let (three, four) = pair();
        raw::set_socket_timeout(three.as_raw_fd(), libc::SO_RCVTIMEO, 5 * SHORT).unwrap();
        let timed_out = ex.start(move || {
            let started = Instant::now();
            let first = raw::recv(three.as_raw_fd(), &mut [0; 16], MSG_WAITALL).unwrap();
            assert!(started.elapsed() >= 5 * SHORT);
            (first, code(raw::recv(three.as_raw_fd(), &mut [0; 16], MSG_WAITALL)))
        });
        let (five, six) = pair();
        let five = std::sync::Arc::new(five);
        let shared = std::sync::Arc::clone(&five);
        let shut = ex.start(move || raw::recv(shared.as_raw_fd(), &mut [0; 16], MSG_WAITALL).unwrap());
        for sender in [&two, &four, &six] {
            send(sender, b"part");
        }
        sleep(SHORT);
        drop(two);
        shutdown(five.as_raw_fd(), libc::SHUT_RD).unwrap();
        assert_eq!((ended.join(), shut.join(), timed_out.join()), (4, 4, (4, EAGAIN)));
    }
}

/// MSG_DONTWAIT is stronger than MSG_WAITALL: what is there, or EAGAIN.
pub fn waitall_without_waiting(ex: &dyn Executor) {
    ex.start(|| {
        for pair in [unix, tcp] {
            let (one, two) = pair();
            let flags = MSG_WAITALL | MSG_DONTWAIT;
            assert_eq!(code(raw::recv(one.as_raw_fd(), &mut [0; 8], flags)), EAGAIN);
            send(&two, b"part");
            assert_eq!(raw::recv(one.as_raw_fd(), &mut [0; 8], flags).unwrap(), 4);
            raw::set_nonblocking_by_fcntl(one.as_raw_fd()).unwrap();
            send(&two, b"more");
            assert_eq!(raw::recv(one.as_raw_fd(), &mut [0; 8], MSG_WAITALL).unwrap(), 4);
            assert_eq!(code(raw::recv(one.as_raw_fd(), &mut [0; 8], MSG_WAITALL)), EAGAIN);
        }
    })
    .join();
}

/// Each call that takes less than SO_RCVLOWAT asks for.
const RECEIVES: [fn(i32) -> usize; 4] = [
    |fd| raw::recv(fd, &mut [0; 500], 0).unwrap(),
    |fd| raw::read(fd, &mut [0; 500]).unwrap(),
    |fd| raw::readv(fd, &mut [IoSliceMut::new(&mut [0; 500])]).unwrap(),
    |fd| raw::recvmsg(fd, &mut [IoSliceMut::new(&mut [0; 500])]).unwrap().0,
];

/// Units receive at sockets with SO_RCVLOWAT of 100 with 50 bytes there, at first or after a while; then come 60.
fn low_water(ex: &dyn Executor, pair: fn() -> Pair, present: &[u8]) {
    let (receivers, senders): (Vec<_>, Vec<_>) = (0..UNITS).map(|_| pair()).unzip();
    senders
        .iter()
        .filter(|_| !present.is_empty())
        .for_each(|sender| send(sender, present));
    let receive = |(number, socket): (usize, OwnedFd)| {
        set_option(socket.as_raw_fd(), SO_RCVLOWAT, 100).unwrap();
        ex.start(move || RECEIVES[number % 4](socket.as_raw_fd()))
    };
    let units: Vec<_> = receivers.into_iter().enumerate().map(receive).collect();
    still_wait(&units);
    if present.is_empty() {
        senders.iter().for_each(|sender| send(sender, &[1; 50]));
        still_wait(&units);
    }
    senders.iter().for_each(|sender| send(sender, &[1; 60]));
    assert_eq!(join_all(units), [110; UNITS]);
}

/// SO_RCVLOWAT with less than that there already, on TCP: never less than that is returned. When it is reached the call
/// may go on (the kernel takes the part, and then wants the mark's worth of new bytes); when that has come it is over.
pub fn low_water_with_a_part_on_tcp(ex: &dyn Executor) {
    let (receivers, senders): (Vec<_>, Vec<_>) = (0..UNITS).map(|_| tcp()).unzip();
    senders.iter().for_each(|sender| send(sender, &[1; 50]));
    let receive = |(number, socket): (usize, OwnedFd)| {
        set_option(socket.as_raw_fd(), SO_RCVLOWAT, 100).unwrap();
        ex.start(move || RECEIVES[number % 4](socket.as_raw_fd()))
    };
    let units: Vec<_> = receivers.into_iter().enumerate().map(receive).collect();
    still_wait(&units);
    senders.iter().for_each(|sender| send(sender, &[1; 60]));
    sleep(SHORT);
    senders.iter().for_each(|sender| send(sender, &[1; 100]));
    let lengths = join_all(units);
    assert!(lengths.iter().all(|length| matches!(length, 110 | 210)), "{lengths:?}");
}

/// SO_RCVLOWAT with nothing there, on TCP.
pub fn low_water_with_nothing_on_tcp(ex: &dyn Executor) {
    low_water(ex, tcp, &[]);
}

/// SO_RCVLOWAT with less than that there already, on a Unix stream.
pub fn low_water_with_a_part_on_unix(ex: &dyn Executor) {
    low_water(ex, unix, &[1; 50]);
}

/// SO_RCVLOWAT with nothing there, on a Unix stream.
pub fn low_water_with_nothing_on_unix(ex: &dyn Executor) {
    low_water(ex, unix, &[]);
}

/// The end of the stream, a time-out and O_NONBLOCK return what is there, below SO_RCVLOWAT too.
pub fn low_water_is_not_reached(ex: &dyn Executor) {
    for pair in [unix, tcp] {
        let with_mark = move || {
            let (one, two) = pair();
            set_option(one.as_raw_fd(), SO_RCVLOWAT, 100).unwrap();
            send(&two, b"part");
            (one, two)
        };
        let (one, two) = with_mark();
        let ended = ex.start(move || raw::read(one.as_raw_fd(), &mut [0; 500]).unwrap());
        let timed_out = ex.start(move || {
            let (three, _four) = with_mark();
            raw::set_socket_timeout(three.as_raw_fd(), libc::SO_RCVTIMEO, SHORT).unwrap();
            let started = Instant::now();
            let first = raw::read(three.as_raw_fd(), &mut [0; 500]).unwrap();
            assert!(started.elapsed() >= SHORT);
            first
        });
        let at_once = ex.start(move || {
            let (five, _six) = with_mark();
            raw::recv(five.as_raw_fd(), &mut [0; 500], MSG_DONTWAIT).unwrap()
        });
        sleep(SHORT);
        drop(two);
        assert_eq!((ended.join(), timed_out.join(), at_once.join()), (4, 4, 4));
    }
}

/// A receive that asks for less than SO_RCVLOWAT wants no more than it asks for.
pub fn low_water_above_the_request(ex: &dyn Executor) {
    let (mut units, mut senders) = (Vec::new(), Vec::new());
    for pair in [unix, tcp] {
        let (one, two) = pair();
        set_option(one.as_raw_fd(), SO_RCVLOWAT, 100).unwrap();
        send(&two, b"part");
        senders.push(two);
        units.push(ex.start(move || {
            let first = raw::recv(one.as_raw_fd(), &mut [0; 4], 0).unwrap();
            (first, raw::recv(one.as_raw_fd(), &mut [0; 10], 0).unwrap())
        }));
    }
    sleep(SHORT);
    senders.iter().for_each(|sender| send(sender, b"another"));
    still_wait(&units);
    // A hundred: a TCP socket wakes nobody before.
    senders.iter().for_each(|sender| send(sender, &[1; 100]));
    assert_eq!(join_all(units), [(4, 10), (4, 10)]);
}

/// MSG_TRUNC on TCP waits for bytes and throws them away; the next receive starts behind them.
pub fn bytes_are_thrown_away(ex: &dyn Executor) {
    let (one, two) = tcp();
    let unit = ex.start(move || {
        let fd = one.as_raw_fd();
        let discarded = raw::recv(fd, &mut [0; 5], MSG_TRUNC).unwrap();
        let mut bytes = [0; 16];
        let length = raw::recv(fd, &mut bytes[..4], MSG_WAITALL).unwrap();
        (discarded, bytes[..length].to_vec())
    });
    sleep(SHORT);
    send(&two, b"12345");
    sleep(SHORT);
    send(&two, b"6789");
    assert_eq!(unit.join(), (5, b"6789".to_vec()));
}

/// A mark is for streams: a datagram is received whole, however short.
pub fn low_water_on_datagrams(ex: &dyn Executor) {
    let (one, two) = UnixDatagram::pair().unwrap();
    set_option(one.as_raw_fd(), SO_RCVLOWAT, 100).unwrap();
    two.send(b"short").unwrap();
    two.send(&[1; 200]).unwrap();
    let receiver = ex.start(move || {
        let lengths = [0; 2].map(|_| raw::recv(one.as_raw_fd(), &mut [0; 500], 0).unwrap());
        assert_eq!(lengths, [5, 200]);
    });
    receiver.join();
}

/// A mark set through one number holds for another of the same description, and a mark above what fits on a Unix stream
/// ends all the same.
pub fn low_water_through_a_second_number(ex: &dyn Executor) {
    const MARK: usize = 1_000_000;
    let (one, two) = UnixStream::pair().unwrap();
    let second = one.try_clone().unwrap();
    set_option(one.as_raw_fd(), SO_RCVLOWAT, MARK as i32).unwrap();
    let receiver = ex.start(move || {
        let received = raw::read(second.as_raw_fd(), &mut vec![0; 2 * MARK]).unwrap();
        assert!(received >= MARK, "{received}");
    });
    let sender = ex.start(move || {
        (&two).write_all(&vec![7; MARK + 1]).unwrap();
    });
    sender.join();
    receiver.join();
}

/// What is there is received before an error that a send has met.
pub fn data_comes_before_the_error(ex: &dyn Executor) {
    let unit = ex.start(|| {
        let (near, far) = tcp();
        send(&far, b"last words");
        set_linger(far.as_raw_fd(), 0).unwrap();
        sleep(SHORT);
        let mut bytes = [0; 4];
        assert_eq!(raw::recv(near.as_raw_fd(), &mut bytes, 0).unwrap(), 4);
        assert_eq!(raw::recv(near.as_raw_fd(), &mut [0; 50], 0).unwrap(), 6);
        drop(far);
        let error = raw::recv(near.as_raw_fd(), &mut bytes, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        assert_eq!(raw::recv(near.as_raw_fd(), &mut bytes, 0).unwrap(), 0);
    });
    unit.join();
}

/// A vectored write of nothing sends no datagram.
pub fn nothing_is_no_datagram(ex: &dyn Executor) {
    let unit = ex.start(|| {
        let (one, two) = UnixDatagram::pair().unwrap();
        assert_eq!(raw::writev(one.as_raw_fd(), &[]).unwrap(), 0);
        assert_eq!(raw::writev(one.as_raw_fd(), &[std::io::IoSlice::new(b"")]).unwrap(), 0);
        let error = raw::recv(two.as_raw_fd(), &mut [0; 4], MSG_DONTWAIT).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    });
    unit.join();
}
