//! Locks and channels of std between coroutines that are interrupted at any instruction: nothing is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
use std::time::Instant;

const USERS: usize = 4;

/// Uses them until the time is up. Panics if a count is not what it must be.
pub fn use_locks_and_channels(end: Instant) {
    silken::scope(|scope| {
        scope.spawn(|| locks(end));
        scope.spawn(|| messages(end));
        scope.spawn(|| turns(end));
    });
}

fn locks(end: Instant) {
    // Relaxed: read after the joins.
    let (under_lock, beside_it) = (Mutex::new((0_u64, BTreeMap::new())), AtomicU64::new(0));
    let shared = RwLock::new((0_u64, 0_u64));
    silken::scope(|scope| {
        for user in 0..USERS {
            let (under_lock, beside_it, shared) = (&under_lock, &beside_it, &shared);
            scope.spawn(move || {
                while Instant::now() < end {
                    for k in 0..100 {
                        let mut held = under_lock.lock().unwrap();
                        held.0 += 1;
                        *held.1.entry(k % 7 + user as u64).or_insert(0_u64) += 1;
                        drop(held);
                        beside_it.fetch_add(1, Ordering::Relaxed);
                        let seen = *shared.read().unwrap();
                        assert_eq!(seen.0, seen.1);
                        if k % 10 == 0 {
                            let mut both = shared.write().unwrap();
                            both.0 += 1;
                            both.1 += 1;
                        }
                    }
                }
            });
        }
    });
    let (count, each) = under_lock.into_inner().unwrap();
    assert_eq!(count, beside_it.into_inner());
    assert_eq!(count, each.values().sum::<u64>());
}

fn messages(end: Instant) {
    let (sender, receiver) = mpsc::sync_channel::<u64>(8);
    // Relaxed: read after the last sender is gone.
    let sent = AtomicU64::new(0);
    silken::scope(|scope| {
        for _ in 0..USERS {
            let (sender, sent) = (sender.clone(), &sent);
            scope.spawn(move || {
                let mut k = 0;
                while Instant::now() < end {
                    k += 1;
                    sender.send(k).unwrap();
                    sent.fetch_add(k, Ordering::Relaxed);
                }
            });
        }
        drop(sender);
        let received: u64 = receiver.iter().sum();
        assert_eq!(received, sent.load(Ordering::Relaxed));
    });
}

fn turns(end: Instant) {
    let pair = Arc::new((Mutex::new(0_u64), Condvar::new()));
    silken::scope(|scope| {
        for own in 0..2 {
            let pair = pair.clone();
            scope.spawn(move || {
                let (turn, changed) = &*pair;
                let mut at = own;
                while Instant::now() < end {
                    let held = turn.lock().unwrap();
                    let (mut held, waited) = changed
                        .wait_timeout_while(held, std::time::Duration::from_millis(50), |turn| *turn != at)
                        .unwrap();
                    if !waited.timed_out() {
                        *held += 1;
                        at += 2;
                        changed.notify_all();
                    }
                }
            });
        }
    });
}
