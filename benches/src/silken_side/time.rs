//! Sleeps: a million at once, how late they end, and that nobody wakes when nothing is to be done.

use super::run;
use crate::figure::{Options, Sample, sample};
use crate::machine::{scattered_sleep, watch_idle};
use crate::peers::{LATENESS_MS_MAX, SLEEPERS, SPAWN_BATCH, lateness_sample};
use std::sync::mpsc;
use std::time::Instant;

fn timers(workers: usize, count: usize) -> Sample {
    let seconds = run(workers, move || {
        let begin = Instant::now();
        let sleeper = |index| silken::spawn(move || silken::sleep(scattered_sleep(index, 1_000)));
        let handles: Vec<_> = (0..count).map(sleeper).collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        begin.elapsed().as_secs_f64()
    });
    sample(seconds)
}

pub fn timers_one(options: &Options) -> Sample {
    timers(1, options.coroutines)
}

pub fn timers_two(options: &Options) -> Sample {
    timers(2, options.coroutines)
}

pub fn sleep_lateness(_options: &Options) -> Sample {
    let sleeper = |index| {
        move || {
            let wanted = scattered_sleep(index, LATENESS_MS_MAX);
            let begin = Instant::now();
            silken::sleep(wanted);
            begin.elapsed().as_nanos() as i64 - wanted.as_nanos() as i64
        }
    };
    lateness_sample(run(2, move || {
        let handles: Vec<_> = (0..SLEEPERS).map(|index| silken::spawn(sleeper(index))).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().expect("no panic"))
            .collect()
    }))
}

/// The watcher is an ordinary thread, made before the runtime: it looks on while the only coroutine left is parked.
pub fn idle(_options: &Options) -> Sample {
    let (work_done, wait_for_work) = mpsc::channel::<silken::Coroutine>();
    let (seen, result) = mpsc::channel();
    let watcher = std::thread::spawn(move || {
        let parked = wait_for_work.recv().expect("the main coroutine reports");
        seen.send(watch_idle()).expect("the main coroutine listens");
        parked.unpark();
    });
    let wakeups = run(2, move || {
        let sleeper = |index| silken::spawn(move || silken::sleep(scattered_sleep(index, 20)));
        let handles: Vec<_> = (0..SPAWN_BATCH).map(sleeper).collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        work_done.send(silken::current()).expect("the watcher listens");
        loop {
            silken::park();
            if let Ok(wakeups) = result.try_recv() {
                return wakeups;
            }
        }
    });
    watcher.join().expect("no panic");
    sample(wakeups)
}
