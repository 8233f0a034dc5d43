//! Code that calls libc itself: O_NONBLOCK by fcntl, SO_RCVTIMEO, poll and its kin, vectors and messages, sleeps.

use crate::{Executor, join_all, raw};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

/// O_NONBLOCK set by fcntl on a socket: EAGAIN at once, for recv, read and a full send.
pub fn nonblocking_by_fcntl(ex: &dyn Executor) {
    let (one, _two) = UnixStream::pair().unwrap();
    raw::set_nonblocking_by_fcntl(one.as_raw_fd()).unwrap();
    ex.start(move || {
        let fd = one.as_raw_fd();
        assert_eq!(
            raw::recv(fd, &mut [0; 1], 0).unwrap_err().raw_os_error(),
            Some(libc::EAGAIN)
        );
        assert_eq!(
            raw::read(fd, &mut [0; 1]).unwrap_err().raw_os_error(),
            Some(libc::EAGAIN)
        );
        let error = std::iter::repeat_with(|| raw::send(fd, &[0; 4_096], 0))
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    })
    .join();
}

/// MSG_DONTWAIT: EAGAIN at once for this call, and the next one waits.
pub fn dontwait_flag(ex: &dyn Executor) {
    let (one, mut two) = UnixStream::pair().unwrap();
    let unit = ex.start(move || {
        let fd = one.as_raw_fd();
        let error = raw::recv(fd, &mut [0; 1], libc::MSG_DONTWAIT).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        raw::recv(fd, &mut [0; 1], 0).unwrap()
    });
    sleep(SHORT);
    two.write_all(b"x").unwrap();
    assert_eq!(unit.join(), 1);
}

/// MSG_WAITALL waits for the whole length.
pub fn waitall_flag(ex: &dyn Executor) {
    let (one, mut two) = UnixStream::pair().unwrap();
    let unit = ex.start(move || raw::recv(one.as_raw_fd(), &mut [0; 6], libc::MSG_WAITALL).unwrap());
    for part in [b"ab", b"cd", b"ef"] {
        sleep(Duration::from_millis(5));
        two.write_all(part).unwrap();
    }
    assert_eq!(unit.join(), 6);
}

/// SO_RCVTIMEO set by setsockopt: EAGAIN after the time, for recv and for read.
pub fn receive_timeout_option(ex: &dyn Executor) {
    let (one, _two) = UnixStream::pair().unwrap();
    ex.start(move || {
        let fd = one.as_raw_fd();
        raw::set_socket_timeout(fd, libc::SO_RCVTIMEO, SHORT).unwrap();
        for receive in [|fd| raw::recv(fd, &mut [0; 1], 0), |fd| raw::read(fd, &mut [0; 1])] {
            let started = Instant::now();
            assert_eq!(receive(fd).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
            assert!(started.elapsed() >= SHORT);
        }
    })
    .join();
}

/// SO_SNDTIMEO set by setsockopt: EAGAIN after the time.
pub fn send_timeout_option(ex: &dyn Executor) {
    let (one, _two) = UnixStream::pair().unwrap();
    ex.start(move || {
        let fd = one.as_raw_fd();
        raw::set_socket_timeout(fd, libc::SO_SNDTIMEO, SHORT).unwrap();
        let started = Instant::now();
        let error = std::iter::repeat_with(|| raw::send(fd, &[0; 4_096], 0))
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        assert!(started.elapsed() >= SHORT);
    })
    .join();
}

/// poll on two descriptors reports the one that became ready.
pub fn poll_two(ex: &dyn Executor) {
    let (one, _one_peer) = UnixStream::pair().unwrap();
    let (reader, mut writer) = pipe().unwrap();
    let unit = ex.start(move || {
        let mut fds = [
            raw::pollfd(one.as_raw_fd(), libc::POLLIN),
            raw::pollfd(reader.as_raw_fd(), libc::POLLIN),
        ];
        assert_eq!(raw::poll(&mut fds, 20_000).unwrap(), 1);
        assert_eq!((fds[0].revents, fds[1].revents), (0, libc::POLLIN));
    });
    sleep(SHORT);
    writer.write_all(b"x").unwrap();
    unit.join();
}

/// poll times out with zero, not early, also without descriptors.
pub fn poll_timeout(ex: &dyn Executor) {
    let (one, _two) = UnixStream::pair().unwrap();
    ex.start(move || {
        for fds in [&mut [raw::pollfd(one.as_raw_fd(), libc::POLLIN)][..], &mut []] {
            let started = Instant::now();
            assert_eq!(raw::poll(fds, 20).unwrap(), 0);
            assert!(started.elapsed() >= SHORT);
        }
    })
    .join();
}

/// poll with a time-out of zero looks and returns; closed and hung-up descriptors are reported at once.
pub fn poll_looks(ex: &dyn Executor) {
    let (one, two) = UnixStream::pair().unwrap();
    ex.start(move || {
        let mut fds = [raw::pollfd(one.as_raw_fd(), libc::POLLIN | libc::POLLOUT)];
        assert_eq!(raw::poll(&mut fds, 0).unwrap(), 1);
        assert_eq!(fds[0].revents, libc::POLLOUT);
        drop(two);
        let mut fds = [raw::pollfd(one.as_raw_fd(), 0), raw::pollfd(-1, libc::POLLIN)];
        assert_eq!(raw::poll(&mut fds, -1).unwrap(), 1);
        assert_eq!((fds[0].revents, fds[1].revents), (libc::POLLHUP, 0));
        let mut fds = [raw::pollfd(i32::MAX, libc::POLLIN)];
        assert_eq!(raw::poll(&mut fds, -1).unwrap(), 1);
        assert_eq!(fds[0].revents, libc::POLLNVAL);
    })
    .join();
}

/// Waits for a unit of any kind, by sleeping.
fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(1));
    }
}

/// ppoll and select wait for readability, and time out.
pub fn ppoll_and_select(ex: &dyn Executor) {
    let (one, mut two) = UnixStream::pair().unwrap();
    let timed_out = Arc::new(AtomicBool::new(false));
    let theirs = timed_out.clone();
    let unit = ex.start(move || {
        let fd = one.as_raw_fd();
        let mut fds = [raw::pollfd(fd, libc::POLLIN)];
        let started = Instant::now();
        assert_eq!(raw::ppoll(&mut fds, SHORT).unwrap(), 0);
        assert_eq!(raw::select_readable(fd, SHORT).unwrap(), 0);
        assert!(started.elapsed() >= 2 * SHORT);
        theirs.store(true, Ordering::Relaxed);
        assert_eq!(raw::select_readable(fd, Duration::from_secs(20)).unwrap(), 1);
        assert_eq!(raw::ppoll(&mut fds, Duration::from_secs(20)).unwrap(), 1);
    });
    wait_for(&timed_out);
    sleep(SHORT);
    two.write_all(b"x").unwrap();
    unit.join();
}

/// epoll_wait waits, reports, and times out.
pub fn epoll(ex: &dyn Executor) {
    let (one, mut two) = UnixStream::pair().unwrap();
    let timed_out = Arc::new(AtomicBool::new(false));
    let theirs = timed_out.clone();
    let unit = ex.start(move || {
        let epoll = raw::epoll_create().unwrap();
        raw::epoll_add(epoll.as_raw_fd(), one.as_raw_fd()).unwrap();
        let started = Instant::now();
        assert_eq!(raw::epoll_wait(epoll.as_raw_fd(), 20).unwrap(), []);
        assert!(started.elapsed() >= SHORT);
        theirs.store(true, Ordering::Relaxed);
        assert_eq!(
            raw::epoll_wait(epoll.as_raw_fd(), 20_000).unwrap(),
            [one.as_raw_fd() as u64]
        );
        assert_eq!(raw::recv(one.as_raw_fd(), &mut [0; 4], 0).unwrap(), 1);
        assert_eq!(raw::epoll_wait(epoll.as_raw_fd(), 0).unwrap(), []);
    });
    wait_for(&timed_out);
    sleep(SHORT);
    two.write_all(b"x").unwrap();
    unit.join();
}

/// readv and writev wait like read and write, and keep the order of their slices.
pub fn vectors(ex: &dyn Executor) {
    let (reader, writer) = pipe().unwrap();
    let unit = ex.start(move || {
        let (mut first, mut second) = ([0; 3], [0; 3]);
        let slices = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(raw::readv(reader.as_raw_fd(), slices).unwrap(), 5);
        assert_eq!((&first, &second), (b"abc", b"de\0"));
    });
    sleep(SHORT);
    assert_eq!(
        raw::writev(writer.as_raw_fd(), &[IoSlice::new(b"ab"), IoSlice::new(b"cde")]).unwrap(),
        5
    );
    unit.join();
}

/// recvmsg and sendmsg wait and keep the order of their slices.
pub fn messages(ex: &dyn Executor) {
    let (one, two) = UnixStream::pair().unwrap();
    let unit = ex.start(move || {
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let slices = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(raw::recvmsg(one.as_raw_fd(), slices).unwrap(), (5, 0));
        assert_eq!((&first, &second[..3]), (b"ab", &b"cde"[..]));
    });
    sleep(SHORT);
    assert_eq!(
        raw::sendmsg(two.as_raw_fd(), &[IoSlice::new(b"abc"), IoSlice::new(b"de")]).unwrap(),
        5
    );
    unit.join();
}

/// An eventfd and a timerfd are waited for by read.
pub fn event_and_timer_descriptors(ex: &dyn Executor) {
    let event = File::from(raw::eventfd().unwrap());
    let mut clone = event.try_clone().unwrap();
    let unit = ex.start(move || {
        let mut bytes = [0; 8];
        (&event).read_exact(&mut bytes).unwrap();
        u64::from_ne_bytes(bytes)
    });
    sleep(SHORT);
    clone.write_all(&3u64.to_ne_bytes()).unwrap();
    assert_eq!(unit.join(), 3);
    let fired = ex.start(|| {
        let started = Instant::now();
        let mut timer = File::from(raw::timerfd(SHORT).unwrap());
        timer.read_exact(&mut [0; 8]).unwrap();
        started.elapsed()
    });
    assert!(fired.join() >= SHORT);
}

/// nanosleep, clock_nanosleep with a deadline, and usleep are never early.
pub fn sleeps(ex: &dyn Executor) {
    join_all(ex.start_each(4, |_| {
        let started = Instant::now();
        raw::nanosleep(SHORT).unwrap();
        assert!(started.elapsed() >= SHORT);
        let deadline = raw::clock(libc::CLOCK_MONOTONIC) + SHORT;
        assert_eq!(raw::sleep_until(deadline), 0);
        assert!(raw::clock(libc::CLOCK_MONOTONIC) >= deadline);
        assert_eq!(raw::sleep_until(Duration::ZERO), 0);
        let started = Instant::now();
        raw::usleep(5_000).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(5));
    }));
}

/// A regular file is read and written as ever.
pub fn regular_file(ex: &dyn Executor) {
    join_all(ex.start_each(8, |unit| {
        let path = std::env::temp_dir().join(format!("silken-conformance-{}-{unit}", std::process::id()));
        let text = "line\n".repeat(10_000 + unit);
        std::fs::write(&path, &text).unwrap();
        yield_and_compare(&path, &text);
        std::fs::remove_file(&path).unwrap();
    }));
}

fn yield_and_compare(path: &std::path::Path, text: &str) {
    std::thread::yield_now();
    assert!(std::fs::read_to_string(path).unwrap() == text);
}
