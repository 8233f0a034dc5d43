//! x86_64, System V calling convention.
//!
//! A suspended stack, low address first:
//!
//! ```text
//!   sp ->  rbx        saved by hand: LLVM keeps it for itself, so it cannot be declared clobbered
//!          rbp        the same
//!          rip        where to continue
//!          ...        the frame of the function into which `switch` was inlined
//! ```
//!
//! All other registers are declared clobbered, so the compiler spills what is live.
//!
//! A prepared stack, the first suspension of a coroutine:
//!
//! ```text
//!   sp ->  argument   becomes rbx
//!          entry      becomes rbp
//!          trampoline
//!   top -> 0, 0       a frame-pointer walk ends here as well
//! ```

use super::Context;
use std::arch::{asm, global_asm};
use std::mem::offset_of;

global_asm!(
    ".pushsection .text.silken_coroutine_entry,\"ax\",@progbits",
    ".p2align 4",
    ".globl silken_coroutine_entry",
    ".hidden silken_coroutine_entry",
    ".type silken_coroutine_entry,@function",
    "silken_coroutine_entry:",
    ".cfi_startproc",
    // The return address is undefined: unwinders stop at this frame.
    ".cfi_undefined rip",
    // rbx holds the argument, rbp the entry function: see `prepare`.
    "mov rdi, rbx",
    "mov rax, rbp",
    // A zero frame pointer ends a frame-pointer walk.
    "xor ebp, ebp",
    "call rax",
    // The entry function never returns.
    "ud2",
    ".cfi_endproc",
    ".size silken_coroutine_entry, . - silken_coroutine_entry",
    ".popsection",
);

unsafe extern "C" {
    fn silken_coroutine_entry();
}

pub(super) unsafe fn prepare(stack_top: *mut u8, entry: unsafe extern "C" fn(usize) -> !, argument: usize) -> usize {
    let frame: [usize; 6] = [
        argument,
        entry as usize,
        silken_coroutine_entry as *const () as usize,
        0,
        0,
        0,
    ];
    // After the three pops the stack pointer is 16-byte aligned again, as the convention wants it before a `call`: top - 48 + 24 is not,
    // so one word of padding stays above.
    let stack_pointer = stack_top.wrapping_sub(56).cast::<[usize; 6]>();
    // SAFETY: S1: the memory below `stack_top` is the caller's to give.
    unsafe { stack_pointer.write(frame) };
    stack_pointer as usize
}

#[inline(always)]
pub(super) unsafe fn switch(from: &Context, to: &Context) {
    // SAFETY: S1: `to` is a suspension written by this very block or by `prepare`, so the three pops find what was pushed; every register that
    // is not restored is declared clobbered. S3: the FS base follows the context, so a thread-local address that the compiler keeps in a
    // register stays right.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "push rax",
            "push rbp",
            "push rbx",
            "mov [rdi + {sp}], rsp",
            "mov rsp, [rsi + {sp}]",
            "mov rax, [rsi + {id}]",
            "cmp rax, [rdi + {id}]",
            "je 3f",
            "wrfsbase rax",
            "3:",
            "pop rbx",
            "pop rbp",
            "pop rax",
            "jmp rax",
            "2:",
            sp = const offset_of!(Context, stack_pointer),
            id = const offset_of!(Context, identity),
            inout("rdi") from => _,
            inout("rsi") to => _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            clobber_abi("sysv64"),
        );
    }
}

/// The thread pointer of the running execution.
#[inline(always)]
pub fn identity_base() -> usize {
    let base: usize;
    // SAFETY: S3: the first word of glibc's thread control block is its own address; reading it changes nothing.
    unsafe { asm!("mov {}, fs:[0]", out(reg) base, options(nostack, preserves_flags, readonly)) };
    base
}

/// Asks for the cache line of an address; any address is allowed, and a useless one costs nothing but the request.
#[inline(always)]
pub fn prefetch(address: usize) {
    // SAFETY: S1: a prefetch reads nothing architecturally and cannot fault.
    unsafe { asm!("prefetcht0 [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) };
}

/// Whether user code may write the FS base (kernel and processor have FSGSBASE).
pub fn identity_switch_supported() -> bool {
    // SAFETY: S7: getauxval has no preconditions.
    let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    hwcap2 & 2 != 0
}

/// Runs `function(argument)` on this stack under another identity.
///
/// # Safety
/// `base` is a complete identity block that nobody runs under (S3); [`identity_switch_supported`] is true; `function` does not unwind (S4)
/// and does not suspend.
#[inline(never)]
pub unsafe fn with_identity(base: usize, function: unsafe extern "C" fn(*mut u8), argument: *mut u8) {
    let own = identity_base();
    // SAFETY: S3: the caller vouches for the block; the old base is restored before anything that the compiler emitted around this block
    // can look at a thread-local. S4: `function` does not unwind.
    unsafe {
        asm!(
            "wrfsbase {base}",
            "call {function}",
            "wrfsbase r12",
            base = in(reg) base,
            function = in(reg) function,
            // Callee-saved, so it survives the call.
            in("r12") own,
            in("rdi") argument,
            clobber_abi("sysv64"),
        );
    }
}
