//! Who am I? The thread-local that names the running coroutine and its worker, and critical sections.
//!
//! The slots lie in the *identity* that runs. In an isolated coroutine's block the coroutine is constant for the
//! coroutine's life, so a compiler may keep what it read across a switch. In a worker's own block it names the light
//! coroutine that runs there, or nobody, and it is rewritten at each switch; light coroutines are bound to their
//! worker, so the slots' address is constant for them too.
//!
//! The worker is read once in a critical section, which it outlasts only across a switch; after one it comes with the
//! switch (`sched/switch.rs`), never out of a thread-local. A slot of its own beside the coroutine's shortens the way
//! to the run queue by one load, on which everything else in a yield waits.

use super::core::{Core, WorkerLink};
use crate::loom::static_atomic::{AtomicIsize, Ordering, compiler_fence};
use silken_context::switch;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// What the runtime keeps in each identity.
pub(crate) struct ThreadLocals {
    /// The running coroutine; null on OS threads and in a worker's own context.
    pub(crate) core: Cell<*const Core>,
    /// The worker that runs it; null on other threads. In an isolated coroutine's block it is rewritten by each worker
    /// that continues the coroutine; in a worker's own block it never changes.
    pub(crate) link: Cell<*const WorkerLink>,
    /// Depth of critical sections. In a worker's own block it is at least 1 while no light coroutine runs its own code
    /// there.
    pub(crate) critical: Cell<u32>,
    /// Calls since the last time that its owner gave way (`budget.rs`).
    pub(super) spent: Cell<u32>,
}

thread_local! {
    static SLOTS: ThreadLocals = const {
        ThreadLocals {
            core: Cell::new(ptr::null()),
            link: Cell::new(ptr::null()),
            critical: Cell::new(0),
            spent: Cell::new(0),
        }
    };
}

/// The running coroutine.
#[inline(always)]
pub(crate) fn current_core() -> Option<&'static Core> {
    let core = SLOTS.with(|slots| slots.core.get());
    // SAFETY: S2: cores are type-stable; the running coroutine's one is alive for as long as the coroutine runs, and
    // callers do not keep the reference beyond that.
    unsafe { core.as_ref() }
}

/// The worker on which the caller runs, be it a coroutine or the worker's own context. Inside a coroutine only within a
/// critical section.
#[inline(always)]
pub(crate) fn current_link() -> Option<&'static WorkerLink> {
    let link = SLOTS.with(|slots| slots.link.get());
    // SAFETY: S2: workers outlive the code that runs on them.
    unsafe { link.as_ref() }
}

/// The worker, with the caller inside a critical section for as long as the guard-like reference is used.
pub(super) fn enter_link() -> Option<LinkGuard> {
    let critical = Critical::enter();
    current_link().map(|link| LinkGuard {
        link,
        _critical: critical,
    })
}

/// A worker reference that is valid because preemption and migration are off.
pub(super) struct LinkGuard {
    link: &'static WorkerLink,
    _critical: Critical,
}

impl std::ops::Deref for LinkGuard {
    type Target = WorkerLink;

    fn deref(&self) -> &WorkerLink {
        self.link
    }
}

/// Makes the calling OS thread a worker, or an ordinary thread again (null).
pub(crate) fn bind_worker_thread(link: *const WorkerLink) {
    SLOTS.with(|slots| {
        slots.link.set(link);
        slots.critical.set(u32::from(!link.is_null()));
    });
}

/// Counts a call, up to a limit, where the count begins anew; says whether it has come there.
#[inline(always)]
pub(super) fn count_spent(limit: u32) -> bool {
    SLOTS.with(|slots| {
        let spent = slots.spent.get() + 1;
        let is_over = spent >= limit;
        slots.spent.set(if is_over { 0 } else { spent });
        is_over
    })
}

/// The slots of the identity that runs.
pub(crate) fn own_slots() -> *const ThreadLocals {
    SLOTS.with(ptr::from_ref)
}

/// Place of the slots from the FS base, the same in every identity, if the crate lies in the static block (it does in
/// an executable). Learnt once, on an OS thread.
#[inline]
pub(crate) fn slots_offset() -> Option<isize> {
    static OFFSET: AtomicIsize = AtomicIsize::new(0);
    // Relaxed: every thread computes the same value.
    let known = OFFSET.load(Ordering::Relaxed);
    if known != 0 {
        return Some(known);
    }
    let offset = (own_slots() as isize).wrapping_sub(switch::identity_base() as isize);
    // The segments lie just below the FS base; a module loaded late has its segment on the heap.
    if !(-(1 << 20)..0).contains(&offset) {
        return None;
    }
    OFFSET.store(offset, Ordering::Relaxed);
    Some(offset)
}

/// Runtime code: hooks pass straight through, nobody preempts, the worker does not change. Sections nest, are short,
/// and end before the coroutine parks, except in the one that parks it.
///
/// The depth belongs to the identity. Whoever leaves its stack does so at depth 1, and whoever goes on ends that
/// section: its own, which waited with it, or with light coroutines the one that its predecessor left behind in the
/// identity that they share. Counting in the identity and not in the control block makes the address of the store known
/// at once, and the write of the next identity need not wait for it.
pub(crate) struct Critical(PhantomData<*const ()>);

impl Critical {
    #[inline(always)]
    pub(crate) fn enter() -> Self {
        SLOTS.with(|slots| slots.critical.set(slots.critical.get() + 1));
        // SeqCst: pairs with the signal handlers on this very thread, which must see the count before what it protects.
        // The processor itself keeps a thread's program order for them.
        compiler_fence(Ordering::SeqCst);
        Self(PhantomData)
    }

    /// Enters a section that ends behind a switch, by [`leave`](Self::leave): a guard would be kept over it.
    #[inline(always)]
    pub(crate) fn enter_to_leave() {
        std::mem::forget(Self::enter());
    }

    /// See [`enter_to_leave`](Self::enter_to_leave).
    #[inline(always)]
    pub(crate) fn leave() {
        drop(Self(PhantomData));
    }

    /// Whether the caller is in a section.
    #[inline(always)]
    pub(crate) fn is_entered() -> bool {
        Self::depth() != 0
    }

    #[inline(always)]
    pub(crate) fn depth() -> u32 {
        SLOTS.with(|slots| slots.critical.get())
    }
}

impl Drop for Critical {
    #[inline(always)]
    fn drop(&mut self) {
        // SeqCst: pairs as in `enter`: what was protected ends before the count falls.
        compiler_fence(Ordering::SeqCst);
        SLOTS.with(|slots| slots.critical.set(slots.critical.get() - 1));
    }
}
