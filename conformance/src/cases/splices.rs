//! splice, tee and vmsplice, while the other side is not there yet, on more units than there are workers.
//!
//! These wait inside the kernel for two descriptors at once: for bytes at one end, for room at the other.

use crate::help::{TempPath, UNITS, code, fill, fill_pipe, still_wait, tcp_pair};
use crate::raw::copy::{splice, tee, vmsplice, vmsplice_out};
use crate::{Executor, Unit, join_all, raw};
use libc::{EAGAIN, EPIPE, SPLICE_F_NONBLOCK};
use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, PipeReader, PipeWriter, Read, Seek, Write, pipe};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

const TEXT: &[u8] = b"hello";

fn pipes() -> Vec<(PipeReader, PipeWriter)> {
    (0..UNITS).map(|_| pipe().unwrap()).collect()
}

/// Starts a unit for each source, and sees them wait; then a unit writes to each writer. Each has to return 5.
fn feed<S, W>(ex: &dyn Executor, ends: Vec<(S, W)>, copy: fn(&S) -> usize)
where
    S: Send + 'static,
    W: Write + Send + 'static,
{
    let (sources, writers): (Vec<S>, Vec<W>) = ends.into_iter().unzip();
    let start = |source| ex.start(move || copy(&source));
    let units: Vec<_> = sources.into_iter().map(start).collect();
    still_wait(&units);
    let feeder = ex.start(move || {
        for mut writer in writers {
            writer.write_all(TEXT).unwrap();
        }
    });
    assert_eq!(join_all(units), [TEXT.len(); UNITS]);
    feeder.join();
}

/// A pipe with the text in it.
fn source() -> PipeReader {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(TEXT).unwrap();
    reader
}

/// Starts units that copy to what is full, sees them wait, and reads `filled` bytes of each and then the text.
fn drain<R: Read>(units: Vec<Unit<usize>>, readers: Vec<(R, usize)>) {
    still_wait(&units);
    for (mut reader, filled) in readers {
        reader.read_exact(&mut vec![0; filled]).unwrap();
        let mut text = [0; TEXT.len()];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(text, *TEXT);
    }
    assert_eq!(join_all(units), [TEXT.len(); UNITS]);
}

/// A full pipe, and how much is in it.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = pipe().unwrap();
    let filled = fill_pipe(&mut writer);
    (reader, writer, filled)
}

/// From an empty pipe to a file.
pub fn pipe_to_file(ex: &dyn Executor) {
    feed(ex, pipes(), |reader| {
        let path = TempPath::with(b"");
        let file = File::options().write(true).open(&*path).unwrap();
        let length = splice((reader.as_raw_fd(), None), (file.as_raw_fd(), None), 100, 0).unwrap();
        assert_eq!(fs::read(&*path).unwrap(), TEXT);
        length
    });
}

/// From an empty pipe to a pipe.
pub fn pipe_to_pipe(ex: &dyn Executor) {
    feed(ex, pipes(), |from| {
        let (mut reader, writer) = pipe().unwrap();
        let length = splice((from.as_raw_fd(), None), (writer.as_raw_fd(), None), 100, 0).unwrap();
        let mut text = [0; TEXT.len()];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(text, *TEXT);
        length
    });
}

/// From an empty pipe to a socket.
pub fn pipe_to_socket(ex: &dyn Executor) {
    feed(ex, pipes(), |from| {
        let (one, mut two) = tcp_pair();
        let length = splice((from.as_raw_fd(), None), (one.as_raw_fd(), None), 100, 0).unwrap();
        let mut text = [0; TEXT.len()];
        two.read_exact(&mut text).unwrap();
        assert_eq!(text, *TEXT);
        length
    });
}

fn socket_to_pipe<S: AsRawFd>(socket: &S) -> usize {
    let (mut reader, writer) = pipe().unwrap();
    let length = splice((socket.as_raw_fd(), None), (writer.as_raw_fd(), None), 100, 0).unwrap();
    let mut text = [0; TEXT.len()];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(text, *TEXT);
    length
}

/// From a silent TCP socket to a pipe.
pub fn tcp_to_pipe(ex: &dyn Executor) {
    let pairs = (0..UNITS).map(|_| tcp_pair()).collect();
    feed(ex, pairs, socket_to_pipe::<TcpStream>);
}

/// From a silent Unix socket to a pipe.
pub fn unix_to_pipe(ex: &dyn Executor) {
    let pairs = (0..UNITS).map(|_| UnixStream::pair().unwrap()).collect();
    feed(ex, pairs, socket_to_pipe::<UnixStream>);
}

/// From a pipe to a full one.
pub fn pipe_to_full_pipe(ex: &dyn Executor) {
    let (mut units, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (reader, writer, filled) = full_pipe();
        let from = source();
        units.push(ex.start(move || splice((from.as_raw_fd(), None), (writer.as_raw_fd(), None), 100, 0).unwrap()));
        readers.push((reader, filled));
    }
    drain(units, readers);
}

/// From a pipe to a full socket.
pub fn pipe_to_full_socket(ex: &dyn Executor) {
    let (mut units, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (one, two) = UnixStream::pair().unwrap();
        readers.push((two, fill(one.as_raw_fd())));
        let from = source();
        units.push(ex.start(move || splice((from.as_raw_fd(), None), (one.as_raw_fd(), None), 100, 0).unwrap()));
    }
    drain(units, readers);
}

/// From a file to a full pipe.
pub fn file_to_full_pipe(ex: &dyn Executor) {
    let path = TempPath::with(TEXT);
    let (mut units, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (reader, writer, filled) = full_pipe();
        let file = File::open(&*path).unwrap();
        units.push(ex.start(move || splice((file.as_raw_fd(), None), (writer.as_raw_fd(), None), 100, 0).unwrap()));
        readers.push((reader, filled));
    }
    drain(units, readers);
}

/// tee waits for bytes and leaves them where they are.
pub fn tee_waits_for_bytes(ex: &dyn Executor) {
    feed(ex, pipes(), |from| {
        let (mut reader, writer) = pipe().unwrap();
        let length = tee(from.as_raw_fd(), writer.as_raw_fd(), 100, 0).unwrap();
        for end in [&mut reader, &mut &*from] as [&mut dyn Read; 2] {
            let mut text = [0; TEXT.len()];
            end.read_exact(&mut text).unwrap();
            assert_eq!(text, *TEXT);
        }
        length
    });
}

/// tee waits for room.
pub fn tee_waits_for_room(ex: &dyn Executor) {
    let (mut units, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (reader, writer, filled) = full_pipe();
        let from = source();
        units.push(ex.start(move || tee(from.as_raw_fd(), writer.as_raw_fd(), 100, 0).unwrap()));
        readers.push((reader, filled));
    }
    drain(units, readers);
}

/// vmsplice into a full pipe waits for room.
pub fn vmsplice_waits_for_room(ex: &dyn Executor) {
    let (mut units, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (reader, writer, filled) = full_pipe();
        units.push(ex.start(move || vmsplice(writer.as_raw_fd(), &[IoSlice::new(TEXT)], 0).unwrap()));
        readers.push((reader, filled));
    }
    drain(units, readers);
}

/// vmsplice out of an empty pipe waits for bytes.
pub fn vmsplice_waits_for_bytes(ex: &dyn Executor) {
    feed(ex, pipes(), |from| {
        let mut text = [0; TEXT.len()];
        let length = vmsplice_out(from.as_raw_fd(), &mut [IoSliceMut::new(&mut text)], 0).unwrap();
        assert_eq!(text, *TEXT);
        length
    });
}

/// The end of the writer ends a wait for bytes with 0; the end of the reader one for room with EPIPE.
pub fn ends_of_pipes(ex: &dyn Executor) {
    let (mut starved, mut stuck) = (Vec::new(), Vec::new());
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for number in 0..UNITS {
        let (from, writer) = pipe().unwrap();
        writers.push(writer);
        starved.push(ex.start(move || {
            let (_keep, to) = pipe().unwrap();
            let path = TempPath::with(b"");
            let file = File::options().write(true).open(&*path).unwrap();
            let to = if number % 2 == 0 {
                to.as_raw_fd()
            } else {
                file.as_raw_fd()
            };
            splice((from.as_raw_fd(), None), (to, None), 100, 0).unwrap()
        }));
        let (reader, writer, _) = full_pipe();
        readers.push(reader);
        let from = source();
        stuck.push(ex.start(move || match number % 3 {
            0 => code(tee(from.as_raw_fd(), writer.as_raw_fd(), 100, 0)),
            1 => code(vmsplice(writer.as_raw_fd(), &[IoSlice::new(TEXT)], 0)),
            _ => code(splice((from.as_raw_fd(), None), (writer.as_raw_fd(), None), 100, 0)),
        }));
    }
    still_wait(&starved);
    still_wait(&stuck);
    drop((writers, readers));
    assert_eq!(join_all(starved), [0; UNITS]);
    assert_eq!(join_all(stuck), [EPIPE; UNITS]);
}

/// SPLICE_F_NONBLOCK: EAGAIN from an empty pipe and to a full one.
pub fn nonblock_flag(ex: &dyn Executor) {
    ex.start(|| {
        let (empty, _writer) = pipe().unwrap();
        let (_reader, full, _) = full_pipe();
        let (_rest, room) = pipe().unwrap();
        let path = TempPath::with(TEXT);
        let file = File::options().read(true).write(true).open(&*path).unwrap();
        let (socket, _peer) = UnixStream::pair().unwrap();
        let flag = SPLICE_F_NONBLOCK;
        let end = |end: &dyn AsRawFd| end.as_raw_fd();
        for to in [end(&room), end(&file), end(&socket)] {
            assert_eq!(code(splice((end(&empty), None), (to, None), 8, flag)), EAGAIN);
        }
        for from in [end(&source()), end(&file)] {
            assert_eq!(code(splice((from, None), (end(&full), None), 8, flag)), EAGAIN);
        }
        assert_eq!(code(tee(end(&empty), end(&room), 8, flag)), EAGAIN);
        assert_eq!(code(tee(end(&source()), end(&full), 8, flag)), EAGAIN);
        assert_eq!(code(vmsplice(end(&full), &[IoSlice::new(TEXT)], flag)), EAGAIN);
    })
    .join();
}

/// O_NONBLOCK of the descriptors counts without a flag: between pipes, and for sockets.
pub fn nonblocking_descriptors(ex: &dyn Executor) {
    ex.start(|| {
        let (empty, _writer) = pipe().unwrap();
        let (_rest, room) = pipe().unwrap();
        raw::set_nonblocking_by_fcntl(empty.as_raw_fd()).unwrap();
        assert_eq!(
            code(splice((empty.as_raw_fd(), None), (room.as_raw_fd(), None), 8, 0)),
            EAGAIN
        );
        let tcp = tcp_pair();
        for socket in [OwnedFd::from(tcp.0), OwnedFd::from(UnixStream::pair().unwrap().0)] {
            raw::set_nonblocking_by_fcntl(socket.as_raw_fd()).unwrap();
            assert_eq!(
                code(splice((socket.as_raw_fd(), None), (room.as_raw_fd(), None), 8, 0)),
                EAGAIN
            );
        }
        let (full, _peer) = UnixStream::pair().unwrap();
        fill(full.as_raw_fd());
        raw::set_nonblocking_by_fcntl(full.as_raw_fd()).unwrap();
        assert_eq!(
            code(splice((source().as_raw_fd(), None), (full.as_raw_fd(), None), 8, 0)),
            EAGAIN
        );
    })
    .join();
}

/// An offset is moved and the file's own place is not; without one the file's own place moves.
pub fn offsets(ex: &dyn Executor) {
    join_all(ex.start_each(UNITS, |_| {
        let path = TempPath::with(b"0123456789");
        let mut file = File::options().read(true).write(true).open(&*path).unwrap();
        let (mut reader, writer) = pipe().unwrap();
        let fd = file.as_raw_fd();
        let mut place = 3;
        assert_eq!(
            splice((fd, Some(&mut place)), (writer.as_raw_fd(), None), 4, 0).unwrap(),
            4
        );
        assert_eq!((place, file.stream_position().unwrap()), (7, 0));
        assert_eq!(splice((fd, None), (writer.as_raw_fd(), None), 2, 0).unwrap(), 2);
        assert_eq!(file.stream_position().unwrap(), 2);
        let mut text = [0; 6];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"345601");
        (&writer).write_all(TEXT).unwrap();
        let mut place = 8;
        assert_eq!(
            splice((reader.as_raw_fd(), None), (fd, Some(&mut place)), 9, 0).unwrap(),
            5
        );
        assert_eq!((place, file.stream_position().unwrap()), (13, 2));
        assert_eq!(fs::read(&*path).unwrap(), b"01234567hello");
    }));
}
