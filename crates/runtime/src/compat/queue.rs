//! Queues without a lock, for many producers and many consumers, under the names that cogo and mco have for them.
//!
//! They are `crossbeam-queue`'s. Nothing in them waits, and nothing in them is kept per thread, so they are as good
//! between coroutines as between threads. Who wants to wait for the next element wants a channel.
//!
//! # Examples
//! ```
//! use silken::queue::SegQueue;
//! let jobs = SegQueue::new();
//! silken::scope(|s| {
//!     for job in 0..4 {
//!         let jobs = &jobs;
//!         s.spawn(move || jobs.push(job));
//!     }
//! });
//! assert_eq!(std::iter::from_fn(|| jobs.pop()).sum::<i32>(), 6);
//! ```

pub use crossbeam_queue::{ArrayQueue, SegQueue};

/// cogo's name of [`SegQueue`]: unbounded.
pub type SyncQueue<T> = SegQueue<T>;
