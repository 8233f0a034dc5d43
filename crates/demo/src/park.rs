//! Parks many at once and weighs them.
//!
//! Each body announces its unparker, parks until the flag is up, and returns its number; the numbers are summed, so a
//! body that was lost or ran twice is noticed. What is weighed is the growth of the process between "none" and "all
//! parked": stack, identity, handle, everything. The table of unparkers, which belongs to the measurement, is built
//! (and its pages touched) before the first weighing. Page tables are not part of RSS; they are weighed apart.
//!
//! *Order.* The flag is raised before the first unpark and looked at after each park. Unpark to park is ordered by the
//! engine, as it is in std; the Release and Acquire below cover the body that has not parked yet.

use crate::engine::Engine;
use crate::measure::{Peak, mappings, page_table_bytes};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// What is shared with the progress line.
#[derive(Default)]
pub struct Stage {
    spawned: AtomicUsize,
    parked: AtomicUsize,
    joined: AtomicUsize,
}

/// What was weighed.
#[derive(Debug)]
pub struct Weighed {
    /// How many were parked at once.
    pub count: usize,
    /// Growth of resident memory.
    pub rss_bytes: u64,
    /// Growth of page tables.
    pub page_table_bytes: u64,
    /// Memory mappings while all were parked.
    pub mappings: u64,
    /// Threads while all were parked.
    pub threads: u64,
    /// From the first spawn until all were parked.
    pub spawn: Duration,
    /// From the first unpark until all were joined.
    pub wake: Duration,
    /// Bodies that did not return what they must.
    pub wrong: u64,
    /// Why there are no more of them.
    pub refusal: Option<io::Error>,
}

impl Stage {
    /// One phrase for the progress line.
    pub fn progress(&self) -> String {
        // Relaxed: counts for the eye.
        let [spawned, parked, joined] =
            [&self.spawned, &self.parked, &self.joined].map(|count| count.load(Ordering::Relaxed));
        if joined > 0 {
            format!("{joined} of {parked} joined")
        } else {
            format!("{spawned} spawned, {parked} parked")
        }
    }
}

/// Parks `count` closures, weighs them, wakes and joins them. Fewer than asked if the engine refuses.
pub fn run<E: Engine>(count: usize, stage: &Arc<Stage>) -> io::Result<Weighed> {
    let slots: Arc<[OnceLock<E::Unparker>]> = (0..count).map(|_| OnceLock::new()).collect();
    let go = Arc::new(AtomicBool::new(false));
    let mut handles = Vec::with_capacity(count);
    // The first one starts the engine, which is not to be weighed.
    E::join(E::spawn(|| 0)?).map_err(io::Error::other)?;
    let before = weigh();
    let started = Instant::now();
    let mut refusal = None;
    for number in 0..count {
        let (slots, go, stage_of_body) = (Arc::clone(&slots), Arc::clone(&go), Arc::clone(stage));
        let spawned = E::spawn(move || {
            let _ = slots[number].set(E::current());
            // Release: pairs with the Acquire in `wait_for_all`, so that the slot is seen filled.
            stage_of_body.parked.fetch_add(1, Ordering::Release);
            // Acquire: pairs with the Release that raises the flag.
            while !go.load(Ordering::Acquire) {
                E::park();
            }
            number as u64
        });
        match spawned {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
        // Relaxed: a count for the eye.
        stage.spawned.store(number + 1, Ordering::Relaxed);
    }
    let parked = handles.len();
    wait_for_all(stage, parked);
    let spawn = started.elapsed();
    let after = weigh();
    let mappings = mappings();
    let started = Instant::now();
    // Release: pairs with the Acquire in the body.
    go.store(true, Ordering::Release);
    slots.iter().filter_map(OnceLock::get).for_each(E::unpark);
    let wrong = join_all::<E>(handles, stage);
    Ok(Weighed {
        count: parked,
        rss_bytes: after.rss_bytes.saturating_sub(before.rss_bytes),
        page_table_bytes: after.page_table_bytes.saturating_sub(before.page_table_bytes),
        mappings,
        threads: after.threads,
        spawn,
        wake: started.elapsed(),
        wrong,
        refusal,
    })
}

struct Weight {
    rss_bytes: u64,
    page_table_bytes: u64,
    threads: u64,
}

fn weigh() -> Weight {
    let mut now = Peak::default();
    now.sample();
    Weight {
        rss_bytes: now.rss_bytes,
        page_table_bytes: page_table_bytes(),
        threads: now.threads,
    }
}

/// Polled, so that the bodies wake nobody while they go to sleep.
fn wait_for_all(stage: &Stage, count: usize) {
    // Acquire: pairs with the Release in the body.
    while stage.parked.load(Ordering::Acquire) < count {
        thread::sleep(Duration::from_millis(1));
    }
}

fn join_all<E: Engine>(handles: Vec<E::Handle>, stage: &Stage) -> u64 {
    let mut wrong = 0;
    for (number, handle) in handles.into_iter().enumerate() {
        wrong += u64::from(E::join(handle) != Ok(number as u64));
        // Relaxed: a count for the eye.
        stage.joined.store(number + 1, Ordering::Relaxed);
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Threads;

    #[test]
    fn all_are_parked_weighed_and_joined() {
        let stage = Arc::new(Stage::default());
        let weighed = run::<Threads>(50, &stage).unwrap();
        assert_eq!((weighed.count, weighed.wrong), (50, 0));
        assert!(weighed.refusal.is_none() && weighed.threads > 50);
        assert_eq!(stage.progress(), "50 of 50 joined");
    }
}
