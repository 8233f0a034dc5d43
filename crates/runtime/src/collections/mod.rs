//! Collections that coroutines share: [`SyncHashMap`], [`SyncBtreeMap`], [`SyncVec`] (feature `extras`).
//!
//! They have the names and methods of cogo's, but lend guards that keep a lock, where cogo's lent plain references that
//! nothing kept alive. On coroutines and on OS threads.
//
// For those who work on silken: the rest of this folder is its own, generic over what it holds. Floor 0: nothing here
// knows of coroutines, clocks or the kernel, and nothing but `crate::loom` is imported. `ring` is the run queue of one
// processor, `inbox` what other threads send to it, `list` the wait list whose nodes lie on the stacks of those who
// wait, and `wheel` the order of deadlines. The public ones are in `extras/collections`.

pub(crate) mod inbox;
pub(crate) mod list;
pub(crate) mod ring;
pub(crate) mod wheel;

#[cfg(feature = "extras")]
pub use crate::names::collections::*;

#[cfg(all(test, loom))]
mod loom_tests;
