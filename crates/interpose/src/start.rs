//! What must be done before std's runtime, and before `main`, starts? This is the entry in `.init_array` that does it.
//!
//! It looks the next definitions up, so that no signal handler ever has to (`next.rs`). It gives the main thread an
//! alternate signal stack, and takes the memory-fault signals (`fault.rs` says why so early). Neither of the two needs
//! the dependent, which sets its own fault handler when its runtime starts. The main thread's alternate stack stays for
//! the life of the process.

use core::mem::MaybeUninit;
use core::ptr;

use libc::{c_void, stack_t};

use crate::{fault, next};

/// The size of the alternate stack: room for the handler, for std's formatting in a dependent's report, and for the
/// largest register frame (AMX, 11 KiB).
const ALTERNATE_STACK_BYTES: usize = 64 * 1024;

/// The size of the guard below the stack. A handler that overflows the stack faults there, instead of overwriting the
/// neighbouring memory.
const GUARD_BYTES: usize = 4096;

#[used]
#[unsafe(link_section = ".init_array")]
pub(crate) static ENTRY: extern "C" fn() = start;

extern "C" fn start() {
    next::resolve();
    // The constructor of a library that dlopen loads runs on the thread that called dlopen.
    if is_main_thread() {
        give_alternate_stack();
    }
    fault::arm_at_start();
}

pub(crate) fn is_main_thread() -> bool {
    fault::gettid() == fault::getpid()
}

/// Sets the alternate signal stack of the calling thread, unless it has one.
fn give_alternate_stack() {
    let mut present = MaybeUninit::<stack_t>::uninit();
    // SAFETY: S6: asks only.
    if unsafe { next::sigaltstack(ptr::null(), present.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: S6: filled in by the call that succeeded.
    let present = unsafe { present.assume_init() };
    if present.ss_flags & libc::SS_DISABLE == 0 {
        return;
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
    // SAFETY: S9: a fresh mapping at an address of the kernel's choice.
    let low = unsafe {
        libc::mmap(
            ptr::null_mut(),
            GUARD_BYTES + ALTERNATE_STACK_BYTES,
            protection,
            kind,
            -1,
            0,
        )
    };
    if low == libc::MAP_FAILED {
        return;
    }
    // SAFETY: S9: the lowest page of the mapping that is ours.
    unsafe { libc::mprotect(low, GUARD_BYTES, libc::PROT_NONE) };
    let stack = stack_t {
        ss_sp: low.wrapping_byte_add(GUARD_BYTES),
        ss_flags: 0,
        ss_size: ALTERNATE_STACK_BYTES,
    };
    // SAFETY: S6: a mapping that is never given back.
    unsafe { next::sigaltstack(&stack, ptr::null_mut()) };
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
