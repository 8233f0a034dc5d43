//! std::process from a unit: wait, output, pipes to a child, kill.

use crate::{Executor, join_all};
use std::io::{Read, Write};
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
