//! The reentrant locks of stdout and stderr: their owner is the unit, also over a wait.

use crate::{Executor, harness, join_all};
use std::io::{Write, stderr, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// stderr's lock held over a sleep keeps other units out.
pub fn stderr_lock_excludes(ex: &dyn Executor) {
    let inside = Arc::new(AtomicBool::new(false));
    join_all(ex.start_each(50, move |_| {
        let _guard = stderr().lock();
        assert!(!inside.swap(true, SeqCst), "two units hold stderr's lock");
        sleep(Duration::from_millis(1));
        inside.store(false, SeqCst);
    }));
}

/// The owner may lock again, after a wait too, and nobody slips in between.
pub fn stderr_lock_is_reentrant(ex: &dyn Executor) {
    let inside = Arc::new(AtomicBool::new(false));
    join_all(ex.start_each(20, move |_| {
        let outer = stderr().lock();
        assert!(!inside.swap(true, SeqCst));
        yield_now();
        drop(stderr().lock());
        sleep(Duration::from_millis(1));
        let inner = stderr().lock();
        inside.store(false, SeqCst);
        drop((inner, outer));
    }));
}

/// Lines that 1,000 units write in two halves under stdout's lock, with a sleep between, come out whole.
///
/// Runs in a child whose stdout is a pipe: what the case asserts is what another process reads.
pub fn stdout_lines_stay_whole(ex: &dyn Executor) {
    const UNITS: usize = 1_000;
    if harness::is_child("stdout") {
        println!();
        join_all(ex.start_each(UNITS, |unit| {
            let mut out = stdout().lock();
            write!(out, "unit {unit} ").unwrap();
            sleep(Duration::from_micros(100));
            println!("done {unit}");
            drop(out);
            println!("plain {unit} line");
        }));
        return;
    }
    let output = harness::run_in_child("stdout");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let whole = |line: &&str| match line.split(' ').collect::<Vec<_>>()[..] {
        ["unit", first, "done", second] => first == second,
        _ => false,
    };
    assert_eq!(text.lines().filter(whole).count(), UNITS);
    let plain = text
        .lines()
        .filter(|line| line.starts_with("plain ") && line.ends_with(" line"))
        .count();
    assert_eq!(plain, UNITS);
    // Each line is one of the two sorts or the test harness's own: nothing was cut in two.
    assert_eq!(text.matches("unit ").count(), UNITS);
    assert_eq!(text.matches("plain ").count(), UNITS);
}
