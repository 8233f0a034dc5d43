//! What a process has and keeps, where only one that does nothing else can tell.

use super::{Case, End};
use silken::Runtime;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "runtimes_leave_no_descriptors",
            runtimes_leave_no_descriptors,
            End::Returns,
        ),
        Case::new(
            "a_runtime_that_cannot_be_made_leaves_nothing",
            failures_leave_nothing,
            End::Returns,
        ),
        Case::new(
            "a_yield_lets_an_os_thread_run",
            a_yield_lets_an_os_thread_run,
            End::Returns,
        ),
    ]
}

/// Lets the process run on one processor.
fn pin() {
    // SAFETY: S7: a set of zeros is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let bytes = size_of_val(&set);
    // SAFETY: S7: a live set of that size.
    assert_eq!(unsafe { libc::sched_getaffinity(0, bytes, &mut set) }, 0);
    // SAFETY: S7: a number below the set's size.
    let allowed = |number: &usize| unsafe { libc::CPU_ISSET(*number, &set) };
    let first = (0..libc::CPU_SETSIZE as usize).find(allowed).expect("a processor");
    // SAFETY: S7: a set of zeros is an empty one.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: S7: a number below the set's size.
    unsafe { libc::CPU_SET(first, &mut one) };
    // SAFETY: S7: a live set of that size.
    assert_eq!(unsafe { libc::sched_setaffinity(0, bytes, &one) }, 0);
}

/// The time of a processor that the process has taken.
fn cpu_time() -> Duration {
    // SAFETY: S7: zeros are a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: S7: a live structure.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) }, 0);
    [usage.ru_utime, usage.ru_stime]
        .map(|time| Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64))
        .iter()
        .sum()
}

/// A coroutine and an OS thread wait for each other by `yield_now`, on one processor. If the coroutine's yields did not
/// reach the kernel, each of its waits would take the rest of its thread's time slice, some milliseconds.
fn a_yield_lets_an_os_thread_run() {
    const ROUNDS: usize = 2_000;
    pin();
    let turns = Arc::new(AtomicUsize::new(0));
    let take_turns = |turns: Arc<AtomicUsize>, own: usize| {
        move || {
            for round in 0..ROUNDS {
                while turns.load(Ordering::SeqCst) != 2 * round + own {
                    std::thread::yield_now();
                }
                turns.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    let before = cpu_time();
    let thread = std::thread::spawn(take_turns(turns.clone(), 1));
    runtime.run(take_turns(turns, 0)).unwrap();
    thread.join().unwrap();
    let taken = cpu_time() - before;
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn once(workers: usize) {
    let runtime = Runtime::builder().workers(workers).build().expect("a runtime");
    assert_eq!(runtime.run(|| silken::spawn(|| 7).join().unwrap()).unwrap(), 7);
}

fn runtimes_leave_no_descriptors() {
    // Drivers are kept for the next runtime: as many as there were workers at one time.
    once(3);
    let before = descriptors();
    for round in 0..200 {
        once(1 + round % 3);
    }
    assert_eq!(descriptors(), before);
}

/// Sets the soft limit of descriptors.
fn limit_descriptors(limit: u64) {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: S7: a valid place.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut now) }, 0);
    now.rlim_cur = limit;
    // SAFETY: S7: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &now) }, 0);
}

/// The third worker's driver finds no descriptor left: the first two's come back.
fn failures_leave_nothing() {
    const LIMIT: u64 = 64;
    limit_descriptors(LIMIT);
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    held.truncate(held.len() - 5);
    for _ in 0..10 {
        let error = Runtime::builder()
            .workers(3)
            .build()
            .expect_err("there are five descriptors");
        // The system's own error is the source of the one that explains it.
        let source = error.get_ref().and_then(|explained| explained.source());
        let source = source.and_then(|source| source.downcast_ref::<std::io::Error>());
        let number = source.and_then(std::io::Error::raw_os_error);
        assert_eq!(number, Some(libc::EMFILE), "{error}");
    }
    once(2);
}
