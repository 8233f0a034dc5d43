//! How do batches of messages (`recvmmsg`, `sendmmsg`) and the vectored calls with flags (`preadv2`, `pwritev2`) wait?
//!
//! A batch is asked for with MSG_DONTWAIT. For missing messages the coroutine waits as for one message (`io`). The
//! kernel looks at the timeout of `recvmmsg` only when a message has come, so the wait for the next message may take
//! longer; it does here too. If a receive fails after some messages, the next call reports the error. If a send fails
//! after some messages, the error is not reported, as in the kernel.
//!
//! `preadv2` at the file's own position (-1) is `readv`; with flags a thread of the offload pool makes it. With an
//! offset it reads from files that have positions, and never waits for others. Without flags it then is `preadv`, which
//! waits for a disk (`io::disk`). With flags, and for `pwritev2` with an offset, the plain call is made, as for
//! `pwritev`, which is not hooked.

use super::call::hooks;
use super::call::{answer, caller};
use super::makers;
use crate::coroutine::budget;
use crate::driver::fd_table::{self, FdKind};
use crate::driver::readiness::Direction;
use crate::io;
use crate::io::deadline::{IoDeadline, WaitError};
use crate::io::files::elsewhere;
use crate::io::memory::faults;
use crate::io::{disk, messages, parts};
use crate::sys::raw::Errno;
use crate::sys::{clock, copy, file};
use libc::{c_int, c_uint, iovec, mmsghdr, off_t, ssize_t, timespec};
use silken_interpose::next;

/// The most messages that the kernel sends in one call (UIO_MAXIOV).
const MESSAGES_MAX: usize = 1024;

/// The address of a message of a batch.
fn at(messages: *mut mmsghdr, index: usize) -> *mut mmsghdr {
    messages.wrapping_add(index)
}

/// # Safety
/// S5, S7: the contract of recvmmsg, with a valid timeout or none.
unsafe fn receive_batch(
    fd: c_int,
    messages: *mut mmsghdr,
    count: usize,
    flags: c_int,
    timeout_ns: Option<u64>,
) -> Result<usize, Errno> {
    let call = |done: usize, flags| {
        let rest = at(messages, done).expose_provenance();
        // SAFETY: S5: the caller lends the messages and what they name.
        unsafe { copy::recvmmsg(fd, rest, count - done, flags) }
    };
    let entry = match fd_table::entry(fd) {
        Some(entry) if flags & io::transfer::AT_ONCE == 0 && count > 0 => entry,
        _ => return call(0, flags),
    };
    let deadline_ns = timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns));
    let mut io_deadline = IoDeadline::new(fd, entry, Direction::Read);
    let mut done = 0;
    loop {
        let seen = entry.readiness.look(Direction::Read);
        // A call that has to wait in the kernel waits for one message.
        let mut received = call(done, flags | libc::MSG_DONTWAIT | libc::MSG_WAITFORONE);
        if received == Err(Errno::AGAIN) {
            if done == 0 {
                entry.take_pending_error()?;
            }
            match io_deadline.wait(seen) {
                Ok(()) => continue,
                Err(WaitError::Native) => received = call(done, flags | libc::MSG_WAITFORONE),
                // The socket does not know why a wait ended, so no error is kept.
                Err(WaitError::Fail(errno)) => return if done > 0 { Ok(done) } else { Err(errno) },
            }
        }
        match received {
            Ok(more) => {
                done += more;
                // SO_RCVTIMEO holds for each message.
                io_deadline.start_anew();
            }
            Err(Errno::INTR) => continue,
            Err(errno) => return io::transfer::after_part(entry, done, errno),
        }
        let is_over = deadline_ns.is_some_and(|deadline_ns| clock::now_ns() >= deadline_ns);
        let is_enough = done >= count || flags & libc::MSG_WAITFORONE != 0 || !io_deadline.blocks();
        if is_over || is_enough || received == Ok(0) {
            return Ok(done);
        }
    }
}

/// `recvmmsg(2)`. Descriptors that arrive by SCM_RIGHTS are noted as new (`makers`).
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    message_count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || unsafe { faults(timeout.cast_const(), 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        let received = unsafe { next::recvmmsg(fd, messages, message_count, flags, timeout) };
        // SAFETY: S7: the call has filled in as many as it says.
        unsafe { makers::received_batch(messages, received) };
        return received;
    }
    budget::spend();
    // SAFETY: S5: null or the caller's, readable.
    let limit_ns = unsafe { timeout.as_ref() }.map(clock::timespec_to_ns);
    let count = message_count as usize;
    let start_ns = clock::now_ns();
    let received = match limit_ns {
        Some(None) => Err(Errno::INVAL),
        // SAFETY: S5, S7: the caller's arguments under the caller's contract.
        limit_ns => unsafe { receive_batch(fd, messages, count, flags, limit_ns.flatten()) },
    };
    if let (Some(Some(limit_ns)), Ok(_)) = (limit_ns, received) {
        let left_ns = limit_ns.saturating_sub(clock::now_ns() - start_ns);
        // SAFETY: S5: the caller's place, which the kernel would write to as well.
        unsafe { timeout.write_unaligned(clock::ns_to_timespec(left_ns)) };
    }
    let received = answer(received) as c_int;
    // SAFETY: S7: as many have been received.
    unsafe { makers::received_batch(messages, received) };
    received
}

/// # Safety
/// S5, S7: the contract of sendmmsg.
unsafe fn send_batch(fd: c_int, messages: *mut mmsghdr, count: usize, flags: c_int) -> Result<usize, Errno> {
    let call = |done: usize, flags| {
        let rest = at(messages, done).expose_provenance();
        // SAFETY: S5: the caller lends the messages and what they name.
        unsafe { copy::sendmmsg(fd, rest, count - done, flags) }
    };
    let entry = match fd_table::entry(fd) {
        Some(entry) if flags & libc::MSG_DONTWAIT == 0 && count > 0 => entry,
        _ => return call(0, flags),
    };
    // On a stream a message may go out in part, so each is sent by a call of its own.
    let is_stream = matches!(entry.kind(fd), FdKind::InetStream | FdKind::Stream);
    let mut done = 0;
    while done < count {
        let tried = if is_stream {
            Err(Errno::AGAIN)
        } else {
            call(done, flags | libc::MSG_DONTWAIT)
        };
        let failed = match tried {
            Ok(0) => return Ok(done),
            Ok(sent) => {
                done += sent;
                continue;
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                // SAFETY: S5, S7: one of the caller's messages.
                match unsafe { send_one(fd, at(messages, done), flags) } {
                    Ok(true) => {
                        done += 1;
                        continue;
                    }
                    Ok(false) => return Ok(done + 1),
                    Err(errno) => errno,
                }
            }
            Err(errno) => errno,
        };
        return if done > 0 { Ok(done) } else { Err(failed) };
    }
    Ok(done)
}

/// Sends one message and notes how much of it was sent. Returns whether that was all.
///
/// # Safety
/// S5, S7: the contract of sendmsg, for the message of the batch.
unsafe fn send_one(fd: c_int, message: *mut mmsghdr, flags: c_int) -> Result<bool, Errno> {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if unsafe { faults(message.cast_const(), 1) } {
        return Err(Errno::FAULT);
    }
    // The header is the first field.
    // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
    let sent = unsafe { messages::transmit_message(fd, message.cast(), flags) }?;
    // SAFETY: S5: looked at above, and lent.
    let message = unsafe { &mut *message };
    message.msg_len = sent as c_uint;
    // SAFETY: S5: the caller lends what the message names.
    let total = unsafe { parts::total(message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) };
    Ok(total.is_none_or(|total| sent >= total))
}

/// `sendmmsg(2)`. Descriptions that are passed by SCM_RIGHTS are noted as no longer ours alone (`makers`).
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    message_count: c_uint,
    flags: c_int,
) -> c_int {
    let sent = if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        unsafe { next::sendmmsg(fd, messages, message_count, flags) }
    } else {
        budget::spend();
        let count = (message_count as usize).min(MESSAGES_MAX);
        // SAFETY: S7: the caller's arguments under the caller's contract.
        answer(unsafe { send_batch(fd, messages, count, flags) }) as c_int
    };
    // SAFETY: S7: the call has read as many as it says.
    unsafe { makers::sent_batch(messages, sent) };
    sent
}

/// The system call `preadv2` or `pwritev2`.
type Vectored = unsafe fn(c_int, *const iovec, c_int, off_t, c_int) -> Result<usize, Errno>;

/// Makes such a call where it is not simply `readv` or `writev`: on a thread of the offload pool if it may wait for
/// others.
///
/// # Safety
/// S5, S7: the contract of the call.
unsafe fn with_flags(
    call: Vectored,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> Result<usize, Errno> {
    let waits = offset == -1
        && flags & libc::RWF_NOWAIT == 0
        && fd_table::entry(fd).is_some_and(|entry| entry.kind(fd) != FdKind::Plain && entry.blocks(fd));
    // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function; the caller waits until the
    // call has ended.
    let call = move |parts| unsafe { call(fd, parts, count, offset, flags) };
    if waits { elsewhere(parts, call) } else { call(parts) }
}

/// # Safety
/// S5, S7: the contract of preadv2.
unsafe fn read_with_flags(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> Result<usize, Errno> {
    match (offset, flags) {
        // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
        (-1, 0) => unsafe { io::read_parts(fd, parts, count) },
        // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
        (_, 0) => unsafe { disk::read_parts_at(fd, parts, count, offset) },
        // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
        _ => unsafe { with_flags(file::preadv2, fd, parts, count, offset, flags) },
    }
}

/// # Safety
/// S5, S7: the contract of pwritev2.
unsafe fn write_with_flags(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> Result<usize, Errno> {
    match (offset, flags) {
        // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
        (-1, 0) => unsafe { io::write_parts(fd, parts, count) },
        // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
        _ => unsafe { with_flags(file::pwritev2, fd, parts, count, offset, flags) },
    }
}

hooks! {
    /// `preadv2(2)`.
    fn preadv2(fd: c_int, parts: *const iovec, part_count: c_int, offset: off_t, flags: c_int) -> ssize_t {
        read_with_flags(fd, parts, part_count, offset, flags)
    }
    /// `preadv64v2(3)`: the same where `off_t` has 64 bits.
    fn preadv64v2(fd: c_int, parts: *const iovec, part_count: c_int, offset: i64, flags: c_int) -> ssize_t {
        read_with_flags(fd, parts, part_count, offset, flags)
    }
    /// `pwritev2(2)`.
    fn pwritev2(fd: c_int, parts: *const iovec, part_count: c_int, offset: off_t, flags: c_int) -> ssize_t {
        write_with_flags(fd, parts, part_count, offset, flags)
    }
    /// `pwritev64v2(3)`: the same where `off_t` has 64 bits.
    fn pwritev64v2(fd: c_int, parts: *const iovec, part_count: c_int, offset: i64, flags: c_int) -> ssize_t {
        write_with_flags(fd, parts, part_count, offset, flags)
    }
}
