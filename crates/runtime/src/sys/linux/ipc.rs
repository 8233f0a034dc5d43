//! How the runtime makes the calls on message queues and System V objects, in raw form.
//!
//! As in `file`: the kernel refuses a bad pointer, and nothing is retried. Addresses are passed as words, since the
//! calls are also made on threads of the offload pool.

use super::raw::{self, Errno};
use libc::{c_int, c_long, timespec};
use std::os::fd::RawFd;
use std::ptr;

/// A message of a queue of POSIX: where its bytes are, how many there may be, and its priority, or where that goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) bytes_at: usize,
    pub(crate) bytes: usize,
    pub(crate) priority: usize,
}

/// `mq_timedsend(2)`, until a time of the real-time clock.
///
/// # Safety
/// S5: the message's bytes may be read until the call returns.
pub(crate) unsafe fn mq_send(fd: RawFd, message: Message, until: Option<&timespec>) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    unsafe { mq(libc::SYS_mq_timedsend, fd, message, until) }
}

/// `mq_timedreceive(2)`, until a time of the real-time clock.
///
/// # Safety
/// S5: the message's bytes may be written until the call returns, and the place of the priority, which may be null.
pub(crate) unsafe fn mq_receive(fd: RawFd, message: Message, until: Option<&timespec>) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    unsafe { mq(libc::SYS_mq_timedreceive, fd, message, until) }
}

/// # Safety
/// S5: the contract of the call of this number.
unsafe fn mq(number: c_long, fd: RawFd, message: Message, until: Option<&timespec>) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message; the time lives during the call.
    unsafe {
        raw::syscall5(
            number,
            fd as usize,
            message.bytes_at,
            message.bytes,
            message.priority,
            until.map_or(0, |until| ptr::from_ref(until).addr()),
        )
    }
}

/// `msgsnd(2)`.
///
/// # Safety
/// S5: the message may be read until the call returns.
pub(crate) unsafe fn msgsnd(queue: c_int, message: usize, bytes: usize, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    unsafe { raw::syscall4(libc::SYS_msgsnd, queue as usize, message, bytes, flags as usize) }
}

/// `msgrcv(2)`.
///
/// # Safety
/// S5: the message may be written until the call returns.
pub(crate) unsafe fn msgrcv(
    queue: c_int,
    message: usize,
    bytes: usize,
    kind: c_long,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    unsafe {
        raw::syscall5(
            libc::SYS_msgrcv,
            queue as usize,
            message,
            bytes,
            kind as usize,
            flags as usize,
        )
    }
}

/// `semtimedop(2)`; without a time, `semop(2)`.
///
/// # Safety
/// S5: `count` operations may be read until the call returns.
pub(crate) unsafe fn semtimedop(
    set: c_int,
    operations: usize,
    count: usize,
    timeout: Option<&timespec>,
) -> Result<usize, Errno> {
    let timeout = timeout.map_or(0, |timeout| ptr::from_ref(timeout).addr());
    // SAFETY: S5: the caller lends the operations; the time lives during the call.
    unsafe { raw::syscall4(libc::SYS_semtimedop, set as usize, operations, count, timeout) }
}
