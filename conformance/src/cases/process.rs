//! Processes from a unit: std::process (wait, output, pipes to a child, kill), children that close what the parent
//! waits for, and ids.

use crate::{Executor, join_all, raw};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// output() collects both streams and the status.
pub fn output(ex: &dyn Executor) {
    join_all(ex.start_each(4, |unit| {
        let script = format!("echo out{unit}; echo err{unit} >&2; exit {unit}");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(output.status.code(), Some(unit as i32));
        assert_eq!(output.stdout, format!("out{unit}\n").as_bytes());
        assert_eq!(output.stderr, format!("err{unit}\n").as_bytes());
    }));
}

/// wait() waits for a child while other units go on: the child ends only when another unit closes its input.
pub fn wait_lets_others_run(ex: &dyn Executor) {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let input = child.stdin.take().unwrap();
    let waiter = ex.start(move || child.wait().unwrap().success());
    let closer = ex.start(move || {
        sleep(Duration::from_millis(20));
        drop(input);
    });
    closer.join();
    assert!(waiter.join());
}

/// A megabyte goes through a child, written by one unit and read by another.
pub fn through_a_child(ex: &dyn Executor) {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writer = ex.start(move || input.write_all(&vec![b'x'; 1 << 20]).unwrap());
    let reader = ex.start(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    writer.join();
    assert_eq!(reader.join(), 1 << 20);
    assert!(child.wait().unwrap().success());
}

/// kill() ends a child that another unit does not wait for.
pub fn kill(ex: &dyn Executor) {
    ex.start(|| {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    })
    .join();
}

/// A unit waits for a socket, a child of another closes its copy and puts another file in its place, data come: the
/// reader has them.
fn reader_survives(ex: &dyn Executor, child: impl FnOnce(RawFd) + Send + 'static) {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let fd = far.as_raw_fd();
    let reader = ex.start(move || {
        let mut bytes = [0; 3];
        far.read_exact(&mut bytes).unwrap();
        bytes
    });
    let parent = ex.start(move || {
        sleep(Duration::from_millis(20));
        child(fd);
        near.write_all(b"abc").unwrap();
        near
    });
    let _near = parent.join();
    assert_eq!(reader.join(), *b"abc");
}

fn close_and_replace(fd: RawFd) {
    let _ = raw::close(fd);
    let _ = raw::dup2(2, fd);
    let _ = raw::close(fd);
}

/// What the child of a fork closes stays open in the parent.
pub fn forked_child_closes(ex: &dyn Executor) {
    reader_survives(ex, |fd| assert!(raw::fork(|| close_and_replace(fd)).unwrap()));
}

/// The same between fork and exec.
pub fn child_closes_before_exec(ex: &dyn Executor) {
    reader_survives(ex, |fd| {
        let mut command = Command::new("true");
        raw::before_exec(&mut command, move || close_and_replace(fd));
        assert!(command.status().unwrap().success());
    });
}

/// The ids of the process are set by a unit while others compute and wait.
pub fn ids_are_set(ex: &dyn Executor) {
    let others = ex.start_each(8, |unit| {
        for round in 0..50u64 {
            (0..10_000).for_each(|_| std::hint::spin_loop());
            if (round + unit as u64).is_multiple_of(5) {
                sleep(Duration::from_micros(100));
            } else {
                std::thread::yield_now();
            }
        }
    });
    join_all(ex.start_each(2, |_| {
        for _ in 0..10 {
            raw::set_ids_unchanged().unwrap();
        }
    }));
    join_all(others);
}
