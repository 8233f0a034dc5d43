//! silken::sync::SyncFlag: fired once, for ever.

use crate::probe::{FAR, SHORT};
use crate::{Executor, join_all};
use silken::sync::SyncFlag;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Instant;

/// It wakes all who wait, lets all through who come later, and what was done before is seen.
pub fn fires_for_ever(ex: &dyn Executor) {
    let (flag, value) = (Arc::new(SyncFlag::new()), Arc::new(AtomicUsize::new(0)));
    let (shared, seen) = (flag.clone(), value.clone());
    let units = ex.start_each(20, move |_| {
        shared.wait();
        seen.load(Relaxed)
    });
    sleep(SHORT);
    assert!(!flag.is_fired());
    value.store(7, Relaxed);
    flag.fire();
    flag.fire();
    assert_eq!(join_all(units), [7; 20]);
    ex.start(move || {
        flag.wait();
        assert!(flag.is_fired() && flag.wait_timeout(SHORT));
    })
    .join();
}

/// A limit is not cut short, and is not used up if the flag is fired.
pub fn timeouts(ex: &dyn Executor) {
    let flag = Arc::new(SyncFlag::new());
    let shared = flag.clone();
    let unit = ex.start(move || {
        let started = Instant::now();
        assert!(!shared.wait_timeout(SHORT));
        assert!(started.elapsed() >= SHORT && !shared.wait_deadline(started));
        shared.wait_timeout(FAR)
    });
    sleep(3 * SHORT);
    flag.fire();
    assert!(unit.join());
}

/// Who comes in the moment of the firing is not forgotten.
pub fn races(ex: &dyn Executor) {
    for _ in 0..100 {
        let flag = Arc::new(SyncFlag::new());
        let shared = flag.clone();
        let waiters = ex.start_each(2, move |_| shared.wait());
        flag.fire();
        join_all(waiters);
    }
}
