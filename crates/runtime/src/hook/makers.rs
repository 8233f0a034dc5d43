//! Descriptors that come and go without telling more than their number.
//!
//! What the table knows of a number must be forgotten before the number can be handed out again, or, where nobody saw it closed, when it is
//! handed out. Otherwise the entry says "registered" of a file that no epoll knows, and who waits for it waits for ever.
//!
//! * *Closers* close a descriptor inside libc: `fclose`, `freopen`, `pclose`, `closedir`, `mq_close`, `close_range`, `closefrom`. The entry is forgotten
//!   before the call, as in `fd::close`.
//! * *Makers* return a number: `open` and kin, `timerfd_create`, `fopen`, `recvmsg` with SCM_RIGHTS, …. They look whether the entry is virgin,
//!   which it is as a rule, and forget it if not. What the descriptor is the first wait asks.
//!
//! All of them work on OS threads too, may be called in signal handlers where the C function may, and leave errno as the C function does.
//! A call of the runtime's own (a critical section) is not looked at: see `fd`.
//!
//! Several of these are cancellation points: `pthread_cancel` unwinds an OS thread from inside the C function, through the hook's frame. Rust's
//! personality ends the process in a frame that has landing pads, none of them for this call. So what may panic is kept out of these frames, in
//! `extern "C"` functions that are not inlined.
//!
//! # Not followed
//! Numbers that only an inline system call makes after an inline `close`; that arrive in a structure (`ioctl` of a device, `bpf`, `clone3` with
//! CLONE_PIDFD, `pidfd_spawn`); and descriptors that libc uses for itself. `close_range` with CLOSE_RANGE_UNSHARE gives the calling thread a
//! table of its own, of which nothing here knows.

use super::errno::{errno, resetting};
use super::{io, set_errno};
use crate::driver::fd_table;
use libc::{
    DIR, FILE, c_char, c_int, c_uint, c_void, cmsghdr, mmsghdr, mode_t, mq_attr, mqd_t, msghdr, pid_t, sigset_t,
    ssize_t, termios, timespec, winsize,
};
use silken_interpose::next;
use std::ptr;

/// A number that has just been handed out, or -1.
#[inline(never)]
pub(super) extern "C" fn made(fd: c_int) -> c_int {
    resetting()(fd);
    fd
}

/// The number is about to be free.
#[inline(never)]
extern "C" fn closing(fd: c_int) {
    resetting()(fd);
}

/// The descriptor of a stream; -1 for one in memory. Leaves errno alone.
///
/// # Safety
/// S7: an open stream.
#[inline(never)]
unsafe extern "C" fn fd_of(stream: *mut FILE) -> c_int {
    let before = errno();
    // SAFETY: S7: the caller's contract.
    let fd = unsafe { libc::fileno(stream) };
    if fd < 0 {
        set_errno(before);
    }
    fd
}

/// # Safety
/// S7: null, or a stream that has just been opened.
#[inline(never)]
unsafe extern "C" fn made_stream(stream: *mut FILE) -> *mut FILE {
    if !stream.is_null() {
        // SAFETY: S7: the caller's contract.
        made(unsafe { fd_of(stream) });
    }
    stream
}

macro_rules! makers {
    ($($name:ident($($p:ident: $t:ty),*);)*) => {$(
        /// # Safety
        /// S7: the contract of the C function.
        pub(super) unsafe extern "C" fn $name($($p: $t),*) -> c_int {
            // SAFETY: S7: the caller's arguments under the caller's contract.
            made(unsafe { next::$name($($p),*) })
        }
    )*};
}

makers! {
    open(path: *const c_char, flags: c_int, mode: mode_t);
    open64(path: *const c_char, flags: c_int, mode: mode_t);
    openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t);
    openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t);
    __open_2(path: *const c_char, flags: c_int);
    __open64_2(path: *const c_char, flags: c_int);
    __openat_2(directory: c_int, path: *const c_char, flags: c_int);
    __openat64_2(directory: c_int, path: *const c_char, flags: c_int);
    creat(path: *const c_char, mode: mode_t);
    creat64(path: *const c_char, mode: mode_t);
    timerfd_create(clock: c_int, flags: c_int);
    inotify_init();
    inotify_init1(flags: c_int);
    fanotify_init(flags: c_uint, event_flags: c_uint);
    memfd_create(name: *const c_char, flags: c_uint);
    epoll_create(size: c_int);
    epoll_create1(flags: c_int);
    pidfd_open(pid: pid_t, flags: c_uint);
    pidfd_getfd(pid_fd: c_int, target: c_int, flags: c_uint);
    open_by_handle_at(mount: c_int, handle: *mut c_void, flags: c_int);
    posix_openpt(flags: c_int);
    getpt();
    shm_open(name: *const c_char, flags: c_int, mode: mode_t);
    mkstemp(template: *mut c_char);
    mkstemp64(template: *mut c_char);
    mkostemp(template: *mut c_char, flags: c_int);
    mkostemp64(template: *mut c_char, flags: c_int);
    mkstemps(template: *mut c_char, suffix_bytes: c_int);
    mkstemps64(template: *mut c_char, suffix_bytes: c_int);
    mkostemps(template: *mut c_char, suffix_bytes: c_int, flags: c_int);
    mkostemps64(template: *mut c_char, suffix_bytes: c_int, flags: c_int);
    mq_open(name: *const c_char, flags: c_int, mode: mode_t, attributes: *mut mq_attr);
}

macro_rules! stream_makers {
    ($($name:ident($($p:ident: $t:ty),*);)*) => {$(
        /// # Safety
        /// S7: the contract of the C function.
        pub(super) unsafe extern "C" fn $name($($p: $t),*) -> *mut FILE {
            // SAFETY: S7: the caller's arguments under the caller's contract.
            let stream = unsafe { next::$name($($p),*) };
            // SAFETY: S7: null or new.
            unsafe { made_stream(stream) }
        }
    )*};
}

stream_makers! {
    fopen(path: *const c_char, mode: *const c_char);
    fopen64(path: *const c_char, mode: *const c_char);
    popen(command: *const c_char, mode: *const c_char);
    tmpfile();
    tmpfile64();
}

macro_rules! stream_replacers {
    ($($name:ident)*) => {$(
        /// # Safety
        /// S7: the contract of the C function.
        pub(super) unsafe extern "C" fn $name(
            path: *const c_char,
            mode: *const c_char,
            stream: *mut FILE,
        ) -> *mut FILE {
            // SAFETY: S7: the caller's open stream.
            closing(unsafe { fd_of(stream) });
            // SAFETY: S7: the caller's arguments under the caller's contract.
            let stream = unsafe { next::$name(path, mode, stream) };
            // SAFETY: S7: null or opened anew.
            unsafe { made_stream(stream) }
        }
    )*};
}

stream_replacers! { freopen freopen64 }

/// `signalfd(2)`: with a descriptor it changes that one.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn signalfd(fd: c_int, mask: *const sigset_t, flags: c_int) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { next::signalfd(fd, mask, flags) };
    if fd == -1 { made(result) } else { result }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn opendir(path: *const c_char) -> *mut DIR {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let directory = unsafe { next::opendir(path) };
    if !directory.is_null() {
        // SAFETY: S7: just opened.
        made(unsafe { libc::dirfd(directory) });
    }
    directory
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn openpty(
    main: *mut c_int,
    subordinate: *mut c_int,
    name: *mut c_char,
    mode: *const termios,
    size: *const winsize,
) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { next::openpty(main, subordinate, name, mode, size) };
    if result == 0 {
        for place in [main, subordinate] {
            // SAFETY: S7: on success both numbers are there.
            made(unsafe { place.read() });
        }
    }
    result
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn forkpty(
    main: *mut c_int,
    name: *mut c_char,
    mode: *const termios,
    size: *const winsize,
) -> pid_t {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let pid = unsafe { next::forkpty(main, name, mode, size) };
    if pid > 0 {
        // SAFETY: S7: in the parent the number is there.
        made(unsafe { main.read() });
    }
    pid
}

/// `login_tty(3)`: afterwards 0, 1 and 2 are other files. They are never free meanwhile, and a call that fails changes nothing.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn login_tty(fd: c_int) -> c_int {
    // SAFETY: S7: the caller's argument under the caller's contract.
    let result = unsafe { next::login_tty(fd) };
    if result == 0 {
        for fd in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            closing(fd);
        }
    }
    result
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn fclose(stream: *mut FILE) -> c_int {
    // SAFETY: S7: the caller's open stream.
    closing(unsafe { fd_of(stream) });
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::fclose(stream) }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn pclose(stream: *mut FILE) -> c_int {
    // SAFETY: S7: the caller's open stream.
    closing(unsafe { fd_of(stream) });
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::pclose(stream) }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn closedir(directory: *mut DIR) -> c_int {
    if !directory.is_null() {
        // SAFETY: S7: the caller's open directory.
        closing(unsafe { libc::dirfd(directory) });
    }
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::closedir(directory) }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn mq_close(queue: mqd_t) -> c_int {
    closing(queue);
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::mq_close(queue) }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // With CLOSE_RANGE_CLOEXEC nothing is closed; with a flag that the kernel does not know neither.
    if flags == 0 {
        fd_table::reset_range(first..=last, resetting());
    }
    // SAFETY: S7: the caller's arguments under the caller's contract.
    unsafe { next::close_range(first, last, flags) }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn closefrom(first: c_int) {
    fd_table::reset_range(first.max(0) as c_uint..=c_uint::MAX, resetting());
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::closefrom(first) }
}

/// `recvmsg(2)`: as in `io`, and what arrives by SCM_RIGHTS is new.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let received = unsafe { io::recvmsg(fd, message, flags) };
    if received >= 0 {
        // SAFETY: S7: the call has filled it in.
        unsafe { received_descriptors(message) };
    }
    received
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    message_count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let received = unsafe { next::recvmmsg(fd, messages, message_count, flags, timeout) };
    // SAFETY: S7: the call has filled in as many as it says.
    unsafe { received_batch(messages, received) };
    received
}

/// # Safety
/// S7: the first `received` messages have been received.
#[inline(never)]
pub(super) unsafe extern "C" fn received_batch(messages: *mut mmsghdr, received: c_int) {
    for index in 0..received.max(0) as usize {
        // The header is the first field.
        let message = messages.wrapping_add(index).cast::<msghdr>();
        // SAFETY: S7: one of the caller's array that has been received.
        unsafe { received_descriptors(message) };
    }
}

/// Forgets the numbers that a message has brought.
///
/// # Safety
/// S7: the message has been received.
#[inline(never)]
pub(super) unsafe extern "C" fn received_descriptors(message: *const msghdr) {
    // SAFETY: S7: the caller's contract.
    let mut part: *const cmsghdr = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: S7: null or a header within the control bytes that the kernel has written.
    while let Some(header) = unsafe { part.as_ref() } {
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: S7: as above.
            let data = unsafe { libc::CMSG_DATA(part) };
            let bytes = header.cmsg_len.saturating_sub(data.addr() - part.addr());
            for index in 0..bytes / size_of::<c_int>() {
                let place = data.cast::<c_int>().wrapping_add(index);
                // SAFETY: S7: within the part; the kernel aligns to its own taste.
                made(unsafe { ptr::read_unaligned(place) });
            }
        }
        // SAFETY: S7: the caller's contract.
        part = unsafe { libc::CMSG_NXTHDR(message, part) };
    }
}
