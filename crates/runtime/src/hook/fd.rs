//! How does the descriptor table follow the calls that make, change and close descriptors? The kernel answers first,
//! then the table is updated, on OS threads as well.
//!
//! These calls do not wait, so coroutine and thread take the same way, through the next definition. There are two
//! exceptions: `fcntl` with a lock (`file_lock`), and the close of a descriptor whose close may wait (a socket with
//! SO_LINGER, an inotify or fanotify descriptor), which a thread of the offload pool makes.
//!
//! For `close`, `dup2` and `dup3` the table forgets the number *before* the kernel frees it, because another thread may
//! get the number at once. In a critical section the caller is the runtime itself, or a signal handler that has
//! interrupted it. Then the table is only told to forget the number later (`fd_table`).
//!
//! A call that makes a descriptor forgets what the table still has of a number that was closed without a hook (by an
//! inline system call). On a coroutine it also notes kind and mode of the new descriptor, so that the first wait need
//! not ask. The calls that make a descriptor of which only the number is known, and the calls that close one inside
//! libc, are in `makers`.
//!
//! In a child of the runtime's process these calls pass, as far as they would change state that the parent shares.
//! `fd_table` says why, and how a child is recognised. So `close` is async-signal-safe there.
//!
//! Two things are not followed: flags that another process changes on a description which it shares with this one, and
//! inline system calls.

use super::call::{answer, caller, is_runtime, replacing, resetting};
use super::file_lock;
use crate::coroutine::Core;
use crate::driver::fd_table::{self, DescriptionFact, FdEntry, FdKind};
use crate::io::caller::begin as begin_known;
use crate::io::sockets::{Change, changed, was_shut_down};
use crate::offload;
use crate::sys::{file, process, socket};
use libc::{c_int, c_uint, c_ulong, c_void, socklen_t};
use silken_interpose::next;

/// Forgets what was known of `fd`, a number that has just been handed out. Returns `fd`, which may be -1.
#[inline(never)]
pub(super) extern "C" fn made(fd: c_int) -> c_int {
    resetting()(fd);
    fd_table::unpair(fd);
    fd
}

/// The options of socket timeouts. Linux has two numbers for each, one per layout of the time.
const TIMEOUT_OPTIONS: [c_int; 4] = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, 66, 67];

/// Notes a new description, of known kind. O_NONBLOCK, SOCK_NONBLOCK and EFD_NONBLOCK are one number.
fn begin(fd: c_int, kind: FdKind, flags: c_int) {
    begin_known(fd, kind, flags & libc::O_NONBLOCK != 0);
}

/// Notes `copy`, if it is a descriptor, as a second number for the description of `fd`.
fn copied(fd: c_int, copy: c_int) {
    if copy >= 0 && copy != fd {
        resetting()(copy);
        fd_table::share(fd, copy);
    }
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    if closes_slowly(fd) {
        resetting()(fd);
        return answer(offload::wait(move || file::close(fd).map(|()| 0))) as c_int;
    }
    resetting()(fd);
    // SAFETY: S7: the caller's arguments under the caller's contract.
    unsafe { next::close(fd) }
}

/// Whether the close of the description may block the worker, because sent data has to arrive, or because the kernel
/// takes long. The kernel is asked only for few descriptors: see `fd_table`.
#[inline]
pub(super) fn closes_slowly(fd: c_int) -> bool {
    let Some(entry) = fd_table::existing(fd) else {
        return false;
    };
    let is_slow = entry.has(DescriptionFact::SlowClose);
    // Not in a signal handler on another stack: the caller must not park there.
    (is_slow || entry.has(DescriptionFact::MayLinger))
        && caller().is_some_and(Core::is_on_own_stack)
        && (is_slow || socket::lingers(fd))
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let copy = unsafe { next::dup(fd) };
    copied(fd, copy);
    copy
}

/// Makes a `dup2` or `dup3` to a number that may be in use.
fn replace(fd: c_int, target: c_int, call: impl FnOnce() -> c_int) -> c_int {
    if fd == target {
        return call();
    }
    let replacing = replacing();
    let is_slow = closes_slowly(target);
    let facts_of_description = fd_table::existing(target).map_or(0, FdEntry::facts_of_description);
    replacing(target);
    let copy = if is_slow {
        // The old description is kept open while the number changes its meaning, and then closed on a thread that may
        // wait.
        close_elsewhere_after(target, call)
    } else {
        call()
    };
    if copy >= 0 {
        // Once more, since another thread may have looked at the number in between.
        replacing(copy);
        fd_table::share(fd, copy);
    } else if let Some(entry) = fd_table::existing(target) {
        entry.restore_description_facts(facts_of_description);
    }
    copy
}

/// Makes a call that among other things closes `fd`, whose description has a close that waits.
#[cold]
fn close_elsewhere_after(fd: c_int, call: impl FnOnce() -> c_int) -> c_int {
    let kept = file::duplicate(fd);
    let result = call();
    if let Ok(kept) = kept {
        offload::wait(move || drop(kept));
    }
    result
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn dup2(fd: c_int, target: c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    replace(fd, target, || unsafe { next::dup2(fd, target) })
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn dup3(fd: c_int, target: c_int, flags: c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    replace(fd, target, || unsafe { next::dup3(fd, target, flags) })
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    if let Some(at_once) = file_lock::at_once(command)
        && caller().is_some()
    {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return answer(unsafe { file_lock::lock_record(fd, command, at_once, argument) }) as c_int;
    }
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { next::fcntl(fd, command, argument) };
    if result >= 0 {
        match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => copied(fd, result),
            libc::F_SETFL => changed(fd, Change::Nonblocking(argument as c_int & libc::O_NONBLOCK != 0)),
            _ => {}
        }
    }
    result
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { next::ioctl(fd, request, argument) };
    // The kernel looks only at the low half of the request.
    if request as u32 == libc::TIOCGPTPEER as u32 {
        return made(result);
    }
    if request as u32 == libc::FIONBIO as u32 && result == 0 {
        // SAFETY: S7: the kernel has just read an int there.
        let value = unsafe { (argument as *const c_int).read_unaligned() };
        changed(fd, Change::Nonblocking(value != 0));
    }
    result
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    value_bytes: socklen_t,
) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { next::setsockopt(fd, level, name, value, value_bytes) };
    if result == 0 {
        note_option(fd, level, name);
    }
    result
}

/// Notes that an option has been set, if it changes how calls wait.
#[inline(never)]
extern "C" fn note_option(fd: c_int, level: c_int, name: c_int) {
    match (level, name) {
        (libc::SOL_SOCKET, name) if TIMEOUT_OPTIONS.contains(&name) => changed(fd, Change::Timeouts),
        // These are noted even in an entry that knows nothing else.
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => note_description_fact(fd, DescriptionFact::LowMark),
        (libc::SOL_SOCKET, libc::SO_LINGER) => note_description_fact(fd, DescriptionFact::MayLinger),
        (libc::IPPROTO_TCP, libc::TCP_ULP) => note_description_fact(fd, DescriptionFact::Records),
        _ => {}
    }
}

fn note_description_fact(fd: c_int, what: DescriptionFact) {
    if let Some(entry) = noted(fd) {
        entry.set_description_fact(what);
    }
}

/// The entry in which a fact about a description is to be noted. `None` for the runtime itself, and in a child of its
/// process.
pub(super) fn noted(fd: c_int) -> Option<&'static FdEntry> {
    if is_runtime() || process::is_foreign() {
        return None;
    }
    fd_table::entry(fd)
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let fd = unsafe { next::socket(domain, kind, protocol) };
    if fd >= 0 {
        // Protocol 0 means the default, which is TCP for streams of the Internet families.
        let protocol = if protocol == 0 { libc::IPPROTO_TCP } else { protocol };
        begin(fd, FdKind::of_socket(domain, kind, protocol), kind);
    }
    fd
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { next::socketpair(domain, kind, protocol, fds) };
    // SAFETY: S7: the caller's place for two numbers, which are there on success.
    unsafe { begin_pair(result, fds, FdKind::of_socket(domain, kind, protocol), kind) };
    result
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn pipe(fds: *mut c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { next::pipe(fds) };
    // SAFETY: S7: the caller's place for two numbers, which are there on success.
    unsafe { begin_pair(result, fds, FdKind::Pollable, 0) };
    result
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn pipe2(fds: *mut c_int, flags: c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { next::pipe2(fds, flags) };
    // SAFETY: S7: the caller's place for two numbers, which are there on success.
    unsafe { begin_pair(result, fds, FdKind::Pollable, flags) };
    result
}

/// # Safety
/// S7: if `result` is 0, `fds` names two ints.
unsafe fn begin_pair(result: c_int, fds: *mut c_int, kind: FdKind, flags: c_int) {
    if result == 0 {
        // SAFETY: S7: the caller promises: if `result` is 0, `fds` names two ints.
        let pair = unsafe { fds.cast::<[c_int; 2]>().read_unaligned() };
        pair.into_iter().for_each(|fd| begin(fd, kind, flags));
        // No code asks for the other end of a pipe.
        if kind.is_socket() {
            fd_table::pair(pair);
        }
    }
}

/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn eventfd(initial: c_uint, flags: c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let fd = unsafe { next::eventfd(initial, flags) };
    if fd >= 0 {
        begin(fd, FdKind::Pollable, flags);
    }
    fd
}

/// `shutdown(2)`. Those who wait hear of it: see `io::sockets`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: S7: the caller's arguments, under the contract of the C function.
    let result = unsafe { next::shutdown(fd, how) };
    if result == 0 {
        was_shut_down(fd, how);
    }
    result
}
