//! How an injected call saves and restores the registers of x86_64.

use super::Injected;
use std::arch::global_asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::ptr::with_exposed_provenance;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A leaf function may use this much below the stack pointer without moving it (System V ABI, 3.2.2).
const RED_ZONE_BYTES: usize = 128;

/// The bytes around the program counter that are read: two of `syscall`, on each side.
pub(super) const MARGIN_BYTES: usize = 2;

/// The words that the trampoline's caller and the trampoline push, at most: program counter, function, flags, and the
/// general registers without the stack pointer.
const PUSHED_BYTES: usize = 18 * size_of::<usize>();

/// The alignment of the area that XSAVE writes.
const SAVE_ALIGNMENT: usize = 64;

/// The size of that area; 0 before it is known.
static SAVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Whether the upper halves of vector registers exist and are to be cleared.
static HAS_AVX: AtomicU8 = AtomicU8::new(0);

global_asm!(
    ".pushsection .text.silken_injected_call,\"ax\",@progbits",
    ".p2align 4",
    ".globl silken_injected_call",
    ".hidden silken_injected_call",
    ".type silken_injected_call,@function",
    "silken_injected_call:",
    ".cfi_startproc",
    ".cfi_signal_frame",
    // The interrupted stack pointer is the canonical frame address.
    ".cfi_def_cfa rsp, {entry}",
    ".cfi_offset rip, -136",
    "pushfq",
    ".cfi_adjust_cfa_offset 8",
    "push rbp",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_offset rbp, -160",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "cld",
    "push rax",
    ".cfi_offset rax, -168",
    "push rbx",
    ".cfi_offset rbx, -176",
    "push rcx",
    ".cfi_offset rcx, -184",
    "push rdx",
    ".cfi_offset rdx, -192",
    "push rsi",
    ".cfi_offset rsi, -200",
    "push rdi",
    ".cfi_offset rdi, -208",
    "push r8",
    ".cfi_offset r8, -216",
    "push r9",
    ".cfi_offset r9, -224",
    "push r10",
    ".cfi_offset r10, -232",
    "push r11",
    ".cfi_offset r11, -240",
    "push r12",
    ".cfi_offset r12, -248",
    "push r13",
    ".cfi_offset r13, -256",
    "push r14",
    ".cfi_offset r14, -264",
    "push r15",
    ".cfi_offset r15, -272",
    "sub rsp, [rip + {save_bytes}]",
    "and rsp, -{alignment}",
    // XSAVE leaves most of its header as it is, and XRSTOR refuses a header with other words than zero.
    "xor eax, eax",
    "mov [rsp + 512], rax",
    "mov [rsp + 520], rax",
    "mov [rsp + 528], rax",
    "mov [rsp + 536], rax",
    "mov [rsp + 544], rax",
    "mov [rsp + 552], rax",
    "mov [rsp + 560], rax",
    "mov [rsp + 568], rax",
    "mov eax, -1",
    "mov edx, -1",
    "xsave64 [rsp]",
    // What a function may expect. The words of control are those of a new thread (System V ABI, 3.2.1).
    "fninit",
    "push 0x1f80",
    "ldmxcsr [rsp]",
    "add rsp, 8",
    "cmp byte ptr [rip + {has_avx}], 0",
    "je 2f",
    "vzeroupper",
    "2:",
    "call [rbp + 16]",
    "mov eax, -1",
    "mov edx, -1",
    "xrstor64 [rsp]",
    "lea rsp, [rbp - 112]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rbx",
    "pop rax",
    ".cfi_restore rax",
    ".cfi_restore rbx",
    ".cfi_restore rcx",
    ".cfi_restore rdx",
    ".cfi_restore rsi",
    ".cfi_restore rdi",
    ".cfi_restore r8",
    ".cfi_restore r9",
    ".cfi_restore r10",
    ".cfi_restore r11",
    ".cfi_restore r12",
    ".cfi_restore r13",
    ".cfi_restore r14",
    ".cfi_restore r15",
    "pop rbp",
    ".cfi_restore rbp",
    ".cfi_def_cfa rsp, 152",
    "popfq",
    ".cfi_adjust_cfa_offset -8",
    // Neither of the two changes the flags. The second pops the program counter, and then the red zone.
    "lea rsp, [rsp + 8]",
    ".cfi_adjust_cfa_offset -8",
    "ret {red_zone}",
    ".cfi_endproc",
    ".size silken_injected_call, . - silken_injected_call",
    ".popsection",
    entry = const RED_ZONE_BYTES + 2 * size_of::<usize>(),
    red_zone = const RED_ZONE_BYTES,
    alignment = const SAVE_ALIGNMENT,
    save_bytes = sym SAVE_BYTES,
    has_avx = sym HAS_AVX,
);

unsafe extern "C" {
    fn silken_injected_call();
}

pub(super) fn bytes_needed() -> Option<usize> {
    // Relaxed: every caller computes the same values. A trampoline runs only in a thread that was signalled, by a
    // thread that knew the size.
    let known = match SAVE_BYTES.load(Ordering::Relaxed) {
        0 => ask(),
        known => known,
    };
    (known != 0).then_some(RED_ZONE_BYTES + PUSHED_BYTES + known + SAVE_ALIGNMENT)
}

/// Asks the processor how many bytes XSAVE writes. 0: the operating system has not enabled it.
fn ask() -> usize {
    const XSAVE_IS_ENABLED: u32 = 1 << 27;
    const AVX: u32 = 1 << 28;
    const STATE_LEAF: u32 = 0xD;
    let features = __cpuid(1).ecx;
    if features & XSAVE_IS_ENABLED == 0 {
        return 0;
    }
    // The size for the features that are enabled now, in the standard form. A process's features do not change, but
    // for AMX, whose size the kernel counts from the start.
    let bytes = __cpuid_count(STATE_LEAF, 0).ebx as usize;
    HAS_AVX.store(u8::from(features & AVX != 0), Ordering::Relaxed);
    SAVE_BYTES.store(bytes, Ordering::Relaxed);
    bytes
}

/// Whether the program counter is at a `syscall` instruction, or just behind one.
///
/// # Safety
/// The [`MARGIN_BYTES`] on both sides of the address are readable (S7).
pub(super) unsafe fn is_at_system_call(program_counter: usize) -> bool {
    const SYSCALL: [u8; 2] = [0x0F, 0x05];
    [program_counter, program_counter.wrapping_sub(SYSCALL.len())]
        .into_iter()
        // SAFETY: S7: the caller promises that the bytes are readable; any alignment will do.
        .any(|place| unsafe { with_exposed_provenance::<[u8; 2]>(place).read_unaligned() } == SYSCALL)
}

/// Lays out the words of the call below the interrupted stack pointer. Returns the stack pointer and the program
/// counter with which the return from the signal enters the trampoline.
///
/// # Safety
/// There is room below the stack pointer (S1).
pub(super) unsafe fn lay_out(stack_pointer: usize, program_counter: usize, function: Injected) -> (usize, usize) {
    let words: [usize; 2] = [function as usize, program_counter];
    let place = stack_pointer - RED_ZONE_BYTES - size_of_val(&words);
    // SAFETY: S1: the caller promises the room; the red zone is left alone. The interrupted stack pointer need not be
    // aligned.
    unsafe { std::ptr::with_exposed_provenance_mut::<[usize; 2]>(place).write_unaligned(words) };
    (place, silken_injected_call as *const () as usize)
}
