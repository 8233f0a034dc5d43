//! What a fault handler needs of the interrupted execution: where it was, and how to make it continue elsewhere.
//!
//! A stack that has run into its guard has no room for another call, and cannot be unwound. The handler, which runs on
//! the worker's alternate stack, therefore rewrites the saved registers so that the return from the signal enters a
//! function of the runtime on *another* stack (the worker's own). The FS base is not among the saved registers, so this
//! function still runs under the identity of the interrupted code.
//!
//! # A read that may fault
//! [`read_word_or_fault`] reads foreign memory as the kernel does: by one load whose address is known, with a place to
//! continue when the load faults (the model is the kernel's exception tables). The fault handler must call
//! [`Interrupted::recover_read`] first; without a handler the load faults as any other load. A system call that checks
//! the address would cost two orders of magnitude more than the read, and its answer would be out of date when it is
//! used.

use std::arch::global_asm;
use std::ffi::c_void;
use std::sync::OnceLock;

use crate::symbols;

#[cfg(target_arch = "x86_64")]
const STACK_POINTER: usize = libc::REG_RSP as usize;
#[cfg(target_arch = "x86_64")]
const PROGRAM_COUNTER: usize = libc::REG_RIP as usize;
#[cfg(target_arch = "x86_64")]
const TRAP_NUMBER: usize = libc::REG_TRAPNO as usize;
#[cfg(target_arch = "x86_64")]
const FIRST_ARGUMENT: usize = libc::REG_RDI as usize;
#[cfg(target_arch = "x86_64")]
const FRAME_POINTER: usize = libc::REG_RBP as usize;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .text.silken_read_word,\"ax\",@progbits",
    ".p2align 4",
    ".globl silken_read_word",
    ".hidden silken_read_word",
    ".type silken_read_word,@function",
    "silken_read_word:",
    ".cfi_startproc",
    // The first instruction is the load, so the function's address is the load's. The result's high half is zero then.
    "mov eax, [rdi]",
    "ret",
    ".globl silken_read_word_failed",
    ".hidden silken_read_word_failed",
    "silken_read_word_failed:",
    "mov rax, -1",
    "ret",
    ".cfi_endproc",
    ".size silken_read_word, . - silken_read_word",
    ".popsection",
);

unsafe extern "C" {
    fn silken_read_word(address: usize) -> u64;
    fn silken_read_word_failed();
}

/// Reads the word at an address that may be anything, in one load that other threads may race with; `None` when the
/// load faults. On x86_64 each such load is sequentially consistent with stores of other threads that are, and the
/// compiler moves nothing over the call.
///
/// # Safety
/// A fault handler that calls [`Interrupted::recover_read`] has the signals SIGSEGV and SIGBUS, or the address is
/// readable (S7). Reading has no side effect there (no device memory).
#[inline]
pub unsafe fn read_word_or_fault(address: usize) -> Option<u32> {
    // SAFETY: S7: it reads a word or fails; the caller's contract has the rest.
    let answer = unsafe { silken_read_word(address) };
    u32::try_from(answer).ok()
}

/// The registers of the interrupted execution, as the kernel saved them.
#[derive(Debug)]
pub struct Interrupted(*mut libc::ucontext_t);

impl Interrupted {
    /// Makes it from a handler's third argument.
    ///
    /// # Safety
    /// `context` is what the kernel passed to the running SA_SIGINFO handler (S6).
    pub unsafe fn new(context: *mut c_void) -> Self {
        Self(context.cast())
    }

    fn registers(&mut self) -> &mut [libc::greg_t] {
        // SAFETY: S6: valid for as long as the handler runs, by the contract of `new`.
        unsafe { &mut (*self.0).uc_mcontext.gregs }
    }

    /// The program counter at the interruption.
    pub fn program_counter(&mut self) -> usize {
        self.registers()[PROGRAM_COUNTER] as usize
    }

    /// If the fault is that of [`read_word_or_fault`]'s load, makes the load answer `None`; returns whether it was.
    /// Async-signal-safe.
    pub fn recover_read(&mut self) -> bool {
        let is_read = self.program_counter() == silken_read_word as *const () as usize;
        if is_read {
            self.registers()[PROGRAM_COUNTER] = silken_read_word_failed as *const () as libc::greg_t;
        }
        is_read
    }

    /// Whether the last trap of the thread was a general protection fault, which a non-canonical address causes. The
    /// signal's record has no address for such a fault.
    pub fn is_protection_fault(&mut self) -> bool {
        const GENERAL_PROTECTION: libc::greg_t = 13;
        self.registers()[TRAP_NUMBER] == GENERAL_PROTECTION
    }

    /// The stack pointer at the interruption.
    pub fn stack_pointer(&mut self) -> usize {
        self.registers()[STACK_POINTER] as usize
    }

    /// The signals that were blocked at the interruption: bit n - 1 is signal n.
    pub fn blocked_signals(&self) -> u64 {
        // SAFETY: S6: valid for as long as the handler runs, by the contract of `new`.
        let context = unsafe { &*self.0 };
        // SAFETY: S6: the kernel writes its own set of 64 bits there, with which the C library's begins.
        unsafe { (&raw const context.uc_sigmask).cast::<u64>().read() }
    }

    /// Where the kernel's record of the interruption lies: on the stack on which the handler runs.
    pub(crate) fn record(&self) -> usize {
        self.0.addr()
    }

    /// Makes the interrupted code continue elsewhere on its own stack.
    pub(crate) fn redirect(&mut self, stack_pointer: usize, program_counter: usize) {
        let registers = self.registers();
        registers[STACK_POINTER] = stack_pointer as libc::greg_t;
        registers[PROGRAM_COUNTER] = program_counter as libc::greg_t;
    }

    /// Makes the return from the handler enter `function(argument)` with this stack pointer.
    ///
    /// # Safety
    /// The interrupted execution is never continued; below `stack_pointer` there is room for `function` (S1).
    pub unsafe fn enter(&mut self, stack_pointer: usize, function: unsafe extern "C" fn(usize) -> !, argument: usize) {
        // As after a call: the return address lies at a 16-byte boundary minus 8. It is null, which ends an unwinder's
        // walk.
        let stack_pointer = (stack_pointer & !15) - size_of::<usize>();
        // SAFETY: S1: the room that the caller promises.
        unsafe { std::ptr::with_exposed_provenance_mut::<usize>(stack_pointer).write(0) };
        let registers = self.registers();
        registers[STACK_POINTER] = stack_pointer as libc::greg_t;
        registers[PROGRAM_COUNTER] = function as usize as libc::greg_t;
        registers[FIRST_ARGUMENT] = argument as libc::greg_t;
        registers[FRAME_POINTER] = 0;
    }
}

/// Whether `address` lies in the executable's own text (not in a shared library, whose locks the interrupted code may
/// hold). The text's range is learnt at the first call, which must not be in a handler; the first call maps the
/// executable's symbols too.
pub fn in_executable(address: usize) -> bool {
    let text = executable();
    (text.start..text.end).contains(&address)
}

/// Whether a word at `address` lies in the executable's data, and so can be read. The ranges are learnt as for
/// [`in_executable`].
pub(crate) fn is_word_of_executable(address: usize) -> bool {
    let end = address.saturating_add(size_of::<usize>());
    let lies_in = |(start, after): &(usize, usize)| *start <= address && end <= *after;
    address.is_multiple_of(size_of::<usize>()) && executable().data.iter().any(lies_in)
}

fn executable() -> &'static Executable {
    static EXECUTABLE: OnceLock<Executable> = OnceLock::new();
    EXECUTABLE.get_or_init(|| {
        let executable = executable_segments();
        symbols::prepare(executable.load_base);
        executable
    })
}

/// Linkers make one such segment, or two where a part of the data is write-protected after the start.
const DATA_SEGMENTS_MAX: usize = 4;

/// The address ranges of the executable's code and data.
#[derive(Clone, Copy, Default)]
struct Executable {
    start: usize,
    end: usize,
    /// The segments that are writable when loaded: begin and end of each.
    data: [(usize, usize); DATA_SEGMENTS_MAX],
    /// What the loader added to the addresses in the file.
    load_base: usize,
}

fn executable_segments() -> Executable {
    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> i32 {
        // SAFETY: S7: dl_iterate_phdr hands a valid record.
        let info = unsafe { &*info };
        // SAFETY: S7: the loader keeps `dlpi_phnum` headers there.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        let load_base = info.dlpi_addr as usize;
        let segments = |flag| {
            let has_flag =
                move |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD && header.p_flags & flag != 0;
            headers.iter().filter(has_flag).map(move |header| {
                let start = load_base + header.p_vaddr as usize;
                (start, start + header.p_memsz as usize)
            })
        };
        if let Some((start, end)) = segments(libc::PF_X).next() {
            let mut executable = Executable {
                start,
                end,
                load_base,
                ..Executable::default()
            };
            for (place, segment) in executable.data.iter_mut().zip(segments(libc::PF_W)) {
                *place = segment;
            }
            // SAFETY: S7: `data` is what `executable_segments` passed.
            unsafe { data.cast::<Executable>().write(executable) };
        }
        // The executable comes first.
        1
    }
    let mut executable = Executable::default();
    // SAFETY: S7: the visitor keeps to the callback's contract.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut executable).cast()) };
    executable
}
