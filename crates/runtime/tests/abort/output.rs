//! Standard output that nobody reads for a while: printing is never refused, for `println!` panics then, and ends the
//! process in a destructor.

use super::{Case, End};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Far later than [`SOON`], also on a machine that is busy with other things.
const LATER: Duration = Duration::from_millis(600);
const SOON: Duration = Duration::from_millis(20);
/// More than the pipe holds.
const LINE_BYTES: usize = 100_000;

/// Makes `fd` standard output; gives what that was.
fn replace_output(fd: RawFd) -> OwnedFd {
    let saved = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    // SAFETY: S7: it takes numbers.
    assert_eq!(unsafe { libc::dup2(fd, 1) }, 1);
    saved
}

/// Calls `f` while standard output is a small pipe that is read from `LATER` on. Tells how much was read.
fn with_slow_output(f: impl FnOnce()) -> usize {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // SAFETY: S7: it takes numbers.
    assert!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 0);
    let saved = replace_output(writer.as_raw_fd());
    drop(writer);
    let drain = std::thread::spawn(move || {
        std::thread::sleep(LATER);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        text.len()
    });
    f();
    replace_output(saved.as_raw_fd());
    drain.join().unwrap()
}

fn print_a_line() {
    println!("{}", "x".repeat(LINE_BYTES));
}

fn print_while_cancelled() {
    let read = with_slow_output(|| {
        let printer = silken::spawn(|| {
            print_a_line();
            silken::yield_now();
            unreachable!("the next wait of silken's unwinds");
        });
        std::thread::sleep(SOON);
        printer.cancel();
        assert!(printer.join().unwrap_err().is_cancelled());
    });
    assert_eq!(read, LINE_BYTES + 1);
}

fn print_out_of_time() {
    let read = with_slow_output(|| {
        let printer = silken::spawn(|| {
            let answer = silken::timeout(SOON, || {
                print_a_line();
                silken::yield_now();
            });
            assert_eq!(answer, Err(silken::Elapsed));
        });
        printer.join().unwrap();
    });
    assert_eq!(read, LINE_BYTES + 1);
}

struct Prints;

impl Drop for Prints {
    fn drop(&mut self) {
        print_a_line();
    }
}

fn print_in_a_destructor() {
    let read = with_slow_output(|| {
        let printer = silken::spawn(|| {
            let _prints = Prints;
            silken::park();
        });
        std::thread::sleep(SOON / 2);
        printer.cancel();
        assert!(printer.join().unwrap_err().is_cancelled());
    });
    assert_eq!(read, LINE_BYTES + 1);
}

/// The main of a program whose output nobody reads any more: it ends, soon, and says who has not.
fn output_that_nobody_reads() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let grace = Duration::from_secs(60);
    let runtime = silken::Runtime::builder().workers(1).grace(grace).build().unwrap();
    let begun = std::time::Instant::now();
    let saved = replace_output(writer.as_raw_fd());
    let ended = runtime.run(|| {
        let _ = silken::Builder::new().name("printer".into()).spawn(print_a_line);
        silken::sleep(SOON);
    });
    ended.unwrap();
    assert!(begun.elapsed() < grace / 2, "it was given up at once");
    replace_output(saved.as_raw_fd());
    // The printer holds std's lock of the output for ever, so the parent is told without it.
    let mut output = std::fs::File::from(saved);
    output.write_all(super::RETURNED.as_bytes()).unwrap();
    // SAFETY: S7: it takes a number, and does not return.
    unsafe { libc::_exit(0) };
}

pub(super) fn cases() -> Vec<Case> {
    const PANICS: &[&str] = &["failed printing", "panicked"];
    let completes = |name, run| Case::new(name, run, End::Returns).says_not(PANICS);
    vec![
        completes("output::printing_is_not_cancelled", print_while_cancelled),
        completes("output::printing_outlasts_a_timeout", print_out_of_time),
        completes("output::printing_in_a_destructor", print_in_a_destructor),
        Case::new("output::that_nobody_reads", output_that_nobody_reads, End::Returns).says(&[
            "silken: coroutine 'printer' (spawned at ",
            "did not end: it waits to write",
        ]),
    ]
}
