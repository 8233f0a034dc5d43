//! TCP: what blocks, what times out and with which error, what ends a stream.
//!
//! The cases run over std's types and over silken's: `sockets` is whichever the parent module has.

use super::sockets::{Shutdown, SocketAddr, TcpListener, TcpStream};
use crate::{Executor, join_all, raw};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let client = TcpStream::connect(address).unwrap();
    (client, listener.accept().unwrap().0)
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes).unwrap() {
            0 => return,
            length => stream.write_all(&bytes[..length]).unwrap(),
        }
    }
}

/// A message goes there and back.
pub fn echo_once(ex: &dyn Executor) {
    let (listener, address) = listen();
    let server = ex.start(move || echo(listener.accept().unwrap().0));
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    drop(client);
    server.join();
}

/// Many clients talk to a unit each.
pub fn many_clients(ex: &dyn Executor) {
    let (listener, address) = listen();
    let shared = ex.shared();
    let server = ex.start(move || {
        let units = (0..64).map(|_| {
            let stream = listener.accept().unwrap().0;
            shared.start(move || echo(stream))
        });
        join_all(units.collect());
    });
    join_all(ex.start_each(64, move |unit| {
        let mut stream = TcpStream::connect(address).unwrap();
        for number in 0..20u32 {
            let message = (unit as u32 * 100 + number).to_le_bytes();
            stream.write_all(&message).unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, message);
        }
    }));
    server.join();
}

/// accept waits for a client.
pub fn accept_waits(ex: &dyn Executor) {
    let (listener, address) = listen();
    let server = ex.start(move || listener.accept().unwrap().1);
    sleep(SHORT);
    let client = TcpStream::connect(address).unwrap();
    assert_eq!(server.join(), client.local_addr().unwrap());
}

/// A read time-out is WouldBlock, not early, and the stream still works.
pub fn read_timeout(ex: &dyn Executor) {
    let (mut client, mut server) = pair();
    ex.start(move || {
        client.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(client.read_timeout().unwrap(), Some(SHORT));
        let started = Instant::now();
        let error = client.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(started.elapsed() >= SHORT);
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 1);
    })
    .join();
}

/// A write into a full buffer times out with WouldBlock.
pub fn write_timeout(ex: &dyn Executor) {
    let (mut client, server) = pair();
    ex.start(move || {
        client.set_write_timeout(Some(SHORT)).unwrap();
        let started = Instant::now();
        let error = loop {
            if let Err(error) = client.write(&[0; 65_536]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(started.elapsed() >= SHORT);
    })
    .join();
    drop(server);
}

/// A time-out that was taken back is not in force.
pub fn timeout_can_be_cleared(ex: &dyn Executor) {
    let (mut client, mut server) = pair();
    client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let reader = ex.start(move || {
        assert!(client.read(&mut [0; 1]).is_err());
        client.set_read_timeout(None).unwrap();
        client.read(&mut [0; 1]).unwrap()
    });
    sleep(Duration::from_millis(50));
    server.write_all(b"x").unwrap();
    assert_eq!(reader.join(), 1);
}

/// A time-out of zero is refused by std.
pub fn zero_timeout_is_an_error(ex: &dyn Executor) {
    let (client, _server) = pair();
    let kind = ex.start(move || client.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind());
    assert_eq!(kind.join(), ErrorKind::InvalidInput);
}

/// A time-out set through one handle holds for its clones: it belongs to the socket.
pub fn timeout_belongs_to_the_socket(ex: &dyn Executor) {
    let (client, _server) = pair();
    let mut clone = client.try_clone().unwrap();
    client.set_read_timeout(Some(SHORT)).unwrap();
    let kind = ex.start(move || clone.read(&mut [0; 1]).unwrap_err().kind());
    assert_eq!(kind.join(), ErrorKind::WouldBlock);
}

/// set_nonblocking: read fails at once.
pub fn nonblocking_read(ex: &dyn Executor) {
    let (mut client, mut server) = pair();
    ex.start(move || {
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        server.write_all(b"x").unwrap();
        client.set_nonblocking(false).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 1);
    })
    .join();
}

/// set_nonblocking on a listener: accept fails at once.
pub fn nonblocking_accept(ex: &dyn Executor) {
    let (listener, address) = listen();
    ex.start(move || {
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
    })
    .join();
}

/// Nobody listens: connect is refused.
pub fn connect_refused(ex: &dyn Executor) {
    let (listener, address) = listen();
    drop(listener);
    let kind = ex.start(move || TcpStream::connect(address).unwrap_err().kind());
    assert_eq!(kind.join(), ErrorKind::ConnectionRefused);
}

/// connect_timeout against a listener whose backlog is full times out; with room it connects.
pub fn connect_timeout(ex: &dyn Executor) {
    let (listener, address) = listen();
    ex.start(move || TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap())
        .join();
    raw::listen(listener.as_raw_fd(), 0).unwrap();
    let mut queued = Vec::new();
    let timed_out = ex.start(move || {
        for _ in 0..8 {
            let started = Instant::now();
            match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
                Ok(stream) => queued.push(stream),
                Err(error) => return (error.kind(), started.elapsed()),
            }
        }
        panic!("the backlog never fills");
    });
    let (kind, elapsed) = timed_out.join();
    assert_eq!(kind, ErrorKind::TimedOut);
    assert!(elapsed >= Duration::from_millis(100));
}

/// peek waits, and leaves the data for read.
pub fn peek(ex: &dyn Executor) {
    let (mut client, mut server) = pair();
    let reader = ex.start(move || {
        let mut bytes = [0; 4];
        assert_eq!(client.peek(&mut bytes).unwrap(), 3);
        assert_eq!(client.read(&mut bytes).unwrap(), 3);
        assert_eq!(&bytes[..3], b"abc");
    });
    sleep(SHORT);
    server.write_all(b"abc").unwrap();
    reader.join();
}

/// Vectored writes and reads keep the order of their slices.
pub fn vectored(ex: &dyn Executor) {
    let (mut client, mut server) = pair();
    let reader = ex.start(move || {
        let (mut first, mut second) = ([0; 2], [0; 4]);
        let length = client
            .read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)])
            .unwrap();
        assert_eq!((length, &first, &second), (6, b"ab", b"cdef"));
    });
    sleep(SHORT);
    assert_eq!(
        server
            .write_vectored(&[IoSlice::new(b"abc"), IoSlice::new(b"def")])
            .unwrap(),
        6
    );
    reader.join();
}

/// shutdown(Write) is the end of the stream for the peer; the other direction works on.
pub fn shutdown_write(ex: &dyn Executor) {
    let (mut client, mut server) = pair();
    let other = ex.start(move || {
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        server.write_all(text.to_uppercase().as_bytes()).unwrap();
    });
    client.write_all(b"half").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "HALF");
    other.join();
}

/// shutdown wakes a reader that is parked on the same socket.
pub fn shutdown_wakes_reader(ex: &dyn Executor) {
    let (client, _server) = pair();
    let mut clone = client.try_clone().unwrap();
    let reader = ex.start(move || clone.read(&mut [0; 1]).unwrap());
    sleep(SHORT);
    client.shutdown(Shutdown::Both).unwrap();
    assert_eq!(reader.join(), 0);
}

/// A peer that goes away is the end of the stream for a parked reader.
pub fn peer_drop_is_eof(ex: &dyn Executor) {
    let (mut client, server) = pair();
    let reader = ex.start(move || client.read(&mut [0; 1]).unwrap());
    sleep(SHORT);
    drop(server);
    assert_eq!(reader.join(), 0);
}

/// A peer that goes away ends a parked writer with an error.
pub fn peer_drop_ends_writer(ex: &dyn Executor) {
    let (mut client, server) = pair();
    let writer = ex.start(move || {
        loop {
            if let Err(error) = client.write_all(&[0; 65_536]) {
                break error.kind();
            }
        }
    });
    sleep(SHORT);
    drop(server);
    assert!(matches!(
        writer.join(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    ));
}

/// One unit reads and another writes the same socket through try_clone, both parked at times.
pub fn full_duplex(ex: &dyn Executor) {
    const BYTES: usize = 1 << 20;
    let (client, server) = pair();
    let both = [client, server].map(|stream| {
        let (mut input, mut output) = (stream.try_clone().unwrap(), stream);
        let writer = ex.start(move || {
            output.write_all(&vec![7; BYTES]).unwrap();
            output.shutdown(Shutdown::Write).unwrap();
        });
        let reader = ex.start(move || {
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes).unwrap();
            assert!(bytes.len() == BYTES && bytes.iter().all(|byte| *byte == 7));
        });
        (writer, reader)
    });
    for (writer, reader) in both {
        writer.join();
        reader.join();
    }
}

/// Megabytes arrive whole and in order through small reads.
pub fn large_transfer(ex: &dyn Executor) {
    let (mut client, mut server) = pair();
    let writer = ex.start(move || {
        let bytes: Vec<u8> = (0..4 << 20).map(|index: u32| (index % 251) as u8).collect();
        server.write_all(&bytes).unwrap();
    });
    let mut bytes = vec![0; 4_096];
    let mut position = 0;
    loop {
        let length = client.read(&mut bytes).unwrap();
        if length == 0 {
            break;
        }
        assert!(
            bytes[..length]
                .iter()
                .enumerate()
                .all(|(index, byte)| *byte == ((position + index) % 251) as u8)
        );
        position += length;
    }
    assert_eq!(position, 4 << 20);
    writer.join();
}

/// incoming() yields each client.
pub fn incoming(ex: &dyn Executor) {
    let (listener, address) = listen();
    let server = ex.start(move || {
        let mut sum = 0;
        for stream in listener.incoming().take(10) {
            let mut byte = [0];
            let mut stream: TcpStream = stream.unwrap();
            stream.read_exact(&mut byte).unwrap();
            sum += u32::from(byte[0]);
        }
        sum
    });
    join_all(ex.start_each(10, move |unit| {
        TcpStream::connect(address).unwrap().write_all(&[unit as u8]).unwrap();
    }));
    assert_eq!(server.join(), 45);
}

/// Several units accept on one listener; each client is served once.
pub fn shared_listener(ex: &dyn Executor) {
    let (listener, address) = listen();
    let servers: Vec<_> = (0..4)
        .map(|_| {
            let listener = listener.try_clone().unwrap();
            ex.start(move || {
                for _ in 0..10 {
                    listener.accept().unwrap().0.write_all(b"x").unwrap();
                }
            })
        })
        .collect();
    join_all(ex.start_each(40, move |_| {
        let mut text = String::new();
        TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }));
    join_all(servers);
}

/// Options and addresses are answered by the socket itself.
pub fn options(ex: &dyn Executor) {
    let (client, server) = pair();
    ex.start(move || {
        client.set_nodelay(true).unwrap();
        assert!(client.nodelay().unwrap());
        client.set_ttl(33).unwrap();
        assert_eq!(client.ttl().unwrap(), 33);
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
        assert!(client.take_error().unwrap().is_none());
    })
    .join();
}

/// A name is resolved on the way to connect.
pub fn connect_by_name(ex: &dyn Executor) {
    let (listener, address) = listen();
    let client = ex.start(move || {
        TcpStream::connect(("localhost", address.port()))
            .unwrap()
            .peer_addr()
            .unwrap()
    });
    listener.accept().unwrap();
    assert_eq!(client.join(), address);
}
