//! Data structures that could serve another program; generic over what they hold.
//!
//! Floor 0: nothing here knows of coroutines, clocks or the kernel, and nothing but [`crate::loom`] is imported.
//! [`ring`] is the run queue of one processor, [`inbox`] what other threads send to it, [`list`] the wait list whose nodes lie
//! on the stacks of those who wait, and
//! [`wheel`] the order of deadlines.
#![allow(dead_code)]

pub(crate) mod inbox;
pub(crate) mod list;
pub(crate) mod ring;
pub(crate) mod wheel;

#[cfg(all(test, loom))]
mod loom_tests;
