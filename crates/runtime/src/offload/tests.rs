//! Tests of the pool with OS threads as callers, which park as coroutines do.

use super::*;
use crate::loom::static_atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn pool(threads_max: usize, idle: Duration) -> &'static ThreadPool {
    Box::leak(Box::new(ThreadPool::new(
        NAME,
        Some(STACK_BYTES),
        threads_max,
        idle.as_nanos() as u64,
    )))
}

/// The result of a call that a thread has made.
fn take<R>(made: Result<R, BoxedCall<R>>) -> R {
    made.ok().expect("there is a thread")
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "it never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_call_runs_on_a_thread_of_the_pool_and_its_result_comes_back() {
    let pool = pool(4, Duration::from_secs(10));
    let name = take(pool.run(Box::new(|| std::thread::current().name().map(str::to_owned))));
    assert_eq!(name.as_deref(), Some("silken-offload"));
    // The result arrives before its thread is idle again.
    wait_for(|| pool.state.lock().idle.len() == 1);
    assert_eq!(take(pool.run(Box::new(|| vec![1, 2, 3]))), [1, 2, 3]);
    // An idle thread is used again.
    assert_eq!(pool.state.lock().threads, 1);
}

#[test]
fn without_a_coroutine_the_caller_makes_the_call() {
    let caller = std::thread::current().id();
    assert_eq!(run(move || std::thread::current().id()), caller);
}

#[test]
fn a_panic_goes_on_in_the_caller_and_the_pool_survives() {
    let pool = pool(1, Duration::from_secs(10));
    let payload = catch_unwind(AssertUnwindSafe(|| {
        take::<()>(pool.run(Box::new(|| resume_unwind(Box::new("gone")))))
    }))
    .unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"gone"));
    assert_eq!(take(pool.run(Box::new(|| 7))), 7);
    assert_eq!(pool.state.lock().threads, 1);
}

#[test]
fn a_full_pool_queues() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static PEAK: AtomicUsize = AtomicUsize::new(0);
    let pool = pool(2, Duration::from_secs(10));
    let results: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..6)
            .map(|number| {
                scope.spawn(move || {
                    take(pool.run(Box::new(move || {
                        PEAK.fetch_max(RUNNING.fetch_add(1, SeqCst) + 1, SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        RUNNING.fetch_sub(1, SeqCst);
                        number
                    })))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(results, 15);
    assert_eq!(PEAK.load(SeqCst), 2);
    assert_eq!(pool.state.lock().threads, 2);
}

#[test]
fn idle_threads_end_and_new_ones_are_made() {
    let pool = pool(2, Duration::from_millis(5));
    assert_eq!(take(pool.run(Box::new(|| 1))), 1);
    wait_for(|| pool.state.lock().threads == 0);
    assert!(pool.state.lock().idle.is_empty());
    assert_eq!(take(pool.run(Box::new(|| 2))), 2);
}

/// Threads give up waiting exactly when jobs come: no job may be lost, and the number of threads must be right.
#[test]
fn no_job_is_lost_to_a_thread_that_ends() {
    const CALLERS: usize = 4;
    const CALLS: usize = 400;
    let pool = pool(3, Duration::from_micros(30));
    let sum: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    (0..CALLS)
                        .map(|number| take(pool.run(Box::new(move || number))))
                        .sum::<usize>()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(sum, CALLERS * CALLS * (CALLS - 1) / 2);
    wait_for(|| pool.state.lock().threads == 0);
    let state = pool.state.lock();
    assert!(state.idle.is_empty() && state.queue.is_empty());
}

#[test]
fn the_last_who_cannot_make_a_thread_runs_what_is_queued() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let pool = pool(2, Duration::from_secs(10));
    {
        let mut state = pool.state.lock();
        // Two callers: each has queued a job and is about to make a thread.
        state.threads = 2;
        for number in 0..2 {
            let job = || {
                RAN.fetch_add(1, SeqCst);
            };
            state.queue.push_back((number, Box::new(job)));
        }
    }
    pool.serve_without_thread();
    assert_eq!(RAN.load(SeqCst), 0, "the other's thread may still come");
    pool.serve_without_thread();
    assert_eq!(RAN.load(SeqCst), 2);
    assert_eq!(pool.state.lock().threads, 0);
}

/// A job whose thread cannot be made is taken back, unless a thread has it by then.
#[test]
fn a_job_that_waits_for_others_does_not_wait_for_a_thread() {
    let pool = pool(usize::MAX, Duration::from_secs(10));
    assert!(pool.has_thread_per_call);
    let queue = |number| {
        let mut state = pool.state.lock();
        state.threads += 1;
        state
            .queue
            .push_back((number, Box::new(|| unreachable!("nobody runs it"))));
    };
    queue(3);
    queue(4);
    assert!(pool.take_back(3));
    assert!(!pool.take_back(3), "it is gone");
    let state = pool.state.lock();
    assert_eq!((state.threads, state.queue.len(), state.queue[0].0), (0, 1, 4));
}
