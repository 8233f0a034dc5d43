//! Yields between two coroutines on one worker, from one call site and from two.
//!
//! The sites matter because of the return-address stack of the CPU: two coroutines asleep in the same function return
//! to where the CPU predicts, from different functions each return is mispredicted. The two functions differ in a
//! constant that the optimizer cannot see through, else it would merge them into one.

use super::{Kind, run};
use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use std::hint::black_box;

const YIELDS: usize = 10_000_000;

#[inline(never)]
fn first_site(count: usize) {
    for _ in 0..count {
        black_box(1);
        silken::yield_now();
    }
}

#[inline(never)]
fn second_site(count: usize) {
    for _ in 0..count {
        black_box(2);
        silken::yield_now();
    }
}

fn measure(kind: Kind, sites: [fn(usize); 2]) -> Sample {
    let value = run(1, move || {
        ns_per_operation(YIELDS, |count| {
            let handles = sites.map(|site| kind.spawn(move || site(count / 2)));
            handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        })
    });
    sample(value)
}

pub fn isolated_one_site(_options: &Options) -> Sample {
    measure(Kind::Isolated, [first_site, first_site])
}

pub fn isolated_two_sites(_options: &Options) -> Sample {
    measure(Kind::Isolated, [first_site, second_site])
}

pub fn light_one_site(_options: &Options) -> Sample {
    measure(Kind::Light, [first_site, first_site])
}

pub fn light_two_sites(_options: &Options) -> Sample {
    measure(Kind::Light, [first_site, second_site])
}
