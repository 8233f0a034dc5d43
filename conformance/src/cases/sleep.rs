//! thread::sleep and thread::yield_now: never early, never in the way of others.

use crate::rng;
use crate::{Executor, join_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

fn sleep_checked(duration: Duration) {
    let started = Instant::now();
    sleep(duration);
    assert!(
        started.elapsed() >= duration,
        "woke {:?} early",
        duration - started.elapsed()
    );
}

/// A sleep lasts at least as long as asked, for lengths around every granularity.
pub fn never_early(ex: &dyn Executor) {
    join_all(ex.start_each(4, |_| {
        for duration_us in [1, 50, 999, 1_000, 1_001, 1_500, 4_095, 4_097, 16_384, 33_000, 100_000] {
            sleep_checked(Duration::from_micros(duration_us));
        }
    }));
}

/// A sleep of nothing returns.
pub fn zero_returns(ex: &dyn Executor) {
    ex.start(|| (0..1_000).for_each(|_| sleep(Duration::ZERO))).join();
}

/// Sleeps of different units run side by side: one after the other they would take ten seconds.
pub fn sleeps_overlap(ex: &dyn Executor) {
    let started = Instant::now();
    join_all(ex.start_each(100, |_| sleep_checked(Duration::from_millis(100))));
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// A long sleeper does not hold up one that wants less, started later.
pub fn shorter_sleep_overtakes(ex: &dyn Executor) {
    let woke = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&woke);
    let long = ex.start(move || {
        sleep(Duration::from_millis(600));
        seen.load(SeqCst)
    });
    let short = ex.start(move || {
        sleep(Duration::from_millis(10));
        woke.store(true, SeqCst);
    });
    short.join();
    assert!(long.join());
}

/// Ten thousand units (a thousand where they are threads) sleep 1 to 50 ms; none wakes early.
pub fn ten_thousand_sleepers(ex: &dyn Executor) {
    let mut rng = rng::of_unit(rng::seed_of("ten_thousand_sleepers"), 0);
    let units: Vec<_> = (0..ex.many(10_000, 1_000))
        .map(|_| {
            let duration = Duration::from_micros(rng.u64(1_000..50_000));
            ex.start(move || sleep_checked(duration))
        })
        .collect();
    join_all(units);
}

/// Units that only yield all come to their end.
pub fn yielders_finish(ex: &dyn Executor) {
    join_all(ex.start_each(50, |_| (0..200).for_each(|_| yield_now())));
}
