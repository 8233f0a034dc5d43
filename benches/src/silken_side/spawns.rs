//! Spawns joined in batches, and what a parked coroutine keeps resident.

use super::{Kind, run};
use crate::figure::{Options, Sample, sample};
use crate::machine::{Memory, ns_per_operation};
use crate::peers::SPAWN_BATCH;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SPAWNS: usize = 3_000_000;

fn spawn_join(kind: Kind, workers: usize) -> Sample {
    let value = run(workers, move || {
        let mut handles = Vec::with_capacity(SPAWN_BATCH);
        ns_per_operation(SPAWNS, |count| {
            for _ in 0..count / SPAWN_BATCH {
                handles.extend((0..SPAWN_BATCH).map(|number| kind.spawn(move || number)));
                for (number, handle) in handles.drain(..).enumerate() {
                    assert_eq!(handle.join().expect("no panic"), number);
                }
            }
        })
    });
    sample(value)
}

pub fn isolated_one(_options: &Options) -> Sample {
    spawn_join(Kind::Isolated, 1)
}

pub fn light_one(_options: &Options) -> Sample {
    spawn_join(Kind::Light, 1)
}

pub fn isolated_two(_options: &Options) -> Sample {
    spawn_join(Kind::Isolated, 2)
}

/// The process ends inside: waking a million coroutines to take them down is no part of the figure.
fn memory(kind: Kind, coroutines: usize) -> ! {
    run(1, move || {
        let before = Memory::now();
        let parked = Arc::new(AtomicUsize::new(0));
        for index in 0..coroutines {
            let parked = parked.clone();
            drop(kind.spawn(move || {
                // Relaxed: a count on its own; one worker runs both sides.
                parked.fetch_add(1, Ordering::Relaxed);
                loop {
                    silken::park();
                }
            }));
            if index % SPAWN_BATCH == 0 {
                silken::yield_now();
            }
        }
        // Relaxed: as above.
        while parked.load(Ordering::Relaxed) < coroutines {
            silken::yield_now();
        }
        crate::figure::print_sample(&Memory::now().per_coroutine_since(before, coroutines));
        std::process::exit(0)
    })
}

pub fn memory_isolated(options: &Options) -> Sample {
    memory(Kind::Isolated, options.coroutines)
}

pub fn memory_light(options: &Options) -> Sample {
    memory(Kind::Light, options.coroutines)
}
