//! Behaviour of the runtime's own API, in an ordinary process.

#[path = "../common/mod.rs"]
mod common;
mod fork;
mod grow;
mod join;
mod memory;
mod park;
mod scope;
mod shutdown;
mod spawn;
mod watch;

/// Runs a case on runtimes of one, two and four workers, with isolated and with light coroutines.
fn on_all(case: impl Fn() + Send + Sync) {
    common::on_runtimes([1, 2, 4], case);
}
