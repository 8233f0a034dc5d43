//! UDP: whole messages, time-outs, peek. Over std's type and over silken's, as in `tcp.rs`.

use super::sockets::UdpSocket;
use crate::{Executor, join_all};
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

fn bind() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// recv_from waits for a message and names its sender.
pub fn recv_from_waits(ex: &dyn Executor) {
    let (receiver, sender) = (bind(), bind());
    let address = receiver.local_addr().unwrap();
    let from = sender.local_addr().unwrap();
    let unit = ex.start(move || {
        let mut bytes = [0; 16];
        assert_eq!(receiver.recv_from(&mut bytes).unwrap(), (4, from));
        assert_eq!(&bytes[..4], b"ping");
    });
    sleep(SHORT);
    sender.send_to(b"ping", address).unwrap();
    unit.join();
}

/// A read time-out is WouldBlock and not early.
pub fn read_timeout(ex: &dyn Executor) {
    let socket = bind();
    ex.start(move || {
        socket.set_read_timeout(Some(SHORT)).unwrap();
        let started = Instant::now();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(started.elapsed() >= SHORT);
    })
    .join();
}

/// peek_from leaves the message; a short buffer cuts it.
pub fn peek(ex: &dyn Executor) {
    let (receiver, sender) = (bind(), bind());
    let address = receiver.local_addr().unwrap();
    let unit = ex.start(move || {
        let mut bytes = [0; 8];
        assert_eq!(receiver.peek_from(&mut bytes).unwrap().0, 5);
        assert_eq!(receiver.recv_from(&mut bytes[..2]).unwrap().0, 2);
        receiver.set_nonblocking(true).unwrap();
        assert_eq!(
            receiver.recv_from(&mut bytes).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
    sleep(SHORT);
    sender.send_to(b"12345", address).unwrap();
    unit.join();
}

/// Connected sockets use send and recv, and hear of a port nobody has.
pub fn connected(ex: &dyn Executor) {
    let (one, two) = (bind(), bind());
    one.connect(two.local_addr().unwrap()).unwrap();
    two.connect(one.local_addr().unwrap()).unwrap();
    let unit = ex.start(move || {
        let mut bytes = [0; 8];
        let length = two.recv(&mut bytes).unwrap();
        two.send(&bytes[..length]).unwrap();
    });
    one.send(b"abc").unwrap();
    let mut bytes = [0; 8];
    assert_eq!(one.recv(&mut bytes).unwrap(), 3);
    unit.join();
    one.send(b"gone").unwrap();
    assert_eq!(one.recv(&mut bytes).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Each of many clients gets its own answer.
pub fn many_clients(ex: &dyn Executor) {
    let server = bind();
    let address = server.local_addr().unwrap();
    let unit = ex.start(move || {
        let mut bytes = [0; 8];
        for _ in 0..200 {
            let (length, from) = server.recv_from(&mut bytes).unwrap();
            server.send_to(&bytes[..length], from).unwrap();
        }
    });
    join_all(ex.start_each(20, move |unit| {
        let socket = bind();
        for number in 0..10 {
            let message = [unit as u8, number];
            socket.send_to(&message, address).unwrap();
            let mut answer = [0; 8];
            assert_eq!(socket.recv(&mut answer).unwrap(), 2);
            assert_eq!(answer[..2], message);
        }
    }));
    unit.join();
}

/// Two units receive on clones of one socket: each message reaches one of them.
pub fn shared_socket(ex: &dyn Executor) {
    let socket = bind();
    let address = socket.local_addr().unwrap();
    let units: Vec<_> = (0..4)
        .map(|_| {
            let socket = socket.try_clone().unwrap();
            ex.start(move || {
                let mut byte = [0; 1];
                (0..25)
                    .map(|_| socket.recv(&mut byte).map(|_| u32::from(byte[0])).unwrap())
                    .sum::<u32>()
            })
        })
        .collect();
    let sender = bind();
    for number in 0..100 {
        sender.send_to(&[number], address).unwrap();
    }
    assert_eq!(join_all(units).into_iter().sum::<u32>(), (0..100).sum());
}
