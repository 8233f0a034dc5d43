//! Where do the storms get their numbers from? From one seed, which is printed: `SILKEN_SEED=<number>` replays a
//! failure.

use fastrand::Rng;
use std::time::UNIX_EPOCH;

/// The seed in `SILKEN_SEED`, or one from the clock; prints which.
pub fn seed_of(case: &str) -> u64 {
    let given = std::env::var("SILKEN_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64));
    eprintln!("{case}: SILKEN_SEED={seed}");
    seed
}

/// The generator of the unit with this number.
pub fn of_unit(seed: u64, unit: usize) -> Rng {
    // The fork keeps the sequences of neighbours apart.
    Rng::with_seed(seed.wrapping_add(unit as u64)).fork()
}
