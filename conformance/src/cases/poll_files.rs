//! poll with a regular file among what can be waited for: a file is always ready, for those who ask.

use crate::help::{LONG, SHORT, TempPath, UNITS, code, still_wait};
use crate::{Executor, join_all, raw};
use libc::{POLLHUP, POLLIN, POLLOUT};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::fd::AsRawFd;
use std::time::Instant;

const WAIT_MS: i32 = LONG.as_millis() as i32;

fn file() -> (TempPath, File) {
    let path = TempPath::with(b"text");
    let file = File::open(&*path).unwrap();
    (path, file)
}

/// A file that is asked for is ready at once, whatever else is waited for.
pub fn file_is_ready(ex: &dyn Executor) {
    join_all(ex.start_each(UNITS, |_| {
        let (_path, file) = file();
        let (reader, _writer) = pipe().unwrap();
        for (events, timeout) in [(POLLIN, -1), (POLLOUT, WAIT_MS), (POLLIN | POLLOUT, 0)] {
            let mut fds = [
                raw::pollfd(file.as_raw_fd(), events),
                raw::pollfd(reader.as_raw_fd(), POLLIN),
            ];
            assert_eq!(raw::poll(&mut fds, timeout).unwrap(), 1);
            assert_eq!((fds[0].revents, fds[1].revents), (events, 0));
        }
        let mut fds = [raw::pollfd(file.as_raw_fd(), POLLIN)];
        assert_eq!(raw::ppoll(&mut fds, LONG).unwrap(), 1);
        assert_eq!(raw::select_readable(file.as_raw_fd(), LONG).unwrap(), 1);
    }));
}

fn wait_for_pipes(ex: &dyn Executor, poll: fn(&File, &PipeReader), end: fn(PipeWriter)) {
    let (readers, writers): (Vec<_>, Vec<_>) = (0..UNITS).map(|_| pipe().unwrap()).unzip();
    let start = |reader: PipeReader| {
        ex.start(move || {
            let (_path, file) = file();
            poll(&file, &reader);
        })
    };
    let units: Vec<_> = readers.into_iter().map(start).collect();
    still_wait(&units);
    writers.into_iter().for_each(end);
    join_all(units);
}

fn write_and_keep(mut writer: PipeWriter) {
    writer.write_all(b"x").unwrap();
}

/// A file that nothing is asked of does not end the wait for a pipe; a write does.
pub fn silent_file_and_a_pipe(ex: &dyn Executor) {
    let poll = |file: &File, reader: &PipeReader| {
        let mut fds = [
            raw::pollfd(file.as_raw_fd(), 0),
            raw::pollfd(reader.as_raw_fd(), POLLIN),
        ];
        assert_eq!(raw::poll(&mut fds, WAIT_MS).unwrap(), 1);
        assert_eq!((fds[0].revents, fds[1].revents & POLLIN), (0, POLLIN));
    };
    wait_for_pipes(ex, poll, write_and_keep);
}

/// The same without an end to the time, with the file last and twice, by ppoll.
pub fn silent_files_anywhere(ex: &dyn Executor) {
    let poll = |file: &File, reader: &PipeReader| {
        let silent = || raw::pollfd(file.as_raw_fd(), 0);
        let pipe = || raw::pollfd(reader.as_raw_fd(), POLLIN);
        let mut fds = [pipe(), silent(), raw::pollfd(-1, POLLIN), silent()];
        assert_eq!(raw::poll(&mut fds, -1).unwrap(), 1);
        assert_eq!(fds.map(|fd| fd.revents != 0), [true, false, false, false]);
        let mut fds = [silent(), pipe(), silent()];
        assert_eq!(raw::ppoll(&mut fds, LONG).unwrap(), 1);
        assert_eq!(fds.map(|fd| fd.revents != 0), [false, true, false]);
    };
    wait_for_pipes(ex, poll, write_and_keep);
}

/// The end of the pipe's writer is told beside a silent file, even to one who asks nothing of the pipe.
pub fn silent_file_and_an_end(ex: &dyn Executor) {
    let poll = |file: &File, reader: &PipeReader| {
        let mut fds = [raw::pollfd(file.as_raw_fd(), 0), raw::pollfd(reader.as_raw_fd(), 0)];
        assert_eq!(raw::poll(&mut fds, -1).unwrap(), 1);
        assert_eq!((fds[0].revents, fds[1].revents), (0, POLLHUP));
    };
    wait_for_pipes(ex, poll, drop);
}

/// Silent files alone are waited for until the time is over, not less.
pub fn silent_files_alone(ex: &dyn Executor) {
    join_all(ex.start_each(UNITS, |_| {
        let (_path, file) = file();
        let directory = File::open("/").unwrap();
        let mut fds = [file.as_raw_fd(), directory.as_raw_fd()].map(|fd| raw::pollfd(fd, 0));
        let started = Instant::now();
        assert_eq!(raw::poll(&mut fds, SHORT.as_millis() as i32).unwrap(), 0);
        assert!(started.elapsed() >= SHORT);
        assert_eq!(raw::ppoll(&mut fds, SHORT).unwrap(), 0);
        assert!(started.elapsed() >= 2 * SHORT);
        assert!(fds.iter().all(|fd| fd.revents == 0));
    }));
}

/// Many silent files and one pipe in one call.
pub fn many_silent_files(ex: &dyn Executor) {
    let poll = |file: &File, reader: &PipeReader| {
        let files: Vec<_> = (0..20).map(|_| file.try_clone().unwrap()).collect();
        let mut fds: Vec<_> = files.iter().map(|file| raw::pollfd(file.as_raw_fd(), 0)).collect();
        fds.insert(7, raw::pollfd(reader.as_raw_fd(), POLLIN));
        assert_eq!(raw::poll(&mut fds, WAIT_MS).unwrap(), 1);
        assert_eq!(fds.iter().position(|fd| fd.revents != 0), Some(7));
    };
    wait_for_pipes(ex, poll, write_and_keep);
}

/// epoll refuses a regular file, and a device that cannot be waited for.
pub fn epoll_refuses_files(ex: &dyn Executor) {
    ex.start(|| {
        let (_path, file) = file();
        let epoll = raw::epoll_create().unwrap();
        for file in [file, File::open("/").unwrap(), File::open("/dev/null").unwrap()] {
            assert_eq!(code(raw::epoll_add(epoll.as_raw_fd(), file.as_raw_fd())), libc::EPERM);
        }
    })
    .join();
}

/// A number that the kernel does not look at, since its table of descriptors ends before: the call waits its time.
pub fn select_beyond_the_table(ex: &dyn Executor) {
    join_all(ex.start_each(UNITS, |_| {
        let begun = Instant::now();
        assert_eq!(raw::select_readable(900, SHORT).unwrap(), 0);
        assert!(begun.elapsed() >= SHORT);
    }));
}
