//! Locks, conditions, counters and cells with which a coroutine, or an OS thread, waits for others. They have std's
//! names, signatures and poisoning.
//!
//! `use silken::sync::Mutex` instead of `std::sync::Mutex` is the only edit. Everything here works between coroutines,
//! between OS threads, and between the two. A coroutine that waits parks, and its worker runs others. (std's own types
//! park the coroutine as well where libc's symbols are hooked. The types here take a shorter path: their waits can be
//! cancelled and have deadlines, and they need no hooks.)
//!
//! | to wait for | use |
//! |---|---|
//! | the right to use a value | [`Mutex`], [`RwLock`] |
//! | a change of a guarded value | [`Condvar`] |
//! | a value that is made once | [`Once`], [`OnceLock`], [`LazyLock`] |
//! | one of n permits | [`Semaphore`] |
//! | an event that, once it has happened, stays so | [`SyncFlag`] |
//! | an event, once per notification | [`Notify`], [`Blocker`] |
//! | others to reach the same point | [`Barrier`] |
//! | others to end | [`WaitGroup`] |
//!
//! # Cancellation
//! Each wait unwinds a coroutine that is cancelled, and leaves the primitive as if the coroutine had not come. A call
//! that need not wait does not look for a cancellation. A holder that unwinds because it was cancelled poisons nothing;
//! a holder that panics does.
//!
//! # How it is built
//! All waiting is done in `wait/list.rs`. Its nodes lie on the waiters' stacks and are served in order of arrival, so
//! blocking allocates nothing. Each primitive adds one atomic word for calls that need no wait.

mod atomic_option;
#[forbid(unsafe_code)]
mod barrier;
#[forbid(unsafe_code)]
mod condvar;
mod lock_arm;
mod mutex;
mod notify;
#[forbid(unsafe_code)]
mod once;
mod once_lock;
#[forbid(unsafe_code)]
mod poison;
mod raw_mutex;
mod raw_rwlock;
mod rwlock;
mod semaphore;
#[forbid(unsafe_code)]
mod sync_flag;
mod wait_group;

pub use crate::names::sync::{broadcast, mpsc, oneshot, watch};
pub use atomic_option::AtomicOption;
pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub(crate) use lock_arm::Taking;
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard};
pub(crate) use notify::Notification;
pub use notify::{Blocker, Notify, ParkError};
pub use once::{Once, OnceState};
pub use once_lock::{LazyLock, OnceLock};
pub(crate) use raw_mutex::RawMutex;
pub(crate) use raw_rwlock::{Reads, Writes};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use semaphore::Acquisition;
pub use semaphore::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, Semphore};
pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};
pub use sync_flag::SyncFlag;
pub(crate) use wait_group::Departure;
pub use wait_group::WaitGroup;

#[cfg(all(test, loom))]
mod loom_tests;
