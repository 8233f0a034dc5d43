//! Files, by std's unmodified calls.

use super::run;
use crate::figure::{Options, Sample, Subject, sample};
use crate::files::threads::{read_blocks, write_blocks};
use crate::files::{
    CACHED_READS, READERS, UNCACHED_READS, WRITERS, WRITES, bring_in, evict, file, offsets, us_per_operation,
};
use crate::machine::ns_per_operation;
use std::sync::Arc;

/// Silken's contestant for a figure about files.
pub fn subject(figure: &str) -> Option<Subject> {
    Some(match figure {
        "files/cached" => Subject::Process(cached),
        "files/uncached" => Subject::Process(uncached),
        "files/synced" => Subject::Process(synced),
        _ => return None,
    })
}

fn cached(_options: &Options) -> Sample {
    let file = file();
    bring_in(&file);
    let reads = move || ns_per_operation(CACHED_READS, |count| read_blocks(&file, offsets(0, count)));
    sample(run(1, reads))
}

/// Runs a function on so many coroutines, on two workers.
fn on_coroutines(units: usize, unit: impl Fn(usize) + Send + Sync + 'static) {
    run(2, move || {
        let unit = Arc::new(unit);
        let coroutines: Vec<_> = (0..units)
            .map(|number| {
                let unit = unit.clone();
                silken::spawn(move || unit(number))
            })
            .collect();
        coroutines.into_iter().for_each(|one| one.join().expect("no panic"));
    });
}

fn uncached(_options: &Options) -> Sample {
    let file = file();
    evict(&file);
    us_per_operation(UNCACHED_READS, move || {
        on_coroutines(READERS, move |unit| {
            read_blocks(&file, offsets(unit, UNCACHED_READS / READERS))
        });
    })
}

fn synced(_options: &Options) -> Sample {
    us_per_operation(WRITES, || {
        on_coroutines(WRITERS, |unit| write_blocks(unit, WRITES / WRITERS))
    })
}
