//! What must be done before std's runtime, and before `main`, starts? This is the entry in `.init_array` that does it.
//!
//! It looks the next definitions up, so that no signal handler ever has to (`next.rs`). It gives the main thread an
//! alternate signal stack, and takes the memory-fault signals (`fault.rs` says why so early). Neither of the two needs
//! the dependent, which sets its own fault handler when its runtime starts. The main thread's alternate stack stays for
//! the life of the process.

use core::mem::MaybeUninit;
use core::ptr;

use libc::stack_t;

use crate::{fault, main_stack, next};

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
    if main_stack::is_main_thread() {
        give_alternate_stack();
    }
    fault::arm_at_start();
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
