//! How do `recvmsg` and `sendmsg` wait, which are the calls of `io` with a header, ancillary data, and parts?
//!
//! See `parts` for a receive with MSG_WAITALL that takes several calls. If a send takes several calls, the ancillary
//! data goes with the first byte.

use super::datagram::{Destination, send_to};
use super::memory::faults;
use super::parts::{self, Parts, Rounds};
use super::transfer::{AT_ONCE, SEND_AS_IS, Try, move_all, peek_all, stream_mark, take};
use crate::driver::fd_table::{self, FdEntry, FdKind};
use crate::driver::readiness::Direction;
use crate::sys::raw::Errno;
use crate::sys::socket;
use libc::{c_int, c_void, iovec, msghdr, sockaddr, socklen_t};
use std::ptr;

/// A message's header. `None` if it is bad, so that the kernel refuses it.
unsafe fn header<'a>(message: *const msghdr) -> Option<&'a msghdr> {
    // SAFETY: S7: the hooks are in place.
    if unsafe { faults(message, 1) } {
        return None;
    }
    // SAFETY: S5: null or the caller's.
    unsafe { message.as_ref() }
}

/// A message's parts as the kernel would take them. `None` if they are bad, so that the kernel refuses them.
unsafe fn parts_of(message: &msghdr) -> Option<Parts> {
    // SAFETY: S5: the caller lends what the message names.
    unsafe { Parts::new(message.msg_iov, message.msg_iovlen) }
}

/// # Safety
/// S5, S7: the contract of recvmsg.
pub(crate) unsafe fn receive_message(fd: c_int, message: *mut msghdr, flags: c_int) -> Result<usize, Errno> {
    match fd_table::entry(fd) {
        // SAFETY: S5: the caller lends the message.
        Some(entry) if flags & AT_ONCE == 0 => unsafe { receive_message_on(fd, entry, message, flags) },
        // SAFETY: S5: the caller lends the message.
        _ => unsafe { socket::recvmsg(fd, message, flags) },
    }
}

/// Receives a message, for a caller that has looked the descriptor up. The call may wait.
///
/// # Safety
/// S5, S7: the contract of recvmsg.
pub(crate) unsafe fn receive_message_on(
    fd: c_int,
    entry: &'static FdEntry,
    message: *mut msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    let at = |message, flags| unsafe { socket::recvmsg(fd, message, flags) };
    // SAFETY: S5: null, bad, or the caller's message, which it lends us as well as the kernel.
    let Some(given) = (unsafe { header(message) }) else {
        return at(message, flags);
    };
    // SAFETY: S5: null, bad, or the caller's message, which it lends us as well as the kernel.
    let Some(mut parts) = (unsafe { parts_of(given) }) else {
        return at(message, flags);
    };
    let given = *given;
    let is_peek = flags & libc::MSG_PEEK != 0;
    let waits_for_all = flags & libc::MSG_WAITALL != 0;
    let mark = stream_mark(fd, entry).map(|mark| mark.min(parts.total()));
    match entry.kind(fd) {
        FdKind::InetStream if waits_for_all && is_peek => peek_all(fd, entry, parts.total(), |how| {
            // SAFETY: S5: the caller's message. Each round has its whole room for control data, and the name's.
            unsafe { message.write(given) };
            at(message, flags | how.flags())
        }),
        kind @ (FdKind::InetStream | FdKind::Stream) if (waits_for_all || mark.is_some()) && !is_peek => {
            let enough = if waits_for_all {
                parts.total()
            } else {
                mark.unwrap_or(1)
            };
            let mut rounds = Rounds::new(fd, kind, message, given);
            move_all(fd, entry, Direction::Read, enough, |done, how| {
                // SAFETY: S5: the caller lends the message and what it names, of which `done` bytes are filled.
                unsafe { rounds.receive(&mut parts, done, flags | how.flags()) }
            })
        }
        _ => {
            let short_of = if is_peek { 0 } else { parts.total() };
            take(fd, entry, short_of, |how| at(message, flags | how.flags()))
        }
    }
}

/// A `recvfrom(2)` that may take several rounds on a Unix socket. In the kernel, passed descriptors and a change of the
/// writer end such a call, and both show only in control data. So the message has room for credentials if the socket
/// wants them. It has no room for descriptors, so that they are dropped as by `recvfrom`.
///
/// # Safety
/// S5, S7: the contract of recvfrom.
pub(crate) unsafe fn receive_as_message(
    fd: c_int,
    entry: &'static FdEntry,
    buffer: *mut c_void,
    bytes: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
) -> Result<usize, Errno> {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if !address.is_null() && (address_bytes.is_null() || unsafe { faults(address_bytes.cast_const(), 1) }) {
        return Err(Errno::FAULT);
    }
    let part = iovec {
        iov_base: buffer,
        iov_len: bytes,
    };
    let mut control = [0_u64; 4];
    let mut message = parts::message(&raw const part, 1);
    if socket::wants_credentials(fd) {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
    }
    if !address.is_null() {
        message.msg_name = address.cast();
        // SAFETY: S5: the caller's, looked at above.
        message.msg_namelen = unsafe { address_bytes.read_unaligned() };
    }
    // SAFETY: S5: the message names what the caller lends.
    let received = unsafe { receive_message_on(fd, entry, &mut message, flags) }?;
    if !address.is_null() {
        // SAFETY: S5: the message names what the caller lends.
        unsafe { address_bytes.write_unaligned(message.msg_namelen) };
    }
    Ok(received)
}

/// # Safety
/// S5, S7: the contract of sendmsg.
pub(crate) unsafe fn transmit_message(fd: c_int, message: *const msghdr, flags: c_int) -> Result<usize, Errno> {
    match fd_table::entry(fd) {
        // SAFETY: S5: the caller lends the message.
        Some(entry) if flags & SEND_AS_IS == 0 => unsafe { transmit_message_on(fd, entry, message, flags) },
        // SAFETY: S5: the caller lends the message.
        _ => unsafe { socket::sendmsg(fd, message, flags) },
    }
}

/// Sends a message, for a caller that has looked the descriptor up. The call may wait.
///
/// # Safety
/// S5, S7: the contract of sendmsg.
pub(crate) unsafe fn transmit_message_on(
    fd: c_int,
    entry: &'static FdEntry,
    message: *const msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    let at = |message, flags| unsafe { socket::sendmsg(fd, message, flags) };
    // SAFETY: S5: null, bad, or the caller's message, which it lends us as well as the kernel.
    let Some(given) = (unsafe { header(message) }) else {
        return at(message, flags);
    };
    // SAFETY: S5: null, bad, or the caller's message, which it lends us as well as the kernel.
    let Some(mut parts) = (unsafe { parts_of(given) }) else {
        return at(message, flags);
    };
    if !given.msg_name.is_null() && entry.kind(fd) == FdKind::Message {
        let receiver = Destination {
            address: given.msg_name.cast(),
            address_bytes: given.msg_namelen,
        };
        let mut unaddressed = *given;
        (unaddressed.msg_name, unaddressed.msg_namelen) = (ptr::null_mut(), 0);
        let call = |how: Try, way| match way {
            // SAFETY: S5: the caller's message without its address.
            Some(way) => unsafe { socket::sendmsg(way, &unaddressed, flags | how.flags()) },
            None => at(message, flags | how.flags()),
        };
        // SAFETY: S5: the caller lends the address.
        return unsafe { send_to(fd, entry, receiver, call) };
    }
    let mut rest = *given;
    move_all(fd, entry, Direction::Write, parts.total(), |done, how| {
        if done == 0 {
            return at(message, flags | how.flags());
        }
        // Ancillary data went with the first byte.
        (rest.msg_iov, rest.msg_iovlen) = parts.from(done);
        (rest.msg_control, rest.msg_controllen) = (ptr::null_mut(), 0);
        at(&rest, flags | how.flags() | libc::MSG_NOSIGNAL)
    })
}
