//! Spin loops that yield let the owner run, also when there is one worker for both.

use crate::{Executor, join_all, raw};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// A spin lock over std's yield_now: the owner yields inside.
pub fn lock_with_yield_now(ex: &dyn Executor) {
    let state = Arc::new((AtomicBool::new(false), AtomicUsize::new(0)));
    let shared = Arc::clone(&state);
    join_all(ex.start_each(6, move |_| {
        for _ in 0..50 {
            while shared.0.swap(true, SeqCst) {
                yield_now();
            }
            let before = shared.1.load(SeqCst);
            yield_now();
            shared.1.store(before + 1, SeqCst);
            shared.0.store(false, SeqCst);
        }
    }));
    assert_eq!(state.1.load(SeqCst), 300);
}

/// The same over libc's sched_yield.
pub fn flag_with_sched_yield(ex: &dyn Executor) {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let spinner = ex.start(move || {
        while !seen.load(SeqCst) {
            raw::sched_yield().unwrap();
        }
    });
    ex.start(move || flag.store(true, SeqCst)).join();
    spinner.join();
}

/// Yielding spinners do not keep a sleeper from its time: the timers are polled.
pub fn spinners_let_sleepers_wake(ex: &dyn Executor) {
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&done);
    let spinners = ex.start_each(4, move |_| {
        while !seen.load(SeqCst) {
            yield_now();
        }
    });
    ex.start(move || {
        sleep(Duration::from_millis(10));
        done.store(true, SeqCst);
    })
    .join();
    join_all(spinners);
}
