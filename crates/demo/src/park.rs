//! What does a parked thread or coroutine weigh?
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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// What was weighed.
pub struct Weighed {
    /// How many were parked at once.
    pub count: u64,
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

/// Parks `count` closures, weighs them, wakes and joins them. Fewer than asked if the engine refuses. `beats` counts
/// what was done.
pub fn run<E: Engine>(count: usize, beats: &Arc<AtomicU64>) -> io::Result<Weighed> {
    let slots: Arc<[OnceLock<E::Unparker>]> = (0..count).map(|_| OnceLock::new()).collect();
    let (go, parked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut handles = Vec::with_capacity(count);
    // The first one starts the engine, which is not to be weighed.
    E::join(E::spawn(|| 0)?).map_err(io::Error::other)?;
    let (before, page_tables_before) = weigh();
    let started = Instant::now();
    let mut refusal = None;
    for number in 0..count {
        let (slots, go, parked) = (Arc::clone(&slots), Arc::clone(&go), Arc::clone(&parked));
        let spawned = E::spawn(move || {
            let _ = slots[number].set(E::current());
            // Release: pairs with the Acquire in `wait_for`, so that the slot is seen filled.
            parked.fetch_add(1, Ordering::Release);
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
        // Relaxed: a sign of life.
        beats.fetch_add(1, Ordering::Relaxed);
    }
    wait_for(&parked, handles.len() as u64, beats);
    let spawn = started.elapsed();
    let (after, page_tables_after) = weigh();
    let (count, mappings) = (handles.len() as u64, mappings());
    let started = Instant::now();
    // Release: pairs with the Acquire in the body.
    go.store(true, Ordering::Release);
    slots.iter().filter_map(OnceLock::get).for_each(E::unpark);
    let mut wrong = 0;
    for (number, handle) in handles.into_iter().enumerate() {
        wrong += u64::from(E::join(handle) != Ok(number as u64));
        // Relaxed: a sign of life.
        beats.fetch_add(1, Ordering::Relaxed);
    }
    Ok(Weighed {
        count,
        rss_bytes: after.rss_bytes.saturating_sub(before.rss_bytes),
        page_table_bytes: page_tables_after.saturating_sub(page_tables_before),
        mappings,
        threads: after.threads,
        spawn,
        wake: started.elapsed(),
        wrong,
        refusal,
    })
}

/// Waits until `count` are parked. Polled, so that the bodies wake nobody while they go to sleep.
fn wait_for(parked: &AtomicU64, count: u64, beats: &AtomicU64) {
    let mut seen = 0;
    while seen < count {
        // Acquire: pairs with the Release in the body.
        let now = parked.load(Ordering::Acquire);
        // Relaxed: a sign of life.
        beats.fetch_add(now - seen, Ordering::Relaxed);
        seen = now;
        thread::sleep(Duration::from_millis(1));
    }
}

fn weigh() -> (Peak, u64) {
    let mut now = Peak::default();
    now.sample();
    (now, page_table_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Threads;

    #[test]
    fn all_are_parked_weighed_and_joined() {
        let beats = Arc::default();
        let weighed = run::<Threads>(50, &beats).unwrap();
        assert_eq!((weighed.count, weighed.wrong), (50, 0));
        assert!(weighed.refusal.is_none() && weighed.threads > 50);
        assert_eq!(beats.load(Ordering::Relaxed), 150);
    }
}
