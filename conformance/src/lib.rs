//! One suite of behaviours, each written once and run on every executor.
//!
//! Vocabulary: a *unit* is what an executor starts: an OS thread, an isolated coroutine or a light one. A *case* is a
//! function over `&dyn Executor`. Most use only std, libc and unmodified crates, so that they state what a thread
//! does; run on OS threads they validate themselves, run on coroutines they validate silken. The others are about what
//! silken itself offers to wait for (channels, select, tickers, locks …), which has to work on OS threads as well. A
//! *kind* names an executor and its size.
//!
//! Protocol: [`for_each_case`] and [`for_each_own_case`] are the table. [`suite`] turns it into a `#[test]` per case
//! for a kind and leaves out what the kind does not promise (a light coroutine shares its worker's thread-locals, so
//! `identity` cases are not generated for it). [`harness::run`] runs one case at a time, under a watchdog: a lost
//! wake-up is a hang, and a hang must end with the name of the case.
//!
//! Rejected: a custom harness that loops over the table. It would hide the number of cases from `cargo test` and its
//! filters.

pub mod cases;
pub mod executor;
pub mod harness;
pub mod help;
pub mod probe;
pub mod raw;
pub mod rng;
#[macro_use]
mod table;
#[macro_use]
mod own_table;
mod suite;

pub use executor::{Executor, Join, Kind, Unit, join_all};
pub use suite::{Case, cases as all_cases};
