//! close of a TCP socket with SO_LINGER: it waits for the peer's acknowledgements, and the peer is another unit.

use crate::help::{SHORT, UNITS, code, fill, narrow_tcp_pair, tcp_pair};
use crate::raw::net::set_linger;
use crate::{Executor, join_all, raw};
use libc::ECONNRESET;
use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

/// Sockets with much to send and seconds to linger; a unit ends each, and then others read what was sent.
fn all_arrives(ex: &dyn Executor, end: fn(TcpStream)) {
    let (mut closers, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (one, mut two) = narrow_tcp_pair();
        let sent = fill(one.as_raw_fd());
        set_linger(one.as_raw_fd(), 10).unwrap();
        closers.push(ex.start(move || end(one)));
        readers.push(ex.start(move || {
            sleep(3 * SHORT);
            let mut bytes = Vec::new();
            two.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len(), sent);
        }));
    }
    join_all(readers);
    join_all(closers);
}

/// close
pub fn close_waits_for_the_reader(ex: &dyn Executor) {
    all_arrives(ex, |stream| raw::close(stream.into_raw_fd()).unwrap());
}

/// The drop of a std stream
pub fn drop_waits_for_the_reader(ex: &dyn Executor) {
    all_arrives(ex, drop);
}

/// dup2 of another file over the socket's number
pub fn dup2_waits_for_the_reader(ex: &dyn Executor) {
    all_arrives(ex, |stream| {
        let other = File::open("/dev/null").unwrap();
        raw::dup2(other.as_raw_fd(), stream.as_raw_fd()).unwrap();
    });
}

/// A duplicate that stays open keeps close from waiting; the last one waits.
pub fn last_duplicate_waits(ex: &dyn Executor) {
    all_arrives(ex, |stream| {
        let duplicate = stream.try_clone().unwrap();
        drop(stream);
        drop(duplicate);
    });
}

/// A shutdown before the close changes nothing about the bytes.
pub fn shutdown_then_close(ex: &dyn Executor) {
    all_arrives(ex, |stream| {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        drop(stream);
    });
}

/// Nothing to send: close returns though nobody reads.
pub fn nothing_to_send(ex: &dyn Executor) {
    join_all(ex.start_each(UNITS, |_| {
        let (one, mut two) = tcp_pair();
        set_linger(one.as_raw_fd(), 20).unwrap();
        drop(one);
        assert_eq!(two.read(&mut [0; 1]).unwrap(), 0);
    }));
}

/// No time to linger resets the connection: what has not left is lost, what arrived is read before the error.
pub fn zero_resets(ex: &dyn Executor) {
    let (mut units, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (one, mut two) = narrow_tcp_pair();
        let sent = fill(one.as_raw_fd());
        set_linger(one.as_raw_fd(), 0).unwrap();
        streams.push(one);
        units.push(move || {
            let mut bytes = Vec::new();
            assert_eq!(code(two.read_to_end(&mut bytes)), ECONNRESET);
            assert!((1..sent).contains(&bytes.len()));
            assert_eq!(two.read(&mut [0; 8]).unwrap(), 0);
        });
    }
    // Closed before anybody reads.
    ex.start(move || drop(streams)).join();
    let units = units.into_iter().map(|unit| ex.start(unit));
    join_all(units.collect());
}

/// A peer that never reads in time: close gives up after the time, and the bytes still arrive.
pub fn time_runs_out(ex: &dyn Executor) {
    let (mut closers, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (one, two) = narrow_tcp_pair();
        let sent = fill(one.as_raw_fd());
        set_linger(one.as_raw_fd(), 1).unwrap();
        let one = OwnedFd::from(one);
        closers.push(ex.start(move || raw::close(one.into_raw_fd()).unwrap()));
        readers.push((two, sent));
    }
    join_all(closers);
    sleep(Duration::from_millis(10));
    for (mut reader, sent) in readers {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), sent);
    }
}
