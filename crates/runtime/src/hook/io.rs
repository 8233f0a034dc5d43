//! The calls that move data through descriptors: they try, and park the coroutine where a thread would block.
//!
//! # Protocol
//! Sockets are tried with MSG_DONTWAIT, other pollable files with RWF_NOWAIT, or with `poll(0)` and the plain call
//! where the file does not know that flag. What belongs to the open file description is left alone: O_NONBLOCK would be
//! seen by everybody who shares it. After a would-block the caller's own mode decides: with O_NONBLOCK (or
//! MSG_DONTWAIT) it gets its EAGAIN, else it waits (`driver::readiness`) as long as its socket timeout allows. A call
//! never ends with EINTR.
//!
//! | the wait ends | the caller gets |
//! |---|---|
//! | woken | the call is tried again, its result decides |
//! | SO_RCVTIMEO, SO_SNDTIMEO is over | EAGAIN (`connect`: see `accept_connect`) |
//! | cancelled | ECANCELED |
//! | the descriptor is closed | EBADF |
//! | the number becomes another file (`dup2`) | the call is tried again, on that file |
//! | it cannot be registered | the blocking call: the worker blocks |
//!
//! What was moved before a wait or a try failed is reported as the kernel does: as a short count. An error that such a
//! try has taken out of the socket is owed to the next call (`fd_table`).
//!
//! # Blocking calls are whole
//! A blocking send returns when all is sent, and a receive with MSG_WAITALL when all is there, so these loop. A later
//! round of a send carries MSG_NOSIGNAL, for the kernel raises no SIGPIPE once something was sent. Files of one record
//! per call take it whole or not at all, and never get to a second round.
//!
//! A blocking receive of a stream with SO_RCVLOWAT returns when so much is there. On TCP it leaves less than that where
//! it is; on Unix sockets, where the mark may be more than fits, it takes what comes. Not with MSG_PEEK, nor
//! `recvmmsg`. MSG_PEEK with MSG_WAITALL waits for all on TCP only; a Unix socket peeks at what is there. Control data
//! ends MSG_WAITALL where it does in the kernel: behind passed descriptors, and between the bytes of two writers if
//! their credentials are asked for. Timestamps do not end it, and are the last ones.
//!
//! A terminal has room or not, and does not say how much. Its writes are made on a thread of the offload pool: their
//! reader may be here.
//!
//! # Races that are accepted
//! Between `poll(0)` and the plain call another process may take what was ready; then the worker blocks. This happens
//! only on files that know no non-blocking form and are shared. A receive that is cut short by a bad address leaves
//! data behind that no event announces. Not kept: MSG_FASTOPEN on a blocking socket goes to the kernel as it is.

use super::datagram::{Destination, send_to};
use super::errno::{answer, caller};
use super::files::{elsewhere, file_now, write_when_ready};
use super::io_deadline::{IoDeadline, WaitError};
use super::messages::{receive_as_message, receive_message, transmit_message};
use super::parts::{self, Parts};
use crate::driver::fd_table::{self, FdEntry, FdKind, Trait};
use crate::driver::readiness::{Direction, ReadinessTick};
use crate::sys::raw::Errno;
use crate::sys::{file, socket};
use libc::{c_int, c_void, iovec, size_t, sockaddr, socklen_t, ssize_t};
use silken_interpose::next;
use std::ptr;

/// Flags with which the kernel does not wait, whatever the mode; and the one whose waiting we leave to it.
pub(super) const AT_ONCE: c_int = libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE | libc::MSG_OOB;
pub(super) const SEND_AS_IS: c_int = libc::MSG_DONTWAIT | libc::MSG_FASTOPEN;

/// How a call is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Try {
    /// Would-block rather than wait.
    Now,
    /// Wait in the kernel: there is no other way.
    Blocking,
}

impl Try {
    #[inline(always)]
    pub(super) fn flags(self) -> c_int {
        match self {
            Try::Now => libc::MSG_DONTWAIT,
            Try::Blocking => 0,
        }
    }
}

/// Repeats a call that takes something until it does. `short_of`: a smaller result of a TCP socket means that it is
/// empty; 0 where it does not.
#[inline(always)]
pub(super) fn take(
    fd: c_int,
    entry: &'static FdEntry,
    short_of: usize,
    mut call: impl FnMut(Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut io_deadline = IoDeadline::new(fd, entry, Direction::Read);
    let mut seen = entry.readiness.look(Direction::Read);
    // With O_NONBLOCK the call is made: the caller may know from elsewhere what our event has not told us yet.
    let mut skip_try = entry.readiness.is_drained(seen) && entry.blocks(fd);
    loop {
        skip_try = skip_try || entry.has(Trait::LowMark) && is_below_mark(fd, entry, seen, short_of);
        let result = if skip_try { Err(Errno::AGAIN) } else { call(Try::Now) };
        skip_try = false;
        match result {
            Ok(count) => {
                if count == 0 {
                    // What is there comes before an error, an error before the end.
                    entry.pay()?;
                }
                if count < short_of && count > 0 && entry.is_inet_stream() {
                    entry.readiness.set_drained(seen);
                }
                return Ok(count);
            }
            Err(Errno::AGAIN) => match entry
                .pay()
                .map_err(WaitError::Fail)
                .and_then(|()| io_deadline.wait(seen))
            {
                Ok(()) => {}
                Err(WaitError::Native) => return repeat_interrupted(|| call(Try::Blocking)),
                // Over, and perhaps a part is there.
                Err(WaitError::Fail(Errno::AGAIN)) if entry.has(Trait::LowMark) => return call(Try::Now),
                Err(WaitError::Fail(errno)) => return Err(errno),
            },
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        seen = entry.readiness.look(Direction::Read);
    }
}

/// Whether a blocking receive of `wanted` bytes of TCP would wait though there is something: SO_RCVLOWAT was set. The
/// kernel sees to it that so much fits. An end, an error or urgent data ends such a wait.
#[cold]
fn is_below_mark(fd: c_int, entry: &FdEntry, seen: ReadinessTick, wanted: usize) -> bool {
    let mark = socket::so_rcvlowat(fd).unwrap_or(1).min(wanted);
    entry.kind(fd) == FdKind::InetStream
        && mark > 1
        && !seen.is_sticky()
        && entry.blocks(fd)
        && file::readable_bytes(fd).is_ok_and(|present| present > 0 && present < mark)
}

/// Repeats a call until `total` bytes are moved (it may move more), or one fails, or (a receive) the end has come.
/// `call` is told how much is done.
#[inline(always)]
pub(super) fn move_all(
    fd: c_int,
    entry: &'static FdEntry,
    direction: Direction,
    total: usize,
    mut call: impl FnMut(usize, Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if direction == Direction::Write {
        entry.pay()?;
    }
    let mut io_deadline = IoDeadline::new(fd, entry, direction);
    let mut done = 0;
    loop {
        let seen = entry.readiness.look(direction);
        let failed = match call(done, Try::Now) {
            Ok(count) => {
                done += count;
                if done == 0 {
                    entry.pay()?;
                }
                if done >= total || count == 0 || !io_deadline.blocks() {
                    return Ok(done);
                }
                continue;
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => match before_wait(entry, done).and_then(|()| io_deadline.wait(seen)) {
                Ok(()) => continue,
                Err(WaitError::Native) => match repeat_interrupted(|| call(done, Try::Blocking)) {
                    Ok(count) => return Ok(done + count),
                    Err(errno) => errno,
                },
                // Over: what has room now is still sent.
                Err(WaitError::Fail(Errno::AGAIN)) if direction == Direction::Write && io_deadline.blocks() => {
                    match call(done, Try::Now) {
                        Ok(count) => return Ok(done + count),
                        Err(errno) => errno,
                    }
                }
                // The socket knows nothing of why a wait ended.
                Err(WaitError::Fail(errno)) => return if done > 0 { Ok(done) } else { Err(errno) },
            },
            Err(errno) => errno,
        };
        return after_part(entry, done, failed);
    }
}

/// A call that would wait and has moved nothing ends with the error that is owed to it.
fn before_wait(entry: &FdEntry, done: usize) -> Result<(), WaitError> {
    if done > 0 {
        Ok(())
    } else {
        entry.pay().map_err(WaitError::Fail)
    }
}

/// SO_RCVLOWAT of a stream that is not TCP, if it was set.
#[inline(always)]
pub(super) fn stream_mark(fd: c_int, entry: &FdEntry) -> Option<usize> {
    if !entry.has(Trait::LowMark) || entry.kind(fd) != FdKind::Stream {
        return None;
    }
    socket::so_rcvlowat(fd).ok().filter(|mark| *mark > 1)
}

/// What a call returns whose try has failed after `done` bytes were moved. EPIPE comes again by itself, with its
/// signal.
#[cold]
pub(super) fn after_part(entry: &FdEntry, done: usize, failed: Errno) -> Result<usize, Errno> {
    if done == 0 {
        return Err(failed);
    }
    if failed == Errno::AGAIN {
        return Ok(done);
    }
    if failed != Errno(libc::EPIPE) && entry.known_kind().is_socket() {
        entry.owe(failed);
    }
    Ok(done)
}

#[inline]
fn repeat_interrupted(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// MSG_PEEK with MSG_WAITALL: each round starts again, and nothing is taken. Ends when all is there, or no more will
/// come.
pub(super) fn peek_all(
    fd: c_int,
    entry: &'static FdEntry,
    total: usize,
    mut call: impl FnMut(Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut io_deadline = IoDeadline::new(fd, entry, Direction::Read);
    loop {
        let seen = entry.readiness.look(Direction::Read);
        let found = match repeat_interrupted(|| call(Try::Now)) {
            Ok(count) if count >= total || count == 0 || seen.is_sticky() => return Ok(count),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN) => Err(Errno::AGAIN),
            Err(errno) => return Err(errno),
        };
        match io_deadline.wait(seen) {
            Ok(()) => {}
            Err(WaitError::Native) => return repeat_interrupted(|| call(Try::Blocking)),
            Err(WaitError::Fail(errno)) => return found.map_err(|_| errno),
        }
    }
}

/// `recvfrom(2)` with its `recv` and `read` forms.
///
/// # Safety
/// S5, S7: the contract of recvfrom.
#[inline(always)]
unsafe fn receive(
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
        && (flags & libc::MSG_WAITALL != 0 || entry.has(Trait::LowMark))
        && entry.kind(fd) == FdKind::Stream
    {
        // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
        return unsafe { receive_as_message(fd, buffer, bytes, flags, address, address_bytes) };
    }
    if flags & (AT_ONCE | libc::MSG_WAITALL) == 0 {
        let short_of = if flags & libc::MSG_PEEK == 0 { bytes } else { 0 };
        return take(fd, entry, short_of, |how| at(0, flags | how.flags()));
    }
    if flags & AT_ONCE != 0 {
        let result = at(0, flags);
        if flags & AT_ONCE == libc::MSG_DONTWAIT && matches!(result, Ok(0) | Err(Errno::AGAIN)) {
            entry.pay()?;
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

/// `sendto(2)` with its `send` and `write` forms.
///
/// # Safety
/// S5, S7: the contract of sendto.
#[inline(always)]
unsafe fn transmit(
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

/// Once something was sent, a broken pipe is a short count, not a signal.
#[inline(always)]
fn quiet_if(done: usize) -> c_int {
    if done > 0 { libc::MSG_NOSIGNAL } else { 0 }
}

/// `readv(2)` and `read(2)` on what is not a stream socket.
///
/// # Safety
/// S5, S7: the contract of readv.
pub(super) unsafe fn read_parts(fd: c_int, parts: *const iovec, count: c_int) -> Result<usize, Errno> {
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
        // Reading nothing from a socket returns at once, where receiving nothing waits.
        FdKind::Stream if total > 0 && entry.has(Trait::LowMark) => {
            let mut message = parts::message(parts, count as usize);
            // SAFETY: S5: the message names what the caller lends.
            unsafe { receive_message(fd, &mut message, 0) }
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
        _ => repeat_interrupted(plain),
    }
}

/// `writev(2)` and `write(2)` on what is not a socket.
///
/// # Safety
/// S5, S7: the contract of writev.
pub(super) unsafe fn write_parts(fd: c_int, parts: *const iovec, count: c_int) -> Result<usize, Errno> {
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
            unsafe { transmit_message(fd, &message, 0) }
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

/// A number that was a socket when it was last asked may be another file now, closed and made again where no hook saw
/// it: the call is made anew.
///
/// # Safety
/// S5, S7: the contract of read.
unsafe fn read_on_coroutine(fd: c_int, buffer: *mut c_void, bytes: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    let plain = || unsafe { file::read(fd, buffer, bytes) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain();
    };
    match entry.kind(fd) {
        FdKind::Plain => repeat_interrupted(plain),
        kind if kind.is_socket() && bytes > 0 => {
            // SAFETY: S5: the caller lends the buffer.
            let result = unsafe { receive(fd, buffer, bytes, 0, ptr::null_mut(), ptr::null_mut()) };
            match result {
                Err(Errno::NOTSOCK) => {
                    fd_table::replace(fd);
                    // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
                    unsafe { read_on_coroutine(fd, buffer, bytes) }
                }
                result => result,
            }
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

/// As [`read_on_coroutine`].
///
/// # Safety
/// S5, S7: the contract of write.
unsafe fn write_on_coroutine(fd: c_int, buffer: *const c_void, bytes: usize) -> Result<usize, Errno> {
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
                    unsafe { write_on_coroutine(fd, buffer, bytes) }
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

macro_rules! hooks {
    ($(
        $(#[$meta:meta])*
        fn $name:ident($($p:ident: $t:ty),*) -> $r:ty { $answer:expr }
    )*) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        /// S7: the contract of the C function.
        pub(crate) unsafe extern "C" fn $name($($p: $t),*) -> $r {
            if caller().is_none() {
                // SAFETY: S7: the caller's arguments under the caller's contract.
                return unsafe { next::$name($($p),*) };
            }
            $crate::coroutine::budget::spend();
            // SAFETY: S7: the caller's arguments under the caller's contract.
            answer(unsafe { $answer }) as $r
        }
    )*};
}
pub(super) use hooks;

hooks! {
    /// `read(2)`.
    fn read(fd: c_int, buffer: *mut c_void, bytes: size_t) -> ssize_t { read_on_coroutine(fd, buffer, bytes) }
    /// `write(2)`.
    fn write(fd: c_int, buffer: *const c_void, bytes: size_t) -> ssize_t { write_on_coroutine(fd, buffer, bytes) }
    /// `readv(2)`.
    fn readv(fd: c_int, parts: *const iovec, part_count: c_int) -> ssize_t { read_parts(fd, parts, part_count) }
    /// `writev(2)`.
    fn writev(fd: c_int, parts: *const iovec, part_count: c_int) -> ssize_t { write_parts(fd, parts, part_count) }
    /// `recv(2)`.
    fn recv(fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int) -> ssize_t {
        receive(fd, buffer, bytes, flags, ptr::null_mut(), ptr::null_mut())
    }
    /// `send(2)`.
    fn send(fd: c_int, buffer: *const c_void, bytes: size_t, flags: c_int) -> ssize_t {
        transmit(fd, buffer, bytes, flags, ptr::null(), 0)
    }
    /// `recvfrom(2)`.
    fn recvfrom(
        fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int, address: *mut sockaddr, address_bytes: *mut socklen_t
    ) -> ssize_t {
        receive(fd, buffer, bytes, flags, address, address_bytes)
    }
    /// `sendto(2)`.
    fn sendto(
        fd: c_int, buffer: *const c_void, bytes: size_t, flags: c_int, address: *const sockaddr, address_bytes: socklen_t
    ) -> ssize_t {
        transmit(fd, buffer, bytes, flags, address, address_bytes)
    }
}
