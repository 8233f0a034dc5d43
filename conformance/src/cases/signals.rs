//! Waits for signals: sigwait, sigwaitinfo, sigtimedwait, signalfd.
//!
//! Each case runs in a child in which the signals are blocked from the start, before there are any threads: so nobody
//! but the waits can take them, on whatever thread a unit runs.

use crate::help::{LONG, SHORT, UNITS, code, still_wait};
use crate::raw::signals::{Signals, kill_self, queue_to_self};
use crate::{Executor, harness, join_all, raw};
use libc::{EAGAIN, SIGRTMIN, SIGUSR1, SIGUSR2};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The signals of these cases: a queue of its own, and two that do not queue.
fn all() -> Signals {
    Signals::of(&[SIGUSR1, SIGUSR2, SIGRTMIN()])
}

/// Runs `body` in a child that has the signals blocked.
fn in_a_child(role: &str, body: impl FnOnce()) {
    if harness::is_child(role) {
        body();
        return;
    }
    let output = harness::run_in_child_with(role, |command| raw::before_exec(command, || all().block()));
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// sigwait waits for a signal that another unit sends; the others go on meanwhile.
pub fn sigwait_lets_others_run(ex: &dyn Executor) {
    in_a_child("sigwait", || {
        let waiter = ex.start(|| Signals::of(&[SIGUSR1]).wait());
        let (mut one, mut two) = UnixStream::pair().unwrap();
        let echo = ex.start(move || {
            let mut bytes = [0; 4];
            while two.read_exact(&mut bytes).is_ok() {
                two.write_all(&bytes).unwrap();
            }
        });
        let talker = ex.start(move || {
            for number in 0..50_u32 {
                one.write_all(&number.to_le_bytes()).unwrap();
                let mut bytes = [0; 4];
                one.read_exact(&mut bytes).unwrap();
                assert_eq!(u32::from_le_bytes(bytes), number);
                sleep(Duration::from_millis(1));
            }
        });
        talker.join();
        echo.join();
        assert!(!waiter.has_ended());
        ex.start(|| kill_self(SIGUSR1)).join();
        assert_eq!(waiter.join(), Ok(SIGUSR1));
    });
}

/// A signal that is there already is taken at once, each by who waits for it.
pub fn pending_signals_are_taken(ex: &dyn Executor) {
    in_a_child("pending", || {
        kill_self(SIGUSR1);
        kill_self(SIGUSR2);
        let one = ex.start(|| Signals::of(&[SIGUSR1]).wait());
        let two = ex.start(|| Signals::of(&[SIGUSR2]).wait_info().unwrap().0);
        assert_eq!((one.join(), two.join()), (Ok(SIGUSR1), SIGUSR2));
        let left = ex.start(|| code(all().wait_timeout(Duration::ZERO)));
        assert_eq!(left.join(), EAGAIN);
    });
}

/// sigtimedwait ends with EAGAIN after its time, not early, and brings what comes in time.
pub fn sigtimedwait(ex: &dyn Executor) {
    in_a_child("sigtimedwait", || {
        join_all(ex.start_each(UNITS, |_| {
            let started = Instant::now();
            assert_eq!(code(all().wait_timeout(SHORT)), EAGAIN);
            assert!(started.elapsed() >= SHORT);
        }));
        let units = vec![ex.start(|| Signals::of(&[SIGUSR2]).wait_timeout(LONG).unwrap().0)];
        still_wait(&units);
        kill_self(SIGUSR2);
        assert_eq!(join_all(units), [SIGUSR2]);
    });
}

/// sigwaitinfo brings the values that were queued, in their order.
pub fn sigwaitinfo_brings_values(ex: &dyn Executor) {
    in_a_child("sigwaitinfo", || {
        let units = vec![ex.start(|| [(); 3].map(|()| Signals::of(&[SIGRTMIN()]).wait_info().unwrap()))];
        still_wait(&units);
        for value in [5, 6, 7] {
            queue_to_self(SIGRTMIN(), value);
        }
        assert_eq!(join_all(units), [[5, 6, 7].map(|value| (SIGRTMIN(), value))]);
    });
}

/// sigwaitinfo, again when it says EINTR: so it may when another waiter took the signal that woke this one.
fn wait_info(signals: &Signals) -> (i32, usize) {
    loop {
        match signals.wait_info() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.unwrap(),
        }
    }
}

/// Several units wait for one signal that queues: each takes one.
pub fn many_waiters(ex: &dyn Executor) {
    in_a_child("many", || {
        let units = ex.start_each(UNITS, |_| wait_info(&Signals::of(&[SIGRTMIN()])).1);
        still_wait(&units);
        (0..UNITS).for_each(|value| queue_to_self(SIGRTMIN(), value));
        let mut values = join_all(units);
        values.sort_unstable();
        assert!(values.into_iter().eq(0..UNITS));
    });
}

/// A signalfd is waited for by read and by poll.
pub fn signal_descriptor(ex: &dyn Executor) {
    in_a_child("signalfd", || {
        let mut reader = File::from(Signals::of(&[SIGUSR1]).descriptor().unwrap());
        let read = ex.start(move || {
            let mut record = [0; 128];
            reader.read_exact(&mut record).unwrap();
            i32::from_ne_bytes([record[0], record[1], record[2], record[3]])
        });
        let poller = Signals::of(&[SIGUSR2]).descriptor().unwrap();
        let poll = ex.start(move || {
            let mut fds = [raw::pollfd(std::os::fd::AsRawFd::as_raw_fd(&poller), libc::POLLIN)];
            assert_eq!(raw::poll(&mut fds, LONG.as_millis() as i32).unwrap(), 1);
            Signals::of(&[SIGUSR2]).wait().unwrap()
        });
        let units = vec![read, poll];
        still_wait(&units);
        kill_self(SIGUSR1);
        kill_self(SIGUSR2);
        assert_eq!(join_all(units), [SIGUSR1, SIGUSR2]);
    });
}
