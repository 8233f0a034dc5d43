//! tokio: each call on a file is made by a thread of its pool.

use super::{
    BLOCK_BYTES, CACHED_READS, OwnFile, READERS, UNCACHED_READS, WRITERS, WRITES, bring_in, evict, file, offsets,
    us_per_operation,
};
use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use crate::peers::tokio::{one_worker, run, two_workers};
use std::io::SeekFrom;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// tokio's file has no read at an offset, so a unit has an open file of its own, and seeks.
async fn read_blocks(mut file: File, offsets: impl Iterator<Item = u64>) {
    let mut block = [0; BLOCK_BYTES];
    for offset in offsets {
        file.seek(SeekFrom::Start(offset)).await.expect("a place");
        file.read_exact(&mut block).await.expect("a block");
    }
}

async fn write_blocks(unit: usize, count: usize) {
    let own = OwnFile::new(unit);
    let mut file = File::create(own.path()).await.expect("a temporary file");
    for _ in 0..count {
        file.write_all(&[1; BLOCK_BYTES]).await.expect("room for a block");
        file.sync_data().await.expect("a disk");
    }
}

pub fn cached(_options: &Options) -> Sample {
    // A tenth: each read crosses to a thread and back.
    let count = CACHED_READS / 10;
    bring_in(&file());
    let runtime = one_worker();
    sample(ns_per_operation(count, |count| {
        run(&runtime, async move {
            read_blocks(File::from_std(file()), offsets(0, count)).await
        });
    }))
}

/// Runs a future for each of so many units.
fn on_tasks<F: Future<Output = ()> + Send + 'static>(units: usize, unit: fn(usize) -> F) {
    run(&two_workers(), async move {
        let tasks: Vec<_> = (0..units).map(|number| tokio::spawn(unit(number))).collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
}

pub fn uncached(_options: &Options) -> Sample {
    evict(&file());
    us_per_operation(UNCACHED_READS, || {
        on_tasks(READERS, |unit| {
            read_blocks(File::from_std(file()), offsets(unit, UNCACHED_READS / READERS))
        });
    })
}

pub fn synced(_options: &Options) -> Sample {
    us_per_operation(WRITES, || {
        on_tasks(WRITERS, |unit| write_blocks(unit, WRITES / WRITERS))
    })
}
