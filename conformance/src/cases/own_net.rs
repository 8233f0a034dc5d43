//! silken::net: what it adds to std's sockets. The cases of std's sockets run over its types as well.

/// The sockets of silken, for the cases of std's.
pub mod sockets {
    pub use silken::net::{
        Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
    };
}

#[path = "tcp.rs"]
#[expect(clippy::duplicate_mod, reason = "the same cases over other types")]
pub mod tcp;
#[path = "udp.rs"]
#[expect(clippy::duplicate_mod, reason = "the same cases over other types")]
pub mod udp;
#[path = "unix.rs"]
#[expect(clippy::duplicate_mod, reason = "the same cases over other types")]
pub mod unix;

use crate::help::{UNITS, WHILE, code, name, pattern, still_wait};
use crate::probe::{FAR, SHORT, coroutine};
use crate::{Executor, join_all, raw};
use silken::net::TcpSocket;
use sockets::{SocketAddr, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

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

/// An address of this machine at which nobody listens: its owner is bound, and does not listen.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A listener that answers nobody: its backlog is full, so that further connects wait for an answer.
struct Silent {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

fn silent() -> Silent {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let within = Duration::from_millis(100);
    let queued = std::iter::from_fn(|| TcpStream::connect_timeout(&address, within).ok()).collect();
    Silent {
        address,
        _listener: listener,
        _queued: queued,
    }
}

/// Addresses that refuse are passed over.
pub fn connect_tries_all(ex: &dyn Executor) {
    let refusing = [(); 3].map(|()| refusing());
    let (listener, address) = listen();
    let all: Vec<_> = refusing.iter().map(|(_, refuses)| *refuses).chain([address]).collect();
    let addresses = all.clone();
    let client = ex.start(move || TcpStream::connect(&addresses[..]).unwrap().peer_addr().unwrap());
    listener.accept().unwrap();
    assert_eq!(client.join(), address);
    let stream = TcpStream::connect_within(&all[..], FAR).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
}

/// If all refuse, the error is theirs; no address is an error of its own.
pub fn connect_reports_the_last(_: &dyn Executor) {
    let refusing = [(); 2].map(|()| refusing());
    let addresses = [refusing[0].1, refusing[1].1];
    assert_eq!(code(TcpStream::connect(&addresses[..])), libc::ECONNREFUSED);
    assert_eq!(code(TcpStream::connect_within(&addresses[..], FAR)), libc::ECONNREFUSED);
    assert_eq!(code(TcpStream::connect(addresses[0])), libc::ECONNREFUSED);
    let none = TcpStream::connect(&[][..]).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
}

/// The time is one for all addresses; zero is refused.
pub fn connect_within_a_time(ex: &dyn Executor) {
    let silent = Arc::new([silent(), silent()]);
    let units = ex.start_each(3, move |unit| {
        let addresses = [silent[0].address, silent[1].address];
        let begin = Instant::now();
        let within = Duration::from_millis(50);
        let result = match unit {
            0 => TcpStream::connect_timeout(&addresses[0], within),
            1 => TcpStream::connect_within(addresses[1], within),
            _ => TcpStream::connect_within(&addresses[..], within),
        };
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= within);
        let zero = TcpStream::connect_within(&addresses[..], Duration::ZERO).unwrap_err();
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);
    });
    join_all(units);
}

/// An address that does not answer delays the others by a moment, and does not stop them.
pub fn silent_address_is_overtaken(ex: &dyn Executor) {
    let silent = silent();
    let (listener, address) = listen();
    let addresses = [silent.address, address];
    let begin = Instant::now();
    let client = ex.start(move || {
        let mut stream = TcpStream::connect(&addresses[..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        // The connection is one whose calls wait.
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        byte
    });
    let (mut server, _) = listener.accept().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(250), "the first had its time");
    sleep(SHORT);
    server.write_all(b"!").unwrap();
    assert_eq!(client.join(), *b"!");
}

/// Two units use the two directions at the same time.
pub fn halves_have_owners(ex: &dyn Executor) {
    const BYTES: usize = 4 << 20;
    let (one, two) = pair();
    let (mut two_reader, mut two_writer) = two.into_split();
    let echo = ex.start(move || std::io::copy(&mut two_reader, &mut two_writer).unwrap());
    let (mut reader, mut writer) = one.into_split();
    let sender = ex.start(move || writer.write_all(&pattern(BYTES)).unwrap());
    let mut received = Vec::new();
    reader.read_to_end(&mut received).unwrap();
    assert!(received == pattern(BYTES));
    sender.join();
    assert_eq!(echo.join(), BYTES as u64);
}

/// The end of the writing half is seen; that of the reading half, of a forgotten and of a reunited one, is not.
pub fn halves_end_alone(_: &dyn Executor) {
    let (one, mut two) = UnixStream::pair().unwrap();
    let (reader, mut writer) = one.into_split();
    writer.write_all(b"a").unwrap();
    let mut whole = reader.reunite(writer).unwrap();
    whole.write_all(b"b").unwrap();
    let (mut reader, mut writer) = whole.into_split();
    writer.write_all(b"c").unwrap();
    drop(writer);
    let mut text = String::new();
    two.read_to_string(&mut text).unwrap();
    assert_eq!(text, "abc");
    two.write_all(b"d").unwrap();
    let mut byte = [0];
    reader.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"d");
}

/// A listener that is shut down ends those who wait in accept.
pub fn shutdown_ends_accept(ex: &dyn Executor) {
    let (listener, _) = listen();
    let listener = Arc::new(listener);
    let shared = listener.clone();
    let waiting = ex.start_each(UNITS, move |_| code(shared.accept()));
    still_wait(&waiting);
    raw::net::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR).unwrap();
    assert!(join_all(waiting).into_iter().all(|code| code == libc::EINVAL));
}

/// A shutdown ends reads with the end, and writes with an error.
pub fn shutdown_ends_reads_and_writes(ex: &dyn Executor) {
    let (one, two) = UnixStream::pair().unwrap();
    let one = Arc::new(one);
    let (reads, writes) = (one.clone(), one.clone());
    let reader = ex.start(move || (&*reads).read(&mut [0; 8]).unwrap());
    let writer = ex.start(move || code((&*writes).write_all(&vec![0; 8 << 20])));
    sleep(WHILE);
    assert!(!reader.has_ended() && !writer.has_ended());
    one.shutdown(sockets::Shutdown::Both).unwrap();
    assert_eq!((reader.join(), writer.join()), (0, libc::EPIPE));
    drop(two);
}

/// Several listeners have one port if each asked for it, and each gets connections.
pub fn many_listeners_on_a_port(ex: &dyn Executor) {
    let bind = |address: SocketAddr, reuses: bool| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuse_port(reuses).unwrap();
        socket.bind(address)?;
        socket.listen(128)
    };
    let first = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
    let address = first.local_addr().unwrap();
    assert_eq!(code(bind(address, false)), libc::EADDRINUSE);
    let second = bind(address, true).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    let listeners = Arc::new([first, second]);
    let shared = listeners.clone();
    let acceptors = ex.start_each(2, move |index| {
        while shared[index].accept().is_ok() {
            count.fetch_add(1, SeqCst);
        }
    });
    join_all(ex.start_each(64, move |_| drop(TcpStream::connect(address).unwrap())));
    while accepted.load(SeqCst) < 64 {
        sleep(Duration::from_millis(1));
    }
    for listener in &*listeners {
        raw::net::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR).unwrap();
    }
    join_all(acceptors);
}

/// A vectored write moves all of its buffers, and a vectored read fills them in order.
pub fn vectored_is_whole(ex: &dyn Executor) {
    const PART: usize = 1 << 20;
    let (mut one, mut two) = pair();
    let writer = ex.start(move || {
        let bytes = pattern(3 * PART);
        let parts = [&bytes[..PART], &bytes[PART..2 * PART], &[], &bytes[2 * PART..]].map(IoSlice::new);
        one.write_vectored(&parts).unwrap()
    });
    let mut received: Vec<u8> = Vec::new();
    let mut parts = [vec![0; 1000], vec![0; 3000]];
    while received.len() < 3 * PART {
        let [first, second] = &mut parts;
        let mut slices = [IoSliceMut::new(first), IoSliceMut::new(second)];
        let count = two.read_vectored(&mut slices).unwrap();
        received.extend(parts.concat()[..count].iter());
    }
    assert!(received == pattern(3 * PART));
    assert_eq!(writer.join(), 3 * PART);
}

/// A mode or a timeout that is set through one handle holds for the others, also for calls that waited before.
pub fn mode_belongs_to_all_handles(ex: &dyn Executor) {
    let (one, mut two) = pair();
    let mut again = one.try_clone().unwrap();
    // The first wait learns the mode.
    let unit = ex.start(move || {
        again.read_exact(&mut [0]).unwrap();
        again
    });
    sleep(SHORT);
    two.write_all(b"!").unwrap();
    let mut again = unit.join();
    one.set_nonblocking(true).unwrap();
    assert_eq!(again.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    one.set_nonblocking(false).unwrap();
    one.set_read_timeout(Some(SHORT)).unwrap();
    let begin = Instant::now();
    assert_eq!(again.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(begin.elapsed() >= SHORT);
    one.set_read_timeout(None).unwrap();
    let units = [ex.start(move || again.read(&mut [0; 8]).unwrap())];
    still_wait(&units);
    drop(two);
    assert_eq!(units.map(|unit| unit.join()), [0]);
}

/// A conversation goes on through conversions to std and back, and keeps its mode.
pub fn conversions_keep_the_conversation(ex: &dyn Executor) {
    let (one, mut two) = pair();
    let unit = ex.start(move || {
        let mut stream = one;
        for round in 0..20_u8 {
            let std = std::net::TcpStream::from(stream);
            let mut byte = [0];
            std.set_nonblocking(false).unwrap();
            stream = TcpStream::from(OwnedFd::from(TcpStream::from(std)));
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [round]);
            stream.write_all(&byte).unwrap();
        }
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from(std::net::TcpStream::from(stream));
        assert_eq!((&stream).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
    for round in 0..20_u8 {
        two.write_all(&[round]).unwrap();
        let mut byte = [0];
        two.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [round]);
    }
    unit.join();
}

/// A sender waits for room in the receiver's queue, whether it is connected or not.
pub fn full_queue_is_waited_for(ex: &dyn Executor) {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name()).unwrap();
    let receiver = UnixDatagram::bind_addr(&address).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let queued = std::iter::repeat_with(|| filler.send_to_addr(b"fill", &address))
        .take_while(Result::is_ok)
        .count();
    let target = address.clone();
    let senders = ex.start_each(UNITS, move |unit| {
        let socket = UnixDatagram::unbound().unwrap();
        if unit % 2 == 0 {
            socket.send_to_addr(b"unconnected", &target).unwrap();
        } else {
            socket.connect_addr(&target).unwrap();
            socket.send(b"connected").unwrap();
        }
    });
    still_wait(&senders);
    for _ in 0..queued + UNITS {
        receiver.recv(&mut [0; 16]).unwrap();
    }
    join_all(senders);
}

/// A connect to a Unix listener waits for room in its backlog.
pub fn long_backlog_is_waited_for(ex: &dyn Executor) {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name()).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    raw::net::listen_again(listener.as_raw_fd(), 1).unwrap();
    let clients = ex.start_each(UNITS, move |_| {
        let mut stream = UnixStream::connect_addr(&address).unwrap();
        stream.read_exact(&mut [0]).unwrap();
    });
    sleep(WHILE);
    for stream in listener.incoming().take(UNITS) {
        stream.unwrap().write_all(b"!").unwrap();
    }
    join_all(clients);
}

/// Units on several handles of one listener get each connection once.
pub fn acceptors_share_a_listener(ex: &dyn Executor) {
    const EACH: usize = 16;
    let (listener, address) = listen();
    let handles: Vec<_> = (0..4).map(|_| listener.try_clone().unwrap()).collect();
    let handles = Arc::new(handles);
    let acceptors = ex.start_each(4, move |index| {
        for _ in 0..EACH {
            let (mut stream, peer) = handles[index].accept().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), peer);
            stream.write_all(&[index as u8]).unwrap();
        }
    });
    let seen = join_all(ex.start_each(4 * EACH, move |_| {
        let mut byte = [0];
        TcpStream::connect(address).unwrap().read_exact(&mut byte).unwrap();
        byte[0]
    }));
    join_all(acceptors);
    for index in 0..4 {
        assert_eq!(seen.iter().filter(|by| **by == index).count(), EACH);
    }
}

/// Sockets come and go under the same numbers, and each call waits for its own.
pub fn numbers_are_used_again(ex: &dyn Executor) {
    join_all(ex.start_each(4, |unit| {
        for round in 0..100_u8 {
            let byte = round.wrapping_add(unit as u8);
            if round % 2 == 0 {
                let (mut one, mut two) = UnixStream::pair().unwrap();
                one.write_all(&[byte]).unwrap();
                let mut seen = [0];
                two.read_exact(&mut seen).unwrap();
                assert_eq!(seen, [byte]);
                drop(one);
                assert_eq!(two.read(&mut seen).unwrap(), 0);
            } else {
                let one = UdpSocket::bind("127.0.0.1:0").unwrap();
                one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                assert_eq!(one.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
                one.send_to(&[byte], one.local_addr().unwrap()).unwrap();
                let mut seen = [0];
                one.set_read_timeout(None).unwrap();
                assert_eq!(one.recv_from(&mut seen).unwrap().0, 1);
                assert_eq!(seen, [byte]);
            }
        }
    }));
}

/// A cancelled coroutine's calls fail, and the socket stays of use.
pub fn cancelled_calls_fail(ex: &dyn Executor) {
    let (one, mut two) = pair();
    let (listener, _) = listen();
    let one = Arc::new(one);
    let shared = one.clone();
    let reader = coroutine(ex, move || code((&*shared).read(&mut [0; 8])));
    let acceptor = coroutine(ex, move || code(listener.accept()));
    sleep(SHORT);
    for unit in [reader, acceptor] {
        unit.cancel();
        assert_eq!(unit.join().unwrap(), libc::ECANCELED);
    }
    two.write_all(b"!").unwrap();
    assert_eq!((&*one).read(&mut [0; 8]).unwrap(), 1);
}

/// A `timeout` around a call ends it.
pub fn deadlines_end_calls(ex: &dyn Executor) {
    let (one, _two) = pair();
    let unit = coroutine(ex, move || {
        let inside = silken::timeout(SHORT, || code((&one).read(&mut [0; 8])));
        (inside.is_ok_and(|code| code == libc::ETIMEDOUT), one)
    });
    let (has_told, _one) = unit.join().unwrap();
    assert!(has_told);
}

/// A connect that waits for an answer is ended by a cancellation, with one address and with several.
pub fn cancelled_connect_fails(ex: &dyn Executor) {
    let silent = Arc::new([silent(), silent()]);
    let units: Vec<_> = (0..2)
        .map(|unit| {
            let silent = silent.clone();
            coroutine(ex, move || {
                let addresses = [silent[0].address, silent[1].address];
                code(TcpStream::connect(&addresses[..=unit]))
            })
        })
        .collect();
    sleep(SHORT);
    for unit in units {
        unit.cancel();
        assert_eq!(unit.join().unwrap(), libc::ECANCELED);
    }
}
