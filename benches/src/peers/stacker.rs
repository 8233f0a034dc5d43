//! stacker, by which rustc and others grow the stacks of threads: a fresh mapping for each growth.

use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use std::hint::black_box;

/// Calls with room.
pub const LOOKS: usize = 50_000_000;
/// Calls that grow.
pub const GROWTHS: usize = 500_000;
/// What a call wants to have left.
pub const RED_ZONE_BYTES: usize = 32 * 1024;
/// The size of a fresh stack.
pub const SEGMENT_BYTES: usize = 512 * 1024;

/// What is called: too little to matter, and not to be optimised away.
#[inline(never)]
pub fn add(sum: usize, number: usize) -> usize {
    black_box(sum + number)
}

/// There is room: a look, and the call.
pub fn has_room(_options: &Options) -> Sample {
    sample(ns_per_operation(LOOKS, |count| {
        let sum = (0..count).fold(0, |sum, number| {
            stacker::maybe_grow(RED_ZONE_BYTES, SEGMENT_BYTES, || add(sum, number))
        });
        assert_eq!(sum, count * (count - 1) / 2);
    }))
}

/// Each call continues on a fresh stack.
pub fn grows(_options: &Options) -> Sample {
    sample(ns_per_operation(GROWTHS, |count| {
        let sum = (0..count).fold(0, |sum, number| stacker::grow(SEGMENT_BYTES, || add(sum, number)));
        assert_eq!(sum, count * (count - 1) / 2);
    }))
}
