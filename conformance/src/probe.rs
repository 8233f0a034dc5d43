//! What the cases about silken's own types look through: values whose drops are counted, and coroutines that can be
//! cancelled.

use crate::{Executor, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Long enough for a unit to start and park, as a rule. No case is wrong if it was not.
pub const SHORT: Duration = Duration::from_millis(10);

/// Longer than the watchdog's patience.
pub const FAR: Duration = Duration::from_secs(3600);

/// Counts the values that it made.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    made: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

/// A value whose drop is counted.
#[derive(Debug)]
pub struct Counted {
    /// How many were made before it.
    pub number: usize,
    dropped: Arc<AtomicUsize>,
}

impl Tally {
    /// A new value.
    pub fn value(&self) -> Counted {
        Counted {
            number: self.made.fetch_add(1, SeqCst),
            dropped: self.dropped.clone(),
        }
    }

    /// How many were made.
    pub fn made(&self) -> usize {
        self.made.load(SeqCst)
    }

    /// How many were dropped; one that is dropped twice counts twice.
    pub fn dropped(&self) -> usize {
        self.dropped.load(SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, SeqCst);
    }
}

/// Starts a coroutine of the executor's kind, with silken's own handle; isolated where the executor has OS threads.
pub fn coroutine<T: Send + 'static>(
    ex: &dyn Executor,
    f: impl FnOnce() -> T + Send + 'static,
) -> silken::JoinHandle<T> {
    builder(ex).spawn(f).expect("a coroutine starts")
}

/// The builder of such a coroutine.
pub fn builder(ex: &dyn Executor) -> silken::Builder {
    match ex.kind() {
        Kind::Light { .. } => light(),
        _ => silken::Builder::new(),
    }
}

/// The builder of a light coroutine, for cases that the table marks as independent of thread identity.
pub fn light() -> silken::Builder {
    // SAFETY: S12: the suite leaves out, for light executors, every case of the groups that keep an identity in a
    // thread-local over a wait (`table.rs`); what is left waits in silken's types, std's locks, sleeps and sockets.
    unsafe { silken::Builder::new().light() }
}
