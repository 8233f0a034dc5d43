//! File descriptors as numbers: reuse, dup2, limits, close under a parked reader.
//!
//! A runtime keeps state by number, and the kernel gives the lowest free number: state that outlives a close shows up
//! as a wake-up lost or as bytes of another socket. The storms are seeded.

use crate::{Executor, harness, join_all, raw, rng};
use fastrand::Rng;
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

fn talk(stream: &mut UnixStream, tag: u64, stop: &AtomicBool) {
    let mut number = 0u64;
    while !stop.load(SeqCst) {
        stream.write_all(&(tag << 32 | number).to_le_bytes()).unwrap();
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), tag << 32 | number, "bytes of another socket");
        number += 1;
    }
}

fn answer(stream: &mut UnixStream) {
    let mut bytes = [0; 8];
    while stream.read_exact(&mut bytes).is_ok() {
        yield_now();
        stream.write_all(&bytes).unwrap();
    }
}

fn churn_once(rng: &mut Rng) {
    let tag = [rng.u8(..); 4];
    match rng.u64(..4) {
        0 => drop(File::open("/dev/null").unwrap()),
        1 => {
            let (mut reader, mut writer) = pipe().unwrap();
            writer.write_all(&tag).unwrap();
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, tag);
        }
        2 => {
            let (mut one, mut two) = UnixStream::pair().unwrap();
            one.set_read_timeout(Some(Duration::from_micros(100))).unwrap();
            assert!(one.read(&mut [0; 4]).is_err());
            two.write_all(&tag).unwrap();
            assert_eq!(one.read(&mut [0; 4]).unwrap(), 4);
        }
        _ => {
            let (mut one, two) = UnixStream::pair().unwrap();
            let (mut three, mut four) = UnixStream::pair().unwrap();
            four.write_all(&tag).unwrap();
            // The number of `one` is now another name of `three`; `two` sees its peer gone.
            raw::dup2(three.as_raw_fd(), one.as_raw_fd()).unwrap();
            let mut bytes = [0; 4];
            one.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, tag);
            assert_eq!((&two).read(&mut bytes).unwrap(), 0);
            drop(four);
            assert_eq!(three.read(&mut bytes).unwrap(), 0);
        }
    }
}

/// Descriptors are opened, closed and dup2'ed by some units while others talk over sockets: no cross-talk, no hang.
pub fn churn(ex: &dyn Executor) {
    let seed = rng::seed_of("fd churn");
    let stop = Arc::new(AtomicBool::new(false));
    let mut units = Vec::new();
    for tag in 0..8 {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        let stop = Arc::clone(&stop);
        units.push(ex.start(move || talk(&mut one, tag, &stop)));
        units.push(ex.start(move || answer(&mut two)));
    }
    for unit in 0..4 {
        let (mut rng, stop) = (rng::of_unit(seed, unit), Arc::clone(&stop));
        units.push(ex.start(move || {
            while !stop.load(SeqCst) {
                churn_once(&mut rng);
                yield_now();
            }
        }));
    }
    sleep(Duration::from_secs(2));
    stop.store(true, SeqCst);
    join_all(units);
}

/// A number that is used again at once starts without its predecessor's state: mode, time-out, readiness.
pub fn number_is_reused_clean(ex: &dyn Executor) {
    ex.start(|| {
        for round in 0..200 {
            let (one, mut two) = UnixStream::pair().unwrap();
            if round % 2 == 0 {
                one.set_nonblocking(true).unwrap();
                assert!((&one).read(&mut [0; 1]).is_err());
                two.write_all(b"unread").unwrap();
            } else {
                // This read would fail at once if the nonblocking mode of the round before were still in force.
                one.set_read_timeout(Some(Duration::from_micros(500))).unwrap();
                let started = Instant::now();
                assert!((&one).read(&mut [0; 1]).is_err());
                assert!(started.elapsed() >= Duration::from_micros(500));
            }
        }
    })
    .join();
}

/// A duplicate keeps the socket open: a parked reader goes on when the other number is closed.
pub fn close_of_a_duplicate(ex: &dyn Executor) {
    let (mut one, mut two) = UnixStream::pair().unwrap();
    let duplicate = one.try_clone().unwrap();
    let reader = ex.start(move || one.read(&mut [0; 4]).unwrap());
    sleep(Duration::from_millis(10));
    drop(duplicate);
    sleep(Duration::from_millis(10));
    two.write_all(b"abcd").unwrap();
    assert_eq!(reader.join(), 4);
}

/// Without a descriptor left accept is an error that comes back at once, and works again after a close.
pub fn emfile_on_accept(ex: &dyn Executor) {
    if !harness::is_child("emfile") {
        let output = harness::run_in_child("emfile");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    raw::limit_files(128).unwrap();
    let mut files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    ex.start(move || {
        for _ in 0..3 {
            assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(libc::EMFILE));
        }
        files.truncate(files.len() - 2);
        listener.accept().unwrap();
    })
    .join();
    drop(client);
}

/// Closing a socket under a parked reader ends the read with an error. (An OS thread would sleep on.)
pub fn close_under_parked_read(ex: &dyn Executor) {
    let (one, two) = UnixStream::pair().unwrap();
    let fd = one.into_raw_fd();
    let reader = ex.start(move || raw::recv(fd, &mut [0; 1], 0).unwrap_err().raw_os_error());
    sleep(Duration::from_millis(20));
    raw::close(fd).unwrap();
    assert!(matches!(reader.join(), Some(libc::EBADF | libc::ECANCELED)));
    drop(two);
}
