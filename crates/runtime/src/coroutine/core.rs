//! The control block, its references, and the little that a coroutine knows of its worker.

use super::body::Body;
use super::cancel::CancelScope;
use super::current::{self, ThreadLocals};
use super::group::{Group, OpenScope};
use super::join::JoinList;
use super::local::LocalMap;
use super::park::{STAYS, WaitReason};
use super::pool::{self, Caches, PooledStack};
use super::state::{Lifecycle, Wake};
use crate::loom::atomic::AtomicPtr;
use crate::loom::static_atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::sys::Lock;
use silken_context::identity::AllocatorPair;
use silken_context::switch::Context;
use std::cell::{Cell, UnsafeCell};
use std::mem::offset_of;
use std::ops::Range;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Whether a coroutine has an identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Own thread-locals; may continue on any worker.
    Isolated,
    /// The worker's thread-locals; bound to that worker once started.
    Light,
}

/// Why the previous coroutine of a worker left its stack; its successor acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum SwitchReason {
    /// It goes to the tail of the run queue.
    Yield = 0,
    /// It is to be published as parked.
    Park,
    /// Its stack goes back to the pool.
    Finished,
    /// Its stack is lost.
    Overflowed,
}

/// Who left a worker, why, and how its successor was found, in one word: the address of a core is a multiple of 64. It
/// travels with the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing(usize);

impl Outgoing {
    const REASON: usize = 3;
    /// The successor is still the first of the worker's pinned queue.
    const FROM_PINNED: usize = 4;
    /// A yielder goes into the pinned queue.
    const TO_PINNED: usize = 8;
    const BITS: usize = 15;

    /// Nobody left: the worker's base context began to run something. It counts as no yield.
    pub(crate) const fn nobody() -> Self {
        Self(SwitchReason::Park as usize)
    }

    #[inline(always)]
    pub(crate) fn new(core: &Core, leaving: SwitchReason) -> Self {
        Self(ptr::from_ref(core).expose_provenance() | leaving as usize)
    }

    /// It yields, and changes places with the first of the pinned queue.
    #[inline(always)]
    pub(crate) fn in_turn(core: &Core) -> Self {
        Self(ptr::from_ref(core).expose_provenance() | Self::IN_TURN)
    }

    const IN_TURN: usize = SwitchReason::Yield as usize | Self::FROM_PINNED | Self::TO_PINNED;

    /// Says, besides, how the successor was found.
    #[inline(always)]
    pub(crate) fn for_successor(self, from_pinned: bool) -> Self {
        Self(self.0 | (usize::from(from_pinned) * Self::FROM_PINNED))
    }

    #[inline(always)]
    pub(crate) fn successor_is_from_pinned(self) -> bool {
        self.0 & Self::FROM_PINNED != 0
    }

    #[inline(always)]
    pub(crate) fn who(self) -> Option<(NonNull<Core>, SwitchReason)> {
        let leaving = match self.0 & Self::REASON {
            0 => SwitchReason::Yield,
            1 => SwitchReason::Park,
            2 => SwitchReason::Finished,
            _ => SwitchReason::Overflowed,
        };
        let core = ptr::with_exposed_provenance_mut::<Core>(self.0 & !Self::BITS);
        NonNull::new(core).map(|core| (core, leaving))
    }

    /// Who left, if it was [`in_turn`](Self::in_turn).
    #[inline(always)]
    pub(crate) fn who_in_turn(self) -> Option<NonNull<Core>> {
        if self.0 & Self::BITS != Self::IN_TURN {
            return None;
        }
        let core = ptr::with_exposed_provenance_mut::<Core>(self.0 - Self::IN_TURN);
        // SAFETY: S2: `in_turn` made it of a reference.
        Some(unsafe { NonNull::new_unchecked(core) })
    }

    #[inline(always)]
    pub(crate) fn into_word(self) -> usize {
        self.0
    }

    #[inline(always)]
    pub(crate) fn from_word(word: usize) -> Self {
        Self(word)
    }
}

/// The one way from a coroutine to its scheduler; implemented once, in `sched`.
pub(crate) trait Schedule: Sync {
    /// Queues a coroutine that has become ready. Callable from everywhere, signal handlers excepted.
    fn schedule(&self, ready: Ready);

    /// Leaves the running coroutine's stack until it is continued.
    ///
    /// # Safety
    /// `core` is the running coroutine, inside a critical section (S1).
    unsafe fn suspend(&self, core: &Core);

    /// Queues the running coroutine behind the others and lets these run.
    fn give_way(&self, core: &'static Core);

    /// Lets others run first if there were many connects from this worker: see `budget.rs`.
    fn admit_connect(&self, core: &'static Core);

    /// Whether it cancels all its coroutines, and those to come.
    fn is_ending(&self) -> bool;

    /// How many coroutines it can run at one time: with one, nobody makes progress while another spins.
    fn worker_count(&self) -> usize;
}

/// The head of a worker, as the code that runs on it sees it.
#[repr(C)]
pub(crate) struct WorkerLink {
    /// The worker's own execution, on the OS thread's stack.
    pub(crate) base: Context,
    /// Those in the worker's own identity.
    pub(crate) own_slots: *const ThreadLocals,
    /// std's count of panics in the worker's own identity; a word that is always 0 while nobody knows where that lies.
    pub(crate) panic_count: Cell<*const Cell<usize>>,
    pub(crate) allocator_words: AllocatorPair,
    pub(crate) scheduler: &'static dyn Schedule,
    /// The number of its scheduler's runtime, which the runtime's drivers have as their owner.
    pub(crate) runtime: usize,
    /// The driver of the processor that the worker holds, as an opaque address: `driver` knows what it is.
    pub(crate) driver: Cell<*const ()>,
    pub(crate) caches: Caches,
    pub(crate) id: usize,
}

/// What a coroutine owes to another's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tie {
    None,
    /// What it runs may borrow from them, so it must not end before it has returned.
    Borrows,
    /// As well; and the scope is one that a coroutine of the same scheduler has open: whoever cancels that one leaves
    /// the child to it.
    Child,
}

/// See the head of `mod.rs`.
#[repr(C, align(64))]
pub(crate) struct Core {
    // What a switch touches comes first, in one cache line.
    pub(crate) context: Context,
    pub(crate) link: Cell<*const WorkerLink>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) kind: Cell<Kind>,
    pub(crate) started: Cell<bool>,
    reason: AtomicU8,
    /// `unpark`'s token, apart from the lifecycle's notification: an internal wait must not swallow it.
    pub(crate) token: AtomicBool,
    /// std's count of panics, of a light coroutine that is suspended; 0 while it runs, and of all others
    /// (`sched/panics.rs`).
    pub(crate) panics: Cell<u32>,
    /// Link in the injector, an inbox or a pinned queue; who holds the `Ready` owns it.
    pub(crate) next: AtomicPtr<Core>,
    /// What interrupts its waits; null: its cancellation and nothing else.
    pub(super) cancel_scope: Cell<*const CancelScope>,
    /// Number of the payload of the unwinding that goes on, if it is an interruption's; else 0 (`cancel.rs`).
    pub(super) interrupt: Cell<u32>,
    /// Stack size class, an index into the pools.
    pub(crate) class: Cell<u8>,
    tie: AtomicU8,
    /// As the spawner gave it; the smaller, the more urgent. The scheduler does not look at it yet.
    pub(crate) priority: Cell<i16>,

    id: AtomicU64,
    pub(crate) body: Body,
    pub(crate) stack: UnsafeCell<Option<PooledStack>>,
    pub(crate) scheduler: Cell<Option<&'static dyn Schedule>>,
    pub(crate) name: UnsafeCell<Option<Arc<str>>>,
    pub(crate) site: Cell<Option<&'static Location<'static>>>,
    /// The scope that waits for this coroutine; null: none.
    pub(crate) group: Cell<*const Group>,
    /// The innermost scope that it has open itself.
    pub(super) scopes: Cell<*const OpenScope>,
    pub(crate) joiners: Lock<JoinList>,
    /// Coroutine-local and scoped values; most have none.
    pub(crate) locals: UnsafeCell<Option<Box<LocalMap>>>,
}

// Four cache lines: with a million of them each line counts.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Core>() <= 256);

// SAFETY: S2: the field rules in `mod.rs` give every plain cell one owner at a time, and name the pairs that hand it
// over.
unsafe impl Sync for Core {}
// SAFETY: S2: as above; the body is bounded by Send when it is stored.
unsafe impl Send for Core {}

impl Core {
    /// The coroutine whose execution a context is.
    ///
    /// # Safety
    /// The context is that of a core, not a worker's (S2).
    #[inline(always)]
    pub(crate) unsafe fn of_context(context: *const Context) -> &'static Core {
        const { assert!(offset_of!(Core, context) == 0) };
        // SAFETY: S2: the caller's contract; cores are type-stable.
        unsafe { &*context.cast::<Core>() }
    }

    /// A core as it lies in the pool.
    pub(crate) fn free() -> Self {
        Self {
            context: Context::new(),
            link: Cell::new(ptr::null()),
            lifecycle: Lifecycle::free(),
            kind: Cell::new(Kind::Light),
            started: Cell::new(false),
            reason: AtomicU8::new(0),
            token: AtomicBool::new(false),
            panics: Cell::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            id: AtomicU64::new(0),
            body: Body::empty(),
            stack: UnsafeCell::new(None),
            class: Cell::new(0),
            scheduler: Cell::new(None),
            name: UnsafeCell::new(None),
            site: Cell::new(None),
            group: Cell::new(ptr::null()),
            scopes: Cell::new(ptr::null()),
            cancel_scope: Cell::new(ptr::null()),
            tie: AtomicU8::new(Tie::None as u8),
            interrupt: Cell::new(0),
            priority: Cell::new(0),
            joiners: Lock::new(JoinList::new()),
            locals: UnsafeCell::new(None),
        }
    }

    /// The number of this life, unique in the process.
    pub(crate) fn id(&self) -> u64 {
        // Relaxed: written before the core is handed to anyone.
        self.id.load(Ordering::Relaxed)
    }

    /// Begins a life; the caller owns the core, which came from the pool.
    pub(crate) fn set_id(&self, id: u64) {
        // Relaxed: as above.
        self.id.store(id, Ordering::Relaxed);
    }

    /// The name given at the spawn.
    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        // SAFETY: S2: written before the first queueing, cleared when the last reference is gone.
        unsafe { &*self.name.get() }.as_ref()
    }

    #[inline(always)]
    pub(crate) fn set_reason(&self, reason: WaitReason) {
        self.set_reason_word(reason as u8);
    }

    /// As [`set_reason`](Self::set_reason), of a reason with its mark.
    #[inline(always)]
    pub(super) fn set_reason_word(&self, reason: u8) {
        // Relaxed: for reports, and a shutdown that looks several times.
        self.reason.store(reason, Ordering::Relaxed);
    }

    /// Whether the coroutine sleeps in a wait that no cancellation ends (a snapshot).
    pub(crate) fn stays(&self) -> bool {
        // Relaxed: as above.
        self.lifecycle.is_parked() && self.reason.load(Ordering::Relaxed) & STAYS != 0
    }

    /// For the spawner, before the core is queued.
    #[inline(always)]
    pub(crate) fn set_tie(&self, tie: Tie) {
        // Relaxed: the queue orders it for the coroutine; a shutdown, which may read an old one, looks again.
        self.tie.store(tie as u8, Ordering::Relaxed);
    }

    /// Whether what it runs may borrow from others' frames.
    pub(crate) fn borrows(&self) -> bool {
        // Relaxed: as in `set_tie`.
        self.tie.load(Ordering::Relaxed) != Tie::None as u8
    }

    /// Whether it is its parent's to cancel: see [`Tie::Child`].
    pub(crate) fn has_parent(&self) -> bool {
        // Relaxed: as in `set_tie`.
        self.tie.load(Ordering::Relaxed) == Tie::Child as u8
    }

    /// What the coroutine waits for, while it is parked.
    pub(crate) fn reason(&self) -> WaitReason {
        // Relaxed: for reports only.
        WaitReason::from_u8(self.reason.load(Ordering::Relaxed))
    }

    /// Wakes the coroutine from whatever it waits for; the wait looks at its own condition again.
    #[inline]
    pub(crate) fn unpark(&self) {
        if let Some(ready) = self.make_ready() {
            self.queue(ready);
        }
    }

    /// The half of [`unpark`](Self::unpark) for those who return ready coroutines instead of queueing them.
    #[inline]
    pub(crate) fn make_ready(&self) -> Option<Ready> {
        match self.lifecycle.unpark() {
            Wake::Schedule => Some(Ready(NonNull::from(self))),
            Wake::Noted => None,
        }
    }

    /// Asks for cancellation.
    pub(crate) fn cancel(&self) {
        if self.lifecycle.cancel() == Wake::Schedule {
            self.queue(Ready(NonNull::from(self)));
        }
    }

    fn queue(&self, ready: Ready) {
        // A core that was parked has been run, and so has a scheduler.
        let Some(scheduler) = self.scheduler.get() else { return };
        scheduler.schedule(ready);
    }

    /// Whether it is this scheduler that queues the coroutine: no other may (S10).
    #[inline(always)]
    pub(crate) fn belongs_to<S: Schedule>(&self, scheduler: &S) -> bool {
        let own = self.scheduler.get().map(|own| ptr::from_ref(own).cast::<()>());
        own == Some(ptr::from_ref(scheduler).cast())
    }

    /// Whether the caller runs on the coroutine's stack, and is no signal handler on another.
    pub(crate) fn is_on_own_stack(&self) -> bool {
        let local = 0_u8;
        // SAFETY: S1, S6: asked in the name of the coroutine itself, which owns the field while it runs.
        let stack = unsafe { &*self.stack.get() };
        stack
            .as_ref()
            .is_some_and(|pooled| pooled.stack.contains((&raw const local).addr()))
    }

    /// The guard of the stack that the coroutine has now. For a signal handler that has interrupted it.
    pub(crate) fn guard(&self) -> Option<Range<usize>> {
        // SAFETY: S1, S6: asked in the name of the coroutine itself, which owns the field while it runs.
        let stack = unsafe { &*self.stack.get() };
        stack.as_ref().map(|pooled| pooled.stack.guard_range())
    }
}

/// The duty to queue a coroutine: whoever holds one passes it on, or the coroutine is lost.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ready(NonNull<Core>);

// SAFETY: S2: a Ready is the ownership of a core that is not running.
unsafe impl Send for Ready {}

impl Ready {
    /// Has it queued by its own scheduler.
    pub(crate) fn send_home(self) {
        let scheduler = self.core().scheduler.get();
        scheduler
            .expect("a coroutine that was parked has a scheduler")
            .schedule(self);
    }

    /// # Safety
    /// The core is active, in no queue and not running, and the caller is the one who may queue it (S1).
    #[inline(always)]
    pub(crate) unsafe fn from_core(core: NonNull<Core>) -> Self {
        Self(core)
    }

    /// Gives up the type's protection; the caller queues or runs the core.
    #[inline(always)]
    pub(crate) fn into_core(self) -> NonNull<Core> {
        self.0
    }

    #[inline(always)]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: S2: cores are type-stable, and a ready one is alive.
        unsafe { self.0.as_ref() }
    }
}

/// A counted reference to a core.
#[derive(Debug)]
pub(crate) struct CoreRef(NonNull<Core>);

// SAFETY: S2: what a reference offers is atomic, or settled by the lifecycle word.
unsafe impl Send for CoreRef {}
// SAFETY: S2: what a reference offers is atomic, or settled by the lifecycle word.
unsafe impl Sync for CoreRef {}

impl CoreRef {
    /// Takes over one reference.
    ///
    /// # Safety
    /// The caller owns one reference to the core, which this value now stands for (S2).
    pub(crate) unsafe fn adopt(core: NonNull<Core>) -> Self {
        Self(core)
    }

    /// A new reference to a core that the caller knows to be alive.
    pub(crate) fn retain(core: &Core) -> Self {
        core.lifecycle.retain();
        Self(NonNull::from(core))
    }
}

impl std::ops::Deref for CoreRef {
    type Target = Core;

    #[inline(always)]
    fn deref(&self) -> &Core {
        // SAFETY: S2: a counted reference keeps the life that it refers to.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CoreRef {
    fn clone(&self) -> Self {
        Self::retain(self)
    }
}

impl Drop for CoreRef {
    fn drop(&mut self) {
        release(self);
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Drops one reference; the last one sends the core back to the pool.
#[inline]
pub(crate) fn release(core: &Core) {
    if core.lifecycle.release() {
        recycle(core);
    }
}

/// Nobody refers to the core any more, and it has ended.
#[inline]
fn recycle(core: &Core) {
    // Relaxed: the life is over; reports skip it.
    core.id.store(0, Ordering::Relaxed);
    // SAFETY: S2: last reference: the field is ours.
    let name = unsafe { &mut *core.name.get() };
    if name.is_some() {
        *name = None;
    }
    core.scheduler.set(None);
    core.interrupt.set(0);
    let core = NonNull::from(core);
    match current::enter_link() {
        Some(link) => link.caches.give_core(core),
        None => pool::pools().give_core(core),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    /// A million of them lie beside each other.
    #[test]
    fn a_control_block_takes_four_cache_lines() {
        assert_eq!(size_of::<super::Core>(), 256);
    }
}
