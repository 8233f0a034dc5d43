//! `preempt [--seconds 60] [--seed N] [--workers 1,2,8] [--slice-us 100]`: does work with checksums give the same bits
//! when it is interrupted every 100 µs as it gives on a thread that nobody interrupts?
//!
//! Each workload is a function from a seed to a checksum. An OS thread computes what is right; then many coroutines
//! compute the same, on one, two and eight workers in turn. Exit status 1 when a checksum differs, or when hardly
//! anything was interrupted; the seed is printed first and last.

mod shared;
mod vectors;
mod work;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use work::{WORK, Work};

/// How many seeds each workload has. Each is computed once on a thread, and many times on coroutines.
const SEEDS: u64 = 16;

/// How many coroutines compute at the same time, for each workload.
const COPIES: usize = 4;

/// How long one runtime is used before the next one starts.
const ROUND: Duration = Duration::from_secs(2);

struct Options {
    time: Duration,
    seed: u64,
    workers: Vec<usize>,
    slice: Duration,
}

fn parse(mut words: lexopt::Parser) -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut options = Options {
        time: Duration::from_secs(60),
        seed: u64::from(clock.subsec_nanos()) ^ clock.as_secs(),
        workers: vec![1, 2, 8],
        slice: Duration::from_micros(100),
    };
    while let Some(word) = words.next()? {
        match word {
            Long("seconds") => options.time = Duration::from_secs(words.value()?.parse()?),
            Long("seed") => options.seed = words.value()?.parse()?,
            Long("slice-us") => options.slice = Duration::from_micros(words.value()?.parse()?),
            Long("workers") => {
                let all = words.value()?.string()?;
                options.workers = all
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<_, _>>()
                    .map_err(|_| lexopt::Error::from(format!("numbers with commas between them, and not {all}")))?;
            }
            _ => return Err(word.unexpected()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match parse(lexopt::Parser::from_env()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\nusage: preempt [--seconds S] [--seed N] [--workers 1,2,8] [--slice-us 100]");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", options.seed);
    // The first runtime sets a panic hook, which is replaced.
    drop(silken::Runtime::builder().workers(1).build());
    work::be_quiet();
    let expected = expected(options.seed);
    let end = Instant::now() + options.time;
    let (mut rounds, mut computed) = (0_usize, 0);
    while Instant::now() < end {
        let workers = options.workers[rounds % options.workers.len()];
        match round(&options, workers, &expected, end) {
            Ok(count) => computed += count,
            Err(error) => {
                eprintln!("FAILED, seed {}, {workers} workers: {error}", options.seed);
                return ExitCode::FAILURE;
            }
        }
        rounds += 1;
    }
    println!("passed: {rounds} rounds, {computed} checksums, seed {}", options.seed);
    ExitCode::SUCCESS
}

/// What each workload gives for each seed, computed on this thread.
fn expected(seed: u64) -> Vec<Vec<u64>> {
    let of = |work: &Work| (0..SEEDS).map(|k| (work.run)(seed.wrapping_add(k))).collect();
    WORK.iter().map(of).collect()
}

/// Computes on a runtime of this many workers. Returns how many checksums were right.
fn round(options: &Options, workers: usize, expected: &[Vec<u64>], end: Instant) -> Result<u64, String> {
    let builder = silken::Runtime::builder().workers(workers).stack_size(1 << 20);
    let runtime = builder
        .preempt(options.slice)
        .build()
        .map_err(|error| error.to_string())?;
    let round_end = end.min(Instant::now() + ROUND);
    // Relaxed, all of them: counts, read after the joins, and a flag that ends loops sooner.
    let (failed, computed) = (AtomicBool::new(false), AtomicU64::new(0));
    let differs = std::sync::Mutex::new(None);
    let ticks = AtomicU64::new(0);
    let run = || {
        silken::scope(|scope| {
            for (work, expected) in WORK.iter().zip(expected) {
                for copy in 0..COPIES {
                    let (failed, computed, differs) = (&failed, &computed, &differs);
                    scope.spawn(move || {
                        let mut k = copy as u64;
                        while Instant::now() < round_end && !failed.load(Ordering::Relaxed) {
                            let place = k % SEEDS;
                            let sum = (work.run)(options.seed.wrapping_add(place));
                            if sum != expected[place as usize] {
                                failed.store(true, Ordering::Relaxed);
                                *differs.lock().unwrap() = Some(format!("{} gives other bits", work.name));
                            }
                            computed.fetch_add(1, Ordering::Relaxed);
                            k += 1;
                        }
                    });
                }
            }
            scope.spawn(|| shared::use_locks_and_channels(round_end));
            // Without preemption this one would hardly ever run.
            while Instant::now() < round_end {
                silken::sleep(Duration::from_millis(1));
                ticks.fetch_add(1, Ordering::Relaxed);
            }
        });
    };
    runtime.run(run).map_err(|_| "a coroutine panicked".to_string())?;
    if let Some(error) = differs.into_inner().unwrap_or(None) {
        return Err(error);
    }
    if ticks.into_inner() < 3 && round_end < end {
        return Err("hardly anything was interrupted".to_string());
    }
    Ok(computed.into_inner())
}
