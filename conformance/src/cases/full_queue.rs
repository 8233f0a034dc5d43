//! Unix datagrams to a receiver whose queue is full: the sender waits, connected or not, and costs nothing meanwhile.
//!
//! For a sender without a connection there is nothing to poll: its own socket is writable, the queue is another's.

use crate::help::{SHORT, UNITS, WHILE, code, name, still_wait};
use crate::raw::net::{self, sendmmsg, sendmsg_to};
use crate::{Executor, join_all, raw};
use libc::{EAGAIN, ECONNREFUSED, MSG_DONTWAIT};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A receiver with an abstract name and the number of messages that fill its queue.
struct Full {
    receiver: UnixDatagram,
    name: Arc<String>,
    queued: usize,
}

fn address(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(name).unwrap()
}

fn full() -> Full {
    let name = name();
    let receiver = UnixDatagram::bind_addr(&address(&name)).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let sent = std::iter::repeat_with(|| filler.send_to_addr(b"fill", &address(&name)));
    let queued = sent.take_while(Result::is_ok).count();
    assert!(queued > 0);
    Full {
        receiver,
        name: Arc::new(name),
        queued,
    }
}

impl Full {
    /// Receives what filled the queue and `more` messages, and returns these in order of their bytes.
    fn receive_all(&self, more: usize) -> Vec<Vec<u8>> {
        let mut bytes = [0; 64];
        let mut messages: Vec<_> = (0..self.queued + more)
            .map(|_| {
                let length = self.receiver.recv(&mut bytes).unwrap();
                bytes[..length].to_vec()
            })
            .collect();
        assert!(messages.drain(..self.queued).all(|message| message == b"fill"));
        messages.sort_unstable();
        messages
    }
}

fn connected(name: &str) -> UnixDatagram {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect_addr(&address(name)).unwrap();
    socket
}

/// Sends from units that have to wait, then receives: nothing is lost, nothing came early.
fn wait_and_arrive(ex: &dyn Executor, send: fn(&str, &[u8]) -> io::Result<usize>) {
    let full = full();
    let name = Arc::clone(&full.name);
    let units = ex.start_each(UNITS, move |unit| send(&name, &[unit as u8]).unwrap());
    still_wait(&units);
    let expected: Vec<_> = (0..UNITS as u8).map(|unit| vec![unit]).collect();
    assert_eq!(full.receive_all(UNITS), expected);
    assert_eq!(join_all(units), [1; UNITS]);
}

/// sendto of a sender without a connection.
pub fn sendto_waits(ex: &dyn Executor) {
    wait_and_arrive(ex, |name, bytes| {
        UnixDatagram::unbound().unwrap().send_to_addr(bytes, &address(name))
    });
}

/// sendmsg with a name.
pub fn sendmsg_with_a_name_waits(ex: &dyn Executor) {
    wait_and_arrive(ex, |name, bytes| {
        let socket = UnixDatagram::unbound().unwrap();
        sendmsg_to(socket.as_raw_fd(), name.as_bytes(), bytes)
    });
}

/// send of a connected sender.
pub fn connected_send_waits(ex: &dyn Executor) {
    wait_and_arrive(ex, |name, bytes| connected(name).send(bytes));
}

/// write of a connected sender.
pub fn connected_write_waits(ex: &dyn Executor) {
    wait_and_arrive(ex, |name, bytes| raw::write(connected(name).as_raw_fd(), bytes));
}

/// sendmsg without a name, writev and sendmmsg of a connected sender.
pub fn connected_vectors_wait(ex: &dyn Executor) {
    wait_and_arrive(ex, |name, bytes| {
        let socket = connected(name);
        let fd = socket.as_raw_fd();
        match bytes[0] % 3 {
            0 => raw::sendmsg(fd, &[IoSlice::new(bytes)]),
            1 => raw::writev(fd, &[IoSlice::new(bytes), IoSlice::new(b"")]),
            _ => sendmmsg(fd, &[bytes], 0),
        }
    });
}

/// poll for room, of a connected sender, returns when there is some.
pub fn poll_for_room(ex: &dyn Executor) {
    let full = full();
    let socket = connected(&full.name);
    let units = vec![ex.start(move || {
        let mut fds = [raw::pollfd(socket.as_raw_fd(), libc::POLLOUT)];
        assert_eq!(raw::poll(&mut fds, 0).unwrap(), 0);
        assert_eq!(raw::poll(&mut fds, 20_000).unwrap(), 1);
        socket.send(b"room").unwrap()
    })];
    still_wait(&units);
    assert_eq!(full.receive_all(1), [b"room"]);
    assert_eq!(join_all(units), [4]);
}

/// SO_SNDTIMEO ends the wait with EAGAIN, not early; the message was not sent.
pub fn send_timeout(ex: &dyn Executor) {
    let full = full();
    let name = Arc::clone(&full.name);
    join_all(ex.start_each(UNITS, move |unit| {
        let socket = if unit % 2 == 0 {
            connected(&name)
        } else {
            UnixDatagram::unbound().unwrap()
        };
        socket.set_write_timeout(Some(SHORT)).unwrap();
        let started = Instant::now();
        let result = match unit % 4 {
            0 => socket.send(b"late"),
            1 => socket.send_to_addr(b"late", &address(&name)),
            2 => raw::write(socket.as_raw_fd(), b"late"),
            _ => sendmsg_to(socket.as_raw_fd(), name.as_bytes(), b"late"),
        };
        assert_eq!(code(result), EAGAIN);
        assert!(started.elapsed() >= SHORT);
    }));
    full.receive_all(0);
    assert_eq!(
        code(raw::recv(full.receiver.as_raw_fd(), &mut [0; 8], MSG_DONTWAIT)),
        EAGAIN
    );
}

/// A sender that is not to wait gets EAGAIN at once.
pub fn nonblocking_sender(ex: &dyn Executor) {
    let full = full();
    ex.start(move || {
        let [one, two] = [UnixDatagram::unbound().unwrap(), connected(&full.name)];
        assert_eq!(code(raw::send(two.as_raw_fd(), b"x", MSG_DONTWAIT)), EAGAIN);
        for socket in [&one, &two] {
            raw::set_nonblocking_by_fcntl(socket.as_raw_fd()).unwrap();
            assert_eq!(code(socket.send_to_addr(b"x", &address(&full.name))), EAGAIN);
        }
        assert_eq!(code(raw::write(two.as_raw_fd(), b"x")), EAGAIN);
        full.receive_all(0);
        assert_eq!(one.send_to_addr(b"x", &address(&full.name)).unwrap(), 1);
    })
    .join();
}

/// Senders that wait do not compute.
pub fn waiting_is_cheap(ex: &dyn Executor) {
    let full = full();
    let name = Arc::clone(&full.name);
    let units = ex.start_each(UNITS, move |unit| {
        if unit % 2 == 0 {
            connected(&name).send(b"late").unwrap()
        } else {
            UnixDatagram::unbound()
                .unwrap()
                .send_to_addr(b"late", &address(&name))
                .unwrap()
        }
    });
    sleep(WHILE);
    let before = raw::clock(libc::CLOCK_PROCESS_CPUTIME_ID);
    sleep(Duration::from_millis(300));
    let used = raw::clock(libc::CLOCK_PROCESS_CPUTIME_ID) - before;
    assert!(
        used < Duration::from_millis(150),
        "{used:?} of processor time in a wait of 300 ms"
    );
    full.receive_all(UNITS);
    join_all(units);
}

/// Twenty senders of twenty messages each and a slow reader: all arrive, each sender's in order.
pub fn slow_reader_gets_all(ex: &dyn Executor) {
    const SENDERS: usize = 20;
    const EACH: u8 = 20;
    let name = Arc::new(name());
    let receiver = UnixDatagram::bind_addr(&address(&name)).unwrap();
    let units = ex.start_each(SENDERS, move |unit| {
        let socket = if unit % 2 == 0 {
            connected(&name)
        } else {
            UnixDatagram::unbound().unwrap()
        };
        for number in 0..EACH {
            let message = [unit as u8, number];
            let sent = if unit % 2 == 0 {
                socket.send(&message)
            } else {
                socket.send_to_addr(&message, &address(&name))
            };
            assert_eq!(sent.unwrap(), 2);
        }
    });
    let mut next = [0; SENDERS];
    let mut message = [0; 8];
    for count in 0..SENDERS * usize::from(EACH) {
        if count % 40 == 0 {
            sleep(Duration::from_millis(5));
        }
        assert_eq!(receiver.recv(&mut message).unwrap(), 2);
        let sender = usize::from(message[0]);
        assert_eq!(message[1], next[sender]);
        next[sender] += 1;
    }
    join_all(units);
}

/// A receiver that goes away refuses the senders that wait.
pub fn receiver_goes_away(ex: &dyn Executor) {
    let full = full();
    let name = Arc::clone(&full.name);
    let units = ex.start_each(UNITS, move |unit| match unit % 4 {
        0 => UnixDatagram::unbound().unwrap().send_to_addr(b"late", &address(&name)),
        1 => connected(&name).send(b"late"),
        2 => {
            let socket = UnixDatagram::unbound().unwrap();
            sendmsg_to(socket.as_raw_fd(), name.as_bytes(), b"late")
        }
        _ => raw::write(connected(&name).as_raw_fd(), b"late"),
    });
    still_wait(&units);
    drop(full.receiver);
    for unit in units {
        assert_eq!(code(unit.join()), ECONNREFUSED);
    }
}

/// A receiver that is replaced by another of the same name: unconnected senders reach the new one.
pub fn receiver_is_replaced(ex: &dyn Executor) {
    let full = full();
    let name = Arc::clone(&full.name);
    let units = ex.start_each(UNITS, move |_| {
        let socket = UnixDatagram::unbound().unwrap();
        loop {
            match socket.send_to_addr(b"late", &address(&name)) {
                // Nobody has the name between the two.
                Err(error) if error.raw_os_error() == Some(ECONNREFUSED) => sleep(Duration::from_millis(1)),
                sent => return sent.unwrap(),
            }
        }
    });
    still_wait(&units);
    drop(full.receiver);
    let receiver = UnixDatagram::bind_addr(&address(&full.name)).unwrap();
    for _ in 0..UNITS {
        assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 4);
    }
    join_all(units);
}

/// A pair's two ends fill each other's queues; each sender waits for the other's reader.
pub fn both_directions(ex: &dyn Executor) {
    let (one, two) = net::socketpair(libc::SOCK_DGRAM).unwrap();
    let ends = [Arc::new(UnixDatagram::from(one)), Arc::new(UnixDatagram::from(two))];
    let units: Vec<_> = ends
        .iter()
        .flat_map(|end| {
            let (sender, receiver) = (Arc::clone(end), Arc::clone(end));
            let send = move || (0..200_u8).for_each(|number| assert_eq!(sender.send(&[number]).unwrap(), 1));
            let receive = move || {
                sleep(SHORT);
                for number in 0..200_u8 {
                    let mut byte = [0; 1];
                    receiver.recv(&mut byte).unwrap();
                    assert_eq!(byte[0], number);
                }
            };
            [ex.start(send), ex.start(receive)]
        })
        .collect();
    join_all(units);
}
