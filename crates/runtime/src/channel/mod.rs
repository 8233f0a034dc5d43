//! Channels: values from coroutine to coroutine, thread to thread, and between the two.
//!
//! | module | who sends, who receives |
//! |---|---|
//! | [`oneshot`] | one value, once |
//! | [`broadcast`] | every receiver gets every value, unless it is too slow |
//! | [`watch`] | receivers see the latest value, and hear that it changed |

pub mod broadcast;
pub mod oneshot;
pub mod watch;
