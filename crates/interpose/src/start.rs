//! The entry in `.init_array`: what must be done before std's runtime, and before `main`, starts.
//!
//! It looks the next definitions up, so that no signal handler ever has to (`next.rs`), gives the main thread an
//! alternate signal stack, and takes the memory-fault signals (`fault.rs` says why so early). Neither needs the
//! dependent; it sets its own handler when its runtime starts. The main thread's alternate stack stays for the life of
//! the process.

use core::mem::MaybeUninit;
use core::ptr;

use libc::{c_void, stack_t};

use crate::{fault, next};

/// Room for the handler, for std's formatting in a dependent's report, and for the largest register frame (AMX, 11
/// KiB).
const ALTERNATE_STACK_BYTES: usize = 64 * 1024;

/// Below the stack, so that a handler which overflows it faults instead of writing over a neighbour.
const GUARD_BYTES: usize = 4096;

#[used]
#[unsafe(link_section = ".init_array")]
pub(crate) static ENTRY: extern "C" fn() = start;

extern "C" fn start() {
    next::resolve();
    // A library brought in by dlopen starts on whichever thread asked for it.
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
    /// ld.so's note of the stack pointer at the start of the process, close below the stack's end.
    static __libc_stack_end: *const c_void;
}

/// Whether a fault at `address` is the main thread running into the end of its stack.
///
/// The kernel lets the stack grow until its whole size, arguments and environment (at most a quarter of the limit)
/// included, exceeds the limit. An address beyond that and within the guess below is an overflow, or a wild write that
/// hit a range where nothing else is mapped. An unlimited stack has no such range: that overflow dies without a
/// message. The limit is asked for at the fault, as the kernel does, so that a later `setrlimit` counts.
pub(crate) fn is_main_stack_overflow(address: usize) -> bool {
    /// How far below the limit a first touch may land: a frame without stack probes, from C.
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
