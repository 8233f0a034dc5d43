//! Peers: other runtimes doing what silken does, each in the way its own documentation recommends.

pub mod may;
pub mod stacker;
pub mod tokio;

use crate::figure::Sample;

/// Coroutines, tasks or threads in the lateness figure.
pub const SLEEPERS: usize = 10_000;
/// Their longest sleep.
pub const LATENESS_MS_MAX: u64 = 50;
/// Spawns that are joined together.
pub const SPAWN_BATCH: usize = 1_000;

/// Reduces latenesses in nanoseconds (negative: woken too early) to the sample of the lateness figure: the median in
/// microseconds.
pub fn lateness_sample(mut lateness_ns: Vec<i64>) -> Sample {
    lateness_ns.sort_unstable();
    let quantile_us = |percent: usize| lateness_ns[(lateness_ns.len() - 1) * percent / 100] as f64 / 1e3;
    let early = lateness_ns.iter().filter(|lateness| **lateness < 0).count();
    vec![
        ("value".to_owned(), quantile_us(50)),
        ("p99_us".to_owned(), quantile_us(99)),
        ("early_max".to_owned(), early as f64),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn early_wakes_are_counted() {
        let sample = super::lateness_sample(vec![3_000, -1, 1_000]);
        assert_eq!(sample[0].1, 1.0);
        assert_eq!(sample[2], ("early_max".to_owned(), 1.0));
    }
}
