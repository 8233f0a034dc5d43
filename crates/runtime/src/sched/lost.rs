//! What is known of a thread that has lost its worker? The head of `late.rs` tells what for.

use crate::coroutine::Core;
use silken_context::switch::Context;
use std::ptr;

/// A thread that has lost its worker: where its own context waits, and which coroutine runs on it.
///
/// The context comes first, so that its address is the record's.
#[repr(C)]
#[derive(Debug)]
pub(super) struct LostThread {
    pub(super) base: Context,
    core: *const Core,
}

// SAFETY: S1: the record is passed from the monitor to the thread that it describes; the context in it waits meanwhile.
unsafe impl Send for LostThread {}

impl LostThread {
    /// The thread on which the coroutine runs, and whose own context waits in `base`.
    pub(super) fn new(base: &Context, core: &'static Core) -> Self {
        Self {
            base: base.copy(),
            core,
        }
    }

    /// Whether this coroutine runs there.
    pub(super) fn runs(&self, core: &Core) -> bool {
        ptr::eq(self.core, core)
    }
}
