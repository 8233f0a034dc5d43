//! Unix sockets: streams, listeners, datagrams, pairs. Over std's types and over silken's, as in `tcp.rs`.

use super::sockets::{UnixDatagram, UnixListener, UnixStream};
use crate::{Executor, join_all};
use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

/// An abstract address that nothing else in this process uses, so that no file is left behind.
fn address() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!(
        "silken-conformance-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Relaxed)
    );
    SocketAddr::from_abstract_name(name).unwrap()
}

/// A pair talks both ways.
pub fn stream_pair(ex: &dyn Executor) {
    let (mut one, mut two) = UnixStream::pair().unwrap();
    let unit = ex.start(move || {
        let mut bytes = [0; 4];
        while two.read_exact(&mut bytes).is_ok() {
            bytes.reverse();
            two.write_all(&bytes).unwrap();
        }
    });
    for _ in 0..500 {
        one.write_all(b"abcd").unwrap();
        let mut bytes = [0; 4];
        one.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"dcba");
    }
    drop(one);
    unit.join();
}

/// A listener serves many clients.
pub fn listener(ex: &dyn Executor) {
    let address = address();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let server = ex.start(move || {
        for stream in listener.incoming().take(20) {
            stream.unwrap().write_all(b"hi").unwrap();
        }
    });
    join_all(ex.start_each(20, move |_| {
        let mut text = String::new();
        UnixStream::connect_addr(&address)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hi");
    }));
    server.join();
}

/// A stream's time-outs are WouldBlock, on both sides, and not early.
pub fn stream_timeouts(ex: &dyn Executor) {
    let (mut one, two) = UnixStream::pair().unwrap();
    ex.start(move || {
        one.set_read_timeout(Some(SHORT)).unwrap();
        one.set_write_timeout(Some(SHORT)).unwrap();
        let started = Instant::now();
        assert_eq!(one.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(started.elapsed() >= SHORT);
        let started = Instant::now();
        let error = std::iter::repeat_with(|| one.write(&[0; 4_096]))
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(started.elapsed() >= SHORT);
    })
    .join();
    drop(two);
}

/// A writer into a full buffer waits for its reader.
pub fn stream_back_pressure(ex: &dyn Executor) {
    let (mut one, mut two) = UnixStream::pair().unwrap();
    let writer = ex.start(move || one.write_all(&vec![3; 2 << 20]).unwrap());
    sleep(SHORT);
    let mut bytes = Vec::new();
    two.read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() == 2 << 20 && bytes.iter().all(|byte| *byte == 3));
    writer.join();
}

/// Datagrams keep their borders, and a full queue makes the sender wait.
pub fn datagram_pair(ex: &dyn Executor) {
    let (one, two) = UnixDatagram::pair().unwrap();
    let sender = ex.start(move || {
        for number in 0..2_000u32 {
            one.send(&number.to_le_bytes()).unwrap();
        }
    });
    sleep(SHORT);
    let mut bytes = [0; 16];
    for number in 0..2_000u32 {
        assert_eq!(two.recv(&mut bytes).unwrap(), 4);
        assert_eq!(bytes[..4], number.to_le_bytes());
    }
    sender.join();
}

/// A named datagram socket hears several senders and can answer.
pub fn datagram_named(ex: &dyn Executor) {
    let address = address();
    let server = UnixDatagram::bind_addr(&address).unwrap();
    let unit = ex.start(move || {
        let mut byte = [0; 1];
        for _ in 0..30 {
            let (_, from) = server.recv_from(&mut byte).unwrap();
            server.send_to_addr(&[byte[0] + 1], &from).unwrap();
        }
    });
    join_all(ex.start_each(10, move |unit| {
        let socket = UnixDatagram::bind_addr(&self::address()).unwrap();
        for number in 0..3 {
            let message = [unit as u8 * 3 + number];
            socket.send_to_addr(&message, &address).unwrap();
            let mut answer = [0; 1];
            socket.recv(&mut answer).unwrap();
            assert_eq!(answer[0], message[0] + 1);
        }
    }));
    unit.join();
}

/// A datagram read time-out is WouldBlock.
pub fn datagram_timeout(ex: &dyn Executor) {
    let (one, _two) = UnixDatagram::pair().unwrap();
    one.set_read_timeout(Some(SHORT)).unwrap();
    let kind = ex.start(move || one.recv(&mut [0; 1]).unwrap_err().kind());
    assert_eq!(kind.join(), ErrorKind::WouldBlock);
}
