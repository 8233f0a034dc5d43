//! Which parts of the crate are built on coroutines and could be crates of their own? Pools, promises, queues of
//! events, errors, dates, and shared collections.

pub mod after_func;
#[forbid(unsafe_code)]
pub mod cancel_token;
#[cfg(feature = "extras")]
pub mod collections;
#[forbid(unsafe_code)]
pub mod cqueue;
#[cfg(feature = "extras")]
#[forbid(unsafe_code)]
pub mod date;
#[forbid(unsafe_code)]
pub mod errors;
#[forbid(unsafe_code)]
pub mod pool;
#[forbid(unsafe_code)]
pub mod promise;
