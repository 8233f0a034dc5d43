//! How a context leaves one stack and another continues: the context switch.
//!
//! # Vocabulary
//! A [`Context`] is a suspended execution: the stack pointer under which its registers lie, and the identity (the base
//! of the thread-local block) under which it runs. [`switch`] suspends the running context and continues another. The
//! switch is *symmetric*: no context is the caller of another.
//!
//! # Protocol
//! The switch is inlined into the function that blocks. The compiler therefore saves only the registers that are live
//! there. The continuation is reached by an indirect jump to an address that the suspended side has pushed; the branch
//! predictor knows this address as long as coroutines park in the same few functions. A `call` and a `ret` would
//! instead consult the processor's return-address stack, which belongs to the code that ran *before* the switch, and
//! mispredict every time.
//!
//! A new context is a stack on which [`prepare`] has written what a suspended context would have pushed, with the entry
//! trampoline as the continuation. The trampoline marks the end of the unwinding chain (its return address is
//! undefined). So a backtrace taken inside a coroutine ends at the coroutine's entry, and an unwinder never walks off
//! the stack.
//!
//! The outgoing context passes a [`Handoff`] to the context that continues, in registers. It says what the outgoing
//! context is owed once its registers are saved. The context that continues finds the handoff in its [`Resumed`],
//! together with the address of its own context, so that it need not keep anything over the switch.
//!
//! # What is not switched
//! The floating-point control words (MXCSR, x87 control word) are not switched. Code compiled by rustc may not run
//! under changed ones (the reference declares it undefined), and saving them costs as much as the rest of the switch (4
//! ns on Zen 4). The signal mask is not switched either: it belongs to the worker's thread.
//!
//! # The identity
//! When the two contexts have different identities, the switch writes the FS base (`wrfsbase`, 5 to 12 ns), once per
//! switch. Between light coroutines of one worker the identities are equal and the write is skipped. The processor
//! overlaps nothing with this write, so the order of the surrounding instructions matters more than their number: see
//! `x86_64.rs`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("silken-context has no switch for this processor yet: add one file beside switch/x86_64.rs");

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use arch::entry_code;
pub use arch::{identity_base, identity_switch_supported, prefetch, with_identity};

/// A suspended execution: where its registers lie and under which identity it runs.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Context {
    /// The stack pointer at the suspension; stale while the context runs.
    stack_pointer: Cell<usize>,
    /// The thread pointer (FS base) that belongs to the context. Atomic, since code that looks after a blocked thread
    /// reads it from another one.
    identity: AtomicUsize,
}

impl Context {
    /// A context that has not been prepared; a switch can only *leave* it.
    pub const fn new() -> Self {
        Self {
            stack_pointer: Cell::new(0),
            identity: AtomicUsize::new(0),
        }
    }

    /// The identity under which this context runs.
    #[inline(always)]
    pub fn identity(&self) -> usize {
        // Relaxed: its owner reads what it wrote; any other reader checks afterwards what it concludes.
        self.identity.load(Ordering::Relaxed)
    }

    /// Sets the identity under which this context will continue.
    #[inline(always)]
    pub fn set_identity(&self, base: usize) {
        // Relaxed: as in `identity`.
        self.identity.store(base, Ordering::Relaxed);
    }

    /// A context that continues where this one would. Only one of the two may be continued.
    pub fn copy(&self) -> Self {
        Self {
            stack_pointer: Cell::new(self.stack_pointer.get()),
            identity: AtomicUsize::new(self.identity()),
        }
    }

    /// The stack pointer of the suspension: an unwinder of parked stacks starts from it.
    pub fn stack_pointer(&self) -> usize {
        self.stack_pointer.get()
    }
}

/// What the outgoing context tells the context that continues: two words that have no meaning in this crate.
#[derive(Clone, Copy, Debug)]
pub struct Handoff {
    /// Which context left, and what it is owed.
    pub left: usize,
    /// Which worker carried out the switch.
    pub by: usize,
}

/// What a context finds when it continues.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    /// The context's own address, as the outgoing context named it.
    pub own: *const Context,
    /// The handoff of the outgoing context.
    pub message: Handoff,
    /// The identity under which the outgoing context ran.
    pub predecessor_identity: usize,
}

/// The first function of a context, called with the parts of the context's [`Resumed`].
pub type Entry = unsafe extern "C" fn(own: *const Context, left: usize, by: usize, predecessor_identity: usize) -> !;

/// Lays out a first suspension on a fresh stack: when a switch continues the context, `entry` runs there.
///
/// # Safety
/// `stack_top` is the 16-byte aligned end of writable memory that nothing else uses, with room for the frames of
/// `entry` below it (S1). `entry` never returns and lets no panic out (S4).
pub unsafe fn prepare(context: &Context, stack_top: *mut u8, entry: Entry) {
    debug_assert!((stack_top as usize).is_multiple_of(16));
    // SAFETY: S1: the caller hands over the memory below `stack_top`.
    let stack_pointer = unsafe { arch::prepare(stack_top, entry) };
    context.stack_pointer.set(stack_pointer);
}

/// Whether a function that begins at this address is the function below the entry function of every [`prepare`]d
/// context: an unwinder's last frame.
pub fn is_entry(function: usize) -> bool {
    arch::is_entry(function)
}

/// Suspends the running execution in `from` and continues `to`. Returns when another switch continues `from`, possibly
/// on another OS thread.
///
/// # Safety
/// `to` is suspended (or prepared), nobody else switches to it, and its stack lives (S1). `from` is where nobody else
/// will look before the other side has acted on the message. When the two run under different identities,
/// [`identity_switch_supported`] is true (S3), and a signal handler that runs on this stack under `to`'s identity does
/// no harm (S6). Whatever the caller keeps across the call may be used on another OS thread afterwards (S2).
#[inline(always)]
pub unsafe fn switch(from: &Context, to: &Context, message: Handoff) -> Resumed {
    // SAFETY: S1, S2, S3: handed through to the caller's contract, which is the same.
    unsafe { arch::switch(from, to, message) }
}

/// Like [`switch`], for a function that is called and not inlined. The switch saves all registers that a function keeps
/// over a call, after the write of the identity; that write would wait for stores that the function makes before it.
///
/// # Safety
/// As for [`switch`].
#[inline(always)]
pub unsafe fn switch_saving_all(from: &Context, to: &Context, message: Handoff) -> Resumed {
    // SAFETY: S1, S2, S3: handed through to the caller's contract, which is the same.
    unsafe { arch::switch_saving_all(from, to, message) }
}

/// Continues `to` and forgets the running execution for ever (a finished coroutine, an abandoned stack).
///
/// # Safety
/// As for [`switch`]; the running stack is never continued again.
pub unsafe fn switch_final(to: &Context, message: Handoff) -> ! {
    let abandoned = Context::new();
    abandoned.set_identity(identity_base());
    // SAFETY: S1: the caller vouches for `to`.
    unsafe { arch::switch(&abandoned, to, message) };
    std::process::abort()
}
