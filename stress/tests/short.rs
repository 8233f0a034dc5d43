//! The rounds of the stress program, few and small: each takes about a second. One at a time, since they measure the
//! process's memory.

use silken_stress::{Options, run};
use std::sync::Mutex;
use std::time::Duration;

fn short(workers: usize, light: bool) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let options = Options {
        time: Duration::from_millis(1200),
        seed: 0x5eed ^ workers as u64,
        coroutines: 2000,
        workers: Some(workers),
        light,
        kinds: Vec::new(),
        prints: false,
    };
    match run(&options) {
        Ok(summary) => {
            assert!(summary.total.cancelled > 0 && summary.total.timed_out > 0, "{summary}");
            println!("{summary}");
        }
        Err(error) => panic!("seed {}: {error}", options.seed),
    }
}

#[test]
fn isolated_coroutines_on_one_worker() {
    short(1, false);
}

#[test]
fn isolated_coroutines_on_two_workers() {
    short(2, false);
}

#[test]
fn light_coroutines_on_one_worker() {
    short(1, true);
}

#[test]
fn light_coroutines_on_two_workers() {
    short(2, true);
}
