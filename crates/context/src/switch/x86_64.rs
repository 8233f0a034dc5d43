//! How the switch works on x86_64, with the System V calling convention.
//!
//! A suspended stack, low address first:
//!
//! ```text
//!   sp ->  rip                              where to continue: there, whoever pushed the rest pops it
//!          [r15, r14, r13, r12]             only with `switch_saving_all`
//!          rbx, rbp                         LLVM keeps them for itself, so they cannot be declared clobbered
//!          ...                              the frame of the function into which the switch was inlined
//! ```
//!
//! All other registers are declared clobbered, so the compiler spills the live ones.
//!
//! A prepared stack, the first suspension of a coroutine:
//!
//! ```text
//!   sp ->  trampoline
//!          entry
//!   top -> 0, 0                             a frame-pointer walk ends here as well
//! ```
//!
//! # The order of the instructions
//! `wrfsbase` waits for all instructions that were issued before it, and their stores must have reached the cache. No
//! later instruction begins before it is complete (measured on Zen 4: 44 cycles alone; five stores just before it add
//! 7, ten that have twenty cycles to reach the cache add none). So the identity is written first, and the old stack and
//! context are written *after* it, when the identity is already the successor's. That is sound. Until the message is
//! delivered, nothing else may continue `from`. A signal handler that runs in between finds the successor's identity,
//! whose owner is suspended and in a critical section, on the stack that is being left. A push that hits the guard is a
//! fault under the successor's identity on another context's stack; a fault handler must allow for that.
//!
//! # Unwinding
//! A signal handler may unwind the stack that it has interrupted, as sampling profilers do, at any instruction of this
//! file. The compiler writes the unwind tables and does not know that the switch pushes and pops. While `rsp` points to
//! the other stack, no rule of the surrounding function is true. So the return address is declared undefined from the
//! first push to the last pop, which lie side by side in one `asm!` block: an unwinder takes that frame for the
//! outermost one. The tables grow; no instruction is added. *Rejected*: exact rules for each push. They would be right
//! for the outgoing side, but between the change of `rsp` and the jump they would need the other function's rules.
//!
//! `with_identity` and the writes of the FS base before the first push leave `rsp` alone, so the compiler's rules are
//! right there.
//!
//! The handoff travels in the registers of the first arguments, so that the entry function of a new context receives it
//! as arguments.

use super::{Context, Entry, Handoff, Resumed};
use std::arch::{asm, global_asm};
use std::mem::offset_of;
use std::ops::Range;

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
    // The entry function (see `prepare`); its arguments are in place (see `switch`).
    "pop rax",
    // A zero frame pointer ends a frame-pointer walk.
    "xor ebp, ebp",
    "call rax",
    // The entry function never returns.
    "ud2",
    ".cfi_endproc",
    ".size silken_coroutine_entry, . - silken_coroutine_entry",
    ".globl silken_coroutine_entry_end",
    ".hidden silken_coroutine_entry_end",
    "silken_coroutine_entry_end:",
    ".popsection",
);

unsafe extern "C" {
    fn silken_coroutine_entry();
    fn silken_coroutine_entry_end();
}

/// The code range of the outermost frame of every coroutine.
pub(crate) fn entry_code() -> Range<usize> {
    silken_coroutine_entry as *const () as usize..silken_coroutine_entry_end as *const () as usize
}

/// Whether a function that begins at this address is the function below every context's entry function.
pub(super) fn is_entry(function: usize) -> bool {
    function == silken_coroutine_entry as *const () as usize
}

pub(super) unsafe fn prepare(stack_top: *mut u8, entry: Entry) -> usize {
    // After the two pops the stack pointer is 16-byte aligned again, as the convention wants it before a `call`.
    let frame: [usize; 4] = [silken_coroutine_entry as *const () as usize, entry as usize, 0, 0];
    let stack_pointer = stack_top.wrapping_sub(size_of_val(&frame)).cast::<[usize; 4]>();
    // SAFETY: S1: the memory below `stack_top` is the caller's to give.
    unsafe { stack_pointer.write(frame) };
    stack_pointer as usize
}

/// The switch; `save` and `restore` are pushes and pops in addition to those of rbx and rbp.
macro_rules! switch {
    ($from:ident, $to:ident, $message:ident, [$($save:literal),*], [$($restore:literal),*], [$($clobbered:tt),*]) => {{
        let own: *const Context;
        let (left, by): (usize, usize);
        let predecessor_identity: usize;
        // SAFETY: S1: `to` is a suspension written by this macro or by `prepare`, so it finds on its stack what it
        // expects there; every register that is not restored is declared clobbered. S3: the FS base follows the
        // context, so a thread-local address that the compiler keeps in a register stays right.
        unsafe {
            asm!(
                "mov rax, [rdi + {id}]",
                "mov rcx, [r8 + {id}]",
                "cmp rax, rcx",
                "je 3f",
                "wrfsbase rax",
                "3:",
                // No return address can be found from here to the last pop: see "Unwinding" in the head of the file.
                ".cfi_remember_state",
                ".cfi_undefined rip",
                "push rbp",
                "push rbx",
                $($save,)*
                "lea r9, [rip + 2f]",
                "push r9",
                "mov [r8 + {sp}], rsp",
                "mov rsp, [rdi + {sp}]",
                "pop r9",
                "jmp r9",
                "2:",
                $($restore,)*
                "pop rbx",
                "pop rbp",
                ".cfi_restore_state",
                sp = const offset_of!(Context, stack_pointer),
                id = const offset_of!(Context, identity),
                inout("r8") $from => _,
                inout("rdi") $to => own,
                inout("rsi") $message.left => left,
                inout("rdx") $message.by => by,
                out("rcx") predecessor_identity,
                $(out($clobbered) _,)*
                clobber_abi("sysv64"),
            );
        }
        Resumed { own, message: Handoff { left, by }, predecessor_identity }
    }};
}

#[inline(always)]
pub(super) unsafe fn switch(from: &Context, to: &Context, message: Handoff) -> Resumed {
    switch!(from, to, message, [], [], ["r12", "r13", "r14", "r15"])
}

#[inline(always)]
pub(super) unsafe fn switch_saving_all(from: &Context, to: &Context, message: Handoff) -> Resumed {
    switch!(
        from,
        to,
        message,
        ["push r12", "push r13", "push r14", "push r15"],
        ["pop r15", "pop r14", "pop r13", "pop r12"],
        []
    )
}

/// The thread pointer of the running execution.
#[inline(always)]
pub fn identity_base() -> usize {
    let base: usize;
    // SAFETY: S3: the first word of glibc's thread control block is its own address; reading it changes nothing.
    unsafe { asm!("mov {}, fs:[0]", out(reg) base, options(nostack, preserves_flags, readonly)) };
    base
}

/// Requests the cache line of an address. Any address is allowed, and a useless one costs nothing but the request.
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
/// `base` is a complete identity block that nobody runs under (S3); [`identity_switch_supported`] is true; `function`
/// does not unwind (S4) and does not suspend.
#[inline(never)]
pub unsafe fn with_identity(base: usize, function: unsafe extern "C" fn(*mut u8), argument: *mut u8) {
    let own = identity_base();
    // SAFETY: S3: the caller vouches for the block; the old base is restored before anything that the compiler emitted
    // around this block can look at a thread-local. S4: `function` does not unwind.
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
