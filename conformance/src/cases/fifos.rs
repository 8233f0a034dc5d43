//! Opening a FIFO: each side waits for the other in open itself, with more units than there are workers.

use crate::help::{TempPath, UNITS, code, still_wait};
use crate::raw::files::{Stream, mkfifo, open};
use crate::{Executor, join_all, raw};
use libc::{EAGAIN, ENXIO, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

type Fifos = Arc<Vec<TempPath>>;

fn fifos() -> Fifos {
    let make = |_| {
        let path = TempPath::new();
        mkfifo(&path).unwrap();
        path
    };
    Arc::new((0..UNITS).map(make).collect())
}

/// A side of a FIFO; the number chooses how it is opened.
fn reader(path: &Path, number: usize) -> File {
    match number % 3 {
        0 => File::open(path).unwrap(),
        1 => open(path, O_RDONLY).unwrap().into(),
        _ => File::options().read(true).open(path).unwrap(),
    }
}

fn writer(path: &Path, number: usize) -> File {
    match number % 3 {
        0 => File::options().write(true).open(path).unwrap(),
        1 => open(path, O_WRONLY).unwrap().into(),
        _ => File::create(path).unwrap(),
    }
}

/// All readers open first and wait; then the writers come.
pub fn readers_first(ex: &dyn Executor) {
    let fifos = fifos();
    let paths = Arc::clone(&fifos);
    let readers = ex.start_each(UNITS, move |unit| {
        let mut text = String::new();
        reader(&paths[unit], unit).read_to_string(&mut text).unwrap();
        text
    });
    still_wait(&readers);
    join_all(ex.start_each(UNITS, move |unit| {
        writer(&fifos[unit], unit).write_all(b"hello").unwrap();
    }));
    assert!(join_all(readers).iter().all(|text| text == "hello"));
}

/// All writers open first and wait; then the readers come.
pub fn writers_first(ex: &dyn Executor) {
    let fifos = fifos();
    let paths = Arc::clone(&fifos);
    let writers = ex.start_each(UNITS, move |unit| {
        writer(&paths[unit], unit).write_all(b"hello").unwrap();
    });
    still_wait(&writers);
    let readers = ex.start_each(UNITS, move |unit| {
        let mut text = String::new();
        reader(&fifos[unit], unit).read_to_string(&mut text).unwrap();
        text
    });
    assert!(join_all(readers).iter().all(|text| text == "hello"));
    join_all(writers);
}

/// fopen for reading waits for writers. What the stream itself reads inside libc is not the point: its number is read.
pub fn stream_readers_first(ex: &dyn Executor) {
    let fifos = fifos();
    let paths = Arc::clone(&fifos);
    let readers = ex.start_each(UNITS, move |unit| {
        let stream = Stream::open(&paths[unit], c"r").unwrap();
        let (mut bytes, mut text) = ([0; 8], Vec::new());
        while let length @ 1.. = raw::read(stream.number(), &mut bytes).unwrap() {
            text.extend_from_slice(&bytes[..length]);
        }
        stream.close().unwrap();
        text
    });
    still_wait(&readers);
    join_all(ex.start_each(UNITS, move |unit| {
        let mut stream = Stream::open(&fifos[unit], c"w").unwrap();
        stream.put(c"hello\n").unwrap();
        stream.close().unwrap();
    }));
    assert!(join_all(readers).iter().all(|text| text == b"hello\n"));
}

/// fopen for writing waits for readers.
pub fn stream_writers_first(ex: &dyn Executor) {
    let fifos = fifos();
    let paths = Arc::clone(&fifos);
    let writers = ex.start_each(UNITS, move |unit| {
        let mut stream = Stream::open(&paths[unit], c"w").unwrap();
        stream.put(c"hello\n").unwrap();
        stream.close().unwrap();
    });
    still_wait(&writers);
    let texts = ex.start_each(UNITS, move |unit| fs::read_to_string(&*fifos[unit]).unwrap());
    assert!(join_all(texts).iter().all(|text| text == "hello\n"));
    join_all(writers);
}

/// With O_NONBLOCK a writer without a reader is refused at once, a reader and both sides at once need nobody.
pub fn nonblocking_open(ex: &dyn Executor) {
    let path = TempPath::new();
    mkfifo(&path).unwrap();
    ex.start(move || {
        assert_eq!(code(open(&path, O_WRONLY | O_NONBLOCK)), ENXIO);
        let both = open(&path, O_RDWR).unwrap();
        assert_eq!(raw::write(both.as_raw_fd(), b"self").unwrap(), 4);
        assert_eq!(raw::read(both.as_raw_fd(), &mut [0; 8]).unwrap(), 4);
        drop(both);
        let reader = open(&path, O_RDONLY | O_NONBLOCK).unwrap();
        // Without a writer it is at its end; with a silent one there is nothing yet.
        assert_eq!(raw::read(reader.as_raw_fd(), &mut [0; 8]).unwrap(), 0);
        let writer = open(&path, O_WRONLY | O_NONBLOCK).unwrap();
        assert_eq!(code(raw::read(reader.as_raw_fd(), &mut [0; 8])), EAGAIN);
        assert_eq!(raw::write(writer.as_raw_fd(), b"text").unwrap(), 4);
        assert_eq!(raw::read(reader.as_raw_fd(), &mut [0; 8]).unwrap(), 4);
    })
    .join();
}

/// A server that opens its FIFO again for each client: readers and writers wait for each other in turn.
pub fn opened_again_and_again(ex: &dyn Executor) {
    const ROUNDS: u8 = 20;
    let fifos = fifos();
    let paths = Arc::clone(&fifos);
    let servers = ex.start_each(UNITS, move |unit| {
        for round in 0..ROUNDS {
            let mut bytes = Vec::new();
            reader(&paths[unit], unit).read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [round]);
            // The answer keeps the client from writing into the reader of the round before.
            writer(&paths[unit], unit).write_all(&[round + 1]).unwrap();
        }
    });
    join_all(ex.start_each(UNITS, move |unit| {
        for round in 0..ROUNDS {
            writer(&fifos[unit], unit).write_all(&[round]).unwrap();
            let mut bytes = Vec::new();
            reader(&fifos[unit], unit).read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [round + 1]);
        }
    }));
    join_all(servers);
}
