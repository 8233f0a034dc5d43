//! silken::sync::Notify: one notification wakes one, or is kept for one.

use crate::probe::{FAR, SHORT, coroutine};
use crate::{Executor, join_all};
use silken::sync::Notify;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A notification that nobody waits for is kept, and several are kept as one.
pub fn kept_once(ex: &dyn Executor) {
    let notify = Arc::new(Notify::new());
    (0..3).for_each(|_| notify.notify_one());
    ex.start(move || {
        notify.notified();
        assert!(!notify.notified_timeout(Duration::from_millis(2)));
    })
    .join();
}

/// Each notification wakes one of those who wait, and no more.
pub fn wakes_one(ex: &dyn Executor) {
    let (notify, woken) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (shared, count) = (notify.clone(), woken.clone());
    let units = ex.start_each(5, move |_| {
        shared.notified();
        count.fetch_add(1, SeqCst);
    });
    for number in 1..=5 {
        notify.notify_one();
        let deadline = Instant::now() + Duration::from_secs(20);
        while woken.load(SeqCst) < number {
            assert!(Instant::now() < deadline);
            silken::yield_now();
        }
        sleep(Duration::from_millis(1));
        assert_eq!(woken.load(SeqCst), number);
    }
    join_all(units);
}

/// notify_waiters wakes all who wait, and is not kept.
pub fn wakes_all(ex: &dyn Executor) {
    let notify = Arc::new(Notify::new());
    notify.notify_waiters();
    let (shared, ready) = (notify.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = ready.clone();
    let units = ex.start_each(6, move |_| {
        assert!(!shared.notified_timeout(Duration::from_micros(1)), "it was kept");
        seen.fetch_add(1, SeqCst);
        shared.notified();
        seen.fetch_add(1, SeqCst);
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while ready.load(SeqCst) < 12 {
        assert!(Instant::now() < deadline);
        // Again, for those who were not yet there.
        if ready.load(SeqCst) >= 6 {
            notify.notify_waiters();
        }
        silken::yield_now();
    }
    join_all(units);
}

/// Limits that run out while notifications come lose none: each is had by one, or kept.
pub fn timeouts_race_notifications(ex: &dyn Executor) {
    let notify = Arc::new(Notify::new());
    let (shared, had) = (notify.clone(), Arc::new(AtomicUsize::new(0)));
    let count = had.clone();
    let waiter = ex.start(move || {
        while count.load(SeqCst) < 60 {
            if shared.notified_timeout(Duration::from_micros(100)) {
                count.fetch_add(1, SeqCst);
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    for number in 1..=60 {
        notify.notify_one();
        while had.load(SeqCst) < number {
            assert!(Instant::now() < deadline, "a notification was lost");
            silken::sleep(Duration::from_micros(90));
        }
    }
    waiter.join();
}

/// A limit is not cut short, and is not used up if a notification comes.
pub fn timeouts(ex: &dyn Executor) {
    let notify = Arc::new(Notify::new());
    let shared = notify.clone();
    let unit = ex.start(move || {
        let started = Instant::now();
        assert!(!shared.notified_timeout(SHORT));
        assert!(started.elapsed() >= SHORT && !shared.notified_deadline(started));
        shared.notified_timeout(FAR)
    });
    sleep(3 * SHORT);
    notify.notify_one();
    assert!(unit.join());
}

/// Coroutines only: a notification on its way to one who is cancelled goes to the next, or is kept.
pub fn cancelled_waiter(ex: &dyn Executor) {
    let notify = Arc::new(Notify::new());
    for _ in 0..20 {
        let units: Vec<_> = (0..2)
            .map(|_| {
                let shared = notify.clone();
                coroutine(ex, move || shared.notified())
            })
            .collect();
        silken::sleep(Duration::from_micros(200));
        notify.notify_one();
        units.iter().for_each(|unit| unit.cancel());
        let had = units.into_iter().filter_map(|unit| unit.join().ok()).count();
        assert_eq!(had + usize::from(notify.notified_timeout(Duration::from_micros(1))), 1);
    }
}
