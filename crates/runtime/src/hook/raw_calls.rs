//! What happens to system calls that are made by number, through libc's `syscall`, and change descriptors or make a
//! process?
//!
//! If the C function of the same name has a hook that takes notes, that hook makes the call. It differs from the bare
//! call in nothing on which a caller of `syscall` could rely: errno and -1 are the same, and the C functions'
//! cancellation points are the one addition. If that hook would wait in another way (`recvmsg`, `accept`), the call is
//! made as it is and its result is noted. All other calls pass.
//!
//! The futex is in `futex`, which is asked first.

use super::{fd, makers, process};
use libc::{c_int, c_long, c_uint, c_void, mmsghdr, msghdr, socklen_t};
use silken_interpose::next;
use std::ptr;

/// # Safety
/// S7: the contract of the system call.
#[inline]
pub(super) unsafe fn answer(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    match number {
        libc::SYS_close
        | libc::SYS_close_range
        | libc::SYS_dup
        | libc::SYS_dup2
        | libc::SYS_dup3
        | libc::SYS_fcntl
        | libc::SYS_ioctl
        | libc::SYS_setsockopt
        | libc::SYS_socket
        | libc::SYS_socketpair
        | libc::SYS_pipe
        | libc::SYS_pipe2
        | libc::SYS_eventfd
        | libc::SYS_eventfd2 => {
            // SAFETY: S7: the caller's arguments under the caller's contract.
            unsafe { as_function(number, arguments) }
        }
        _ => {
            // SAFETY: S7: the caller's arguments under the caller's contract.
            let result = unsafe { next::syscall(number, a, b, c, d, e, f) };
            // SAFETY: S7: what the call has done is done.
            unsafe { note(number, arguments, result) };
            result
        }
    }
}

/// Calls the hook of the C function that makes this call.
///
/// # Safety
/// S7: the contract of the system call, which is one of those that `answer` names.
#[cold]
unsafe fn as_function(number: c_long, [a, b, c, d, e, _]: [c_long; 6]) -> c_long {
    let (a_int, b_int, c_int) = (a as c_int, b as c_int, c as c_int);
    let pair = |word: c_long| ptr::with_exposed_provenance_mut::<c_int>(word as usize);
    macro_rules! by {
        ($function:path: $($argument:expr),*) => {
            // SAFETY: S7: the caller's arguments under the caller's contract.
            unsafe { $function($($argument),*) }
        };
    }
    c_long::from(match number {
        libc::SYS_close => by!(fd::close: a_int),
        libc::SYS_close_range => by!(makers::close_range: a as c_uint, b as c_uint, c_int),
        libc::SYS_dup => by!(fd::dup: a_int),
        libc::SYS_dup2 => by!(fd::dup2: a_int, b_int),
        libc::SYS_dup3 => by!(fd::dup3: a_int, b_int, c_int),
        libc::SYS_fcntl => by!(fd::fcntl: a_int, b_int, c as usize),
        libc::SYS_ioctl => by!(fd::ioctl: a_int, b as libc::c_ulong, c as usize),
        libc::SYS_setsockopt => {
            let value = ptr::with_exposed_provenance::<c_void>(d as usize);
            by!(fd::setsockopt: a_int, b_int, c_int, value, e as socklen_t)
        }
        libc::SYS_socket => by!(fd::socket: a_int, b_int, c_int),
        libc::SYS_socketpair => by!(fd::socketpair: a_int, b_int, c_int, pair(d)),
        libc::SYS_pipe => by!(fd::pipe: pair(a)),
        libc::SYS_pipe2 => by!(fd::pipe2: pair(a), b_int),
        libc::SYS_eventfd => by!(fd::eventfd: a as c_uint, 0),
        _ => by!(fd::eventfd: a as c_uint, b_int),
    })
}

/// # Safety
/// S7: the system call has been made with these arguments and this result.
unsafe fn note(number: c_long, [a, b, _, _, _, _]: [c_long; 6], result: c_long) {
    match number {
        libc::SYS_open
        | libc::SYS_openat
        | libc::SYS_openat2
        | libc::SYS_creat
        | libc::SYS_open_by_handle_at
        | libc::SYS_open_tree
        | libc::SYS_fsopen
        | libc::SYS_fsmount
        | libc::SYS_fspick
        | libc::SYS_timerfd_create
        | libc::SYS_inotify_init
        | libc::SYS_inotify_init1
        | libc::SYS_fanotify_init
        | libc::SYS_memfd_create
        | libc::SYS_memfd_secret
        | libc::SYS_epoll_create
        | libc::SYS_epoll_create1
        | libc::SYS_mq_open
        | libc::SYS_pidfd_open
        | libc::SYS_pidfd_getfd
        | libc::SYS_userfaultfd
        | libc::SYS_perf_event_open
        | libc::SYS_io_uring_setup
        | libc::SYS_accept
        | libc::SYS_accept4 => {
            fd::made(result as c_int);
        }
        libc::SYS_signalfd | libc::SYS_signalfd4 if a as c_int == -1 => {
            fd::made(result as c_int);
        }
        libc::SYS_recvmsg if result >= 0 => {
            let message = ptr::with_exposed_provenance::<msghdr>(b as usize);
            // SAFETY: S7: the call has filled it in.
            unsafe { makers::received_descriptors(message) };
        }
        libc::SYS_sendmsg if result >= 0 => {
            let message = ptr::with_exposed_provenance::<msghdr>(b as usize);
            // SAFETY: S7: the call has read it.
            unsafe { makers::sent_descriptors(message) };
        }
        libc::SYS_sendmmsg => {
            let messages = ptr::with_exposed_provenance_mut::<mmsghdr>(b as usize);
            // SAFETY: S7: the call has read as many as it says.
            unsafe { makers::sent_batch(messages, result as c_int) };
        }
        libc::SYS_recvmmsg => {
            let messages = ptr::with_exposed_provenance_mut::<mmsghdr>(b as usize);
            // SAFETY: S7: the call has filled in as many as it says.
            unsafe { makers::received_batch(messages, result as c_int) };
        }
        libc::SYS_fork => process::forked(result),
        libc::SYS_clone if a & c_long::from(libc::CLONE_VM) == 0 => process::forked(result),
        libc::SYS_clone3 if result == 0 => {
            // SAFETY: S7: the arguments begin with the flags, and the kernel has just read them.
            let flags = unsafe { ptr::with_exposed_provenance::<u64>(a as usize).read_unaligned() };
            if flags & libc::CLONE_VM as u64 == 0 {
                process::forked(result);
            }
        }
        _ => {}
    }
}
