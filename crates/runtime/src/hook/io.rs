//! The calls that move data through descriptors: they try, and park the coroutine where a thread would block.
//!
//! # Protocol
//! Sockets are tried with MSG_DONTWAIT, other pollable files with RWF_NOWAIT, or with `poll(0)` and the plain call where the file does not
//! know that flag. What belongs to the open file description is left alone: O_NONBLOCK would be seen by everybody who shares it.
//! After a would-block the caller's own mode decides: with O_NONBLOCK (or MSG_DONTWAIT) it gets its EAGAIN, else it waits
//! (`driver::readiness`) as long as its socket timeout allows. A call never ends with EINTR.
//!
//! | the wait ends | the caller gets |
//! |---|---|
//! | woken | the call is tried again, its result decides |
//! | SO_RCVTIMEO, SO_SNDTIMEO is over | EAGAIN (`connect`: see `accept_connect`) |
//! | cancelled | ECANCELED |
//! | the descriptor is closed | EBADF |
//! | it cannot be registered | the blocking call: the worker blocks, the monitor replaces it |
//!
//! What was moved before a wait failed is reported as the kernel does: as a short count, without the error.
//!
//! # Blocking calls are whole
//! A blocking send returns when all is sent, and a receive with MSG_WAITALL when all is there, so these loop. A later round of a send carries
//! MSG_NOSIGNAL, for the kernel raises no SIGPIPE once something was sent. Files of one record per call take it whole or not at all, and never
//! get to a second round.
//!
//! # Races that are accepted
//! Between `poll(0)` and the plain call another process may take what was ready; then the worker blocks. This happens only on
//! files that know no non-blocking form and are shared. A receive that is cut short by a bad address leaves data behind that no event announces.
//! Not kept: MSG_FASTOPEN on a blocking socket goes to the kernel as it is.

use super::errno::{answer, caller};
use super::lent::faults;
use super::patience::{Patience, Stop};
use crate::driver::fd_table::{self, Entry, Kind};
use crate::driver::readiness::Direction;
use crate::sys::raw::Errno;
use crate::sys::{file, socket};
use libc::{c_int, c_void, iovec, msghdr, pollfd, size_t, sockaddr, socklen_t, ssize_t};
use silken_interpose::next;
use std::ptr;

#[path = "io_parts.rs"]
mod parts;
use parts::Parts;

/// Flags with which the kernel does not wait, whatever the mode; and the one whose waiting we leave to it.
const AT_ONCE: c_int = libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE | libc::MSG_OOB;
const SEND_AS_IS: c_int = libc::MSG_DONTWAIT | libc::MSG_FASTOPEN;

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
    fn flags(self) -> c_int {
        match self {
            Try::Now => libc::MSG_DONTWAIT,
            Try::Blocking => 0,
        }
    }
}

/// Repeats a call that takes something until it does. `short_of`: a smaller result of a TCP socket means that it is empty; 0 where it does not.
#[inline(always)]
pub(super) fn take(
    fd: c_int,
    entry: &'static Entry,
    short_of: usize,
    mut call: impl FnMut(Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut patience = Patience::new(fd, entry, Direction::Read);
    let mut seen = entry.readiness.look(Direction::Read);
    // With O_NONBLOCK the call is made: the caller may know from elsewhere what our event has not told us yet.
    let mut skip_try = entry.readiness.is_drained(seen) && entry.blocks(fd);
    loop {
        let result = if skip_try { Err(Errno::AGAIN) } else { call(Try::Now) };
        skip_try = false;
        match result {
            Ok(count) => {
                if count < short_of && count > 0 && entry.is_inet_stream() {
                    entry.readiness.set_drained(seen);
                }
                return Ok(count);
            }
            Err(Errno::AGAIN) => match patience.wait(seen) {
                Ok(()) => {}
                Err(Stop::Native) => return repeat_interrupted(|| call(Try::Blocking)),
                Err(Stop::Fail(errno)) => return Err(errno),
            },
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        seen = entry.readiness.look(Direction::Read);
    }
}

/// Repeats a call that moves up to `total` bytes until all are moved, or one fails, or (a receive) the end has come.
/// `call` is told how much is done.
#[inline(always)]
fn move_all(
    fd: c_int,
    entry: &'static Entry,
    direction: Direction,
    total: usize,
    mut call: impl FnMut(usize, Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut patience = Patience::new(fd, entry, direction);
    let mut done = 0;
    loop {
        let seen = entry.readiness.look(direction);
        let failed = match call(done, Try::Now) {
            Ok(count) => {
                done += count;
                if done >= total || count == 0 || !entry.blocks(fd) {
                    return Ok(done);
                }
                continue;
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => match patience.wait(seen) {
                Ok(()) => continue,
                Err(Stop::Native) => match repeat_interrupted(|| call(done, Try::Blocking)) {
                    Ok(count) => return Ok(done + count),
                    Err(errno) => errno,
                },
                Err(Stop::Fail(errno)) => errno,
            },
            Err(errno) => errno,
        };
        return if done > 0 { Ok(done) } else { Err(failed) };
    }
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

/// MSG_PEEK with MSG_WAITALL: each round starts again, and nothing is taken. Ends when all is there, or no more will come.
fn peek_all(
    fd: c_int,
    entry: &'static Entry,
    total: usize,
    mut call: impl FnMut(Try) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut patience = Patience::new(fd, entry, Direction::Read);
    loop {
        let seen = entry.readiness.look(Direction::Read);
        let found = match repeat_interrupted(|| call(Try::Now)) {
            Ok(count) if count >= total || count == 0 || seen.is_sticky() => return Ok(count),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN) => Err(Errno::AGAIN),
            Err(errno) => return Err(errno),
        };
        match patience.wait(seen) {
            Ok(()) => {}
            Err(Stop::Native) => return repeat_interrupted(|| call(Try::Blocking)),
            Err(Stop::Fail(errno)) => return found.map_err(|_| errno),
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
    if flags & (AT_ONCE | libc::MSG_WAITALL) == 0 {
        let short_of = if flags & libc::MSG_PEEK == 0 { bytes } else { 0 };
        return take(fd, entry, short_of, |how| at(0, flags | how.flags()));
    }
    if flags & AT_ONCE != 0 {
        return at(0, flags);
    }
    match entry.kind(fd) {
        Kind::InetStream | Kind::Stream if flags & libc::MSG_PEEK != 0 => {
            peek_all(fd, entry, bytes, |how| at(0, flags | how.flags()))
        }
        Kind::InetStream | Kind::Stream => move_all(fd, entry, Direction::Read, bytes, |done, how| {
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
    move_all(fd, entry, Direction::Write, bytes, |done, how| {
        at(done, flags | how.flags() | quiet_if(done))
    })
}

/// Once something was sent, a broken pipe is a short count, not a signal.
#[inline(always)]
fn quiet_if(done: usize) -> c_int {
    if done > 0 { libc::MSG_NOSIGNAL } else { 0 }
}

/// A message's header; `None` for the kernel to refuse.
unsafe fn header<'a>(message: *const msghdr) -> Option<&'a msghdr> {
    // SAFETY: S7: the hooks are in place.
    if unsafe { faults(message, 1) } {
        return None;
    }
    // SAFETY: S5: null or the caller's.
    unsafe { message.as_ref() }
}

/// A message's parts as the kernel would take them, or `None` for it to refuse.
unsafe fn parts_of(message: &msghdr) -> Option<Parts> {
    // SAFETY: S5: the caller lends what the message names.
    unsafe { Parts::new(message.msg_iov, message.msg_iovlen) }
}

/// # Safety
/// S5, S7: the contract of recvmsg.
unsafe fn receive_message(fd: c_int, message: *mut msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    let at = |message, flags| unsafe { socket::recvmsg(fd, message, flags) };
    let entry = match fd_table::entry(fd) {
        Some(entry) if flags & AT_ONCE == 0 => entry,
        _ => return at(message, flags),
    };
    // SAFETY: S5: null, bad, or the caller's message, which it lends us as well as the kernel.
    let Some(given) = (unsafe { header(message) }) else {
        return at(message, flags);
    };
    // SAFETY: S5: as above.
    let Some(mut parts) = (unsafe { parts_of(given) }) else {
        return at(message, flags);
    };
    let is_stream = |entry: &Entry| matches!(entry.kind(fd), Kind::InetStream | Kind::Stream);
    if flags & libc::MSG_WAITALL == 0 || !is_stream(entry) {
        let short_of = if flags & libc::MSG_PEEK == 0 { parts.total() } else { 0 };
        return take(fd, entry, short_of, |how| at(message, flags | how.flags()));
    }
    if flags & libc::MSG_PEEK != 0 {
        return peek_all(fd, entry, parts.total(), |how| at(message, flags | how.flags()));
    }
    let total = parts.total();
    let mut rest = *given;
    move_all(fd, entry, Direction::Read, total, |done, how| {
        if done == 0 {
            return at(message, flags | how.flags());
        }
        // SAFETY: S5: still the caller's message; the first round has filled it in.
        let first = unsafe { &*message };
        if first.msg_controllen != 0 {
            // The kernel ends a read after ancillary data, too.
            return Ok(0);
        }
        (rest.msg_iov, rest.msg_iovlen) = parts.from(done);
        (rest.msg_control, rest.msg_controllen) = (ptr::null_mut(), 0);
        (rest.msg_name, rest.msg_namelen) = (ptr::null_mut(), 0);
        at(&mut rest, flags | how.flags())
    })
}

/// # Safety
/// S5, S7: the contract of sendmsg.
unsafe fn transmit_message(fd: c_int, message: *const msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    let at = |message, flags| unsafe { socket::sendmsg(fd, message, flags) };
    let entry = match fd_table::entry(fd) {
        Some(entry) if flags & SEND_AS_IS == 0 => entry,
        _ => return at(message, flags),
    };
    // SAFETY: S5: null, bad, or the caller's message, which it lends us as well as the kernel.
    let Some(given) = (unsafe { header(message) }) else {
        return at(message, flags);
    };
    // SAFETY: S5: as above.
    let Some(mut parts) = (unsafe { parts_of(given) }) else {
        return at(message, flags);
    };
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

/// One call on a pollable file that is no socket.
#[inline]
fn file_now(
    fd: c_int,
    entry: &Entry,
    direction: Direction,
    nowait: impl FnOnce() -> Result<usize, Errno>,
    plain: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if entry.knows_nowait() {
        match nowait() {
            Err(Errno::OPNOTSUPP) => entry.set_no_nowait(),
            // Perhaps a flag that the kernel does not know, perhaps the caller's mistake: the plain call tells.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            result => return result,
        }
    }
    let events = match direction {
        Direction::Read => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    };
    match socket::poll_now(&mut [pollfd { fd, events, revents: 0 }], Some(0)) {
        Ok(0) => Err(Errno::AGAIN),
        _ => plain(),
    }
}

/// `readv(2)` and `read(2)` on what is not a stream socket.
///
/// # Safety
/// S5, S7: the contract of readv.
unsafe fn read_parts(fd: c_int, parts: *const iovec, count: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the parts.
    let plain = || unsafe { file::readv(fd, parts, count) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain();
    };
    // SAFETY: S5: as above.
    let Some(total) = (unsafe { parts::total(parts, count as usize) }) else {
        return plain();
    };
    match entry.kind(fd) {
        // Reading nothing from a socket returns at once, where receiving nothing waits.
        kind if kind.is_socket() && total > 0 => {
            let mut message = parts::message(parts, count as usize);
            // SAFETY: S5: the message names what the caller lends.
            take(fd, entry, total, |how| unsafe {
                socket::recvmsg(fd, &mut message, how.flags())
            })
        }
        Kind::Pollable => {
            // SAFETY: S5: the caller lends the parts.
            let nowait = || unsafe { file::readv_nowait(fd, parts, count) };
            take(fd, entry, 0, |how| match how {
                Try::Now => file_now(fd, entry, Direction::Read, nowait, plain),
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
unsafe fn write_parts(fd: c_int, parts: *const iovec, count: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the parts.
    let plain = |parts, count| unsafe { file::writev(fd, parts, count) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain(parts, count);
    };
    match entry.kind(fd) {
        kind if kind.is_socket() => {
            let message = parts::message(parts, count as usize);
            // SAFETY: S5: the message names what the caller lends.
            unsafe { transmit_message(fd, &message, 0) }
        }
        Kind::Pollable => {
            // SAFETY: S5: as above.
            let Some(mut rest) = (unsafe { Parts::new(parts, count as usize) }) else {
                return plain(parts, count);
            };
            move_all(fd, entry, Direction::Write, rest.total(), |done, how| {
                let (parts, count) = rest.from(done);
                let count = count as c_int;
                // SAFETY: S5: a tail of what the caller lends.
                let nowait = || unsafe { file::writev_nowait(fd, parts, count) };
                match how {
                    Try::Now => file_now(fd, entry, Direction::Write, nowait, || plain(parts, count)),
                    Try::Blocking => plain(parts, count),
                }
            })
        }
        _ => repeat_interrupted(|| plain(parts, count)),
    }
}

/// # Safety
/// S5, S7: the contract of read.
unsafe fn read_on_coroutine(fd: c_int, buffer: *mut c_void, bytes: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    let plain = || unsafe { file::read(fd, buffer, bytes) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain();
    };
    match entry.kind(fd) {
        Kind::Plain => repeat_interrupted(plain),
        kind if kind.is_socket() && bytes > 0 => {
            // SAFETY: S5: the caller lends the buffer.
            let result = unsafe { receive(fd, buffer, bytes, 0, ptr::null_mut(), ptr::null_mut()) };
            match result {
                Err(Errno::NOTSOCK) => stale(fd, plain),
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

/// # Safety
/// S5, S7: the contract of write.
unsafe fn write_on_coroutine(fd: c_int, buffer: *const c_void, bytes: usize) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the buffer.
    let plain = || unsafe { file::write(fd, buffer, bytes) };
    let Some(entry) = fd_table::entry(fd) else {
        return plain();
    };
    match entry.kind(fd) {
        Kind::Plain => repeat_interrupted(plain),
        kind if kind.is_socket() => {
            // SAFETY: S5: the caller lends the buffer.
            let result = unsafe { transmit(fd, buffer, bytes, 0, ptr::null(), 0) };
            match result {
                Err(Errno::NOTSOCK) => stale(fd, plain),
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

/// The number was a socket and was closed and reused where no hook saw it (inside libc): this once the plain call, later what it is now.
#[cold]
fn stale(fd: c_int, plain: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    fd_table::reset(fd);
    repeat_interrupted(plain)
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
            // SAFETY: S7: as above.
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
    /// `recvmsg(2)`.
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t { receive_message(fd, message, flags) }
    /// `sendmsg(2)`.
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t { transmit_message(fd, message, flags) }
}
