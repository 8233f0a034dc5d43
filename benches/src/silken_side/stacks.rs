//! Calls that ask for stack: one that has room, one that continues on a segment.

use super::run;
use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use crate::peers::stacker::{GROWTHS, LOOKS, RED_ZONE_BYTES, SEGMENT_BYTES, add};

/// There is room: a look, and the call.
pub fn has_room(_options: &Options) -> Sample {
    let value = run(1, || {
        ns_per_operation(LOOKS, |count| {
            let sum = (0..count).fold(0, |sum, number| {
                silken::maybe_grow(RED_ZONE_BYTES, SEGMENT_BYTES, || add(sum, number)).expect("a segment")
            });
            assert_eq!(sum, count * (count - 1) / 2);
        })
    });
    sample(value)
}

/// Each call continues on a segment, which the worker's cache has.
pub fn grows(_options: &Options) -> Sample {
    let value = run(1, || {
        ns_per_operation(GROWTHS, |count| {
            let sum = (0..count).fold(0, |sum, number| {
                silken::grow(SEGMENT_BYTES, || add(sum, number)).expect("a segment")
            });
            assert_eq!(sum, count * (count - 1) / 2);
        })
    });
    sample(value)
}
