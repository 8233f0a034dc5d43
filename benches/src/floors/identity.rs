//! The price of an identity: writing the FS base, alone and between two switches.
//!
//! Alone, back to back, each write waits for the one before, so this is its latency; after a switch of stacks a part of
//! that hides behind the loads of the saved registers. That is why both are printed. x86_64 only, as the instruction
//! is.

use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use corosensei::{Coroutine, CoroutineResult};
use std::arch::asm;

const WRITES: usize = 20_000_000;
const HOPS: usize = 10_000_000;
/// Bit of AT_HWCAP2 by which the kernel allows the instruction (Documentation/arch/x86/x86_64/fsgs.rst).
const HWCAP2_FSGSBASE: u64 = 1 << 1;

fn own_base() -> u64 {
    // SAFETY: S3: asks the loader's auxiliary vector, passes no memory.
    let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    assert_ne!(capabilities & HWCAP2_FSGSBASE, 0, "this kernel does not allow wrfsbase");
    let base;
    // SAFETY: S3: reads the register only; the kernel allows it, as checked above.
    unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

#[inline(always)]
fn write_base(base: u64) {
    // SAFETY: S3: callers pass what `own_base` gave on this thread, so the identity stays the same.
    unsafe { asm!("wrfsbase {}", in(reg) base, options(nostack, preserves_flags)) };
}

/// The instruction alone.
pub fn write_alone(_options: &Options) -> Sample {
    let base = own_base();
    sample(ns_per_operation(WRITES, |count| {
        (0..count).for_each(|_| write_base(base))
    }))
}

/// One hop between coroutines that have identities: a switch away, a switch to, one write.
pub fn switch_and_write(_options: &Options) -> Sample {
    let base = own_base();
    let mut coroutine: Coroutine<(), (), ()> = Coroutine::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    });
    let hop = |coroutine: &mut Coroutine<(), (), ()>| {
        write_base(base);
        assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
    };
    let value = ns_per_operation(HOPS, |count| (0..count).for_each(|_| hop(&mut coroutine)));
    // SAFETY: S4: the closure owns nothing, so nothing on the abandoned stack wants to be dropped.
    unsafe { coroutine.force_reset() };
    sample(value)
}
