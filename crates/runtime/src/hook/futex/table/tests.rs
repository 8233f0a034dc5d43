//! Does the table behave as a naive list does, and does it work with OS threads as its waiters?

use super::{ANY, BATCH, FutexWaiter, Table};
use crate::coroutine::{Outcome, WaitCell, WaitReason};
use crate::loom::static_atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use crate::sys::clock;
use crate::wait;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Enlist {
        address: usize,
        bitset: u32,
        expected: bool,
    },
    Wake {
        address: usize,
        bitset: u32,
        limit: usize,
    },
    /// The deadline settles the waiter, which is still listed.
    TimeOut(prop::sample::Index),
    /// A waiter that timed out withdraws.
    Withdraw(prop::sample::Index),
}

fn operation() -> impl Strategy<Value = Operation> {
    let address = || (1..4usize).prop_map(|number| number * 4);
    prop_oneof![
        5 => (address(), 1..4u32, prop::bool::weighted(0.9))
            .prop_map(|(address, bitset, expected)| Operation::Enlist { address, bitset, expected }),
        2 => (address(), prop_oneof![1..4u32, Just(ANY)], prop_oneof![0..4usize, Just(BATCH), Just(BATCH + 1), Just(1000)])
            .prop_map(|(address, bitset, limit)| Operation::Wake { address, bitset, limit }),
        1 => any::<prop::sample::Index>().prop_map(Operation::TimeOut),
        1 => any::<prop::sample::Index>().prop_map(Operation::Withdraw),
    ]
}

/// A waiter, as the naive list knows it.
struct Known {
    waiter: Box<FutexWaiter>,
    listed: bool,
    outcome: Option<Outcome>,
}

/// The effect of a wake, computed the slow way.
fn wake_naively(all: &mut [Known], address: usize, bitset: u32, limit: usize) -> usize {
    let mut woken = 0;
    for known in all
        .iter_mut()
        .filter(|known| known.listed && known.waiter.is_meant(address, bitset))
    {
        if woken == limit {
            break;
        }
        known.listed = false;
        if known.outcome.is_none() {
            known.outcome = Some(Outcome::Woken);
            woken += 1;
        }
    }
    woken
}

proptest! {
    #[test]
    fn behaves_as_a_naive_list(operations in prop::collection::vec(operation(), 0..120)) {
        let table = Table::<2>::new();
        let mut all: Vec<Known> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Enlist { address, bitset, expected } => {
                    let waiter = Box::new(FutexWaiter::new(address, bitset, WaitCell::new()));
                    // SAFETY: S8: boxed, and dropped after the table.
                    let listed = unsafe { table.enlist(&waiter, || expected) };
                    prop_assert_eq!(listed, expected);
                    all.push(Known { waiter, listed, outcome: (!listed).then_some(Outcome::Closed) });
                }
                Operation::Wake { address, bitset, limit } => {
                    let woken = table.wake(address, bitset, limit);
                    prop_assert_eq!(woken, wake_naively(&mut all, address, bitset, limit));
                }
                Operation::TimeOut(index) if !all.is_empty() => {
                    let known = index.get_mut(&mut all);
                    if known.outcome.is_none() {
                        prop_assert!(known.waiter.cell().settle(Outcome::TimedOut));
                        known.outcome = Some(Outcome::TimedOut);
                    }
                }
                Operation::Withdraw(index) if !all.is_empty() => {
                    let known = index.get_mut(&mut all);
                    if known.outcome == Some(Outcome::TimedOut) {
                        table.withdraw(&known.waiter);
                        known.listed = false;
                    }
                }
                Operation::TimeOut(_) | Operation::Withdraw(_) => {}
            }
            for known in &all {
                let expected = known.outcome.filter(|outcome| *outcome != Outcome::Closed);
                prop_assert_eq!(known.waiter.cell().outcome(), expected);
            }
            let listed = all.iter().filter(|known| known.listed).count();
            prop_assert_eq!(table.registered() as usize, listed);
        }
    }
}

#[test]
fn a_wake_of_all_does_not_chase_those_who_come_back() {
    let table = Table::<1>::new();
    let enlist = || {
        let waiter = Box::new(FutexWaiter::new(4, ANY, WaitCell::new()));
        // SAFETY: S8: boxed, and dropped after the last use of the table.
        assert!(unsafe { table.enlist(&waiter, || true) });
        waiter
    };
    let early: Vec<_> = (0..3).map(|_| enlist()).collect();
    let bucket = table.bucket(4);
    let (mut end_ticket, mut batch) = (None, [None; 2]);
    assert_eq!(bucket.settle_some(4, ANY, &mut batch, &mut end_ticket), 2);
    let late = enlist();
    assert_eq!(bucket.settle_some(4, ANY, &mut batch, &mut end_ticket), 1);
    assert!(
        early
            .iter()
            .all(|waiter| waiter.cell().outcome() == Some(Outcome::Woken))
    );
    assert_eq!(late.cell().outcome(), None);
    assert_eq!(table.wake(4, ANY, 1), 1);
}

#[test]
fn nearby_addresses_spread_over_the_buckets() {
    let table = Box::new(Table::<64>::new());
    for step in [4, 8, 64, 4096] {
        let used: std::collections::HashSet<_> = (0..64)
            .map(|number| std::ptr::from_ref(table.bucket(0x7f00_0000_1000 + number * step)))
            .collect();
        assert!(used.len() >= 32, "{} buckets for step {step}", used.len());
    }
}

/// A futex made of the table: what `FutexWait::park` does.
fn wait(table: &Table<2>, word: &AtomicU32, expected: u32, deadline_ns: Option<u64>) {
    let waiter = FutexWaiter::new(word.as_ptr().addr(), ANY, WaitCell::new());
    // SAFETY: S8: this frame stays until the wait is over, and withdraws.
    if unsafe { table.enlist(&waiter, || word.load(SeqCst) == expected) }
        && wait::wait(waiter.cell(), WaitReason::Futex, deadline_ns, false) == Outcome::TimedOut
    {
        table.withdraw(&waiter);
    }
}

/// Drepper's second mutex must neither hang nor let two threads in, whether or not each of its waits times out.
#[test]
fn a_mutex_over_the_table_excludes_and_does_not_hang() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 10_000;
    let (table, word, count) = (Table::<2>::new(), AtomicU32::new(0), AtomicU64::new(0));
    let work = |thread: u64| {
        for round in 0..ROUNDS {
            if word.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
                while word.swap(2, SeqCst) != 0 {
                    let deadline_ns = (thread + round).is_multiple_of(2).then(|| clock::now_ns() + 5_000);
                    wait(&table, &word, 2, deadline_ns);
                }
            }
            let seen = count.load(SeqCst);
            std::hint::spin_loop();
            count.store(seen + 1, SeqCst);
            if word.swap(0, SeqCst) == 2 {
                table.wake(word.as_ptr().addr(), ANY, 1);
            }
        }
    };
    let work = &work;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || work(thread));
        }
    });
    assert_eq!(count.load(SeqCst), THREADS * ROUNDS);
    assert_eq!(table.registered(), 0);
}

/// Turns are passed round by wake-alls only: one lost wake would hang the test.
#[test]
fn turns_are_handed_round_by_wakes_of_all() {
    const THREADS: u32 = 3;
    const TURNS: u32 = 6_000;
    let (table, turn) = (Table::<2>::new(), AtomicU32::new(0));
    let play = |own: u32| {
        loop {
            let now = turn.load(SeqCst);
            if now >= TURNS {
                return;
            }
            if now % THREADS != own {
                wait(&table, &turn, now, None);
                continue;
            }
            turn.store(now + 1, SeqCst);
            table.wake(turn.as_ptr().addr(), ANY, usize::MAX);
        }
    };
    let play = &play;
    std::thread::scope(|scope| {
        for own in 0..THREADS {
            scope.spawn(move || play(own));
        }
    });
    assert_eq!(turn.load(SeqCst), TURNS);
    assert_eq!(table.registered(), 0);
}
