//! What may code on a coroutine know of the worker that runs it, and of the identity in which it runs?

use super::{Core, Schedule};
use crate::coroutine::pool::Caches;
use silken_context::identity::AllocatorPair;
use silken_context::switch::Context;
use std::cell::Cell;

/// The part of a worker that the code that runs on it may use.
#[repr(C)]
pub(crate) struct WorkerLink {
    /// The worker's own context, on the OS thread's stack.
    pub(crate) base: Context,
    /// The slots in the worker's own identity.
    pub(crate) own_slots: *const ThreadLocals,
    /// std's count of panics in the worker's own identity; a word that is always 0 while its place is not known.
    pub(crate) panic_count: Cell<*const Cell<usize>>,
    pub(crate) allocator_words: AllocatorPair,
    pub(crate) scheduler: &'static dyn Schedule,
    /// The number of its scheduler's runtime. The runtime's drivers have it as their owner.
    pub(crate) runtime: usize,
    /// The driver of the processor that the worker holds, as an opaque address: the module `driver` knows its type.
    pub(crate) driver: Cell<*const ()>,
    pub(crate) caches: Caches,
    pub(crate) id: usize,
}

/// What the runtime keeps in each identity.
pub(crate) struct ThreadLocals {
    /// The running coroutine; null on OS threads and in a worker's own context.
    pub(crate) core: Cell<*const Core>,
    /// The worker on which the caller runs; null on other threads. In an isolated coroutine's block, each worker that
    /// continues the coroutine rewrites it. In a worker's own block it never changes.
    pub(crate) link: Cell<*const WorkerLink>,
    /// Depth of critical sections. In a worker's own block it is at least 1 while no light coroutine runs its own code
    /// there.
    pub(crate) critical: Cell<u32>,
    /// Depth of the regions in which the program asks not to be preempted.
    pub(in crate::coroutine) unpreempted: Cell<u32>,
    /// Calls since the owner of the slots last yielded for its budget (`budget.rs`).
    pub(in crate::coroutine) spent: Cell<u32>,
}
