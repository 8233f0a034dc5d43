//! silken's sockets where nothing else helps: on one worker that is never handed over, with isolated and with light
//! coroutines, and (in CI) without the hooks. A call that blocked the worker would hang the case.
//!
//! With the hooks, the conformance suite has the cases of std's sockets over these types as well.

#[path = "../common/one_worker.rs"]
mod one_worker;

use silken::net::{
    Shutdown, SocketAddr, TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
    lookup_host,
};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Long enough for a coroutine to have parked; too short only makes a case easier.
const SOON: Duration = Duration::from_millis(20);

/// Runs a case on one worker, which keeps its thread, as an isolated and as a light coroutine.
fn on_one_worker(case: fn()) {
    one_worker::on_one_worker(&[silken::Runtime::builder()], case);
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let client = silken::spawn(move || TcpStream::connect(address).unwrap());
    let (server, _) = listener.accept().unwrap();
    (client.join().unwrap(), server)
}

fn abstract_address() -> std::os::unix::net::SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("silken-net-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
    std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
}

#[test]
fn many_clients_are_echoed() {
    on_one_worker(|| {
        const CLIENTS: usize = 100;
        let (listener, address) = listen();
        let server = silken::spawn(move || {
            let echoes: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let (stream, _) = listener.accept().unwrap();
                    silken::spawn(move || {
                        let (mut reader, mut writer) = stream.into_split();
                        let mut bytes = [0; 256];
                        loop {
                            match reader.read(&mut bytes).unwrap() {
                                0 => break,
                                count => writer.write_all(&bytes[..count]).unwrap(),
                            }
                        }
                    })
                })
                .collect();
            echoes.into_iter().for_each(|echo| echo.join().unwrap());
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                silken::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    for round in 0..20_u8 {
                        let sent = [client as u8, round];
                        stream.write_all(&sent).unwrap();
                        let mut got = [0; 2];
                        stream.read_exact(&mut got).unwrap();
                        assert_eq!(got, sent);
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        server.join().unwrap();
    });
}

#[test]
fn a_full_socket_parks_its_writer() {
    on_one_worker(|| {
        const BYTES: usize = 8 << 20;
        let (mut one, mut two) = pair();
        let writer = silken::spawn(move || {
            let bytes: Vec<_> = (0..BYTES).map(|index| index as u8).collect();
            let parts = [&bytes[..BYTES / 2], &bytes[BYTES / 2..]].map(IoSlice::new);
            assert_eq!(one.write_vectored(&parts).unwrap(), BYTES);
        });
        let (mut first, mut second) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut received = 0;
        while received < BYTES {
            let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            let count = two.read_vectored(&mut parts).unwrap();
            for (offset, byte) in first.iter().chain(&second).take(count).enumerate() {
                assert_eq!(*byte, (received + offset) as u8);
            }
            received += count;
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_peek_waits_and_leaves_the_bytes() {
    on_one_worker(|| {
        let (one, mut two) = pair();
        let peeker = silken::spawn(move || {
            let mut byte = [0];
            assert_eq!((one.peek(&mut byte).unwrap(), byte), (1, *b"!"));
            assert_eq!(((&one).read(&mut byte).unwrap(), byte), (1, *b"!"));
        });
        silken::sleep(SOON);
        two.write_all(b"!").unwrap();
        peeker.join().unwrap();
    });
}

#[test]
fn timeouts_modes_and_clones_hold() {
    on_one_worker(|| {
        let (one, mut two) = pair();
        let mut again = one.try_clone().unwrap();
        one.set_read_timeout(Some(SOON)).unwrap();
        let begin = Instant::now();
        assert_eq!(again.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(begin.elapsed() >= SOON);
        one.set_read_timeout(None).unwrap();
        one.set_nonblocking(true).unwrap();
        assert_eq!(again.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        one.set_nonblocking(false).unwrap();
        let reader = silken::spawn(move || again.read(&mut [0]).unwrap());
        silken::sleep(SOON);
        two.write_all(b"!").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
    });
}

#[test]
fn a_shutdown_ends_those_who_wait() {
    on_one_worker(|| {
        let (listener, _) = listen();
        let number = listener.as_raw_fd();
        let acceptor = silken::spawn(move || listener.accept().unwrap_err().raw_os_error());
        let (one, _two) = UnixStream::pair().unwrap();
        let one = Arc::new(one);
        let (reads, writes) = (one.clone(), one.clone());
        let reader = silken::spawn(move || (&*reads).read(&mut [0]).unwrap());
        let writer = silken::spawn(move || (&*writes).write_all(&vec![0; 8 << 20]).unwrap_err().raw_os_error());
        silken::sleep(SOON);
        // SAFETY: S7: a number that its owner holds.
        assert_eq!(unsafe { libc::shutdown(number, libc::SHUT_RDWR) }, 0);
        assert_eq!(acceptor.join().unwrap(), Some(libc::EINVAL));
        one.shutdown(Shutdown::Both).unwrap();
        assert_eq!((reader.join().unwrap(), writer.join().unwrap()), (0, Some(libc::EPIPE)));
    });
}

#[test]
fn numbers_that_come_again_are_waited_for() {
    on_one_worker(|| {
        for round in 0..200_u32 {
            let (mut one, mut two) = UnixStream::pair().unwrap();
            let reader = silken::spawn(move || {
                let mut byte = [0];
                two.read_exact(&mut byte).unwrap();
                (byte, two)
            });
            silken::yield_now();
            one.write_all(&[round as u8]).unwrap();
            let (byte, two) = reader.join().unwrap();
            assert_eq!(byte, [round as u8]);
            if round % 2 == 0 {
                // Closed where silken does not see it: the next pair gets the numbers.
                drop((
                    std::os::unix::net::UnixStream::from(one),
                    std::os::fd::OwnedFd::from(two),
                ));
            }
        }
    });
}

#[test]
fn messages_wait_for_both_sides() {
    on_one_worker(|| {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = one.local_addr().unwrap();
        let receiver = silken::spawn(move || {
            let mut bytes = [0; 8];
            let peeked = one.peek_from(&mut bytes).unwrap();
            assert_eq!(one.recv_from(&mut bytes).unwrap(), peeked);
            (peeked.1, bytes[..peeked.0].to_vec())
        });
        silken::sleep(SOON);
        let two = UdpSocket::bind("127.0.0.1:0").unwrap();
        two.send_to(b"hello", address).unwrap();
        assert_eq!(receiver.join().unwrap(), (two.local_addr().unwrap(), b"hello".to_vec()));

        let name = abstract_address();
        let receiver = UnixDatagram::bind_addr(&name).unwrap();
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        let sends = std::iter::repeat_with(|| filler.send_to_addr(b"fill", &name));
        let queued = sends.take_while(Result::is_ok).count();
        let target = name.clone();
        let sender = silken::spawn(move || {
            let socket = UnixDatagram::unbound().unwrap();
            socket.send_to_addr(b"last", &target).unwrap();
        });
        silken::sleep(SOON);
        assert!(!sender.is_finished(), "there was no room");
        let mut bytes = [0; 8];
        for _ in 0..=queued {
            receiver.recv(&mut bytes).unwrap();
        }
        sender.join().unwrap();
        assert_eq!(&bytes[..4], b"last");
    });
}

#[test]
fn unix_listeners_and_clients_wait() {
    on_one_worker(|| {
        let name = abstract_address();
        let listener = UnixListener::bind_addr(&name).unwrap();
        // SAFETY: S7: a number that its owner holds.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let name = name.clone();
                silken::spawn(move || UnixStream::connect_addr(&name).unwrap().read(&mut [0]).unwrap())
            })
            .collect();
        silken::sleep(SOON);
        for stream in listener.incoming().take(8) {
            stream.unwrap().write_all(b"!").unwrap();
        }
        assert!(clients.into_iter().all(|client| client.join().unwrap() == 1));
    });
}

#[test]
fn several_addresses_are_tried() {
    on_one_worker(|| {
        let refusing = TcpSocket::new_v4().unwrap();
        refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(0).unwrap();
        let silent_address = silent.local_addr().unwrap();
        let within = Duration::from_millis(100);
        let _queued: Vec<_> = std::iter::from_fn(|| TcpStream::connect_timeout(&silent_address, within).ok()).collect();
        let (listener, address) = listen();
        let acceptor = silken::spawn(move || listener.accept().unwrap().0.write_all(b"!").unwrap());
        let addresses = [refusing.local_addr().unwrap(), silent_address, address];
        let mut stream = TcpStream::connect(&addresses[..]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        acceptor.join().unwrap();
        let begin = Instant::now();
        let late = TcpStream::connect_within(&addresses[..2], within).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= within);
    });
}

#[test]
fn a_cancelled_call_fails_and_the_socket_stays_of_use() {
    on_one_worker(|| {
        let (one, mut two) = pair();
        let one = Arc::new(one);
        let shared = one.clone();
        let reader = silken::spawn(move || (&*shared).read(&mut [0]).unwrap_err().raw_os_error());
        silken::sleep(SOON);
        reader.cancel();
        assert_eq!(reader.join().unwrap(), Some(libc::ECANCELED));
        two.write_all(b"!").unwrap();
        assert_eq!((&*one).read(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn a_name_is_looked_up_elsewhere() {
    on_one_worker(|| {
        let has_run = Arc::new(AtomicBool::new(false));
        let noted = has_run.clone();
        let other = silken::spawn(move || noted.store(true, SeqCst));
        let begin = Instant::now();
        // An answer may be there before the caller has parked.
        while !has_run.load(SeqCst) {
            let addresses = lookup_host("localhost", 80).unwrap();
            assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()));
            assert!(
                begin.elapsed() < one_worker::PATIENCE,
                "the other coroutine never got the worker"
            );
        }
        other.join().unwrap();
        assert!(lookup_host("no such host.invalid", 80).is_err());
    });
}

#[test]
fn os_threads_use_the_same_types() {
    let (listener, address) = listen();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(&byte).unwrap();
    });
    let mut stream = TcpStream::connect_within(address, one_worker::PATIENCE).unwrap();
    stream.write_all(b"!").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"!");
    server.join().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}
