//! sendfile and copy_file_range: slow readers, offsets, and what ends them.

use crate::help::{SHORT, TempPath, UNITS, fill, fill_pipe, narrow_tcp_pair, pattern, still_wait, tcp_pair};
use crate::raw::copy::{copy_file_range, sendfile};
use crate::{Executor, Unit, join_all, raw};
use libc::{EAGAIN, ECONNRESET, EPIPE, SO_SNDTIMEO};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Instant;

const BYTES: usize = 2 << 20;

/// sendfile until the file is over; returns how many bytes went.
fn send_all(to: &impl AsRawFd, path: &TempPath) -> usize {
    let file = File::open(&**path).unwrap();
    let mut sent = 0;
    loop {
        match sendfile(to.as_raw_fd(), (file.as_raw_fd(), None), BYTES).unwrap() {
            0 => return sent,
            length => sent += length,
        }
    }
}

/// Each pair gets a unit that sends the file, and once all of these wait a unit that reads it.
fn slow_readers<W, R>(ex: &dyn Executor, pairs: Vec<(W, R)>)
where
    W: AsRawFd + Send + 'static,
    R: Read + Send + 'static,
{
    let expected = Arc::new(pattern(BYTES));
    let path = Arc::new(TempPath::with(&expected));
    let (writers, readers): (Vec<W>, Vec<R>) = pairs.into_iter().unzip();
    let send = |writer: W| {
        let path = Arc::clone(&path);
        ex.start(move || send_all(&writer, &path))
    };
    let senders: Vec<_> = writers.into_iter().map(send).collect();
    still_wait(&senders);
    let read = |mut reader: R| {
        let expected = Arc::clone(&expected);
        ex.start(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            assert!(bytes == *expected);
        })
    };
    join_all(readers.into_iter().map(read).collect::<Vec<_>>());
    assert_eq!(join_all(senders), [BYTES; UNITS]);
}

/// Megabytes to a TCP socket that nobody reads at first.
pub fn to_a_slow_tcp_reader(ex: &dyn Executor) {
    slow_readers(ex, (0..UNITS).map(|_| narrow_tcp_pair()).collect());
}

/// Megabytes to a Unix socket that nobody reads at first.
pub fn to_a_slow_unix_reader(ex: &dyn Executor) {
    slow_readers(ex, (0..UNITS).map(|_| UnixStream::pair().unwrap()).collect());
}

/// Megabytes to a pipe that nobody reads at first.
pub fn to_a_slow_pipe_reader(ex: &dyn Executor) {
    let ends = (0..UNITS).map(|_| pipe().unwrap());
    slow_readers(ex, ends.map(|(reader, writer)| (writer, reader)).collect());
}

fn into_the_full<R: Read>(ex: &dyn Executor, full: Vec<(OwnedFd, R, usize)>) {
    let path = Arc::new(TempPath::with(b"hello"));
    let mut readers = Vec::new();
    let units: Vec<Unit<usize>> = full
        .into_iter()
        .map(|(writer, reader, filled)| {
            readers.push((reader, filled));
            let file = File::open(&**path).unwrap();
            ex.start(move || sendfile(writer.as_raw_fd(), (file.as_raw_fd(), None), 100).unwrap())
        })
        .collect();
    still_wait(&units);
    for (mut reader, filled) in readers {
        let mut bytes = vec![0; filled + 5];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes[filled..], b"hello");
    }
    assert_eq!(join_all(units), [5; UNITS]);
}

/// A few bytes to what is full already wait for the reader.
pub fn to_a_full_pipe_and_socket(ex: &dyn Executor) {
    let pipes = (0..UNITS).map(|_| {
        let (reader, mut writer) = pipe().unwrap();
        let filled = fill_pipe(&mut writer);
        (writer.into(), reader, filled)
    });
    into_the_full(ex, pipes.collect());
    let sockets = (0..UNITS).map(|_| {
        let (one, two) = UnixStream::pair().unwrap();
        let filled = fill(one.as_raw_fd());
        (one.into(), two, filled)
    });
    into_the_full(ex, sockets.collect());
}

/// An offset is moved and the file's own place is not; without one the file's own place moves.
pub fn offsets(ex: &dyn Executor) {
    join_all(ex.start_each(UNITS, |unit| {
        let path = TempPath::with(b"0123456789");
        let mut file = File::open(&*path).unwrap();
        let (one, two) = UnixStream::pair().unwrap();
        let (reader, writer) = pipe().unwrap();
        let (to, mut from): (OwnedFd, Box<dyn Read>) = if unit % 2 == 0 {
            (one.into(), Box::new(two))
        } else {
            (writer.into(), Box::new(reader))
        };
        let mut place = 3;
        let fd = file.as_raw_fd();
        assert_eq!(sendfile(to.as_raw_fd(), (fd, Some(&mut place)), 4).unwrap(), 4);
        assert_eq!((place, file.stream_position().unwrap()), (7, 0));
        assert_eq!(sendfile(to.as_raw_fd(), (fd, None), 2).unwrap(), 2);
        assert_eq!(file.stream_position().unwrap(), 2);
        // Only what is there is sent, and then nothing.
        assert_eq!(sendfile(to.as_raw_fd(), (fd, Some(&mut place)), 100).unwrap(), 3);
        assert_eq!(sendfile(to.as_raw_fd(), (fd, Some(&mut place)), 100).unwrap(), 0);
        assert_eq!((place, file.stream_position().unwrap()), (10, 2));
        let mut text = [0; 9];
        from.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"345601789");
    }));
}

/// A socket in non-blocking mode takes a part and then says EAGAIN.
pub fn nonblocking_socket(ex: &dyn Executor) {
    let path = TempPath::with(&pattern(BYTES));
    ex.start(move || {
        let (one, two) = narrow_tcp_pair();
        raw::set_nonblocking_by_fcntl(one.as_raw_fd()).unwrap();
        stops_with_eagain(one.as_raw_fd(), two, &path);
        let (one, two) = UnixStream::pair().unwrap();
        raw::set_nonblocking_by_fcntl(one.as_raw_fd()).unwrap();
        stops_with_eagain(one.as_raw_fd(), two, &path);
    })
    .join();
}

/// Sends until the call fails with EAGAIN; what was counted is what arrives, from the start of the file.
fn stops_with_eagain(to: i32, mut reader: impl Read, path: &TempPath) {
    let mut file = File::open(&**path).unwrap();
    let mut sent = 0;
    let error = loop {
        match sendfile(to, (file.as_raw_fd(), None), BYTES - sent) {
            Ok(length) => sent += length,
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(EAGAIN));
    assert!(0 < sent && sent < BYTES);
    assert_eq!(file.stream_position().unwrap(), sent as u64);
    let mut bytes = vec![0; sent];
    reader.read_exact(&mut bytes).unwrap();
    assert!(bytes == pattern(sent));
}

/// SO_SNDTIMEO ends a wait for room: what went is counted, then EAGAIN, not early.
pub fn send_timeout(ex: &dyn Executor) {
    let path = Arc::new(TempPath::with(&pattern(BYTES)));
    join_all(ex.start_each(UNITS, move |unit| {
        let started = Instant::now();
        if unit % 2 == 0 {
            let (one, two) = narrow_tcp_pair();
            raw::set_socket_timeout(one.as_raw_fd(), SO_SNDTIMEO, SHORT).unwrap();
            stops_with_eagain(one.as_raw_fd(), two, &path);
        } else {
            let (one, two) = UnixStream::pair().unwrap();
            raw::set_socket_timeout(one.as_raw_fd(), SO_SNDTIMEO, SHORT).unwrap();
            stops_with_eagain(one.as_raw_fd(), two, &path);
        }
        assert!(started.elapsed() >= SHORT);
    }));
}

/// A reader that goes away ends the wait: what went is counted, then an error.
pub fn reader_goes_away(ex: &dyn Executor) {
    let path = Arc::new(TempPath::with(&pattern(BYTES)));
    let send = |to: OwnedFd| {
        let path = Arc::clone(&path);
        ex.start(move || {
            let file = File::open(&**path).unwrap();
            loop {
                match sendfile(to.as_raw_fd(), (file.as_raw_fd(), None), BYTES) {
                    Ok(0) => panic!("all was sent to nobody"),
                    Ok(_) => {}
                    Err(error) => return error.raw_os_error().unwrap(),
                }
            }
        })
    };
    let (socket, peer) = narrow_tcp_pair();
    let (stream, other) = UnixStream::pair().unwrap();
    let (reader, writer) = pipe().unwrap();
    let units = [send(socket.into()), send(stream.into()), send(writer.into())];
    still_wait(&units);
    drop((peer, other, reader));
    let [socket, stream, pipe] = units.map(Unit::join);
    assert!(matches!(socket, ECONNRESET | EPIPE), "{socket}");
    assert_eq!((stream, pipe), (EPIPE, EPIPE));
}

/// copy_file_range moves offsets or the files' own places, and returns what there was to copy.
pub fn copy_file_range_counts(ex: &dyn Executor) {
    join_all(ex.start_each(UNITS, |_| {
        let (from, to) = (TempPath::with(b"0123456789"), TempPath::with(b""));
        let mut source = File::open(&*from).unwrap();
        let mut target = File::options().write(true).open(&*to).unwrap();
        let (reader, writer) = (source.as_raw_fd(), target.as_raw_fd());
        assert_eq!(copy_file_range((reader, None), (writer, None), 4).unwrap(), 4);
        let (mut here, mut there) = (6, 4);
        assert_eq!(
            copy_file_range((reader, Some(&mut here)), (writer, Some(&mut there)), 100).unwrap(),
            4
        );
        assert_eq!((here, there), (10, 8));
        assert_eq!(
            (source.stream_position().unwrap(), target.stream_position().unwrap()),
            (4, 4)
        );
        source.seek(SeekFrom::End(0)).unwrap();
        assert_eq!(copy_file_range((reader, None), (writer, None), 100).unwrap(), 0);
        assert_eq!(fs::read(&*to).unwrap(), b"01236789");
    }));
}

/// A header by write and a file by sendfile keep their order, with a reader that reads a little at a time.
pub fn header_then_file(ex: &dyn Executor) {
    let path = Arc::new(TempPath::with(&pattern(BYTES / 8)));
    let pairs: Vec<_> = (0..UNITS).map(|_| tcp_pair()).collect();
    let (mut senders, mut readers) = (Vec::new(), Vec::new());
    for (one, mut two) in pairs {
        let path = Arc::clone(&path);
        senders.push(ex.start(move || {
            raw::write(one.as_raw_fd(), b"header").unwrap();
            let sent = send_all(&one, &path);
            raw::write(one.as_raw_fd(), b"trailer").unwrap();
            sent
        }));
        readers.push(ex.start(move || {
            sleep(SHORT);
            let (mut bytes, mut part) = (Vec::new(), [0; 10_000]);
            loop {
                match two.read(&mut part).unwrap() {
                    0 => return bytes,
                    length => bytes.extend_from_slice(&part[..length]),
                }
            }
        }));
    }
    assert_eq!(join_all(senders), [BYTES / 8; UNITS]);
    let expected = [b"header", &pattern(BYTES / 8)[..], b"trailer"].concat();
    assert!(join_all(readers).iter().all(|bytes| *bytes == expected));
}
