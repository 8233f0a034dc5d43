//! silken::sync::Barrier: rounds are kept apart, and each has one leader.

use crate::probe::{FAR, SHORT};
use crate::{Executor, join_all};
use silken::sync::Barrier;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// Nobody passes before all have come, round after round, and each round has one leader.
pub fn rounds_and_leaders(ex: &dyn Executor) {
    let (barrier, arrived) = (Arc::new(Barrier::new(6)), Arc::new(AtomicUsize::new(0)));
    let led = join_all(ex.start_each(6, move |_| {
        let mut led = 0;
        for round in 1..=30 {
            arrived.fetch_add(1, SeqCst);
            led += usize::from(barrier.wait().is_leader());
            assert!(arrived.load(SeqCst) >= 6 * round);
            barrier.wait();
            assert!(arrived.load(SeqCst) <= 6 * (round + 1));
        }
        led
    }));
    assert_eq!(led.iter().sum::<usize>(), 30);
}

/// One who gives up is not counted: the round waits for another.
pub fn timeout_leaves(ex: &dyn Executor) {
    let barrier = Arc::new(Barrier::new(2));
    let shared = barrier.clone();
    ex.start(move || {
        let started = Instant::now();
        assert!(shared.wait_timeout(SHORT).is_none());
        assert!(started.elapsed() >= SHORT);
    })
    .join();
    let shared = barrier.clone();
    let other = ex.start(move || shared.wait_timeout(FAR).unwrap().is_leader());
    assert_ne!(barrier.wait().is_leader(), other.join());
}

/// A barrier for one, or for none, holds nobody up.
pub fn of_one(ex: &dyn Executor) {
    ex.start(|| {
        for size in [0, 1] {
            let barrier = Barrier::new(size);
            assert!((0..10).all(|_| barrier.wait().is_leader()));
        }
    })
    .join();
}

/// Units and OS threads of std's meet.
pub fn with_os_threads(ex: &dyn Executor) {
    static MEETING: Barrier = Barrier::new(6);
    let units = ex.start_each(3, |_| (0..30).filter(|_| MEETING.wait().is_leader()).count());
    let threads: Vec<_> = (0..3)
        .map(|_| std::thread::spawn(|| (0..30).filter(|_| MEETING.wait().is_leader()).count()))
        .collect();
    let led: usize = join_all(units).iter().sum();
    let others: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(led + others, 30);
}
