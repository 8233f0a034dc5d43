//! In which coroutine does the caller run, and on which worker? Thread-local slots answer that, and count critical
//! sections.
//!
//! The slots lie in the *identity* that runs. In an isolated coroutine's block, the slot for the coroutine is constant
//! for the coroutine's life. So a compiler may keep what it read across a switch. In a worker's own block, that slot
//! names the light coroutine that ran there last; the worker's own context clears it. Each switch to a light coroutine
//! rewrites it. Light coroutines are bound to their worker, so the address of the slots is constant for them too.
//!
//! Read the worker inside a critical section and do not keep the reference after it. It is null on OS threads, and for
//! a coroutine that runs late, since a call blocked it so long that its worker has another thread (`sched/late.rs`).
//! After a switch, use the one that the switch returns (`sched/switch.rs`), and do not read the thread-local. The
//! worker has a slot of its own beside the coroutine's. That shortens the way to the run queue by one load, on which
//! everything else in a yield waits.

use super::core::{Core, ThreadLocals, WorkerLink};
use crate::loom::static_atomic::{AtomicBool, AtomicIsize, Ordering, compiler_fence};
use silken_context::switch;
use std::marker::PhantomData;
use std::ptr;

thread_local! {
    static SLOTS: ThreadLocals = const { ThreadLocals::new() };
}

/// The running coroutine.
#[inline(always)]
pub(crate) fn current_core() -> Option<&'static Core> {
    let core = SLOTS.with(|slots| slots.core.get());
    // SAFETY: S2: cores are type-stable; the running coroutine's one is alive for as long as the coroutine runs, and
    // callers do not keep the reference beyond that.
    unsafe { core.as_ref() }
}

/// The worker on which the caller runs; `None` on any other OS thread, and for a coroutine that runs late. A coroutine
/// calls this only within a critical section.
#[inline(always)]
pub(crate) fn current_link() -> Option<&'static WorkerLink> {
    let link = SLOTS.with(ThreadLocals::link);
    // SAFETY: S2: workers live for ever.
    unsafe { link.as_ref() }
}

/// The worker on which the caller runs; or the one on which it ran last, if a call has blocked the caller and another
/// thread has taken the worker over meanwhile. What belongs to a runtime or is shared is found through it.
#[inline]
pub(crate) fn last_link() -> Option<&'static WorkerLink> {
    current_link().or_else(|| {
        let link = current_core()?.link.get();
        // SAFETY: S2: workers live for ever.
        unsafe { link.as_ref() }
    })
}

/// Gives the running identity its link back.
pub(crate) fn set_worker(link: &'static WorkerLink) {
    SLOTS.with(|slots| slots.set_link(link));
}

/// The calling thread, in its own context, has lost its worker. It stays in its critical section.
pub(crate) fn forget_worker() {
    SLOTS.with(|slots| slots.set_link(ptr::null()));
}

/// Makes the calling OS thread a worker, or an ordinary thread again (null).
pub(crate) fn attach_worker_thread(link: *const WorkerLink) {
    SLOTS.with(|slots| {
        slots.set_link(link);
        slots.critical.set(u32::from(!link.is_null()));
    });
}

/// Counts a call. When the count reaches the limit, sets it to 0 and returns `true`.
#[inline(always)]
pub(super) fn count_spent(limit: u32) -> bool {
    SLOTS.with(|slots| {
        let spent = slots.spent.get() + 1;
        let is_over = spent >= limit;
        slots.spent.set(if is_over { 0 } else { spent });
        is_over
    })
}

/// The running coroutine parks: the count begins anew.
#[inline(always)]
pub(super) fn forget_spent() {
    SLOTS.with(|slots| slots.spent.set(0));
}

/// The slots of the identity that runs.
pub(crate) fn own_slots() -> *const ThreadLocals {
    SLOTS.with(ptr::from_ref)
}

/// Offset of the slots from the FS base, the same in every identity, if the crate lies in the static block (it does in
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

/// The slots in the coroutine's own identity block.
///
/// # Safety
/// The coroutine is isolated and has a block, of which the caller writes only what it may (S3).
#[inline]
pub(crate) unsafe fn slots_in_block(core: &Core) -> &ThreadLocals {
    let offset = slots_offset().expect("checked when the runtime starts");
    let slots = core.context.identity().wrapping_add_signed(offset) as *const ThreadLocals;
    // SAFETY: S3: the caller promises that the coroutine is isolated and has a block.
    unsafe { &*slots }
}

/// A critical section: runtime code, in which hooks pass straight through, the coroutine is not preempted, and the
/// worker does not change. Sections nest and are short. They end before the coroutine parks, except the one that parks
/// it.
///
/// The depth belongs to the identity. An outgoing coroutine leaves its stack at depth 1, and the coroutine that
/// continues ends that section. For an isolated coroutine it is its own section, which stayed open while it was
/// suspended. For light coroutines it is the section that the predecessor left open in the identity that they share.
/// The count is in the identity and not in the control block, so the address of the store is known at once, and the
/// write of the next identity need not wait for it.
pub(crate) struct Critical(PhantomData<*const ()>);

impl Critical {
    #[inline(always)]
    pub(crate) fn enter() -> Self {
        SLOTS.with(|slots| slots.critical.set(slots.critical.get() + 1));
        // SeqCst: pairs with the signal handlers on this very thread, which must see the count before what it protects.
        // The CPU itself keeps a thread's program order for them. It also pairs with the monitor's barrier
        // (`sched/late.rs`).
        compiler_fence(Ordering::SeqCst);
        Self(PhantomData)
    }

    /// Enters a section that ends after a switch, by [`leave`](Self::leave). A guard would have to be kept over the
    /// switch.
    #[inline(always)]
    pub(crate) fn enter_to_leave() {
        std::mem::forget(Self::enter());
    }

    /// Ends a section that [`enter_to_leave`](Self::enter_to_leave) began.
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

/// Whether the code that runs under this identity may be preempted: it is in no critical section, and has not asked to
/// be left alone. For the signal handler that has interrupted it.
pub(crate) fn is_preemptible() -> bool {
    SLOTS.with(|slots| slots.critical.get() == 0 && slots.unpreempted.get() == 0)
}

/// A region in which the caller is not preempted, although it is not in the runtime. Hooks answer as ever.
pub(crate) struct PreemptionOff(PhantomData<*const ()>);

impl PreemptionOff {
    pub(crate) fn enter() -> Self {
        SLOTS.with(|slots| slots.unpreempted.set(slots.unpreempted.get() + 1));
        // SeqCst: pairs with the signal handler on this very thread, which must see the count before what the region
        // does.
        compiler_fence(Ordering::SeqCst);
        Self(PhantomData)
    }
}

/// Set by the first call of a marked allocator.
static IS_ALLOCATOR_MARKED: AtomicBool = AtomicBool::new(false);

/// Notes that the program's global allocator enters a region around each of its calls.
#[inline]
pub(crate) fn mark_allocator() {
    // Relaxed: a flag that orders nothing; set again and again, and written once.
    if !IS_ALLOCATOR_MARKED.load(Ordering::Relaxed) {
        IS_ALLOCATOR_MARKED.store(true, Ordering::Relaxed);
    }
}

/// Whether it does: asked when a runtime starts, after allocations.
pub(crate) fn is_allocator_marked() -> bool {
    // Relaxed: as in `mark_allocator`.
    IS_ALLOCATOR_MARKED.load(Ordering::Relaxed)
}

impl Drop for PreemptionOff {
    fn drop(&mut self) {
        // SeqCst: pairs as in `enter`.
        compiler_fence(Ordering::SeqCst);
        SLOTS.with(|slots| slots.unpreempted.set(slots.unpreempted.get() - 1));
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
