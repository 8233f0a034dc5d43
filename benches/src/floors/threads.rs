//! OS threads doing what the coroutines do, with the same std calls: what the promise "a thread to its code" is
//! measured against.

use crate::figure::{Options, Sample, sample};
use crate::loops::{self, KINDS, compute, tail_ms};
use crate::machine::{ns_per_operation, scattered_sleep};
use crate::peers::lateness_sample;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const LOCKS: usize = 4_000_000;
const CONTENDERS: usize = 8;
const ROUND_TRIPS: usize = 200_000;
/// Threads on small stacks: the figure is about clocks, not memory.
const STACK_BYTES: usize = 64 * 1024;

/// Eight threads that add to one number under a std mutex.
pub fn mutex(_options: &Options) -> Sample {
    let value = ns_per_operation(LOCKS, |count| {
        let sum = Arc::new(Mutex::new(0));
        let add =
            |sum: Arc<Mutex<usize>>| move || (0..count / CONTENDERS).for_each(|_| *sum.lock().expect("sane") += 1);
        let threads: Vec<_> = (0..CONTENDERS).map(|_| std::thread::spawn(add(sum.clone()))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(*sum.lock().expect("sane"), count / CONTENDERS * CONTENDERS);
    });
    sample(value)
}

/// Two threads that wake each other.
pub fn park_unpark(_options: &Options) -> Sample {
    fn await_turn(turn: &AtomicBool, mine: bool) {
        // Acquire: pairs with the Release of who gives the turn; park itself promises no more than to return.
        while turn.load(Ordering::Acquire) != mine {
            std::thread::park();
        }
    }
    let value = ns_per_operation(ROUND_TRIPS, |count| {
        let turn = Arc::new(AtomicBool::new(false));
        let (first, turn_of_second) = (std::thread::current(), turn.clone());
        let second = std::thread::spawn(move || {
            for _ in 0..count {
                await_turn(&turn_of_second, true);
                // Release: pairs with the Acquire in `await_turn`.
                turn_of_second.store(false, Ordering::Release);
                first.unpark();
            }
        });
        for _ in 0..count {
            // Release: pairs with the Acquire in `await_turn`.
            turn.store(true, Ordering::Release);
            second.thread().unpark();
            await_turn(&turn, false);
        }
        second.join().expect("no panic");
    });
    sample(value)
}

/// 10,000 threads asleep.
pub fn sleep_lateness(_options: &Options) -> Sample {
    let sleeper = |index: usize| {
        move || {
            let wanted = scattered_sleep(index, crate::peers::LATENESS_MS_MAX);
            let begin = Instant::now();
            std::thread::sleep(wanted);
            begin.elapsed().as_nanos() as i64 - wanted.as_nanos() as i64
        }
    };
    let spawn = |index| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(sleeper(index))
            .expect("a thread")
    };
    let threads: Vec<_> = (0..crate::peers::SLEEPERS).map(spawn).collect();
    lateness_sample(
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect(),
    )
}

/// Runs `measured` beside one thread for each kind of loop.
fn beside_loops<T>(measured: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        (0..KINDS).for_each(|kind| drop(scope.spawn(move || compute(kind, stop))));
        let result = measured();
        // Relaxed: nothing but the end of the loops depends on it.
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// A ticker of a millisecond, beside threads that compute.
pub fn ticker_beside_loops(options: &Options) -> Sample {
    let count = if options.quick { 200 } else { 1000 };
    tail_ms(beside_loops(|| loops::lateness(count, std::thread::sleep)))
}

/// An echo server on a thread, beside threads that compute.
pub fn echo_beside_loops(options: &Options) -> Sample {
    let count = if options.quick { 100 } else { 400 };
    tail_ms(beside_loops(|| loops::echo(count)))
}
