//! Waits for each other: by the runtime's own park, and by std's mutex through the futex hook.

use super::run;
use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

const ROUND_TRIPS: usize = 2_000_000;
const LOCKS: usize = 8_000_000;
const CONTENDERS: usize = 8;

/// Parks until it is this side's turn; park promises no more than to return.
fn await_turn(turn: &AtomicBool, mine: bool) {
    // Acquire: pairs with the Release of the side that gives the turn away.
    while turn.load(Ordering::Acquire) != mine {
        silken::park();
    }
}

fn round_trips(count: usize) {
    let turn = Arc::new(AtomicBool::new(false));
    let second_coroutine = Arc::new(OnceLock::new());
    let first = silken::current();
    let (turn_of_second, place) = (turn.clone(), second_coroutine.clone());
    let second = silken::spawn(move || {
        assert!(place.set(silken::current()).is_ok(), "set once");
        first.unpark();
        for _ in 0..count {
            await_turn(&turn_of_second, true);
            // Release: pairs with the Acquire in await_turn.
            turn_of_second.store(false, Ordering::Release);
            first.unpark();
        }
    });
    let second_coroutine = loop {
        match second_coroutine.get() {
            Some(coroutine) => break coroutine,
            None => silken::park(),
        }
    };
    for _ in 0..count {
        // Release: pairs with the Acquire in await_turn.
        turn.store(true, Ordering::Release);
        second_coroutine.unpark();
        await_turn(&turn, false);
    }
    second.join().expect("no panic");
}

pub fn park_unpark(_options: &Options) -> Sample {
    sample(run(1, || ns_per_operation(ROUND_TRIPS, round_trips)))
}

fn locks(count: usize) {
    let sum = Arc::new(Mutex::new(0));
    let add = |sum: Arc<Mutex<usize>>| move || (0..count / CONTENDERS).for_each(|_| *sum.lock().expect("sane") += 1);
    let handles: Vec<_> = (0..CONTENDERS).map(|_| silken::spawn(add(sum.clone()))).collect();
    handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
    assert_eq!(*sum.lock().expect("sane"), count / CONTENDERS * CONTENDERS);
}

pub fn mutex_one(_options: &Options) -> Sample {
    sample(run(1, || ns_per_operation(LOCKS, locks)))
}

pub fn mutex_two(_options: &Options) -> Sample {
    sample(run(2, || ns_per_operation(LOCKS, locks)))
}
