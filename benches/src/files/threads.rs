//! OS threads, by std's calls: the floor from memory, and the oracle from a disk.

use super::{
    BLOCK_BYTES, CACHED_READS, OwnFile, READERS, UNCACHED_READS, WRITERS, WRITES, bring_in, evict, file, offsets,
    us_per_operation,
};
use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Reads blocks at these offsets.
pub fn read_blocks(file: &File, offsets: impl Iterator<Item = u64>) {
    let mut block = [0; BLOCK_BYTES];
    for offset in offsets {
        file.read_exact_at(&mut block, offset).expect("a block");
    }
}

/// Appends blocks, each of which is on the disk before the next one.
pub fn write_blocks(unit: usize, count: usize) {
    let own = OwnFile::new(unit);
    let mut file = File::create(own.path()).expect("a temporary file");
    for _ in 0..count {
        file.write_all(&[1; BLOCK_BYTES]).expect("room for a block");
        file.sync_data().expect("a disk");
    }
}

pub fn cached(_options: &Options) -> Sample {
    let file = file();
    bring_in(&file);
    sample(ns_per_operation(CACHED_READS, |count| {
        read_blocks(&file, offsets(0, count))
    }))
}

/// Runs a function on so many threads.
fn on_threads(units: usize, unit: impl Fn(usize) + Send + Sync) {
    std::thread::scope(|scope| {
        for number in 0..units {
            let unit = &unit;
            scope.spawn(move || unit(number));
        }
    });
}

pub fn uncached(_options: &Options) -> Sample {
    let file = Arc::new(file());
    evict(&file);
    us_per_operation(UNCACHED_READS, || {
        on_threads(READERS, |unit| {
            read_blocks(&file, offsets(unit, UNCACHED_READS / READERS))
        });
    })
}

pub fn synced(_options: &Options) -> Sample {
    us_per_operation(WRITES, || {
        on_threads(WRITERS, |unit| write_blocks(unit, WRITES / WRITERS))
    })
}
