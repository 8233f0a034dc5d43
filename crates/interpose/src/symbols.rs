//! What does an exported symbol do? It calls its hook if a table is installed, else the next definition.
//!
//! Our definitions win for two reasons. For every shared library, the dynamic linker looks a name up in the executable
//! first. The static linker binds std's references to the first definition that it meets. Nothing may unwind through
//! these functions: an `extern "C"` function ends the process if a hook panics. Both branches are tail calls, so a
//! `pthread_cancel` that unwinds through the next definition meets no frame of ours.
//!
//! Second names go to the hook of the first name: `fcntl64` is `fcntl` on this ABI, and a fortified `__read_chk` whose
//! buffer is large enough is `read`. If the buffer is too small, the real `__read_chk` runs, for its message and its
//! abort.

use core::mem::size_of;

use libc::{
    DIR, FILE, addrinfo, c_char, c_int, c_long, c_uint, c_ulong, c_void, clockid_t, cpu_set_t, epoll_event, fd_set,
    id_t, idtype_t, iovec, mmsghdr, mode_t, mq_attr, mqd_t, msghdr, nfds_t, off_t, pid_t, pollfd, pthread_attr_t,
    pthread_barrier_t, pthread_mutexattr_t, pthread_t, rusage, sched_param, sem_t, sembuf, siginfo_t, sigset_t, sigval,
    size_t, sockaddr, socklen_t, ssize_t, stack_t, termios, timespec, timeval, winsize,
};

use crate::{Routine, frameless, hooks, keys, library, next};

macro_rules! export {
    (
        fixed { $( $(#[$fm:meta])* fn $fixed:ident($($fp:ident: $ft:ty),*) -> $fr:ty => $fb:block )* }
        variadic { $(
            $(#[$vm:meta])* fn $variadic:ident($($vp:ident: $vt:ty),*; $($op:ident: $ot:ty),*) -> $vr:ty => $vb:block
        )* }
    ) => {
        $( export! { @one fn $fixed($($fp: $ft),*) -> $fr } )*
        $( export! { @one fn $variadic($($vp: $vt,)* $($op: $ot),*) -> $vr } )*

        /// The names of all symbols that this crate defines, for documentation.
        pub const SYMBOLS: &[&str] = &[
            $( stringify!($fixed), )*
            $( stringify!($variadic), )*
            "fcntl64",
            "__read_chk",
            "__pread_chk",
            "__pread64_chk",
            "__recv_chk",
            "__recvfrom_chk",
            "__poll_chk",
            "__ppoll_chk",
            "vfork",
            "__vfork",
            "pthread_exit",
            "thrd_exit",
            "pthread_key_create",
            "pthread_key_delete",
            "__pthread_key_create",
            "tss_create",
            "tss_delete",
            "dlopen",
            "dlmopen",
            "pthread_mutexattr_setprotocol",
        ];

        const _: () = assert!(SYMBOLS.len() == ALL.len());

        /// The addresses of all definitions. A reference to this makes the linker take them out of the archive, in
        /// whichever objects the compiler put them.
        pub(crate) static ALL: &[Address] = &[
            $( Address($fixed as *const ()), )*
            $( Address($variadic as *const ()), )*
            Address(fcntl64 as *const ()),
            Address(__read_chk as *const ()),
            Address(__pread_chk as *const ()),
            Address(__pread64_chk as *const ()),
            Address(__recv_chk as *const ()),
            Address(__recvfrom_chk as *const ()),
            Address(__poll_chk as *const ()),
            Address(__ppoll_chk as *const ()),
            Address(frameless::vfork as *const ()),
            Address(frameless::__vfork as *const ()),
            Address(frameless::pthread_exit as *const ()),
            Address(frameless::thrd_exit as *const ()),
            Address(keys::pthread_key_create as *const ()),
            Address(keys::pthread_key_delete as *const ()),
            Address(keys::__pthread_key_create as *const ()),
            Address(keys::tss_create as *const ()),
            Address(keys::tss_delete as *const ()),
            Address(library::dlopen as *const ()),
            Address(library::dlmopen as *const ()),
            Address(pthread_mutexattr_setprotocol as *const ()),
        ];
    };
    (@one fn $name:ident($($p:ident: $t:ty),*) -> $r:ty) => {
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($p: $t),*) -> $r {
            match hooks() {
                // SAFETY: S7: the caller's arguments under the contract that the hook promised to keep.
                Some(hooks) => unsafe { (hooks.$name)($($p),*) },
                // SAFETY: S7: the caller's arguments under the caller's contract.
                None => unsafe { next::$name($($p),*) },
            }
        }
    };
}

/// The address of a function. It is never read; it only keeps the function in the program.
pub(crate) struct Address(#[allow(dead_code)] *const ());

// SAFETY: S7: an address of code, never dereferenced.
unsafe impl Sync for Address {}

for_each_symbol!(export);

/// `fcntl` under the name that programs with 64-bit file offsets use.
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: S7: one function where `off_t` has 64 bits.
    unsafe { fcntl(fd, command, argument) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __read_chk(fd: c_int, buffer: *mut c_void, bytes: size_t, buffer_bytes: size_t) -> ssize_t {
    if bytes > buffer_bytes {
        // SAFETY: S7: the caller's arguments; it reports the overflow and aborts.
        return unsafe { next::__read_chk(fd, buffer, bytes, buffer_bytes) };
    }
    // SAFETY: S7: checked, so it is `read`.
    unsafe { read(fd, buffer, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __pread_chk(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    offset: off_t,
    buffer_bytes: size_t,
) -> ssize_t {
    if bytes > buffer_bytes {
        // SAFETY: S7: the caller's arguments; it reports the overflow and aborts.
        return unsafe { next::__pread_chk(fd, buffer, bytes, offset, buffer_bytes) };
    }
    // SAFETY: S7: checked, so it is `pread`.
    unsafe { pread(fd, buffer, bytes, offset) }
}

/// The same where `off_t` has 64 bits.
#[unsafe(no_mangle)]
unsafe extern "C" fn __pread64_chk(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    offset: i64,
    buffer_bytes: size_t,
) -> ssize_t {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    unsafe { __pread_chk(fd, buffer, bytes, offset, buffer_bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    buffer_bytes: size_t,
    flags: c_int,
) -> ssize_t {
    if bytes > buffer_bytes {
        // SAFETY: S7: the caller's arguments; it reports the overflow and aborts.
        return unsafe { next::__recv_chk(fd, buffer, bytes, buffer_bytes, flags) };
    }
    // SAFETY: S7: checked, so it is `recv`.
    unsafe { recv(fd, buffer, bytes, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    buffer_bytes: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
) -> ssize_t {
    if bytes > buffer_bytes {
        // SAFETY: S7: the caller's arguments; it reports the overflow and aborts.
        return unsafe { next::__recvfrom_chk(fd, buffer, bytes, buffer_bytes, flags, address, address_bytes) };
    }
    // SAFETY: S7: checked, so it is `recvfrom`.
    unsafe { recvfrom(fd, buffer, bytes, flags, address, address_bytes) }
}

/// Whether a buffer of `entries_bytes` is too small for `entry_count` poll entries.
fn entries_overflow(entry_count: nfds_t, entries_bytes: size_t) -> bool {
    ((entries_bytes / size_of::<pollfd>()) as nfds_t) < entry_count
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __poll_chk(
    entries: *mut pollfd,
    entry_count: nfds_t,
    timeout_ms: c_int,
    entries_bytes: size_t,
) -> c_int {
    if entries_overflow(entry_count, entries_bytes) {
        // SAFETY: S7: the caller's arguments; it reports the overflow and aborts.
        return unsafe { next::__poll_chk(entries, entry_count, timeout_ms, entries_bytes) };
    }
    // SAFETY: S7: checked, so it is `poll`.
    unsafe { poll(entries, entry_count, timeout_ms) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __ppoll_chk(
    entries: *mut pollfd,
    entry_count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    entries_bytes: size_t,
) -> c_int {
    if entries_overflow(entry_count, entries_bytes) {
        // SAFETY: S7: the caller's arguments; it reports the overflow and aborts.
        return unsafe { next::__ppoll_chk(entries, entry_count, timeout, mask, entries_bytes) };
    }
    // SAFETY: S7: checked, so it is `ppoll`.
    unsafe { ppoll(entries, entry_count, timeout, mask) }
}

/// `pthread_mutexattr_setprotocol(3)`: refuses priority inheritance and priority ceilings with ENOTSUP. A mutex with
/// priority inheritance names its owner to the kernel by tid, and a coroutine's tid is not the kernel's. The lock would
/// answer ESRCH, or leave threads asleep for ever. A mutex with a priority ceiling changes the priority of the tid that
/// it finds in its thread's block, which fails in the same way. POSIX lets an implementation refuse. This one refuses
/// from the start, since a mutex may be older than the runtime.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutexattr_setprotocol(attributes: *mut pthread_mutexattr_t, protocol: c_int) -> c_int {
    if protocol == libc::PTHREAD_PRIO_INHERIT || protocol == libc::PTHREAD_PRIO_PROTECT {
        return libc::ENOTSUP;
    }
    // SAFETY: S7: the caller's arguments under the caller's contract.
    unsafe { next::pthread_mutexattr_setprotocol(attributes, protocol) }
}
