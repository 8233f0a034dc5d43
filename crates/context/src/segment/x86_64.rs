//! How a call crosses from one stack to another on x86_64, with the System V calling convention.
//!
//! The frame of the crossing, while the function runs on the segment (low addresses first, each stack for itself):
//!
//! ```text
//!   the older stack:  rbp ->  the caller's rbp
//!                             the return address into the caller
//!   the segment:              the return address into the crossing
//!                     top ->
//! ```
//!
//! The canonical frame address is `rbp + 16` from the second instruction to the second last, whatever `rsp` is. So an
//! unwinder finds the caller at every instruction. A walk by frame pointers passes, too: `rbp` designates the saved
//! one.

use std::arch::{asm, global_asm};
use std::ops::Range;

global_asm!(
    ".pushsection .text.silken_crossing,\"ax\",@progbits",
    ".p2align 4",
    ".globl silken_crossing",
    ".hidden silken_crossing",
    ".type silken_crossing,@function",
    // rdi: the argument. rsi: the function. rdx: the top of the segment, a multiple of 16.
    "silken_crossing:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    // gdb steps to a frame at any address from a function of this name only: see the head of `mod.rs`.
    ".type __morestack,@function",
    "__morestack:",
    "mov rsp, rdx",
    "call rsi",
    "mov rsp, rbp",
    "pop rbp",
    ".cfi_def_cfa rsp, 8",
    ".cfi_restore rbp",
    "ret",
    ".cfi_endproc",
    ".size silken_crossing, . - silken_crossing",
    ".size __morestack, . - __morestack",
    ".globl silken_crossing_end",
    ".hidden silken_crossing_end",
    "silken_crossing_end:",
    ".popsection",
);

unsafe extern "C-unwind" {
    fn silken_crossing(argument: *mut u8, function: unsafe extern "C-unwind" fn(*mut u8), stack_top: *mut u8);
}

unsafe extern "C" {
    fn silken_crossing_end();
}

/// Calls `function(argument)` with the stack pointer at `stack_top`.
///
/// # Safety
/// As for [`call_on`](super::call_on) (S1).
#[inline(always)]
pub(super) unsafe fn call_on(argument: *mut u8, function: unsafe extern "C-unwind" fn(*mut u8), stack_top: *mut u8) {
    // SAFETY: S1: the caller's contract. S4: a panic passes by the unwind table of the crossing.
    unsafe { silken_crossing(argument, function, stack_top) };
}

/// The code range of the crossing.
pub(crate) fn crossing_code() -> Range<usize> {
    silken_crossing as *const () as usize..silken_crossing_end as *const () as usize
}

#[inline(always)]
pub(super) fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: S1: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}
