//! The port to Linux: one file per question, as `sys/mod.rs` lists them. The newest kernel feature that it needs is
//! `RWF_NOWAIT` (4.14); it probes for `epoll_pwait2` (5.11).

pub(crate) mod address;
pub(crate) mod barrier;
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
