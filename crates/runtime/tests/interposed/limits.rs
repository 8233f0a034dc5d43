//! A test that takes longer than its limit: it fails, and says what it waits for.
//!
//! The tests that hang are ignored. A child process, which is this binary again, runs some of them together with tests
//! that end; the tests here read what it prints.

use std::hint::spin_loop;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

const FAR: Duration = Duration::from_secs(3600);

/// Is never unlocked by whoever locks it first.
static HELD: Mutex<()> = Mutex::new(());

fn lock_for_ever() {
    std::thread::spawn(|| {
        let _guard = HELD.lock();
        loop {
            std::thread::park();
        }
    });
    while HELD.try_lock().is_ok() {
        std::thread::yield_now();
    }
}

#[silken::test(workers = 1, timeout = "400ms", grace = "10s")]
#[ignore = "it hangs; a child runs it"]
fn hangs_in_a_lock_of_std() {
    lock_for_ever();
    let waits = silken::Builder::new().name("second".to_string());
    drop(waits.spawn(|| drop(HELD.lock())).unwrap());
    drop(silken::spawn(|| silken::sleep(FAR)));
    drop(HELD.lock());
}

#[silken::test(workers = 1, timeout = "300ms", grace = "20ms")]
#[ignore = "it hangs; a child runs it"]
fn computes_for_ever() {
    loop {
        spin_loop();
    }
}

#[silken::test(timeout = Duration::from_millis(300))]
#[ignore = "it hangs; a child runs it"]
fn waits_for_a_message() {
    let (sender, receiver) = silken::channel::bounded::<()>(1);
    let _ = receiver.recv();
    drop(sender);
}

#[silken::test(timeout = "300ms")]
#[should_panic]
#[ignore = "it hangs; a child runs it"]
fn is_to_panic_and_hangs() {
    silken::sleep(FAR);
}

#[silken::test(timeout = "300ms")]
#[ignore = "it hangs; a child runs it"]
fn returns_something_and_hangs() -> Result<(), Box<dyn std::error::Error>> {
    silken::sleep(FAR);
    Ok(())
}

#[silken::test(timeout = "300ms")]
#[ignore = "it hangs; a child runs it"]
fn has_a_hundred_coroutines() {
    silken::scope(|s| {
        for _ in 0..100 {
            s.spawn(silken::park);
        }
    });
}

#[silken::test(timeout = "60s")]
#[ignore = "a child runs it"]
fn ends_in_time() {
    silken::sleep(Duration::from_millis(1));
}

#[silken::test(timeout = "60s")]
#[ignore = "a child runs it"]
#[should_panic(expected = "its own")]
fn panics_in_time() {
    silken::yield_now();
    panic!("its own");
}

#[silken::test(timeout = "60s")]
#[ignore = "a child runs it"]
fn returns_in_time() -> Result<(), Box<dyn std::error::Error>> {
    let _: u32 = "7".parse()?;
    Ok(())
}

#[silken::test(timeout = "60s")]
#[ignore = "a child runs it"]
fn fails_in_time() {
    assert_eq!(silken::spawn(|| 6).join().unwrap(), 7, "an ordinary failure");
}

/// Runs these tests in a child, one after the other. Returns what it prints.
fn run(tests: &[&str]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--test-threads=1"])
        .args(tests.iter().map(|test| format!("limits::{test}")))
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.concat()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn a_lock_that_is_never_unlocked() {
    let text = run(&["hangs_in_a_lock_of_std", "ends_in_time"]);
    let waits = "it waits for a lock, a channel or a condition of std or of a crate; a deadline cannot end that";
    assert_says(
        &text,
        &[
            "the test interposed::limits::hangs_in_a_lock_of_std has taken longer than its limit of 400ms",
            "3 coroutines of its runtime had not ended:",
            &format!("): {waits}, seen so for "),
            "'second' (spawned at ",
            "interposed/limits.rs:",
            "): it sleeps, seen so for ",
            "These did not end, and go on until the process ends",
            "test limits::ends_in_time ... ok",
            "1 passed; 1 failed",
        ],
    );
}

#[test]
fn a_computation_without_an_end() {
    let text = run(&["computes_for_ever", "ends_in_time"]);
    assert_says(
        &text,
        &[
            "limits::computes_for_ever has taken longer than its limit of 300ms. One coroutine",
            "it runs, or could, seen so for ",
            "These did not end, and go on",
            "nothing ends code that does not wait",
            "1 passed; 1 failed",
        ],
    );
}

#[test]
fn a_wait_that_a_cancellation_ends() {
    let text = run(&["waits_for_a_message"]);
    assert_says(
        &text,
        &[
            "limit of 300ms",
            "it waits to receive, seen so for ",
            "All were cancelled now, and have ended.",
            "0 passed; 1 failed",
        ],
    );
}

#[test]
fn a_hang_is_not_the_panic_that_was_expected() {
    let text = run(&["is_to_panic_and_hangs", "panics_in_time"]);
    assert_says(
        &text,
        &[
            "limits::is_to_panic_and_hangs has taken longer",
            "it sleeps",
            "test did not panic as expected",
            "1 passed; 1 failed",
        ],
    );
}

#[test]
fn a_test_that_returns_something() {
    let text = run(&["returns_something_and_hangs", "returns_in_time", "fails_in_time"]);
    assert_says(
        &text,
        &[
            "limits::returns_something_and_hangs has taken longer",
            "an ordinary failure",
            "1 passed; 2 failed",
        ],
    );
}

#[test]
fn many_coroutines_are_counted() {
    let text = run(&["has_a_hundred_coroutines"]);
    assert_says(
        &text,
        &[
            "101 coroutines of its runtime had not ended:",
            "it waits for the children of its scope",
            "and 37 more, spawned at crates/runtime/tests/interposed/limits.rs:",
            ": it is parked",
            "All were cancelled now, and have ended.",
        ],
    );
}
