//! Behaviour of the interfaces of older systems, and of what stands beside the runtime: collections, errors, dates.

mod collections;
#[path = "../common/mod.rs"]
mod common;
mod dates;
mod errors;
mod networking;
mod scheduler;
mod spawning;

/// Runs a case on runtimes of one, two and eight workers, with isolated and with light coroutines, and on this OS
/// thread.
fn on_all(case: impl Fn() + Send + Sync) {
    common::on_runtimes([1, 2, 8], &case);
    case();
}
