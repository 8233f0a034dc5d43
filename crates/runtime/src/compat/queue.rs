//! Queues without a lock, for many producers and many consumers, under the names that cogo and mco have for them.
//!
//! They are those of `crossbeam-queue`. Nothing in them waits, and nothing in them is stored per thread. So they work
//! between coroutines as they do between threads. To wait for the next element, use a [channel](crate::channel).
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

/// cogo's name for [`SegQueue`], which is unbounded.
pub type SyncQueue<T> = SegQueue<T>;
