//! Collections that coroutines share: `SyncHashMap`, `SyncBtreeMap`, `SyncVec` (feature `extras`).
//!
//! They have the names and methods of cogo's collections, but return guards that keep a lock, where cogo's returned
//! plain references that nothing kept alive. They work on coroutines and on OS threads.
//
// For those who work on silken: the rest of this folder is internal, generic over the elements. Floor 0: nothing here
// knows of coroutines, clocks or the kernel, and nothing but `crate::loom` is imported. `ring` is the run queue of one
// processor, `inbox` holds what other threads send to it, `list` is the wait list whose nodes lie on the waiters'
// stacks, and `wheel` is the order of deadlines. The public collections are in `extras/collections`.

pub(crate) mod inbox;
pub(crate) mod list;
pub(crate) mod ring;
pub(crate) mod wheel;

#[cfg(feature = "extras")]
pub use crate::names::collections::*;

#[cfg(all(test, loom))]
mod loom_tests;
