//! How does a signal handler make the code that it has interrupted call a function, as if that code had called it
//! itself?
//!
//! # Protocol
//! The handler asks whether the interrupted instruction allows the call ([`Interrupted::may_inject`]) and whether the
//! stack has room ([`bytes_needed`]). [`Interrupted::inject`] then writes two words below the interrupted stack pointer
//! and its red zone: the function, and the interrupted program counter, which is the return address. It points the
//! saved registers at the *trampoline*. The kernel's return from the signal enters the trampoline, with the signal mask
//! restored. The trampoline saves the flags, all general registers, and the state of the vector units, calls the
//! function, restores everything and returns to the interrupted instruction. The function may switch to another stack
//! and come back later, on another thread.
//!
//! # The stack
//! High addresses are at the top; `R` is the interrupted stack pointer.
//! ```text
//!  R ->      the frame of the interrupted code
//!            128 bytes of red zone, which leaf functions use without moving the stack pointer
//!            the interrupted program counter
//!            the function
//!            flags, rbp                                <- rbp of the trampoline
//!            the other 14 general registers
//!            the vector state, aligned to 64 bytes     (XSAVE, as many bytes as this processor's features take)
//!            the frame of the function
//! ```
//!
//! # Which state is saved
//! An interrupted function expects every register to be as it was, also those that a call may change. XSAVE writes what
//! the operating system has enabled: x87, SSE, AVX, AVX-512, AMX. The size is asked once ([`bytes_needed`]). Afterwards
//! the vector units are set to what a function may expect: default rounding and exception masks, an empty x87 stack,
//! clean upper halves of vectors.
//!
//! # Unwinding
//! The trampoline has unwind rules for every instruction, and is marked as the frame of a signal: an unwinder looks up
//! the interrupted instruction itself, and not the one before it. Backtraces and debuggers pass through it. Nothing may
//! *unwind* through it: the interrupted instruction need not be a call.
//!
//! # Where a call must not be injected
//! - In the handler itself, if it runs on the interrupted stack (without SA_ONSTACK): the kernel's record of the
//!   registers lies directly below the red zone, where the words of the call would go.
//! - At a system call: a call that the signal has interrupted may be restarted by the kernel through a record that
//!   belongs to the thread (`restart_syscall(2)`), so the interrupted code must not continue on another thread.
//! - Outside the executable's own text, but for pure functions that it calls (`pure.rs`). The C library keeps words
//!   that stay with the worker's thread (malloc's), and locks without which no other code makes progress. The loader
//!   and libgcc hold locks too. Code of other shared libraries is left alone as well: which of them is an allocator
//!   cannot be told from an address. Only the interrupted instruction is looked at. A function of the executable that C
//!   calls back (`qsort`, `dl_iterate_phdr`) is interrupted as others are. If the C function that called back holds a
//!   lock, others wait for that lock meanwhile, as they would if the thread were descheduled there; the callback might
//!   as well wait by itself.
//! - Inside an allocator that is part of the executable: the caller must know that there is none
//!   ([`is_allocator_of_std`]), or mark its functions.
//! - Below the frame of a signal handler that runs on the interrupted stack and has opened its signal again: the return
//!   from that handler belongs to the thread. Such a frame is found by its return address
//!   ([`Interrupted::is_below_handler`]).
//!
//! # Rejected
//! *Switching stacks in the handler itself*: the signal would stay blocked, and the alternate stack in use, until the
//! interrupted code continues. *Asking the compiler for safepoints*: it has none. *Saving 16 vector registers by hand*:
//! the next processor has more.

mod pure;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use pure::prepare;

#[cfg(target_arch = "x86_64")]
use x86_64 as machine;

use crate::symbols;
use crate::trap::{Interrupted, in_executable};

/// The function that interrupted code is made to call. It must not unwind.
pub type Injected = extern "C" fn();

/// The bytes below the interrupted stack pointer that an injected call needs for itself, without the frame of the
/// function. `None`: this processor or operating system cannot save the vector state. The first call asks the
/// processor, and must not be in a handler.
pub fn bytes_needed() -> Option<usize> {
    machine::bytes_needed()
}

/// Whether the program's global allocator is known to be std's, so that no interrupted instruction of the executable is
/// inside an allocator. `false` if it is another one, or if that cannot be known (an executable without symbols). Not
/// for handlers; called after the first call of [`in_executable`].
pub fn is_allocator_of_std() -> bool {
    symbols::has_allocator_of_std()
}

/// More than the kernel's record of an interruption takes, with the state of all vector units.
const RECORD_BYTES_MAX: usize = 64 * 1024;

impl Interrupted {
    /// Whether the interruption allows an injected call: see the head of the file. Async-signal-safe after
    /// the first call of [`bytes_needed`] and of [`in_executable`], and of [`prepare`], without which no code of
    /// libraries is interrupted.
    pub fn may_inject(&mut self) -> bool {
        let (program_counter, stack_pointer) = (self.program_counter(), self.stack_pointer());
        let distance = stack_pointer.wrapping_sub(self.record());
        if distance < RECORD_BYTES_MAX {
            return false;
        }
        if pure::is_pure(program_counter) {
            return pure::works_for_executable(program_counter);
        }
        // The bytes beside the instruction are read, so a margin keeps the reads inside the text.
        in_executable(program_counter.wrapping_sub(machine::MARGIN_BYTES))
            && in_executable(program_counter.wrapping_add(machine::MARGIN_BYTES))
            // SAFETY: S7: both ends of the margin lie in the executable's text, which is readable.
            && !unsafe { machine::is_at_system_call(program_counter) }
    }

    /// Whether a frame of a signal handler seems to lie between the interrupted stack pointer and `top`, the end of its
    /// stack: a word there is the address to which handlers return. The word may be stale; a handler's own is always
    /// found. The `restorer` is that address.
    ///
    /// # Safety
    /// The memory from the stack pointer up to `top` is the interrupted stack (S1).
    pub unsafe fn is_below_handler(&mut self, top: usize, restorer: usize) -> bool {
        let word = size_of::<usize>();
        let start = self.stack_pointer().next_multiple_of(word);
        (start..top.saturating_sub(word - 1))
            .step_by(word)
            // SAFETY: S1: words of the interrupted stack, by the caller's promise.
            .any(|place| unsafe { std::ptr::with_exposed_provenance::<usize>(place).read_volatile() } == restorer)
    }

    /// Makes the interrupted code call `function` when the handler returns.
    ///
    /// # Safety
    /// [`may_inject`](Self::may_inject) is true, and the interrupted stack has room for [`bytes_needed`] and the frames
    /// of `function` (S1). If the function continues on another thread, the interrupted code may do so too (S3).
    pub unsafe fn inject(&mut self, function: Injected) {
        let (stack_pointer, program_counter) = (self.stack_pointer(), self.program_counter());
        // SAFETY: S1: the caller promises the room.
        let (stack_pointer, program_counter) = unsafe { machine::lay_out(stack_pointer, program_counter, function) };
        self.redirect(stack_pointer, program_counter);
    }
}
