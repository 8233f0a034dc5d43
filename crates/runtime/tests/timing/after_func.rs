//! Functions that run later.

use super::{LONG, everywhere, ms, on_coroutines};
use silken::channel::oneshot;
use silken::time::after_func;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn it_runs_once_and_not_early_and_on_a_coroutine() {
    everywhere(|_| {
        let (sender, receiver) = mpsc::channel();
        let begun = Instant::now();
        let timer = after_func(ms(3), move || {
            sender.send((silken::is_coroutine(), begun.elapsed())).unwrap();
        });
        let (sender, done) = oneshot::channel();
        let mut sender = Some(sender);
        after_func(ms(3), move || sender.take().unwrap().send(()).unwrap());
        done.recv().unwrap();
        let (on_coroutine, elapsed) = loop {
            match receiver.try_recv() {
                Ok(sent) => break sent,
                Err(_) => silken::sleep(ms(1)),
            }
        };
        assert!(on_coroutine && elapsed >= ms(3));
        assert!(!timer.stop(), "it is over");
        assert!(receiver.try_recv().is_err());
    });
}

#[test]
fn stopped_ones_do_not_run() {
    everywhere(|_| {
        let runs = Arc::new(AtomicUsize::new(0));
        let timers: Vec<_> = (0..100)
            .map(|_| {
                let runs = runs.clone();
                after_func(ms(5), move || {
                    runs.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let stopped = timers.iter().filter(|timer| timer.stop()).count();
        assert!(timers.iter().all(|timer| !timer.stop()));
        while runs.load(Ordering::Relaxed) + stopped < 100 {
            silken::sleep(ms(1));
        }
        silken::sleep(ms(6));
        assert_eq!(runs.load(Ordering::Relaxed) + stopped, 100);
    });
}

#[test]
fn reset_postpones_revives_and_says_which() {
    everywhere(|_| {
        let runs = Arc::new(AtomicUsize::new(0));
        let timer = after_func(LONG, {
            let runs = runs.clone();
            move || {
                runs.fetch_add(1, Ordering::Relaxed);
            }
        });
        let wait_for = |count| {
            while runs.load(Ordering::Relaxed) < count {
                silken::sleep(ms(1));
            }
        };
        assert!(timer.reset(ms(1)), "it was pending");
        wait_for(1);
        assert!(!timer.reset(ms(1)), "it was over");
        wait_for(2);
        assert!(!timer.reset(LONG));
        assert!(timer.stop());
        assert!(!timer.reset(ms(1)), "it was stopped");
        wait_for(3);
    });
}

#[test]
fn one_that_comes_due_while_it_runs_runs_again_afterwards() {
    on_coroutines(|| {
        let (runs, beside) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (started, has_started) = oneshot::channel();
        let mut started = Some(started);
        let timer = after_func(ms(0), {
            let (runs, beside) = (runs.clone(), beside.clone());
            move || {
                assert_eq!(beside.fetch_add(1, Ordering::Relaxed), 0);
                if let Some(started) = started.take() {
                    started.send(()).unwrap();
                    silken::sleep(ms(10));
                }
                beside.fetch_sub(1, Ordering::Relaxed);
                runs.fetch_add(1, Ordering::Relaxed);
            }
        });
        has_started.recv().unwrap();
        timer.reset(ms(1));
        while runs.load(Ordering::Relaxed) < 2 {
            silken::sleep(ms(1));
        }
    });
}

#[test]
fn a_panic_ends_that_function_only() {
    on_coroutines(|| {
        let (sender, receiver) = oneshot::channel();
        let mut sender = Some(sender);
        let panicking = after_func(ms(0), || std::panic::resume_unwind(Box::new("on purpose")));
        after_func(ms(1), move || sender.take().unwrap().send(1).unwrap());
        assert_eq!(receiver.recv(), Ok(1));
        assert!(!panicking.reset(ms(0)));
    });
}

#[test]
fn the_end_of_a_runtime_drops_what_is_pending() {
    let value = Arc::new(());
    let runtime = silken::Runtime::builder().workers(2).build().unwrap();
    let timers = runtime.run({
        let value = value.clone();
        move || {
            (0..10)
                .map(|_| {
                    let value = value.clone();
                    after_func(LONG, move || drop(value.clone()))
                })
                .collect::<Vec<_>>()
        }
    });
    let timers = timers.unwrap();
    assert!(timers.iter().all(|timer| !timer.stop()));
    drop(timers);
    assert_eq!(Arc::strong_count(&value), 1);
}

/// A million pending: memory and time are those of nodes, not of coroutines.
#[test]
fn a_million_pending() {
    const COUNT: usize = 1_000_000;
    let runtime = silken::Runtime::builder().workers(2).build().unwrap();
    let runs = runtime.run(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let before = rss_bytes();
        let timers: Vec<_> = (0..COUNT)
            .map(|index| {
                let runs = runs.clone();
                after_func(LONG + Duration::from_millis(index as u64 % 10_000), move || {
                    runs.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let bytes_each = rss_bytes().saturating_sub(before) / COUNT;
        assert!(bytes_each < 400, "{bytes_each} bytes for each");
        for timer in timers.iter().step_by(1_000) {
            assert!(timer.reset(ms(0)));
        }
        while runs.load(Ordering::Relaxed) < COUNT / 1_000 {
            silken::sleep(ms(1));
        }
        let stopped = timers.iter().filter(|timer| timer.stop()).count();
        assert_eq!(stopped, COUNT - COUNT / 1_000);
        runs.load(Ordering::Relaxed)
    });
    assert_eq!(runs.unwrap(), COUNT / 1_000);
}

fn rss_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
