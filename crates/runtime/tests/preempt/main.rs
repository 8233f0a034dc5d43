//! Does a coroutine that computes give way, wherever it is interrupted, and does it go on as if it had not been?
//!
//! A process of its own: it changes what happens at SIGURG, and its runtimes have short slices.

#[path = "../common/signals.rs"]
mod signals;

mod loops;
mod state;
mod urgent;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Much shorter than the default, so that the tests see many preemptions.
const SLICE: Duration = Duration::from_micros(500);

/// How long a test may take before it has failed: loops that nothing interrupts would run for ever.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime(workers: usize, slice: impl Into<Option<Duration>>) -> silken::Runtime {
    let builder = silken::Runtime::builder().workers(workers).preempt(slice);
    builder.build().expect("the runtime starts")
}

/// What ends the loops of a test: the test itself, or an OS thread after [`PATIENCE`].
struct Stop {
    flag: AtomicBool,
    too_late: AtomicBool,
    over: (Mutex<bool>, Condvar),
}

impl Stop {
    fn new() -> Arc<Self> {
        let stop = Arc::new(Self {
            flag: AtomicBool::new(false),
            too_late: AtomicBool::new(false),
            over: (Mutex::new(false), Condvar::new()),
        });
        let watched = stop.clone();
        thread::spawn(move || {
            let (over, changed) = &watched.over;
            let waited = changed.wait_timeout_while(over.lock().unwrap(), PATIENCE, |over| !*over);
            if waited.unwrap().1.timed_out() {
                watched.too_late.store(true, SeqCst);
                watched.flag.store(true, SeqCst);
            }
        });
        stop
    }

    fn goes_on(&self) -> bool {
        !self.flag.load(SeqCst)
    }

    /// Ends the loops. Panics if they had to be ended before.
    fn end(&self) {
        self.flag.store(true, SeqCst);
        *self.over.0.lock().unwrap() = true;
        self.over.1.notify_all();
        assert!(!self.too_late.load(SeqCst), "nothing interrupted the computation");
    }
}

/// Counts, without a call, until the test ends it.
fn spin(stop: &Stop, count: &AtomicU64) {
    while stop.goes_on() {
        count.store(count.load(SeqCst) + 1, SeqCst);
    }
}

#[test]
fn each_of_more_loops_than_workers_makes_progress() {
    for workers in [1, 2] {
        let stop = Stop::new();
        let counts: Arc<[AtomicU64; 6]> = Arc::default();
        runtime(workers, SLICE)
            .run(|| {
                let loops: Vec<_> = (0..counts.len())
                    .map(|index| {
                        let (stop, counts) = (stop.clone(), counts.clone());
                        // Half of them on a segment: room is what is left of the stack in use.
                        silken::spawn(move || match index % 2 {
                            0 => spin(&stop, &counts[index]),
                            _ => silken::grow(0, || spin(&stop, &counts[index])).unwrap(),
                        })
                    })
                    .collect();
                while counts.iter().any(|count| count.load(SeqCst) < 1000) {
                    silken::sleep(Duration::from_millis(1));
                }
                stop.end();
                loops.into_iter().for_each(|each| each.join().unwrap());
            })
            .unwrap();
    }
}

#[test]
fn a_runtime_that_does_not_preempt_lets_a_loop_run() {
    let stop = Stop::new();
    let turns = Arc::new(AtomicU64::new(0));
    runtime(1, None)
        .run(|| {
            let others = counts_its_turns(&stop, &turns);
            computes_alone(&turns);
            stop.end();
            others.join().unwrap();
        })
        .unwrap();
}

/// A coroutine that counts and yields by turns until the test ends it.
fn counts_its_turns(stop: &Arc<Stop>, turns: &Arc<AtomicU64>) -> silken::JoinHandle<()> {
    let (stop, turns) = (stop.clone(), turns.clone());
    silken::spawn(move || {
        while stop.goes_on() {
            turns.fetch_add(1, SeqCst);
            silken::yield_now();
        }
    })
}

/// Computes for twenty slices. Nobody else may run meanwhile.
fn computes_alone(turns: &AtomicU64) {
    let before = turns.load(SeqCst);
    let begun = std::time::Instant::now();
    while begun.elapsed() < 20 * SLICE {}
    assert_eq!(turns.load(SeqCst), before);
}

#[test]
fn a_region_without_preemption_is_left_alone_and_the_code_after_it_is_not() {
    let stop = Stop::new();
    let turns = Arc::new(AtomicU64::new(0));
    runtime(1, SLICE)
        .run(|| {
            let others = counts_its_turns(&stop, &turns);
            silken::no_preempt(|| silken::no_preempt(|| computes_alone(&turns)));
            let caught = std::panic::catch_unwind(|| silken::no_preempt(|| panic!("on purpose")));
            assert!(caught.is_err());
            let before = turns.load(SeqCst);
            while turns.load(SeqCst) == before && stop.goes_on() {}
            stop.end();
            others.join().unwrap();
        })
        .unwrap();
}

#[test]
fn a_light_coroutine_is_not_preempted() {
    let turns = Arc::new(AtomicU64::new(0));
    let stop = Stop::new();
    runtime(1, SLICE)
        .run(|| {
            let others = counts_its_turns(&stop, &turns);
            let (stop, turns) = (stop.clone(), turns.clone());
            // SAFETY: S12: it only computes.
            let builder = unsafe { silken::Builder::new().light() };
            let light = builder.spawn(move || {
                computes_alone(&turns);
                stop.end();
            });
            light.unwrap().join().unwrap();
            others.join().unwrap();
        })
        .unwrap();
}

#[test]
fn a_cancelled_loop_ends_where_it_asks_and_nowhere_else() {
    let stop = Stop::new();
    runtime(1, SLICE)
        .run(|| {
            let (reached, cancelled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let (count, seen, ends) = (reached.clone(), cancelled.clone(), stop.clone());
            let computes = silken::spawn(move || {
                while !seen.load(SeqCst) && ends.goes_on() {
                    count.fetch_add(1, SeqCst);
                }
                // It has computed on, cancelled and preempted.
                let at_the_request = count.load(SeqCst);
                while count.fetch_add(1, SeqCst) < at_the_request + 1_000_000 {}
                silken::check_cancelled();
                unreachable!("it was cancelled");
            });
            while reached.load(SeqCst) == 0 {
                silken::sleep(Duration::from_millis(1));
            }
            computes.coroutine().cancel();
            cancelled.store(true, SeqCst);
            assert!(computes.join().unwrap_err().is_cancelled());
            assert!(reached.load(SeqCst) > 1_000_000);
            stop.end();
        })
        .unwrap();
}

#[test]
fn what_events_make_ready_goes_before_what_was_preempted() {
    let stop = Stop::new();
    runtime(1, Duration::from_millis(5))
        .run(|| {
            let counts: Arc<[AtomicU64; 16]> = Arc::default();
            let loops: Vec<_> = (0..counts.len())
                .map(|index| {
                    let (stop, counts) = (stop.clone(), counts.clone());
                    silken::spawn(move || spin(&stop, &counts[index]))
                })
                .collect();
            // Behind all loops a sleep of a millisecond would take sixteen slices.
            let mut taken: Vec<Duration> = (0..20)
                .map(|_| {
                    let begun = std::time::Instant::now();
                    silken::sleep(Duration::from_millis(1));
                    begun.elapsed()
                })
                .collect();
            stop.end();
            taken.sort();
            assert!(taken[taken.len() / 2] < 8 * Duration::from_millis(5), "{taken:?}");
            loops.into_iter().for_each(|each| each.join().unwrap());
        })
        .unwrap();
}
