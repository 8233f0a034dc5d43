//! Which parts of the crate are built on coroutines and could be crates of their own? Pools, promises, queues of
//! events, errors, dates, and shared collections.

pub mod after_func;
pub mod cancel_token;
#[cfg(feature = "extras")]
pub mod collections;
pub mod cqueue;
#[cfg(feature = "extras")]
pub mod date;
pub mod errors;
pub mod pool;
pub mod promise;
