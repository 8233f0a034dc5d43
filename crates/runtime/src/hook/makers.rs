//! How does the descriptor table follow descriptors that come and go in calls which tell nothing but their number?
//!
//! What the table knows of a number must be forgotten before the number can be handed out again. If no hook saw the
//! close, it must be forgotten when the number is handed out. Otherwise the entry says "registered" of a file that no
//! epoll knows, and a call that waits for the file waits for ever.
//!
//! * *Closers* close a descriptor inside libc: `fclose`, `freopen`, `pclose`, `closedir`, `mq_close`, `close_range`,
//!   `closefrom`. The entry is forgotten before the call, as in `fd::close`.
//! * *Makers* return a number: `open` and kin, `timerfd_create`, `fopen`, `recvmsg` with SCM_RIGHTS, …. They check
//!   whether the entry is virgin, which it usually is, and forget it if not. What the descriptor is, the first wait
//!   finds out. For makers that open by path and may therefore wait, see `fifo`.
//!
//! All of them work on OS threads too, may be called in signal handlers where the C function may, and leave errno as
//! the C function does. For a call of the runtime's own (in a critical section), the table only notes that the entry
//! must be forgotten later: see `fd`.
//!
//! Several of these are cancellation points: `pthread_cancel` unwinds an OS thread from inside the C function, through
//! the hook's frame. Rust's personality function ends the process at a frame that has landing pads but none for this
//! call. So code that may panic is kept out of these frames, in `extern "C"` functions that are not inlined.
//!
//! # Not followed
//! Three kinds of numbers are not followed: those that only an inline system call makes after an inline `close`; those
//! that arrive in a structure (`ioctl` of a device, `bpf`, `clone3` with CLONE_PIDFD, `pidfd_spawn`); and descriptors
//! that libc uses for itself. `close_range` with CLOSE_RANGE_UNSHARE gives the calling thread its own table, of which
//! nothing here knows.

use super::call::set_errno;
use super::call::{errno, replacing, resetting};
use super::data;
use super::fd::made;
use super::lent::{Lent, elsewhere};
use super::{fd, fifo};
use crate::driver::fd_table::{self, DescriptionFact, FdEntry};
use crate::io::parts;
use libc::{
    DIR, FILE, c_char, c_int, c_uint, c_void, mmsghdr, mode_t, mq_attr, mqd_t, msghdr, pid_t, sigset_t, ssize_t,
    termios, winsize,
};
use silken_interpose::next;
use std::ptr;

/// Notes that the number is about to be free.
#[inline(never)]
extern "C" fn closing(fd: c_int) {
    resetting()(fd);
}

/// Notes that the number is about to become another file: calls that wait for it try again.
#[inline(never)]
extern "C" fn replaced(fd: c_int) {
    replacing()(fd);
}

/// The descriptor of a stream; -1 for a stream in memory. Leaves errno alone.
///
/// # Safety
/// S7: an open stream.
#[inline(never)]
unsafe extern "C" fn fd_of(stream: *mut FILE) -> c_int {
    let before = errno();
    // SAFETY: S7: the caller promises: an open stream.
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
        // SAFETY: S7: the caller promises: null, or a stream that has just been opened.
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
    timerfd_create(clock: c_int, flags: c_int);
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

macro_rules! watchers {
    ($($name:ident($($p:ident: $t:ty),*);)*) => {$(
        /// # Safety
        /// S7: the contract of the C function.
        pub(super) unsafe extern "C" fn $name($($p: $t),*) -> c_int {
            // SAFETY: S7: the caller's arguments under the caller's contract.
            made_watcher(unsafe { next::$name($($p),*) })
        }
    )*};
}

watchers! {
    inotify_init();
    inotify_init1(flags: c_int);
    fanotify_init(flags: c_uint, event_flags: c_uint);
}

/// Notes a new descriptor whose close takes long: the kernel waits until no kernel code still reads its list of marks.
#[inline(never)]
extern "C" fn made_watcher(fd: c_int) -> c_int {
    made(fd);
    if fd >= 0
        && let Some(entry) = fd::noted(fd)
    {
        entry.set_description_fact(DescriptionFact::SlowClose);
    }
    fd
}

macro_rules! openers {
    ($($name:ident($($p:ident: $t:ty),*) => $directory:expr, $path:expr, $flags:expr;)*) => {$(
        /// # Safety
        /// S7: the contract of the C function.
        pub(super) unsafe extern "C" fn $name($($p: $t),*) -> c_int {
            // SAFETY: S7: the caller's path, for the kernel to read.
            if unsafe { fifo::waits($directory, $path, $flags) } {
                // SAFETY: S5: the caller's arguments; the caller waits until this call has ended.
                return made(unsafe { fifo::open($directory, $path, $flags) });
            }
            // SAFETY: S7: the caller's arguments under the caller's contract.
            made(unsafe { next::$name($($p),*) })
        }
    )*};
}

openers! {
    open(path: *const c_char, flags: c_int, mode: mode_t) => libc::AT_FDCWD, path, flags;
    open64(path: *const c_char, flags: c_int, mode: mode_t) => libc::AT_FDCWD, path, flags;
    openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) => directory, path, flags;
    openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) => directory, path, flags;
    __open_2(path: *const c_char, flags: c_int) => libc::AT_FDCWD, path, flags;
    __open64_2(path: *const c_char, flags: c_int) => libc::AT_FDCWD, path, flags;
    __openat_2(directory: c_int, path: *const c_char, flags: c_int) => directory, path, flags;
    __openat64_2(directory: c_int, path: *const c_char, flags: c_int) => directory, path, flags;
    creat(path: *const c_char, mode: mode_t) => libc::AT_FDCWD, path, libc::O_WRONLY;
    creat64(path: *const c_char, mode: mode_t) => libc::AT_FDCWD, path, libc::O_WRONLY;
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
    popen(command: *const c_char, mode: *const c_char);
    tmpfile();
    tmpfile64();
}

macro_rules! stream_openers {
    ($($name:ident)*) => {$(
        /// # Safety
        /// S7: the contract of the C function.
        pub(super) unsafe extern "C" fn $name(path: *const c_char, mode: *const c_char) -> *mut FILE {
            // SAFETY: S7: the caller's texts.
            let stream = if unsafe { fifo::stream_waits(path, mode) } {
                // SAFETY: S5: the caller's texts; the caller waits until this call has ended.
                unsafe { fifo::open_stream(next::$name, path, mode) }
            } else {
                // SAFETY: S7: the caller's arguments under the caller's contract.
                unsafe { next::$name(path, mode) }
            };
            // SAFETY: S7: null or new.
            unsafe { made_stream(stream) }
        }
    )*};
}

stream_openers! { fopen fopen64 }

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
            replaced(unsafe { fd_of(stream) });
            // SAFETY: S7: the caller's arguments under the caller's contract.
            let stream = unsafe { next::$name(path, mode, stream) };
            // SAFETY: S7: null or opened anew.
            unsafe { made_stream(stream) }
        }
    )*};
}

stream_replacers! { freopen freopen64 }

/// `signalfd(2)`. If `fd` is a descriptor the call changes that one, and makes no new one.
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

/// `login_tty(3)`. Afterwards 0, 1 and 2 are other files. They are never free meanwhile, and a call that fails changes
/// nothing.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn login_tty(fd: c_int) -> c_int {
    // SAFETY: S7: the caller's argument under the caller's contract.
    let result = unsafe { next::login_tty(fd) };
    if result == 0 {
        for fd in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            replaced(fd);
        }
    }
    result
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn fclose(stream: *mut FILE) -> c_int {
    // SAFETY: S7: the caller's open stream.
    let fd = unsafe { fd_of(stream) };
    let is_slow = fd::closes_slowly(fd);
    closing(fd);
    if is_slow {
        // SAFETY: S5, S7: the caller's stream; the caller waits until the call has ended.
        return elsewhere(Lent(stream), |stream| unsafe { next::fclose(stream) });
    }
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
    // With CLOSE_RANGE_CLOEXEC nothing is closed, nor with a flag that the kernel does not know.
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

/// `recvmsg(2)`. It is made as in `io`; then descriptors that arrive by SCM_RIGHTS are noted as new.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let received = unsafe { data::recvmsg(fd, message, flags) };
    if received >= 0 {
        // SAFETY: S7: the call has filled it in.
        unsafe { received_descriptors(message) };
    }
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

/// Notes a description that another process has made, whose settings no hook here has seen.
#[inline(never)]
extern "C" fn received_description(fd: c_int) {
    if let Some(entry) = shared_with_others(fd) {
        entry.set_description_fact(DescriptionFact::LowMark);
        entry.set_description_fact(DescriptionFact::MayLinger);
    }
}

/// Notes that other processes have the description as well.
fn shared_with_others(fd: c_int) -> Option<&'static FdEntry> {
    let entry = fd::noted(fd)?;
    entry.set_passed_on();
    Some(entry)
}

/// `sendmsg(2)`. It is made as in `io`; then a description that was passed on is noted as no longer ours alone.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let sent = unsafe { data::sendmsg(fd, message, flags) };
    if sent >= 0 {
        // SAFETY: S7: the call has read it.
        unsafe { sent_descriptors(message) };
    }
    sent
}

/// # Safety
/// S7: the first `sent` messages have been sent.
#[inline(never)]
pub(super) unsafe extern "C" fn sent_batch(messages: *mut mmsghdr, sent: c_int) {
    for index in 0..sent.max(0) as usize {
        // The header is the first field.
        let message = messages.wrapping_add(index).cast::<msghdr>();
        // SAFETY: S7: one of the caller's array that has been sent.
        unsafe { sent_descriptors(message) };
    }
}

/// # Safety
/// S7: the message has been sent.
#[inline(never)]
pub(super) unsafe extern "C" fn sent_descriptors(message: *const msghdr) {
    // SAFETY: S7: the caller promises: the message has been sent.
    unsafe {
        each_descriptor(message, |fd| {
            shared_with_others(fd);
        })
    };
}

/// Forgets what was known of the numbers that a message has brought.
///
/// # Safety
/// S7: the message has been received.
#[inline(never)]
pub(super) unsafe extern "C" fn received_descriptors(message: *const msghdr) {
    // SAFETY: S7: the caller promises: the message has been received.
    unsafe {
        each_descriptor(message, |fd| {
            made(fd);
            received_description(fd);
        })
    };
}

/// # Safety
/// S7: the kernel has read or written the message.
unsafe fn each_descriptor(message: *const msghdr, visit: impl Fn(c_int)) {
    // SAFETY: S7: the caller promises: the kernel has read or written the message.
    let controls = unsafe { parts::controls(message) };
    for (header, data) in controls {
        if (header.cmsg_level, header.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            continue;
        }
        let bytes = header
            .cmsg_len
            .saturating_sub(data.addr() - ptr::from_ref(header).addr());
        for index in 0..bytes / size_of::<c_int>() {
            let place = data.cast::<c_int>().wrapping_add(index);
            // SAFETY: S7: within the part; the kernel aligns to its own taste.
            visit(unsafe { ptr::read_unaligned(place) });
        }
    }
}
