//! Our answers to libc's blocking symbols: foreign code waits, the coroutine parks, the worker goes on.
//!
//! A hook has libc's signature and contract (S7). On an OS thread, and inside a critical section of the runtime, it is the next
//! definition and nothing else.
//!
//! * [`io`]: calls that move data; [`accept_connect`]: `accept` and `connect`;
//! * [`poll`]: several descriptors; [`fd`]: calls that make, change and close them.

pub(crate) mod accept_connect;
pub(crate) mod errno;
pub(crate) mod fd;
pub(crate) mod io;
pub(crate) mod poll;
