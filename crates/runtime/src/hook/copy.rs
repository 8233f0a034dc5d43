//! How do the calls wait that move data from one descriptor to another inside the kernel: `splice`, `tee`, `vmsplice`,
//! `sendfile`?
//!
//! # Protocol
//! With SPLICE_F_NONBLOCK the pipe's side of a call does not wait, whatever the mode of the file. A socket's side waits
//! unless the socket has O_NONBLOCK, which belongs to all users of the socket. So the hook asks both sides with
//! `poll(0)`, the coroutine waits for the side that is not ready, and the call is made when both are.
//!
//! A socket that takes data is ready when it has *some* room, and would then wait for more. So it is given no more than
//! it surely has room for (`socket::room_to_send`). Where that is nearly nothing, `sendfile` sends a small part with
//! MSG_DONTWAIT out of a buffer, as a program without `sendfile` would. `splice` must not do that: data that was read
//! from the pipe and could not be sent could not be put back. It waits on a thread of the offload pool. So do calls on
//! descriptors that cannot be polled.
//!
//! | call | returns |
//! |---|---|
//! | `splice`, `tee`, `vmsplice` | when something was moved |
//! | `sendfile` to a socket | when all is sent, or the file ends |
//! | `sendfile` to a pipe | when something was moved: it is a `splice` |
//! | `sendfile` from a file to a file | a thread of the offload pool makes it |
//! | `copy_file_range` | it waits for disks only, and passes |
//!
//! # Races that are accepted
//! Between `poll(0)` and the call another reader may take the data of a socket, and another sender the room. Then the
//! worker blocks until the peer goes on.
//!
//! # Rejected
//! *O_NONBLOCK for the length of the call*, as `connect` does it: a connected socket has readers, here and in other
//! processes, which would get EAGAIN. *The offload pool for everything*: that takes a thread for each slow client of a
//! file server.

use super::call::hooks;
use super::call::{answer, caller};
use crate::coroutine::budget;
use crate::driver::fd_table::{self, FdEntry, FdKind};
use crate::driver::readiness::Direction;
use crate::io::deadline::{IoDeadline, WaitError};
use crate::offload;
use crate::sys::copy::{self, End};
use crate::sys::file::{self, FileKind};
use crate::sys::raw::Errno;
use crate::sys::socket;
use libc::{c_int, c_uint, iovec, off_t, pollfd, size_t, ssize_t};
use silken_interpose::next;

/// A part that is smaller than this is not worth a call that shares pages instead of copying.
const PART_MIN: usize = 16 * 1024;

/// How many tries may find both sides ready and move nothing, before a thread waits: poll then does not tell for what
/// one of the files waits.
const FRUITLESS_MAX: u32 = 4;

/// One side of a transfer.
struct Side {
    fd: c_int,
    entry: &'static FdEntry,
    direction: Direction,
    io_deadline: IoDeadline,
}

impl Side {
    fn new(fd: c_int, direction: Direction) -> Option<Self> {
        let entry = fd_table::entry(fd)?;
        // Its kind decides how it is asked.
        entry.kind(fd);
        Some(Self {
            fd,
            entry,
            direction,
            io_deadline: IoDeadline::new(fd, entry, direction),
        })
    }

    fn is_socket(&self) -> bool {
        self.entry.known_kind().is_socket()
    }

    fn blocks(&self) -> bool {
        self.entry.blocks(self.fd)
    }
}

/// Moves something from one descriptor to another. `now` makes the attempt with the pipe's side not waiting, or returns
/// `None` if the call has to wait in the kernel. `blocking` is the call that waits, on a thread of the offload pool.
/// `pipes_wait` tells whether the caller lets pipes wait.
fn transfer(
    from: c_int,
    to: c_int,
    pipes_wait: bool,
    is_well_formed: impl Fn() -> bool,
    mut now: impl FnMut(&Side) -> Option<Result<usize, Errno>>,
    blocking: impl FnMut() -> Result<usize, Errno> + Send + 'static,
) -> Result<usize, Errno> {
    let sides = Side::new(from, Direction::Read).zip(Side::new(to, Direction::Write));
    let Some((source, target)) = sides else {
        return offload::try_wait_out(blocking);
    };
    let mut sides = [source, target];
    let mut fruitless = 0;
    loop {
        let seen = sides.each_ref().map(|side| side.entry.readiness.look(side.direction));
        let mut asked = sides.each_ref().map(|side| pollfd {
            fd: side.fd,
            events: side.direction.poll_event(),
            revents: 0,
        });
        let is_known = socket::poll_now(&mut asked, Some(0)).is_ok();
        let unready = asked.iter().position(|side| is_known && side.revents == 0);
        if let Some(index) = unready {
            if !is_well_formed() {
                // The kernel refuses such a call at once, or knows better.
                return offload::try_wait_out(blocking);
            }
            let side = &mut sides[index];
            if !side.is_socket() && !pipes_wait {
                return Err(Errno::AGAIN);
            }
            match side.io_deadline.wait(seen[index]) {
                Ok(()) => continue,
                Err(WaitError::Native) => return offload::try_wait_out(blocking),
                Err(WaitError::Fail(errno)) => return Err(errno),
            }
        }
        match now(&sides[1]) {
            Some(Err(Errno::INTR)) => {}
            Some(Err(Errno::AGAIN)) if sides.iter().any(|side| !side.blocks()) => return Err(Errno::AGAIN),
            Some(Err(Errno::AGAIN)) if fruitless < FRUITLESS_MAX => fruitless += 1,
            Some(Err(Errno::AGAIN)) | None => return offload::try_wait_out(blocking),
            Some(result) => return result,
        }
    }
}

/// Whether pipes wait in this call: O_NONBLOCK of one of the descriptors, if it is no socket, counts for the whole
/// call, as in the kernel for pipes.
fn pipes_block(fds: [c_int; 2]) -> bool {
    fds.into_iter().all(|fd| match fd_table::entry(fd) {
        Some(entry) => entry.kind(fd) != FdKind::Pollable || entry.blocks(fd),
        None => true,
    })
}

/// # Safety
/// S5, S7: the contract of splice.
unsafe fn splice_on_coroutine(
    from: c_int,
    from_offset: usize,
    to: c_int,
    to_offset: usize,
    bytes: usize,
    flags: c_uint,
) -> Result<usize, Errno> {
    let (source, target) = (
        End {
            fd: from,
            offset: from_offset,
        },
        End {
            fd: to,
            offset: to_offset,
        },
    );
    // SAFETY: S5: the caller lends the offsets, and waits until the call has ended.
    let call = move |bytes, flags| unsafe { copy::splice(source, target, bytes, flags) };
    if bytes == 0 {
        return call(0, flags);
    }
    let pipes_wait = flags & libc::SPLICE_F_NONBLOCK == 0 && pipes_block([from, to]);
    let now = |target: &Side| {
        let bytes = match target.is_socket() && target.blocks() {
            true => fitting(from, to, bytes)?,
            // A terminal has some room, but not known how much.
            false if target.blocks() && file::is_terminal(to) => return None,
            false => bytes,
        };
        Some(call(bytes, flags | libc::SPLICE_F_NONBLOCK))
    };
    let is_well_formed = || flags & !SPLICE_FLAGS == 0 && may_splice(source, target);
    transfer(from, to, pipes_wait, is_well_formed, now, move || call(bytes, flags))
}

/// The flags of `splice` that the kernel knows.
const SPLICE_FLAGS: c_uint = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MORE | libc::SPLICE_F_GIFT;

/// Whether the kernel would move data from the one descriptor to the other, as far as that must be known before a wait:
/// descriptors that it refuses may never become ready.
fn may_splice(from: End, to: End) -> bool {
    let modes = [from, to].map(|end| socket::fcntl_getfl(end.fd).unwrap_or(0));
    let readable = modes[0] & libc::O_ACCMODE != libc::O_WRONLY;
    let writable = modes[1] & libc::O_ACCMODE != libc::O_RDONLY && modes[1] & libc::O_APPEND == 0;
    let kinds = [from, to].map(|end| file::file_kind(end.fd));
    let has_pipe = kinds.contains(&Ok(FileKind::Fifo));
    let are_two = kinds[0] != kinds[1] || file::id(from.fd) != file::id(to.fd);
    let places_fit = [from, to]
        .iter()
        .zip(kinds)
        .all(|(end, kind)| end.offset == 0 || kind == Ok(FileKind::Regular));
    let has_listener = [from, to].iter().any(|end| socket::so_accept(end.fd) == Ok(true));
    let moves = |kind| {
        matches!(
            kind,
            Ok(FileKind::Fifo | FileKind::Socket | FileKind::Regular | FileKind::CharDevice)
        )
    };
    readable && writable && has_pipe && are_two && places_fit && !has_listener && kinds.into_iter().all(moves)
}

/// How many bytes of a pipe a socket takes without a wait. `None` if that is not worth a call.
fn fitting(pipe: c_int, to: c_int, bytes: usize) -> Option<usize> {
    // The pipe was ready, so if it is empty it is at its end: the call reports that.
    let present = file::readable_bytes(pipe).unwrap_or(usize::MAX).max(1);
    let wanted = bytes.min(present);
    let room = socket::room_to_send(to);
    (room >= wanted.min(PART_MIN)).then_some(wanted.min(room))
}

/// # Safety
/// S5, S7: the contract of vmsplice.
unsafe fn vmsplice_on_coroutine(fd: c_int, parts: usize, count: usize, flags: c_uint) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the parts, and waits until the call has ended.
    let call = move |flags| unsafe { copy::vmsplice(fd, parts, count, flags) };
    let direction = match copy::is_writable(fd) {
        true => Direction::Write,
        false => Direction::Read,
    };
    let Some(entry) = fd_table::entry(fd) else {
        return call(flags);
    };
    let mut io_deadline = IoDeadline::new(fd, entry, direction);
    // O_NONBLOCK does not count for this call.
    io_deadline.wait_in_any_mode();
    loop {
        let seen = entry.readiness.look(direction);
        match call(flags | libc::SPLICE_F_NONBLOCK) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if flags & libc::SPLICE_F_NONBLOCK == 0 => match io_deadline.wait(seen) {
                Ok(()) => {}
                Err(WaitError::Native) => return offload::try_wait_out(move || call(flags)),
                Err(WaitError::Fail(errno)) => return Err(errno),
            },
            result => return result,
        }
    }
}

/// # Safety
/// S5, S7: the contract of sendfile.
unsafe fn sendfile_on_coroutine(to: c_int, from: c_int, offset: usize, bytes: usize) -> Result<usize, Errno> {
    let source = End { fd: from, offset };
    // SAFETY: S5: the caller lends the offset, and waits until the call has ended.
    let call = move |bytes| unsafe { copy::sendfile(to, source, bytes) };
    let (Some(entry), Some(from_entry)) = (fd_table::entry(to), fd_table::entry(from)) else {
        return call(bytes);
    };
    if bytes == 0 || isize::try_from(bytes).is_err() {
        // The kernel checks and refuses the count, or there is nothing to do.
        return call(bytes);
    }
    let from_plain = from_entry.kind(from) == FdKind::Plain;
    match entry.kind(to) {
        // Both wait for disks. On the pool no signal of the monitor's cuts the call short, either.
        FdKind::Plain if from_plain => offload::wait_out(move || call(bytes)),
        FdKind::Plain | FdKind::Unknown => call(bytes),
        kind if kind.is_socket() && !entry.blocks(to) => call(bytes),
        FdKind::InetStream | FdKind::Stream if from_plain => {
            // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
            unsafe { send_file(to, entry, source, bytes) }
        }
        FdKind::Pollable if from_plain && file::file_kind(to) == Ok(FileKind::Fifo) => {
            // SAFETY: S5, S7: the caller's memory and numbers, under the contract of the C function.
            unsafe { splice_on_coroutine(from, offset, to, 0, bytes, 0) }
        }
        _ => offload::try_wait_out(move || call(bytes)),
    }
}

/// Sends a file to a socket in blocking mode.
///
/// # Safety
/// S5: the offset's address is null or the caller's.
unsafe fn send_file(to: c_int, entry: &'static FdEntry, from: End, total: usize) -> Result<usize, Errno> {
    entry.take_pending_error()?;
    let mut io_deadline = IoDeadline::new(to, entry, Direction::Write);
    let mut buffer = Vec::new();
    let mut done = 0;
    while done < total {
        let seen = entry.readiness.look(Direction::Write);
        let left = total - done;
        let part = left.min(socket::room_to_send(to));
        let sent = if part == left || part >= PART_MIN {
            // SAFETY: S5: the caller promises: the offset's address is null or the caller's.
            unsafe { copy::sendfile(to, from, part) }
        } else {
            // SAFETY: S5: the caller promises: the offset's address is null or the caller's.
            unsafe { send_copy(to, from, left, &mut buffer, done > 0) }
        };
        let failed = match sent {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                continue;
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => match io_deadline.wait(seen) {
                Ok(()) => continue,
                Err(WaitError::Native) => {
                    // SAFETY: S5: the caller's contract; the caller waits until the call has ended.
                    match offload::try_wait_out(move || unsafe { copy::sendfile(to, from, left) }) {
                        Ok(count) => return Ok(done + count),
                        Err(errno) => errno,
                    }
                }
                Err(WaitError::Fail(errno)) => return if done > 0 { Ok(done) } else { Err(errno) },
            },
            Err(errno) => errno,
        };
        return crate::io::transfer::after_part(entry, done, failed);
    }
    Ok(done)
}

/// Sends a small part by way of a buffer, and moves the offset, or the file's position, by what was sent.
///
/// # Safety
/// S5: as for [`send_file`].
#[cold]
unsafe fn send_copy(to: c_int, from: End, left: usize, buffer: &mut Vec<u8>, quiet: bool) -> Result<usize, Errno> {
    let place = std::ptr::with_exposed_provenance_mut::<off_t>(from.offset);
    let position = if place.is_null() {
        copy::move_position(from.fd, 0)?
    } else {
        // SAFETY: S7: on a coroutine the fault handler is in place.
        if unsafe { crate::io::memory::faults(place.cast_const(), 1) } {
            return Err(Errno::FAULT);
        }
        // SAFETY: S5: the caller promises what `send_file` asks.
        unsafe { place.read_unaligned() }
    };
    buffer.resize(left.min(PART_MIN), 0);
    let present = copy::pread(from.fd, buffer, position)?;
    let flags = libc::MSG_DONTWAIT | if quiet { libc::MSG_NOSIGNAL } else { 0 };
    if present == 0 {
        return Ok(0);
    }
    // SAFETY: S5: a live buffer, and no address.
    let sent = unsafe { socket::sendto(to, buffer.as_ptr().cast(), present, flags, std::ptr::null(), 0) }?;
    if place.is_null() {
        copy::move_position(from.fd, sent as i64)?;
    } else {
        // SAFETY: S5: the caller promises what `send_file` asks.
        unsafe { place.write_unaligned(position + sent as i64) };
    }
    Ok(sent)
}

hooks! {
    /// `splice(2)`.
    fn splice(
        from: c_int, from_offset: *mut i64, to: c_int, to_offset: *mut i64, bytes: size_t, flags: c_uint
    ) -> ssize_t {
        splice_on_coroutine(
            from, from_offset.expose_provenance(), to, to_offset.expose_provenance(), bytes, flags
        )
    }
    /// `vmsplice(2)`.
    fn vmsplice(fd: c_int, parts: *const iovec, part_count: size_t, flags: c_uint) -> ssize_t {
        vmsplice_on_coroutine(fd, parts.expose_provenance(), part_count, flags)
    }
    /// `sendfile(2)`.
    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, bytes: size_t) -> ssize_t {
        sendfile_on_coroutine(to, from, offset.expose_provenance(), bytes)
    }
    /// `sendfile64(3)`: the same where `off_t` has 64 bits.
    fn sendfile64(to: c_int, from: c_int, offset: *mut i64, bytes: size_t) -> ssize_t {
        sendfile_on_coroutine(to, from, offset.expose_provenance(), bytes)
    }
}

/// `tee(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn tee(from: c_int, to: c_int, bytes: size_t, flags: c_uint) -> ssize_t {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::tee(from, to, bytes, flags) };
    }
    budget::spend();
    if bytes == 0 {
        return answer(copy::tee(from, to, 0, flags));
    }
    let pipes_wait = flags & libc::SPLICE_F_NONBLOCK == 0 && pipes_block([from, to]);
    let now = |_: &Side| Some(copy::tee(from, to, bytes, flags | libc::SPLICE_F_NONBLOCK));
    let is_well_formed = || {
        let are_pipes = [from, to].iter().all(|fd| file::file_kind(*fd) == Ok(FileKind::Fifo));
        let ends = [from, to].map(|fd| End { fd, offset: 0 });
        flags & !SPLICE_FLAGS == 0 && are_pipes && may_splice(ends[0], ends[1])
    };
    answer(transfer(from, to, pipes_wait, is_well_formed, now, move || {
        copy::tee(from, to, bytes, flags)
    }))
}
