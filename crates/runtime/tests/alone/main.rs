//! How often is a coroutine interrupted that computes while no other one is ready?
//!
//! A process of its own: its one runtime is all that the monitor looks at.

use std::fs;
use std::time::{Duration, Instant};

/// How often the monitor's thread has gone to sleep: its turns so far.
fn turns() -> u64 {
    let status = loop {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let monitor = tasks
            .map(|task| task.path())
            .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "silken-monitor"));
        match monitor {
            Some(monitor) => break fs::read_to_string(monitor.join("status")).unwrap(),
            // The thread has not named itself yet.
            None => silken::sleep(Duration::from_millis(1)),
        }
    };
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// Each slice of 10 ms has an interruption, which finds that no other coroutine is ready: a few turns per slice. An
/// interruption that is repeated at each turn, while it is in vain, makes a thousand turns a second. A machine that is
/// busy with other work makes fewer.
#[test]
fn once_a_slice() {
    let runtime = silken::Runtime::builder().workers(2).preempt(Duration::from_millis(10));
    let turns_in_a_second = runtime
        .build()
        .unwrap()
        .run(|| {
            let computing = silken::spawn(|| {
                let (start, before) = (Instant::now(), turns());
                while start.elapsed() < Duration::from_secs(1) {
                    (0..1_000).for_each(|k| {
                        std::hint::black_box(k);
                    });
                }
                turns() - before
            });
            computing.join().unwrap()
        })
        .unwrap();
    assert!(turns_in_a_second <= 400, "{turns_in_a_second} turns");
}
