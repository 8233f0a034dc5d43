//! Does a program's own handler of SIGURG get its signals, whether it was there before or came later?

use super::signals::{handle, own_thread, signal_thread};
use super::{SLICE, Stop, runtime};
use libc::c_int;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// One test at a time has the signal.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

static EARLY: AtomicUsize = AtomicUsize::new(0);
static LATE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn early(_: c_int) {
    EARLY.fetch_add(1, SeqCst);
}

extern "C" fn late(_: c_int) {
    LATE.fetch_add(1, SeqCst);
}

/// Computes on the only worker until another coroutine has had a turn.
fn is_preempted() {
    let stop = Stop::new();
    runtime(1, SLICE)
        .run(|| {
            let (count, ends) = (AtomicU64::new(0), stop.clone());
            let computes = silken::spawn(move || super::spin(&ends, &count));
            (0..5).for_each(|_| silken::sleep(Duration::from_millis(1)));
            stop.end();
            computes.join().unwrap();
        })
        .unwrap();
}

#[test]
fn a_handler_that_came_first_or_last_gets_what_the_monitor_has_not_sent() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    handle(libc::SIGURG, early, 0);
    is_preempted();
    signal_thread(own_thread(), libc::SIGURG);
    let by_us = EARLY.load(SeqCst);
    assert!(by_us >= 1);
    handle(libc::SIGURG, late, 0);
    // The monitor notices that its handler was replaced.
    is_preempted();
    signal_thread(own_thread(), libc::SIGURG);
    assert!(LATE.load(SeqCst) >= 1);
}

/// While the monitor's request cannot be obeyed, the program's signals are its own. They are sent to the process, as
/// the kernel does for urgent data: the monitor's are sent to the thread, and the kernel merges equal ones in one
/// queue.
#[test]
fn a_request_that_is_open_takes_no_signal_of_the_program() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn counts(_: c_int) {
        SEEN.fetch_add(1, SeqCst);
    }

    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    handle(libc::SIGURG, counts, libc::SA_ONSTACK);
    runtime(1, SLICE)
        .run(|| {
            let others = silken::spawn(|| silken::sleep(Duration::from_millis(1)));
            silken::no_preempt(|| {
                let begun = std::time::Instant::now();
                while begun.elapsed() < 20 * SLICE {}
                let before = SEEN.load(SeqCst);
                let process = std::process::id() as libc::pid_t;
                for sent in 1..=50 {
                    // SAFETY: S6: the signal has a handler.
                    assert_eq!(unsafe { libc::kill(process, libc::SIGURG) }, 0);
                    while SEEN.load(SeqCst) < before + sent {
                        assert!(begun.elapsed() < Duration::from_secs(60), "lost: {sent}");
                    }
                }
                assert_eq!(SEEN.load(SeqCst), before + 50);
            });
            others.join().unwrap();
        })
        .unwrap();
}
