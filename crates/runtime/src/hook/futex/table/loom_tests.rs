//! Are the races of the table harmless? These are models on one bucket: no wake is lost, wake and timeout settle a wait
//! once, and a waiter that has returned is not touched.
//!
//! A lost wake shows as a waiter that waits for ever, which loom reports. The ticket shows that a returned waiter is
//! left alone, and loom checks it: `FutexWaiter::reuse` writes the ticket as the next user of the stack would.

use super::{ANY, FutexWaiter, Table};
use crate::coroutine::{Outcome, WaitCell};
use crate::loom::atomic::{AtomicU32, Ordering};
use loom::sync::Arc;
use loom::thread;

const ADDRESS: usize = 64;
const OTHER_ADDRESS: usize = 128;

impl FutexWaiter {
    fn reuse(&self) {
        // SAFETY: S8: the model checks that no other thread has access.
        self.ticket.with_mut(|ticket| unsafe { *ticket = 0 });
    }
}

struct World {
    table: Table<1>,
    word: AtomicU32,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Table::new(),
            word: AtomicU32::new(0),
        })
    }

    /// Waits while the word is 0; `None` if it was not 0.
    fn wait(&self, waiter: &FutexWaiter) -> Option<Outcome> {
        // SAFETY: S8: the caller keeps the waiter, and it is withdrawn below.
        if !unsafe { self.table.enlist(waiter, || self.word.load(Ordering::SeqCst) == 0) } {
            return None;
        }
        let outcome = loop {
            match waiter.cell.outcome() {
                Some(outcome) => break outcome,
                None => thread::yield_now(),
            }
        };
        if outcome == Outcome::TimedOut {
            self.table.withdraw(waiter);
        }
        waiter.reuse();
        Some(outcome)
    }

    /// Changes the word, with the weakest ordering that a user may choose, and wakes.
    fn wake(&self, limit: usize) -> usize {
        self.word.store(1, Ordering::Relaxed);
        self.table.wake(ADDRESS, ANY, limit)
    }
}

fn waiter_at(address: usize) -> Arc<FutexWaiter> {
    Arc::new(FutexWaiter::new(address, ANY, WaitCell::new()))
}

#[test]
fn loom_no_wake_is_lost() {
    loom::model(|| {
        let world = World::new();
        let waker = thread::spawn({
            let world = world.clone();
            move || world.wake(1)
        });
        let outcome = world.wait(&waiter_at(ADDRESS));
        let woken = waker.join().unwrap();
        assert_eq!(outcome, (woken == 1).then_some(Outcome::Woken));
        assert_eq!(world.table.registered(), 0);
    });
}

#[test]
fn loom_wake_against_timeout_settles_once() {
    loom::model(|| {
        let world = World::new();
        let waiter = waiter_at(ADDRESS);
        let waker = thread::spawn({
            let world = world.clone();
            move || world.wake(1)
        });
        let timer = thread::spawn({
            let waiter = waiter.clone();
            move || waiter.cell.settle(Outcome::TimedOut)
        });
        let outcome = world.wait(&waiter);
        let woken = waker.join().unwrap();
        let timed_out = timer.join().unwrap();
        match outcome {
            None => assert_eq!(woken, 0),
            Some(Outcome::Woken) => assert!(woken == 1 && !timed_out),
            Some(other) => assert!(other == Outcome::TimedOut && woken == 0 && timed_out),
        }
        assert_eq!(world.table.registered(), 0);
    });
}

/// Two waiters in one bucket against one wake of all: neither stays behind, and the count tells how many were asleep.
/// They do not wait, since two spinning threads make too many paths. Instead, a waiter that was listed must have been
/// settled when all is done.
#[test]
fn loom_a_wake_of_all_finds_all() {
    loom::model(|| {
        let world = World::new();
        let enlist = || {
            let (world, waiter) = (world.clone(), waiter_at(ADDRESS));
            thread::spawn(move || {
                // SAFETY: S8: counted, and dropped after the table's last use.
                let listed = unsafe { world.table.enlist(&waiter, || world.word.load(Ordering::SeqCst) == 0) };
                (waiter, listed)
            })
        };
        let waiters = [enlist(), enlist()];
        let woken = world.wake(usize::MAX);
        let mut listed_count = 0;
        for waiter in waiters {
            let (waiter, listed) = waiter.join().unwrap();
            assert_eq!(waiter.cell.outcome(), listed.then_some(Outcome::Woken));
            listed_count += usize::from(listed);
        }
        assert_eq!(woken, listed_count);
        assert_eq!(world.table.registered(), 0);
    });
}

/// A timeout leaves the list while a wake of another address in the same bucket walks over it.
#[test]
fn loom_a_withdrawal_against_a_foreign_wake() {
    loom::model(|| {
        let world = World::new();
        let waiter = waiter_at(OTHER_ADDRESS);
        assert!(waiter.cell.settle(Outcome::TimedOut));
        let waker = thread::spawn({
            let world = world.clone();
            move || world.table.wake(ADDRESS, ANY, 1)
        });
        assert_eq!(world.wait(&waiter), Some(Outcome::TimedOut));
        assert_eq!(waker.join().unwrap(), 0);
        assert_eq!(world.table.registered(), 0);
    });
}
