//! How late do others get their turn beside coroutines that compute, and how much do they lose beside calls that block?

use super::run;
use crate::figure::{Options, Sample, sample};
use crate::loops::{self, KINDS, block_unseen, compute, tail_ms};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Runs `measured` on two workers, beside one coroutine for each kind of loop.
fn beside_loops<T: Send + 'static>(measured: impl FnOnce() -> T + Send + 'static) -> T {
    run(2, || {
        let stop = Arc::new(AtomicBool::new(false));
        let loops: Vec<_> = (0..KINDS)
            .map(|kind| {
                let stop = stop.clone();
                silken::spawn(move || compute(kind, &stop))
            })
            .collect();
        let result = measured();
        // Relaxed: nothing but the end of the loops depends on it.
        stop.store(true, Ordering::Relaxed);
        loops.into_iter().for_each(|each| each.join().expect("no panic"));
        result
    })
}

/// A ticker of a millisecond.
pub fn ticker(options: &Options) -> Sample {
    let count = if options.quick { 200 } else { 1000 };
    tail_ms(beside_loops(move || loops::lateness(count, silken::sleep)))
}

/// An echo server; the client is an OS thread.
pub fn echo(options: &Options) -> Sample {
    let count = if options.quick { 100 } else { 400 };
    tail_ms(beside_loops(move || loops::echo(count)))
}

const OTHERS: usize = 10_000;
const BLOCKED: usize = 50;

/// Turns per second that ten thousand coroutines have in `time`.
fn turns(time: Duration, blocked: usize) -> f64 {
    run(2, move || {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let all: Vec<_> = (0..OTHERS)
            .map(|_| {
                let (stop, count) = (stop.clone(), count.clone());
                silken::spawn(move || {
                    // Relaxed, here and below: a sum, and a flag on which nothing but the end depends.
                    while !stop.load(Ordering::Relaxed) {
                        black_box((0..500_u64).fold(1, |word: u64, k| word.rotate_left(5) ^ black_box(k)));
                        count.fetch_add(1, Ordering::Relaxed);
                        silken::yield_now();
                    }
                })
            })
            .collect();
        let blocking: Vec<_> = (0..blocked)
            .map(|_| {
                let stop = stop.clone();
                silken::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        block_unseen(Duration::from_millis(200));
                    }
                })
            })
            .collect();
        silken::sleep(time / 2);
        let (begin, before) = (Instant::now(), count.load(Ordering::Relaxed));
        silken::sleep(time);
        let per_second = (count.load(Ordering::Relaxed) - before) as f64 / begin.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        all.into_iter()
            .chain(blocking)
            .for_each(|each| each.join().expect("no panic"));
        per_second
    })
}

/// What ten thousand coroutines lose, in percent, while fifty others block their threads.
pub fn blocked(options: &Options) -> Sample {
    let time = Duration::from_secs(if options.quick { 1 } else { 3 });
    let (undisturbed, disturbed) = (turns(time, 0), turns(time, BLOCKED));
    sample(100.0 * (1.0 - disturbed / undisturbed))
}

/// How long a coroutine waits that may run on one worker only, while a call blocks that worker's thread. The other
/// worker is busy, and no call has blocked for long before.
pub fn hand_off(options: &Options) -> Sample {
    let count = if options.quick { 10 } else { 40 };
    let on = |worker| silken::Builder::new().worker(worker);
    let mut late_ms = run(2, move || {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let busy = on(1).spawn(move || {
            // Relaxed: nothing but the end of the loop depends on it.
            while !seen.load(Ordering::Relaxed) {
                silken::yield_now();
            }
        });
        let late_ms: Vec<_> = (0..count)
            .map(|_| {
                silken::sleep(Duration::from_millis(200));
                let blocks = on(0).spawn(move || {
                    let begin = Instant::now();
                    let waits = on(0).spawn(move || begin.elapsed().as_secs_f64() * 1e3);
                    block_unseen(Duration::from_millis(60));
                    waits.expect("a coroutine").join().expect("no panic")
                });
                blocks.expect("a coroutine").join().expect("no panic")
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        busy.expect("a coroutine").join().expect("no panic");
        late_ms
    });
    late_ms.sort_by(f64::total_cmp);
    let mut sample = sample(late_ms[late_ms.len() / 2]);
    sample.push(("p90".to_owned(), late_ms[late_ms.len() * 9 / 10]));
    sample
}
