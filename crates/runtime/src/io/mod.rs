//! What do the calls do that move data through descriptors? They try, and park the coroutine where a thread would
//! block. The hooks make them for foreign code, and silken's sockets (`net`) for their users.
//!
//! # Protocol
//! Sockets are tried with MSG_DONTWAIT, and other pollable files with RWF_NOWAIT. A file that does not know that flag
//! is tried with `poll(0)` and the plain call. The settings of the open file description are left alone: every user of
//! the description would see O_NONBLOCK. After a would-block the caller's own mode decides. With O_NONBLOCK (or
//! MSG_DONTWAIT) the caller gets its EAGAIN. Otherwise it waits (`driver::readiness`) as long as its socket timeout
//! allows. A call never ends with EINTR.
//!
//! | the wait ends | the caller gets |
//! |---|---|
//! | woken | the call is tried again, its result decides |
//! | SO_RCVTIMEO, SO_SNDTIMEO is over | EAGAIN (`connect`: see `connect.rs`) |
//! | cancelled, or a `timeout` around it is over | ECANCELED or ETIMEDOUT; some calls wait on (`io/interruption.rs`) |
//! | the descriptor is closed | EBADF |
//! | the number becomes another file (`dup2`) | the call is tried again, on that file |
//! | it cannot be registered | the blocking call: the worker blocks |
//!
//! If a wait or a try fails after data was moved, the call reports a short count, as the kernel does. An error that
//! such a try has taken out of the socket is kept for the next call (`fd_table`).
//!
//! # Blocking calls are whole
//! A blocking send returns when all is sent, and a receive with MSG_WAITALL when all is there, so these loop. A later
//! round of a send carries MSG_NOSIGNAL, since the kernel raises no SIGPIPE once something was sent. Files that take
//! one record per call take it whole or not at all, and never get to a second round.
//!
//! A blocking receive of a stream with SO_RCVLOWAT returns when that many bytes are there. On TCP it leaves fewer bytes
//! in the socket; on Unix sockets, where the mark may be more than fits, it takes what comes. The mark does not apply
//! to MSG_PEEK or `recvmmsg`. MSG_PEEK with MSG_WAITALL waits for all bytes on TCP only; a Unix socket peeks at what is
//! there. Control data ends MSG_WAITALL where it does so in the kernel: behind passed descriptors, and between the
//! bytes of two writers if their credentials are asked for. Timestamps do not end it, and the last ones are reported.
//!
//! A terminal has room or not, and does not tell how much. Its writes are made on a thread of the offload pool, because
//! their reader may be a coroutine here.
//!
//! # Races that are accepted
//! Between `poll(0)` and the plain call another process may take what was ready; then the worker blocks. This happens
//! only on files that know no non-blocking form and are shared. A receive that is cut short by a bad address leaves
//! data behind that no event announces. One thing is not kept: MSG_FASTOPEN on a blocking socket goes to the kernel as
//! it is.

pub(crate) mod accept;
#[forbid(unsafe_code)]
pub(crate) mod caller;
pub(crate) mod connect;
pub(crate) mod datagram;
#[forbid(unsafe_code)]
pub(crate) mod deadline;
pub(crate) mod disk;
pub(crate) mod files;
#[forbid(unsafe_code)]
pub(crate) mod full_backlog;
#[forbid(unsafe_code)]
pub(crate) mod interruption;
pub(crate) mod memory;
pub(crate) mod messages;
#[forbid(unsafe_code)]
pub(crate) mod own;
pub(crate) mod parts;
pub(crate) mod regular;
pub(crate) mod sockets;
#[forbid(unsafe_code)]
pub(crate) mod transfer;

use crate::driver::fd_table::{self, DescriptionFact, FdKind};
use crate::driver::readiness::Direction;
use crate::sys::raw::{Errno, repeat_interrupted};
use crate::sys::{file, socket};
use datagram::{Destination, send_to};
use disk::read_here;
use files::{elsewhere, file_now, write_when_ready};
use libc::{c_int, c_void, iovec, sockaddr, socklen_t};
use messages::{receive_as_message, receive_message_on, transmit_message_on};
use parts::Parts;
use std::ptr;
use transfer::{AT_ONCE, SEND_AS_IS, Try, move_all, peek_all, take};

/// `recvfrom(2)`; also serves `recv` and `read`.
///
/// # Safety
/// S5, S7: the contract of recvfrom.
#[inline(always)]
pub(crate) unsafe fn receive(
    fd: c_int,
    buffer: *mut c_void,
    bytes: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
) -> Result<usize, Errno> {
    let at = |done: usize, flags| {
        let rest = buffer.wrapping_byte_add(done);
        // SAFETY: S5: the caller lends the buffer, of which `done` bytes are filled, and the address.
        unsafe { socket::recvfrom(fd, rest, bytes - done, flags, address, address_bytes) }
    };
    let Some(entry) = fd_table::entry(fd) else {
        return at(0, flags);
    };
    if flags & (AT_ONCE | libc::MSG_PEEK) == 0
        && (flags & libc::MSG_WAITALL != 0 || entry.has(DescriptionFact::LowMark))
        && entry.kind(fd) == FdKind::Stream
    {
        // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
        return unsafe { receive_as_message(fd, entry, buffer, bytes, flags, address, address_bytes) };
    }
    if flags & (AT_ONCE | libc::MSG_WAITALL) == 0 {
        let short_of = if flags & libc::MSG_PEEK == 0 { bytes } else { 0 };
        return take(fd, entry, short_of, |how| at(0, flags | how.flags()));
    }
    if flags & AT_ONCE != 0 {
        let result = at(0, flags);
        if flags & AT_ONCE == libc::MSG_DONTWAIT && matches!(result, Ok(0) | Err(Errno::AGAIN)) {
            entry.take_pending_error()?;
        }
        return result;
    }
    match entry.kind(fd) {
        FdKind::InetStream if flags & libc::MSG_PEEK != 0 => {
            peek_all(fd, entry, bytes, |how| at(0, flags | how.flags()))
        }
        FdKind::InetStream => move_all(fd, entry, Direction::Read, bytes, |done, how| {
            at(done, flags | how.flags())
        }),
        _ => take(fd, entry, 0, |how| at(0, flags | how.flags())),
    }
}

/// `sendto(2)`; also serves `send` and `write`.
///
/// # Safety
/// S5, S7: the contract of sendto.
#[inline(always)]
pub(crate) unsafe fn transmit(
    fd: c_int,
    buffer: *const c_void,
    bytes: usize,
    flags: c_int,
    address: *const sockaddr,
    address_bytes: socklen_t,
) -> Result<usize, Errno> {
    let at = |done: usize, flags| {
        let rest = buffer.wrapping_byte_add(done);
        // SAFETY: S5: the caller lends the buffer, of which `done` bytes are sent, and the address.
        unsafe { socket::sendto(fd, rest, bytes - done, flags, address, address_bytes) }
    };
    let entry = match fd_table::entry(fd) {
        Some(entry) if flags & SEND_AS_IS == 0 => entry,
        _ => return at(0, flags),
    };
    if !address.is_null() && entry.kind(fd) == FdKind::Message {
        let receiver = Destination { address, address_bytes };
        let call = |how: Try, way| match way {
            // SAFETY: S5: the caller lends the buffer; no address.
            Some(way) => unsafe { socket::sendto(way, buffer, bytes, flags | how.flags(), ptr::null(), 0) },
            None => at(0, flags | how.flags()),
        };
        // SAFETY: S5: the caller lends the address.
        return unsafe { send_to(fd, entry, receiver, call) };
    }
    move_all(fd, entry, Direction::Write, bytes, |done, how| {
        at(done, flags | how.flags() | quiet_if(done))
    })
}

/// The flag for a later round: once something was sent, a broken pipe is a short count, not a signal.
#[inline(always)]
fn quiet_if(done: usize) -> c_int {
    if done > 0 { libc::MSG_NOSIGNAL } else { 0 }
}

/// `readv(2)`, and `read(2)` on files that are no sockets, or of no bytes.
///
/// # Safety
/// S5, S7: the contract of readv.
pub(crate) unsafe fn read_parts(fd: c_int, parts: *const iovec, count: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the parts.
    let plain = || unsafe { file::readv(fd, parts, count) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain();
    };
    // SAFETY: S5: the caller lends the parts.
    let Some(total) = (unsafe { parts::total(parts, count as usize) }) else {
        return plain();
    };
    match entry.kind(fd) {
        // A read of no bytes from a socket returns at once, whereas a receive of no bytes waits.
        FdKind::Stream if total > 0 && entry.has(DescriptionFact::LowMark) => {
            let mut message = parts::message(parts, count as usize);
            // SAFETY: S5: the message names what the caller lends.
            unsafe { receive_message_on(fd, entry, &mut message, 0) }
        }
        kind if kind.is_socket() && total > 0 => {
            let mut message = parts::message(parts, count as usize);
            // SAFETY: S5: the message names what the caller lends.
            take(fd, entry, total, |how| unsafe {
                socket::recvmsg(fd, &mut message, how.flags())
            })
        }
        FdKind::Pollable => {
            // SAFETY: S5: the caller lends the parts.
            let nowait = || unsafe { file::readv_nowait(fd, parts, count) };
            // SAFETY: S5: the caller lends the parts, and waits until the call has ended.
            let waiting = || elsewhere(parts, move |parts| unsafe { file::readv(fd, parts, count) });
            take(fd, entry, 0, |how| match how {
                Try::Now => file_now(fd, entry, Direction::Read, nowait, plain, waiting),
                Try::Blocking => plain(),
            })
        }
        FdKind::Plain => {
            let parts = parts.expose_provenance();
            // SAFETY: S5: the caller lends the parts, and waits until the call has ended.
            let call = move || unsafe { file::readv(fd, ptr::with_exposed_provenance(parts), count) };
            read_here(fd, entry, total, call)
        }
        _ => repeat_interrupted(plain),
    }
}

/// `writev(2)`, and `write(2)` on files that are no sockets.
///
/// # Safety
/// S5, S7: the contract of writev.
pub(crate) unsafe fn write_parts(fd: c_int, parts: *const iovec, count: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the parts.
    let plain = |parts, count| unsafe { file::writev(fd, parts, count) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain(parts, count);
    };
    match entry.kind(fd) {
        // SAFETY: S5: the caller lends the parts.
        kind if kind.is_socket() && unsafe { parts::total(parts, count as usize) }.is_some_and(|total| total > 0) => {
            let message = parts::message(parts, count as usize);
            // SAFETY: S5: the message names what the caller lends.
            unsafe { transmit_message_on(fd, entry, &message, 0) }
        }
        FdKind::Pollable => {
            // SAFETY: S5: the message names what the caller lends.
            let Some(mut rest) = (unsafe { Parts::new(parts, count as usize) }) else {
                return plain(parts, count);
            };
            move_all(fd, entry, Direction::Write, rest.total(), |done, how| {
                let (parts, count) = rest.from(done);
                let count = count as c_int;
                // SAFETY: S5: a tail of what the caller lends.
                let nowait = || unsafe { file::writev_nowait(fd, parts, count) };
                match how {
                    // SAFETY: S5, S7: a tail of what the caller lends.
                    Try::Now => file_now(
                        fd,
                        entry,
                        Direction::Write,
                        nowait,
                        || unsafe { write_when_ready(fd, entry, parts, count) },
                        || plain(parts, count),
                    ),
                    Try::Blocking => plain(parts, count),
                }
            })
        }
        _ => repeat_interrupted(|| plain(parts, count)),
    }
}

/// `read(2)`. A number that was a socket when its kind was last asked may be another file now, closed and made again
/// where no hook saw it. Then the call is made anew.
///
/// # Safety
/// S5, S7: the contract of read.
pub(crate) unsafe fn read(fd: c_int, buffer: *mut c_void, bytes: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    let plain = || unsafe { file::read(fd, buffer, bytes) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain();
    };
    match entry.kind(fd) {
        kind if kind.is_socket() && bytes > 0 => {
            // SAFETY: S5: the caller lends the buffer.
            let result = unsafe { receive(fd, buffer, bytes, 0, ptr::null_mut(), ptr::null_mut()) };
            match result {
                Err(Errno::NOTSOCK) => {
                    fd_table::replace(fd);
                    // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
                    unsafe { read(fd, buffer, bytes) }
                }
                result => result,
            }
        }
        FdKind::Plain => {
            let buffer = buffer.expose_provenance();
            // SAFETY: S5: the caller lends the buffer, and waits until the call has ended.
            let call = move || unsafe { file::read(fd, ptr::with_exposed_provenance_mut(buffer), bytes) };
            read_here(fd, entry, bytes, call)
        }
        _ => {
            let part = iovec {
                iov_base: buffer,
                iov_len: bytes,
            };
            // SAFETY: S5: one part, which is the buffer that the caller lends.
            unsafe { read_parts(fd, &part, 1) }
        }
    }
}

/// `write(2)`. If the number is no longer a socket, the call is made anew, as in [`read`].
///
/// # Safety
/// S5, S7: the contract of write.
pub(crate) unsafe fn write(fd: c_int, buffer: *const c_void, bytes: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    let plain = || unsafe { file::write(fd, buffer, bytes) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain();
    };
    match entry.kind(fd) {
        FdKind::Plain => repeat_interrupted(plain),
        kind if kind.is_socket() => {
            // SAFETY: S5: the caller lends the buffer.
            let result = unsafe { transmit(fd, buffer, bytes, 0, ptr::null(), 0) };
            match result {
                Err(Errno::NOTSOCK) => {
                    fd_table::replace(fd);
                    // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
                    unsafe { write(fd, buffer, bytes) }
                }
                result => result,
            }
        }
        _ => {
            let part = iovec {
                iov_base: buffer.cast_mut(),
                iov_len: bytes,
            };
            // SAFETY: S5: one part, which is the buffer that the caller lends.
            unsafe { write_parts(fd, &part, 1) }
        }
    }
}
