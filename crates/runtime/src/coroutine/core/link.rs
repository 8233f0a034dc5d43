//! What may code on a coroutine know of the worker that runs it, and of the identity in which it runs?

use super::{Core, Schedule};
use crate::coroutine::pool::Caches;
use crate::loom::static_atomic::{AtomicPtr, AtomicU32, Ordering};
use silken_context::identity::AllocatorPair;
use silken_context::switch::Context;
use std::cell::Cell;
use std::ptr;

/// The part of a worker that the code that runs on it may use.
#[repr(C)]
pub(crate) struct WorkerLink {
    /// The worker's own context, on the OS thread's stack.
    pub(crate) base: Context,
    /// The slots in the worker's own identity.
    pub(crate) own_slots: Cell<*const ThreadLocals>,
    /// std's count of panics in the worker's own identity; a word that is always 0 while its place is not known.
    pub(crate) panic_count: Cell<*const Cell<usize>>,
    pub(crate) allocator_words: AllocatorPair,
    pub(crate) scheduler: &'static dyn Schedule,
    /// The number of its scheduler's runtime. The runtime's drivers have it as their owner.
    pub(crate) runtime: usize,
    /// The driver of the worker's processor, as an opaque address: the module `driver` knows its type.
    pub(crate) driver: Cell<*const ()>,
    pub(crate) caches: Caches,
    pub(crate) id: usize,
}

/// What the runtime keeps in each identity.
pub(crate) struct ThreadLocals {
    /// The running coroutine; null on OS threads and in a worker's own context.
    pub(crate) core: Cell<*const Core>,
    /// The worker on which the caller runs; null on other threads. In an isolated coroutine's block it is the worker on
    /// which the coroutine ran last; a worker other than that one writes itself there when it continues the coroutine.
    /// Null while the coroutine runs late, without a worker. In a worker's own block it changes when the thread loses
    /// its worker, or takes one over (`sched/late.rs`). Atomic, since the monitor takes it from a thread that a call
    /// blocks.
    link: AtomicPtr<WorkerLink>,
    /// Depth of critical sections. In a worker's own block it is at least 1 while no light coroutine runs its own code
    /// there.
    pub(crate) critical: Cell<u32>,
    /// Depth of the regions in which the program asks not to be preempted.
    pub(in crate::coroutine) unpreempted: Cell<u32>,
    /// Calls since the owner of the slots last parked, or yielded for its budget (`budget.rs`).
    pub(in crate::coroutine) spent: Cell<u32>,
}

impl ThreadLocals {
    /// What a new identity has.
    pub(in crate::coroutine) const fn new() -> Self {
        Self {
            core: Cell::new(ptr::null()),
            link: AtomicPtr::new(ptr::null_mut()),
            critical: Cell::new(0),
            unpreempted: Cell::new(0),
            spent: Cell::new(0),
        }
    }

    /// Attaches the identity to a worker. Nobody runs under it, or its owner is the caller.
    #[inline(always)]
    pub(crate) fn set_link(&self, link: *const WorkerLink) {
        // Relaxed: whoever runs under it next is told by the switch.
        self.link.store(link.cast_mut(), Ordering::Relaxed);
    }

    /// The worker to which the identity is attached.
    #[inline(always)]
    pub(crate) fn link(&self) -> *const WorkerLink {
        // Relaxed: written by the worker that continued the owner; or taken away, which the owner may see late, but not
        // after the barrier (`sched/late.rs`).
        self.link.load(Ordering::Relaxed)
    }

    /// Takes this worker's link away from the identity, if it has that one. Returns whether it had. Called by the
    /// monitor, on another thread.
    pub(crate) fn take_link(&self, link: &'static WorkerLink) -> bool {
        let before = ptr::from_ref(link).cast_mut();
        // Relaxed: ordered against the depth of critical sections by the barrier that follows (`sched/late.rs`).
        self.link
            .compare_exchange(before, ptr::null_mut(), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Puts the link back, unless the identity has another one by now.
    pub(crate) fn put_link_back(&self, link: &'static WorkerLink) {
        let after = ptr::from_ref(link).cast_mut();
        // Relaxed: an owner that still sees null finds out by itself.
        let _ = self
            .link
            .compare_exchange(ptr::null_mut(), after, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the owner of the identity is in a critical section. Asked on another thread.
    pub(crate) fn is_critical(&self) -> bool {
        // SAFETY: S3: an aligned word of a block that stays mapped; its owner writes it by single stores.
        let depth = unsafe { AtomicU32::from_ptr(self.critical.as_ptr()) };
        // Acquire: pairs with the end of the section: what it did to the worker is seen by the thread that takes over.
        // The end is a plain store, which is a release on x86-64; another processor needs one there.
        depth.load(Ordering::Acquire) != 0
    }
}
