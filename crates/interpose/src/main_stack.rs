//! Whether the main thread has run into the end of its stack, which the kernel grows and nobody guards.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use crate::raw;

pub(crate) fn is_main_thread() -> bool {
    raw::gettid() == raw::getpid()
}

unsafe extern "C" {
    /// The stack pointer at the start of the process, recorded by ld.so; it is close below the stack's end.
    static __libc_stack_end: *const c_void;
}

/// Whether a fault at `address` means that the main thread has reached the end of its stack.
///
/// The kernel lets the stack grow until its whole size, arguments and environment (at most a quarter of the limit)
/// included, exceeds the limit. An address beyond the limit, by no more than the guess below, is an overflow, or a wild
/// write that hit a range where nothing else is mapped. An unlimited stack has no such range: the process then dies of
/// the overflow without a message. The limit is read at the time of the fault, as the kernel does it, so that a later
/// `setrlimit` counts.
pub(crate) fn is_main_stack_overflow(address: usize) -> bool {
    /// A guess: how far below the limit the first access may land, for a C frame without stack probes.
    const REACH_BYTES: usize = 1024 * 1024;
    if !is_main_thread() {
        return false;
    }
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: S6: a valid place; getrlimit is one system call.
    if unsafe { libc::getrlimit(libc::RLIMIT_STACK, limit.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: S6: filled in by the call that succeeded.
    let limit = unsafe { limit.assume_init() }.rlim_cur;
    if limit == libc::RLIM_INFINITY {
        return false;
    }
    let limit = limit as usize;
    // SAFETY: S6: written by ld.so before any code of the program ran.
    let end = unsafe { __libc_stack_end } as usize;
    let depth = end.saturating_sub(address);
    (limit - limit / 4..=limit.saturating_add(REACH_BYTES)).contains(&depth)
}
