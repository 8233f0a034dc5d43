//! silken::sync::WaitGroup: waits for all members, however they leave.

use crate::harness::deliberate_panic;
use crate::probe::{FAR, SHORT};
use crate::{Executor, join_all};
use silken::sync::WaitGroup;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The wait ends when all clones have gone, and what they did is seen.
pub fn waits_for_all(ex: &dyn Executor) {
    let (group, count) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
    let units: Vec<_> = (0..20)
        .map(|number| {
            let (member, count) = (group.clone(), count.clone());
            ex.start(move || {
                silken::sleep(Duration::from_micros(50 * number));
                count.fetch_add(1, SeqCst);
                drop(member);
            })
        })
        .collect();
    group.wait();
    assert_eq!(count.load(SeqCst), 20);
    join_all(units);
}

/// A member that panics leaves.
pub fn panic_leaves(ex: &dyn Executor) {
    let group = WaitGroup::new();
    let member = group.clone();
    let unit = ex.start(move || {
        let _member = member;
        deliberate_panic();
    });
    group.wait();
    assert!(unit.try_join().is_err());
}

/// Members without a handle, as Go has them; and again for the next round.
pub fn add_and_done(ex: &dyn Executor) {
    let group = Arc::new(WaitGroup::new());
    for round in 1..=5 {
        group.add(10);
        assert!(group.members() >= 1);
        let shared = group.clone();
        let count = Arc::new(AtomicUsize::new(0));
        let seen = count.clone();
        let units = ex.start_each(10, move |_| {
            seen.fetch_add(round, SeqCst);
            shared.done();
        });
        group.wait_others();
        assert_eq!((count.load(SeqCst), group.members()), (10 * round, 1));
        join_all(units);
    }
}

/// Several may wait for each other: they all go when each has come.
pub fn members_wait_for_each_other(ex: &dyn Executor) {
    let (group, arrived) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
    let units: Vec<_> = (0..8)
        .map(|_| {
            let (member, arrived) = (group.clone(), arrived.clone());
            ex.start(move || {
                arrived.fetch_add(1, SeqCst);
                member.wait();
                arrived.load(SeqCst)
            })
        })
        .collect();
    drop(group);
    assert_eq!(join_all(units), [8; 8]);
}

/// A limit runs out, not early, and the waiter is a member again.
pub fn timeout_expires(ex: &dyn Executor) {
    let group = WaitGroup::new();
    let member = group.clone();
    let unit = ex.start(move || {
        let started = Instant::now();
        let group = group.wait_timeout(SHORT).unwrap_err();
        assert!(started.elapsed() >= SHORT && group.members() == 2);
        assert!(!group.wait_others_timeout(Duration::from_millis(1)));
        assert!(group.wait_timeout(FAR).is_ok());
    });
    std::thread::sleep(3 * SHORT);
    drop(member);
    unit.join();
}
