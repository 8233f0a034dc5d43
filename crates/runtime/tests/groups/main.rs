//! Many coroutines as one: sets, scopes of results, parallel maps, tokens, permits that are owned, blocking calls elsewhere.

#[path = "../common/mod.rs"]
mod common;
mod join_set;
mod maps;
mod results;
mod tokens;

/// Longer than any test may take.
const FAR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Runs a case on runtimes of one, two and four workers, with isolated and with light coroutines.
fn on_all(case: impl Fn() + Send + Sync) {
    common::on_runtimes([1, 2, 4], case);
}
