//! Units whose calls never have to wait, and one that sleeps in between: it gets its turns, as a thread does.
//!
//! What keeps the processors busy here is libc calls that succeed or fail at once. Each busy unit stops by itself, so
//! that a starved sleeper is a failure and no hang.

use crate::help::tcp_pair;
use crate::{Executor, join_all, raw};
use libc::{EAGAIN, MSG_DONTWAIT};
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

const BUSY: usize = 8;
const TURNS: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(8);

/// Until when the busy units go on.
#[derive(Clone)]
struct End {
    stop: Arc<AtomicBool>,
    limit: Instant,
}

impl End {
    fn has_come(&self) -> bool {
        self.stop.load(SeqCst) || Instant::now() >= self.limit
    }
}

/// Starts busy units and one that sleeps ten times for 10 ms: it is done long before their patience ends.
fn sleeper_gets_turns(ex: &dyn Executor, busy: fn(&End)) {
    let end = End {
        stop: Arc::new(AtomicBool::new(false)),
        limit: Instant::now() + PATIENCE,
    };
    let seen = end.clone();
    let units = ex.start_each(BUSY, move |_| busy(&seen));
    let in_time = ex.start(move || {
        for _ in 0..TURNS {
            sleep(Duration::from_millis(10));
        }
        let in_time = Instant::now() < end.limit;
        end.stop.store(true, SeqCst);
        in_time
    });
    assert!(in_time.join(), "the sleeper had not its {TURNS} turns in {PATIENCE:?}");
    join_all(units);
}

/// Messages over a socket pair to itself.
pub fn pings_to_itself(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        let mut bytes = [0; 4];
        while !end.has_come() {
            one.write_all(b"ping").unwrap();
            two.read_exact(&mut bytes).unwrap();
            two.write_all(b"pong").unwrap();
            one.read_exact(&mut bytes).unwrap();
        }
    });
}

/// Messages over TCP and UDP to itself.
pub fn pings_over_the_loopback(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        let (mut one, mut two) = tcp_pair();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut bytes = [0; 4];
        while !end.has_come() {
            one.write_all(b"ping").unwrap();
            two.read_exact(&mut bytes).unwrap();
            socket.send_to(b"self", address).unwrap();
            assert_eq!(socket.recv_from(&mut bytes).unwrap(), (4, address));
        }
    });
}

/// Pipes that always have something to read and room to write.
pub fn pipes_that_are_never_empty(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(&[1; 1_000]).unwrap();
        let mut bytes = [0; 100];
        while !end.has_come() {
            let length = reader.read(&mut bytes).unwrap();
            writer.write_all(&bytes[..length]).unwrap();
        }
    });
}

/// A file without end, read bit by bit.
pub fn files_without_end(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        let (mut zeros, mut nothing) = (File::open("/dev/zero").unwrap(), File::create("/dev/null").unwrap());
        let mut bytes = [0; 64];
        while !end.has_come() {
            zeros.read_exact(&mut bytes).unwrap();
            nothing.write_all(&bytes).unwrap();
        }
    });
}

/// A socket in non-blocking mode that never has anything, read again and again.
pub fn reads_that_say_eagain(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        let (one, _two) = UnixStream::pair().unwrap();
        raw::set_nonblocking_by_fcntl(one.as_raw_fd()).unwrap();
        while !end.has_come() {
            assert_eq!(crate::help::code(raw::read(one.as_raw_fd(), &mut [0; 4])), EAGAIN);
        }
    });
}

/// MSG_DONTWAIT and a listener in non-blocking mode, again and again.
pub fn looks_that_find_nothing(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        let (one, _two) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        while !end.has_come() {
            let received = raw::recv(one.as_raw_fd(), &mut [0; 4], MSG_DONTWAIT);
            assert_eq!(crate::help::code(received), EAGAIN);
            assert!(listener.accept().is_err());
        }
    });
}

/// poll and select without time to wait.
pub fn polls_without_time(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        let (one, _two) = UnixStream::pair().unwrap();
        let mut fds = [raw::pollfd(one.as_raw_fd(), libc::POLLIN)];
        while !end.has_come() {
            assert_eq!(raw::poll(&mut fds, 0).unwrap(), 0);
            assert_eq!(raw::ppoll(&mut fds, Duration::ZERO).unwrap(), 0);
            assert_eq!(raw::select_readable(one.as_raw_fd(), Duration::ZERO).unwrap(), 0);
        }
    });
}

/// epoll_wait without time to wait, and one that always has something to tell.
pub fn epolls_without_waits(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        let (one, _two) = UnixStream::pair().unwrap();
        let event = raw::eventfd().unwrap();
        raw::write(event.as_raw_fd(), &1_u64.to_ne_bytes()).unwrap();
        let [silent, talking] = [(); 2].map(|()| raw::epoll_create().unwrap());
        raw::epoll_add(silent.as_raw_fd(), one.as_raw_fd()).unwrap();
        raw::epoll_add(talking.as_raw_fd(), event.as_raw_fd()).unwrap();
        while !end.has_come() {
            assert_eq!(raw::epoll_wait(silent.as_raw_fd(), 0).unwrap(), []);
            assert_eq!(raw::epoll_wait(talking.as_raw_fd(), -1).unwrap().len(), 1);
        }
    });
}

/// sched_yield and sleeps of no time.
pub fn yields_and_empty_sleeps(ex: &dyn Executor) {
    sleeper_gets_turns(ex, |end| {
        while !end.has_come() {
            raw::sched_yield().unwrap();
            raw::usleep(0).unwrap();
            raw::nanosleep(Duration::ZERO).unwrap();
        }
    });
}

/// One writer that fills a socket, one reader that empties it: one of the two always can.
pub fn streams_that_never_rest(ex: &dyn Executor) {
    let pairs: Vec<_> = (0..BUSY / 2).map(|_| UnixStream::pair().unwrap()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let limit = Instant::now() + PATIENCE;
    let mut units = Vec::new();
    for (mut one, mut two) in pairs {
        let end = End {
            stop: Arc::clone(&stop),
            limit,
        };
        units.push(ex.start(move || {
            while !end.has_come() {
                one.write_all(&[1; 100]).unwrap();
            }
        }));
        units.push(ex.start(move || while two.read(&mut [0; 100]).unwrap() > 0 {}));
    }
    for _ in 0..TURNS {
        sleep(Duration::from_millis(10));
    }
    assert!(
        Instant::now() < limit,
        "the body had not its {TURNS} turns in {PATIENCE:?}"
    );
    stop.store(true, SeqCst);
    join_all(units);
}
