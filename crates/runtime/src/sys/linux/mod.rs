//! The port to Linux: one file per question, as `sys/mod.rs` lists them. It uses `RWF_NOWAIT`, `epoll_pwait2`,
//! `cachestat` and `membarrier` where the kernel has them.

pub(crate) mod address;
pub(crate) mod barrier;
pub(crate) mod blocked_call;
pub(crate) mod clock;
pub(crate) mod copy;
pub(crate) mod epoll;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod held;
pub(crate) mod ipc;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod set_id;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod topology;
pub(crate) mod uring;
