//! Several messages in one call (recvmmsg, sendmmsg), and reads and writes that could name a place (preadv2, pwritev2).

use crate::help::{SHORT, UNITS, WHILE, code, fill, fill_pipe, still_wait, tcp_pair};
use crate::raw::copy::{preadv2, pwritev2};
use crate::raw::net::{recvmmsg, sendmmsg, socketpair};
use crate::{Executor, join_all, raw};
use libc::{EAGAIN, ESPIPE, MSG_DONTWAIT, MSG_WAITFORONE, SOCK_DGRAM};
use std::io::{IoSlice, IoSliceMut, Read, Write, pipe};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread::sleep;
use std::time::Duration;

fn udp_pair() -> (UdpSocket, UdpSocket) {
    let [one, two] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    two.connect(one.local_addr().unwrap()).unwrap();
    (one, two)
}

/// With MSG_WAITFORONE recvmmsg waits for the first message and returns without the rest.
pub fn recvmmsg_waits_for_one(ex: &dyn Executor) {
    let (receivers, senders): (Vec<_>, Vec<_>) = (0..UNITS).map(|_| udp_pair()).unzip();
    let receive = |socket: UdpSocket| ex.start(move || recvmmsg(socket.as_raw_fd(), 4, MSG_WAITFORONE, None).unwrap());
    let units: Vec<_> = receivers.into_iter().map(receive).collect();
    still_wait(&units);
    ex.start(move || {
        senders
            .iter()
            .for_each(|sender| assert_eq!(sender.send(b"hey").unwrap(), 3))
    })
    .join();
    assert!(join_all(units).iter().all(|messages| *messages == [b"hey"]));
}

/// What is queued comes in one call, as much as is asked for.
pub fn recvmmsg_takes_what_is_there(ex: &dyn Executor) {
    let (receiver, sender) = udp_pair();
    for message in [&b"a"[..], b"bc", b"", b"def"] {
        sender.send(message).unwrap();
    }
    ex.start(move || {
        let fd = receiver.as_raw_fd();
        assert_eq!(recvmmsg(fd, 2, 0, None).unwrap(), [&b"a"[..], b"bc"]);
        assert_eq!(recvmmsg(fd, 8, MSG_WAITFORONE, None).unwrap(), [&b""[..], b"def"]);
        assert_eq!(code(recvmmsg(fd, 8, MSG_DONTWAIT, None)), EAGAIN);
        raw::set_nonblocking_by_fcntl(fd).unwrap();
        assert_eq!(code(recvmmsg(fd, 8, 0, None)), EAGAIN);
    })
    .join();
}

/// Without a flag recvmmsg waits until all have come.
pub fn recvmmsg_waits_for_all(ex: &dyn Executor) {
    let pairs: Vec<_> = (0..UNITS).map(|_| socketpair(SOCK_DGRAM).unwrap()).collect();
    let (receivers, senders): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let receive = |socket: OwnedFd| ex.start(move || recvmmsg(socket.as_raw_fd(), 3, 0, None).unwrap());
    let units: Vec<_> = receivers.into_iter().map(receive).collect();
    for message in [b"one", b"two"] {
        senders
            .iter()
            .for_each(|sender| assert_eq!(raw::send(sender.as_raw_fd(), message, 0).unwrap(), 3));
        still_wait(&units);
    }
    senders
        .iter()
        .for_each(|sender| assert_eq!(raw::send(sender.as_raw_fd(), b"three", 0).unwrap(), 5));
    let expected = [&b"one"[..], b"two", b"three"];
    assert!(join_all(units).iter().all(|messages| *messages == expected));
}

/// The call's own time-out is looked at after each message: a late first one ends the call.
pub fn recvmmsg_timeout(ex: &dyn Executor) {
    let (receivers, senders): (Vec<_>, Vec<_>) = (0..UNITS).map(|_| udp_pair()).unzip();
    let timeout = Some(Duration::from_millis(1));
    let receive = |socket: UdpSocket| ex.start(move || recvmmsg(socket.as_raw_fd(), 4, 0, timeout).unwrap());
    let units: Vec<_> = receivers.into_iter().map(receive).collect();
    sleep(WHILE);
    for sender in &senders {
        sender.send(b"late").unwrap();
    }
    assert!(join_all(units).iter().all(|messages| *messages == [b"late"]));
}

/// The socket's receive time-out ends the call: with what came before, or with EAGAIN.
pub fn recvmmsg_receive_timeout(ex: &dyn Executor) {
    join_all(ex.start_each(UNITS, |_| {
        let (receiver, sender) = udp_pair();
        receiver.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(code(recvmmsg(receiver.as_raw_fd(), 4, 0, None)), EAGAIN);
        sender.send(b"one").unwrap();
        assert_eq!(recvmmsg(receiver.as_raw_fd(), 4, 0, None).unwrap(), [b"one"]);
    }));
}

/// sendmmsg into a queue that is too short waits until all are sent.
pub fn sendmmsg_waits_for_room(ex: &dyn Executor) {
    const MESSAGES: usize = 400;
    let pairs: Vec<_> = (0..UNITS).map(|_| socketpair(SOCK_DGRAM).unwrap()).collect();
    let (senders, receivers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let send = |socket: OwnedFd| {
        ex.start(move || {
            let bytes: Vec<_> = (0..MESSAGES).map(|number| (number as u32).to_le_bytes()).collect();
            let messages: Vec<_> = bytes.iter().map(|bytes| &bytes[..]).collect();
            sendmmsg(socket.as_raw_fd(), &messages, 0).unwrap()
        })
    };
    let units: Vec<_> = senders.into_iter().map(send).collect();
    still_wait(&units);
    for receiver in receivers {
        let receiver = UnixDatagram::from(receiver);
        let mut bytes = [0; 4];
        for number in 0..MESSAGES as u32 {
            assert_eq!(receiver.recv(&mut bytes).unwrap(), 4);
            assert_eq!(u32::from_le_bytes(bytes), number);
        }
    }
    assert_eq!(join_all(units), [MESSAGES; UNITS]);
}

/// A sender that is not to wait, or not for long, sends what has room and counts it; then EAGAIN.
pub fn sendmmsg_counts_a_part(ex: &dyn Executor) {
    ex.start(|| {
        let messages = [&b"x"[..]; 1_000];
        let sockets = [(); 3].map(|()| socketpair(SOCK_DGRAM).unwrap());
        let fds = sockets.each_ref().map(|(one, _)| one.as_raw_fd());
        raw::set_nonblocking_by_fcntl(fds[1]).unwrap();
        raw::set_socket_timeout(fds[2], libc::SO_SNDTIMEO, SHORT).unwrap();
        for (fd, flags) in fds.into_iter().zip([MSG_DONTWAIT, 0, 0]) {
            let sent = sendmmsg(fd, &messages, flags).unwrap();
            assert!(0 < sent && sent < 1_000, "{sent} messages sent");
            assert_eq!(code(sendmmsg(fd, &messages, flags)), EAGAIN);
        }
        let (one, two) = &sockets[0];
        raw::recv(two.as_raw_fd(), &mut [0; 1], 0).unwrap();
        assert_eq!(sendmmsg(one.as_raw_fd(), &messages, MSG_DONTWAIT).unwrap(), 1);
    })
    .join();
}

/// preadv2 at offset -1 reads from where the descriptor is: it waits at a pipe and at a socket.
pub fn preadv2_waits(ex: &dyn Executor) {
    let (mut readers, mut writers) = (Vec::<OwnedFd>::new(), Vec::<Box<dyn Write + Send>>::new());
    for number in 0..UNITS {
        match number % 3 {
            0 => {
                let (reader, writer) = pipe().unwrap();
                readers.push(reader.into());
                writers.push(Box::new(writer));
            }
            1 => {
                let (one, two) = UnixStream::pair().unwrap();
                readers.push(one.into());
                writers.push(Box::new(two));
            }
            _ => {
                let (one, two) = tcp_pair();
                readers.push(one.into());
                writers.push(Box::new(two));
            }
        }
    }
    let read = |reader: OwnedFd| {
        ex.start(move || {
            let (mut first, mut second) = ([0; 2], [0; 8]);
            let slices = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            let length = preadv2(reader.as_raw_fd(), slices, -1, 0).unwrap();
            assert_eq!((&first, &second[..3]), (b"ab", &b"cde"[..]));
            length
        })
    };
    let units: Vec<_> = readers.into_iter().map(read).collect();
    still_wait(&units);
    ex.start(move || {
        writers
            .iter_mut()
            .for_each(|writer| writer.write_all(b"abcde").unwrap())
    })
    .join();
    assert_eq!(join_all(units), [5; UNITS]);
}

/// pwritev2 at offset -1 writes where the descriptor is: it waits for room in a pipe and in a socket.
pub fn pwritev2_waits(ex: &dyn Executor) {
    let (mut units, mut readers) = (Vec::new(), Vec::<(Box<dyn Read>, usize)>::new());
    for number in 0..UNITS {
        let writer: OwnedFd = if number % 2 == 0 {
            let (reader, mut writer) = pipe().unwrap();
            let filled = fill_pipe(&mut writer);
            readers.push((Box::new(reader), filled));
            writer.into()
        } else {
            let (one, two) = UnixStream::pair().unwrap();
            let filled = fill(one.as_raw_fd());
            readers.push((Box::new(two), filled));
            one.into()
        };
        let slices = [IoSlice::new(b"he"), IoSlice::new(b"llo")];
        units.push(ex.start(move || pwritev2(writer.as_raw_fd(), &slices, -1, 0).unwrap()));
    }
    still_wait(&units);
    for (mut reader, filled) in readers {
        let mut bytes = vec![0; filled + 5];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes[filled..], b"hello");
    }
    assert_eq!(join_all(units), [5; UNITS]);
}

/// A place in a pipe or a socket is an error at once; O_NONBLOCK is EAGAIN.
pub fn places_and_nonblocking(ex: &dyn Executor) {
    ex.start(|| {
        let (reader, writer) = pipe().unwrap();
        let (socket, _peer) = UnixStream::pair().unwrap();
        for fd in [reader.as_raw_fd(), socket.as_raw_fd()] {
            let mut byte = [0; 1];
            assert_eq!(code(preadv2(fd, &mut [IoSliceMut::new(&mut byte)], 0, 0)), ESPIPE);
            raw::set_nonblocking_by_fcntl(fd).unwrap();
            assert_eq!(code(preadv2(fd, &mut [IoSliceMut::new(&mut byte)], -1, 0)), EAGAIN);
        }
        assert_eq!(code(pwritev2(writer.as_raw_fd(), &[IoSlice::new(b"x")], 5, 0)), ESPIPE);
    })
    .join();
}
