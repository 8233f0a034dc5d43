//! In which order do ready coroutines run, and on which worker?

mod bound;
#[path = "../common/mod.rs"]
mod common;
mod priority;
