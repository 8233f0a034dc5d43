//! Seeded numbers for the storms.
//!
//! A failing random case is worth nothing without its seed: [`Rng::from_environment`] prints it, and
//! `SILKEN_SEED=<number>` replays it. The generator is splitmix64 (Steele, Lea, Flood, 2014): eight bytes of state, so
//! that every unit may own one.

use std::time::{SystemTime, UNIX_EPOCH};

/// A splitmix64 generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// Seeds from `SILKEN_SEED`, or from the clock, and prints which.
    pub fn from_environment(case: &str) -> Rng {
        let seed = std::env::var("SILKEN_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(1, |since| since.as_nanos() as u64)
            });
        eprintln!("{case}: SILKEN_SEED={seed}");
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// A generator of its own for a unit, reproducible from the seed.
    pub fn fork(&mut self) -> Rng {
        Rng(self.bits())
    }

    /// The generator of the unit with this number, reproducible from the seed.
    pub fn of_unit(&self, unit: usize) -> Rng {
        Rng(Rng(self.0.wrapping_add(unit as u64)).bits())
    }
}
