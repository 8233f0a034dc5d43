//! What concerns the process as a whole: its children, its descriptor numbers, its ids, its threads.
//!
//! Descriptor numbers are compared, so the cases run one at a time, and nothing else runs in this process.

mod children;
mod descriptors;
mod handlers;
mod ids;
#[path = "../common/signals.rs"]
mod signals;
mod threads;
#[path = "../common/unseen.rs"]
mod unseen;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Ends a wait that would never end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for a coroutine to have parked; too short only makes a case easier.
const SOON: Duration = Duration::from_millis(20);

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime(workers: usize) -> silken::Runtime {
    silken::Runtime::builder().workers(workers).build().unwrap()
}
