//! Tests of the protocol against a real epoll: OS threads wait, and the test polls the driver.

use super::*;
use crate::coroutine::{park, park_thread_until};
use crate::driver::fd_table;
use crate::driver::{IoDriver, Wait};
use crate::sys::{clock, file, socket};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;

const LONG_NS: u64 = 20_000_000_000;

/// The verb of an OS thread.
fn on_thread(cell: &WaitCell, reason: WaitReason, deadline_ns: Option<u64>) -> Outcome {
    loop {
        if let Some(outcome) = cell.outcome() {
            return outcome;
        }
        match deadline_ns {
            None => park(reason),
            Some(deadline_ns) if clock::now_ns() < deadline_ns => park_thread_until(deadline_ns),
            Some(_) if cell.settle(Outcome::TimedOut) => return Outcome::TimedOut,
            Some(_) => {}
        }
    }
}

fn driver() -> &'static Driver {
    Box::leak(Box::new(Driver::new().unwrap()))
}

fn entry(fd: RawFd) -> &'static fd_table::FdEntry {
    fd_table::reset(fd);
    let entry = fd_table::entry(fd).unwrap();
    entry.touch();
    entry
}

fn poll(driver: &Driver) {
    let mut out = Vec::new();
    driver.poll(Wait::Until(clock::now_ns() + 2_000_000), 256, &mut out);
    assert!(out.is_empty(), "only threads wait here");
}

/// Waits on a separate thread while the calling thread polls.
fn wait(driver: &'static Driver, fd: RawFd, direction: Direction, seen: ReadinessTick, timeout_ns: u64) -> Outcome {
    let readiness = &fd_table::entry(fd).unwrap().readiness;
    let waiter = std::thread::spawn(move || {
        let deadline_ns = Some(clock::now_ns() + timeout_ns);
        readiness.wait_with(
            direction,
            seen,
            deadline_ns,
            |generation| register_in(driver, fd, generation),
            on_thread,
        )
    });
    while !waiter.is_finished() {
        poll(driver);
    }
    waiter.join().unwrap().unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn the_first_wait_learns_what_is_there_already() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let driver = driver();
    let fd = near.as_raw_fd();
    let entry = entry(fd);
    let seen = entry.readiness.look(Direction::Read);
    far.write_all(b"x").unwrap();
    assert_eq!(wait(driver, fd, Direction::Read, seen, LONG_NS), Outcome::Woken);
    assert_ne!(entry.readiness.look(Direction::Read), seen);
    assert_eq!(driver.registered.load(Ordering::Relaxed), 1);
    fd_table::reset(fd);
}

#[test]
fn a_change_since_the_look_is_not_waited_for() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let driver = driver();
    let fd = near.as_raw_fd();
    let entry = entry(fd);
    let seen = entry.readiness.look(Direction::Read);
    assert_eq!(wait(driver, fd, Direction::Read, seen, 5_000_000), Outcome::TimedOut);
    let seen = entry.readiness.look(Direction::Read);
    far.write_all(b"x").unwrap();
    while entry.readiness.look(Direction::Read) == seen {
        poll(driver);
    }
    let refuse = |_| unreachable!("it is registered");
    assert_eq!(
        entry
            .readiness
            .wait_with(Direction::Read, seen, None, refuse, on_thread),
        Ok(Outcome::Woken)
    );
    fd_table::reset(fd);
}

#[test]
fn a_short_read_skips_the_next_try_until_an_event() {
    let (mut near, mut far) = tcp_pair();
    let driver = driver();
    let fd = near.as_raw_fd();
    let readiness = &entry(fd).readiness;
    // Not registered yet: no event would come, so "drained" is not noted.
    let seen = readiness.look(Direction::Read);
    readiness.set_drained(seen);
    assert!(!readiness.is_drained(seen));
    far.write_all(b"x").unwrap();
    assert_eq!(wait(driver, fd, Direction::Read, seen, LONG_NS), Outcome::Woken);

    let seen = readiness.look(Direction::Read);
    assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
    readiness.set_drained(seen);
    assert!(readiness.is_drained(readiness.look(Direction::Read)));
    far.write_all(b"y").unwrap();
    assert_eq!(wait(driver, fd, Direction::Read, seen, LONG_NS), Outcome::Woken);
    assert!(!readiness.is_drained(readiness.look(Direction::Read)));
    // An old word stored late has no effect.
    readiness.set_drained(seen);
    assert!(!readiness.is_drained(readiness.look(Direction::Read)));
    fd_table::reset(fd);
}

#[test]
fn after_the_peers_end_every_read_is_tried() {
    let (near, far) = tcp_pair();
    let driver = driver();
    let fd = near.as_raw_fd();
    let readiness = &entry(fd).readiness;
    let seen = readiness.look(Direction::Read);
    far.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wait(driver, fd, Direction::Read, seen, LONG_NS), Outcome::Woken);
    let seen = readiness.look(Direction::Read);
    assert!(seen.is_sticky());
    readiness.set_drained(seen);
    assert!(!readiness.is_drained(seen));
    assert!(
        !readiness.look(Direction::Write).is_sticky(),
        "writing goes on after the peer's end"
    );
    fd_table::reset(fd);
}

#[test]
fn a_filled_pipe_announces_room_to_all_waiters() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let driver = driver();
    let fd = writer.as_raw_fd();
    let readiness = &entry(fd).readiness;
    let seen = readiness.look(Direction::Write);
    assert_eq!(wait(driver, fd, Direction::Write, seen, LONG_NS), Outcome::Woken);
    let block = [0_u8; 4096];
    let part = libc::iovec {
        iov_base: block.as_ptr().cast_mut().cast(),
        iov_len: block.len(),
    };
    let seen = loop {
        let seen = readiness.look(Direction::Write);
        // SAFETY: S5: a live vector over a live local.
        if unsafe { file::writev_nowait(fd, &part, 1) }.is_err() {
            break seen;
        }
    };
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(move || {
                let deadline_ns = Some(clock::now_ns() + LONG_NS);
                readiness.wait_with(
                    Direction::Write,
                    seen,
                    deadline_ns,
                    |_| unreachable!("it is registered"),
                    on_thread,
                )
            })
        })
        .collect();
    let mut drain = vec![0; 1 << 16];
    reader.read_exact(&mut drain).unwrap();
    while !waiters.iter().all(|waiter| waiter.is_finished()) {
        poll(driver);
    }
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Ok(Outcome::Woken));
    }
    fd_table::reset(fd);
}

#[test]
fn a_reset_wakes_as_closed_and_old_events_are_dropped() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let driver = driver();
    let fd = near.as_raw_fd();
    let entry = entry(fd);
    let seen = entry.readiness.look(Direction::Read);
    let generation = entry.readiness.inner.lock().generation;
    let closer = std::thread::spawn(move || {
        while fd_table::existing(fd).unwrap().readiness.inner.lock().waiters[0].is_empty() {
            std::thread::yield_now();
        }
        fd_table::reset(fd);
    });
    assert_eq!(wait(driver, fd, Direction::Read, seen, LONG_NS), Outcome::Closed);
    closer.join().unwrap();
    assert!(entry.is_virgin());
    let seen = entry.readiness.look(Direction::Read);
    let mut out = Vec::new();
    crate::driver::dispatch(u64::from(generation) << 32 | fd as u64, libc::EPOLLIN as u32, &mut out);
    assert_eq!(entry.readiness.look(Direction::Read), seen);
    // The registration is gone as well: the file, which is still open, reports nothing more.
    far.write_all(b"x").unwrap();
    poll(driver);
    assert_eq!(entry.readiness.look(Direction::Read), seen);
    crate::driver::dispatch(
        u64::from(generation + 1) << 32 | fd as u64,
        libc::EPOLLIN as u32,
        &mut out,
    );
    assert_ne!(entry.readiness.look(Direction::Read), seen);
    entry.touch();
    fd_table::reset(fd);
}

#[test]
fn generations_never_make_the_data_of_the_wake_descriptor() {
    let readiness: Readiness<()> = Readiness::new();
    readiness.inner.lock().generation = GENERATION_MASK;
    readiness.reset(Outcome::Closed, |()| {});
    assert_eq!(readiness.inner.lock().generation, 0);
    assert_ne!(u64::from(GENERATION_MASK) << 32 | u64::from(u32::MAX), u64::MAX);
}

#[test]
fn what_cannot_be_registered_says_so_and_what_is_there_is_taken_over() {
    let driver = driver();
    let path = std::env::temp_dir().join(format!("silken-readiness-{}", std::process::id()));
    let regular = std::fs::File::create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(register_in(driver, regular.as_raw_fd(), 0).err(), Some(Errno::PERM));
    assert_eq!(register_in(driver, -1, 0).err(), Some(Errno::BADF));
    assert_eq!(driver.registered.load(Ordering::Relaxed), 0);

    // Closed where no hook saw it, while a copy keeps the file open and so keeps the number's registration alive.
    let (near, _far) = UnixStream::pair().unwrap();
    let copy = near.try_clone().unwrap();
    let fd = near.into_raw_fd();
    assert!(register_in(driver, fd, 1).is_ok());
    file::close(fd).unwrap();
    // SAFETY: S7: numbers only; `fd` is free.
    assert_eq!(unsafe { libc::dup3(copy.as_raw_fd(), fd, libc::O_CLOEXEC) }, fd);
    assert!(register_in(driver, fd, 2).is_ok());
    deregister(driver, fd);
    file::close(fd).unwrap();
}

#[test]
fn several_descriptors_share_one_wait() {
    let (quiet, _quiet_peer) = UnixStream::pair().unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let driver = driver();
    for fd in [quiet.as_raw_fd(), near.as_raw_fd()] {
        let seen = entry(fd).readiness.look(Direction::Read);
        assert_eq!(wait(driver, fd, Direction::Read, seen, 1_000_000), Outcome::TimedOut);
    }
    let fds = [quiet.as_raw_fd(), near.as_raw_fd()];
    let waiter = std::thread::spawn(move || {
        let slots = fds.map(|fd| {
            let readiness = &fd_table::existing(fd).unwrap().readiness;
            Some(PollSlot::new(readiness, fd, Direction::Read))
        });
        let registrar = |fd| move |generation| register_in(driver, fd, generation);
        wait_any_with(&slots, Some(clock::now_ns() + LONG_NS), registrar, on_thread)
    });
    let is_waiting = |fd| !fd_table::existing(fd).unwrap().readiness.inner.lock().waiters[0].is_empty();
    while !fds.into_iter().all(is_waiting) {
        std::thread::yield_now();
    }
    far.write_all(b"x").unwrap();
    while !waiter.is_finished() {
        poll(driver);
    }
    assert_eq!(waiter.join().unwrap(), Ok(Outcome::Woken));
    for fd in fds {
        let inner = fd_table::existing(fd).unwrap().readiness.inner.lock();
        assert!(
            inner.waiters.iter().all(|list| list.is_empty()),
            "nobody is left behind"
        );
    }
    fds.into_iter().for_each(fd_table::reset);
}

#[test]
fn a_connect_takes_back_what_was_seen_before_unless_it_fails() {
    let (near, far) = tcp_pair();
    let driver = driver();
    let fd = near.as_raw_fd();
    let readiness = &entry(fd).readiness;
    let seen = readiness.look(Direction::Read);
    drop(far);
    assert_eq!(wait(driver, fd, Direction::Read, seen, LONG_NS), Outcome::Woken);
    assert!(readiness.look(Direction::Read).is_sticky());
    let forgotten = readiness.forget_ends();
    assert!(!readiness.look(Direction::Read).is_sticky());
    readiness.remember_ends(forgotten);
    assert!(readiness.look(Direction::Read).is_sticky());
    assert!(!readiness.look(Direction::Write).is_sticky());
    assert_eq!(socket::so_error(fd), Ok(0));
    fd_table::reset(fd);
}

/// A runtime of the test's own.
struct In(&'static Driver, RawFd);

impl Registrar<&'static Driver> for In {
    fn is_own(&self, registration: &&'static Driver) -> bool {
        registration.owner() == self.0.owner()
    }

    fn register(self, generation: u32) -> Result<&'static Driver, Errno> {
        register_in(self.0, self.1, generation)
    }
}

/// Two runtimes wait for one descriptor: each driver reports to both waiters, and when one has retired the other goes
/// on.
#[test]
fn each_runtime_registers_for_itself() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let fd = near.as_raw_fd();
    let readiness = &entry(fd).readiness;
    let drivers = [1001, 1002].map(|owner| Driver::take(owner, IoDriver::Epoll).unwrap());
    let listed = |driver: &'static Driver| {
        let seen = readiness.look(Direction::Read);
        let waiter = ReadinessWaiter::new();
        let cell = WaitCell::new();
        waiter.attach(&cell);
        // SAFETY: S8: unlisted below.
        let enlisted = unsafe { readiness.enlist(Direction::Read, seen, &waiter, In(driver, fd)) };
        readiness.unlist(Direction::Read, &waiter);
        enlisted
    };
    for driver in drivers {
        while listed(driver) != Enlisted::Yes {
            poll(driver);
        }
        assert_eq!(driver.registered.load(Ordering::Relaxed), 1);
        assert_eq!(listed(driver), Enlisted::Yes, "once is enough");
        assert_eq!(driver.registered.load(Ordering::Relaxed), 1);
    }
    drivers.iter().for_each(|driver| poll(driver));
    drivers[0].retire();
    assert_eq!(drivers[0].owner(), crate::driver::NOBODY);
    let seen = readiness.look(Direction::Read);
    assert_ne!(seen.0 & REGISTERED, 0, "the second driver still reports");
    far.write_all(b"x").unwrap();
    assert_eq!(
        drivers[0]
            .epoll
            .wait(&mut [libc::epoll_event { events: 0, u64: 0 }; 4], Some(0)),
        Ok(0)
    );
    while readiness.look(Direction::Read) == seen {
        poll(drivers[1]);
    }
    drivers[1].retire();
    assert_eq!(readiness.look(Direction::Read).0 & REGISTERED, 0);
    // An idle driver is taken again, and keeps nothing of its former owner.
    let again = Driver::take(1003, IoDriver::Epoll).unwrap();
    assert!(drivers.iter().any(|driver| std::ptr::eq(*driver, again)));
    assert_eq!((again.owner(), again.is_worth_a_look()), (1003, false));
    fd_table::reset(fd);
}
