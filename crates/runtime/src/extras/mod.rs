//! What is built on coroutines and could live in a crate of its own: pools, promises, queues of events, errors, dates,
//! shared collections.

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
