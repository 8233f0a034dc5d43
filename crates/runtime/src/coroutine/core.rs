//! What does the runtime keep of a coroutine? This file has the control block, its references, and what a coroutine
//! knows of its worker.

use super::body::Body;
use super::cancel::CancelScope;
use super::current::{self, ThreadLocals};
use super::group::{Group, OpenScope};
use super::join::JoinList;
use super::local::LocalMap;
use super::park::{STAYS, WaitReason};
use super::pool::{self, Caches, PooledStack};
use super::segment::Segment;
use super::state::{Lifecycle, Wake};
use crate::loom::atomic::AtomicPtr;
use crate::loom::static_atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::sys::Lock;
use silken_context::identity::AllocatorPair;
use silken_context::switch::Context;
use std::cell::{Cell, UnsafeCell};
use std::mem::offset_of;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Whether a coroutine has an identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has thread-locals of its own and may continue on any worker.
    Isolated,
    /// It uses the worker's thread-locals and is bound to that worker once started.
    Light,
}

/// Why the outgoing coroutine left its stack. Its successor acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum SwitchReason {
    /// It yields: its successor queues it behind all others.
    Yield = 0,
    /// It parks: its successor publishes it as parked.
    Park,
    /// It has ended: its successor gives its stack to the pool.
    Finished,
    /// It has overflowed its stack: its successor finishes it, and the stack is lost.
    Overflowed,
}

/// The outgoing coroutine, its switch reason, and how its successor was found. All fit in one word, since the address
/// of a core is a multiple of 64. The word is passed by the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing(usize);

impl Outgoing {
    const REASON: usize = 3;
    /// The successor is still the first of the worker's pinned queue.
    const FROM_PINNED: usize = 4;
    /// The outgoing coroutine yields and goes into the pinned queue.
    const TO_PINNED: usize = 8;
    const BITS: usize = 15;

    /// No coroutine left: the worker's own context began to run one. It does not count as a yield.
    pub(crate) const fn nobody() -> Self {
        Self(SwitchReason::Park as usize)
    }

    #[inline(always)]
    pub(crate) fn new(core: &Core, leaving: SwitchReason) -> Self {
        Self(ptr::from_ref(core).expose_provenance() | leaving as usize)
    }

    /// The coroutine yields, and its successor is the first of the pinned queue: the two change places.
    #[inline(always)]
    pub(crate) fn in_turn(core: &Core) -> Self {
        Self(ptr::from_ref(core).expose_provenance() | Self::IN_TURN)
    }

    const IN_TURN: usize = SwitchReason::Yield as usize | Self::FROM_PINNED | Self::TO_PINNED;

    /// Adds how the successor was found.
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

    /// The outgoing coroutine, if it left as [`in_turn`](Self::in_turn) says.
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

/// The interface from a coroutine to its scheduler. It has one implementation, in `sched`.
pub(crate) trait Schedule: Sync {
    /// Queues a coroutine that has become ready. May be called from everywhere except from signal handlers.
    fn schedule(&self, ready: Ready);

    /// Leaves the running coroutine's stack. Returns when the coroutine is continued.
    ///
    /// # Safety
    /// `core` is the running coroutine, inside a critical section (S1).
    unsafe fn suspend(&self, core: &Core);

    /// Queues the running coroutine behind all others and lets these run.
    fn give_way(&self, core: &'static Core);

    /// Lets other coroutines run first if there were many connects from this worker: see `budget.rs`.
    fn admit_connect(&self, core: &'static Core);

    /// Whether it cancels all of its coroutines, including those that are spawned later.
    fn is_ending(&self) -> bool;

    /// How many coroutines it can run at one time. With one, no coroutine makes progress while another spins.
    fn worker_count(&self) -> usize;
}

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

/// How a coroutine depends on the frames of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tie {
    None,
    /// What it runs may borrow from those frames, so it must not end before it has returned.
    Borrows,
    /// What it runs may borrow, as with `Borrows`; and a coroutine of the same scheduler has its scope open. Code that
    /// cancels that parent leaves the child to the parent.
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
    /// The token of the public `unpark`, separate from the lifecycle word's notification: an internal wait must not
    /// swallow it.
    pub(crate) token: AtomicBool,
    /// std's count of panics of a suspended light coroutine; 0 while it runs, and 0 for all others (`sched/panics.rs`).
    pub(crate) panics: Cell<u32>,
    /// The link in the injector, an inbox or a pinned queue. The code that holds the `Ready` owns it.
    pub(crate) next: AtomicPtr<Core>,
    /// The innermost cancel scope. Null: only its cancellation interrupts its waits.
    pub(super) cancel_scope: Cell<*const CancelScope>,
    /// The number of the payload of the present unwinding, if an interruption causes it; else 0 (`cancel.rs`).
    pub(super) interrupt: Cell<u32>,
    /// Stack size class, an index into the pools.
    pub(crate) class: Cell<u8>,
    tie: AtomicU8,
    /// The priority that the spawner gave; a smaller number is more urgent. The scheduler does not use it yet.
    pub(crate) priority: Cell<i16>,

    id: AtomicU64,
    pub(crate) body: Body,
    pub(crate) stack: UnsafeCell<Option<PooledStack>>,
    /// The newest segment on which the coroutine runs; null: it runs on `stack` (`segment.rs`).
    pub(super) segment: Cell<*const Segment>,
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

// Four cache lines: with a million cores, each line counts.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Core>() <= 256);

// SAFETY: S2: the field rules in `mod.rs` give every plain cell one owner at a time, and name the pairs that hand it
// over.
unsafe impl Sync for Core {}
// SAFETY: S2: as above; the body is bounded by Send when it is stored.
unsafe impl Send for Core {}

impl Core {
    /// The coroutine to which a context belongs.
    ///
    /// # Safety
    /// The context is that of a core, not a worker's (S2).
    #[inline(always)]
    pub(crate) unsafe fn of_context(context: *const Context) -> &'static Core {
        const { assert!(offset_of!(Core, context) == 0) };
        // SAFETY: S2: the caller's contract; cores are type-stable.
        unsafe { &*context.cast::<Core>() }
    }

    /// Makes a core as it is in the pool.
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
            segment: Cell::new(ptr::null()),
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

    /// Sets the reason as [`set_reason`](Self::set_reason) does, together with its mark.
    #[inline(always)]
    pub(super) fn set_reason_word(&self, reason: u8) {
        // Relaxed: for reports, and a shutdown that looks several times.
        self.reason.store(reason, Ordering::Relaxed);
    }

    /// Whether the coroutine is parked in a wait that no cancellation ends (a snapshot).
    pub(crate) fn stays(&self) -> bool {
        // Relaxed: as above.
        self.lifecycle.is_parked() && self.reason.load(Ordering::Relaxed) & STAYS != 0
    }

    /// Sets the tie. Called by the spawner, before the core is queued.
    #[inline(always)]
    pub(crate) fn set_tie(&self, tie: Tie) {
        // Relaxed: the queue orders it for the coroutine; a shutdown, which may read an old one, looks again.
        self.tie.store(tie as u8, Ordering::Relaxed);
    }

    /// Whether what it runs may borrow from frames of other coroutines or threads.
    pub(crate) fn borrows(&self) -> bool {
        // Relaxed: as in `set_tie`.
        self.tie.load(Ordering::Relaxed) != Tie::None as u8
    }

    /// Whether only its parent may cancel it: see [`Tie::Child`].
    pub(crate) fn has_parent(&self) -> bool {
        // Relaxed: as in `set_tie`.
        self.tie.load(Ordering::Relaxed) == Tie::Child as u8
    }

    /// What the coroutine waits for, while it is parked.
    pub(crate) fn reason(&self) -> WaitReason {
        // Relaxed: for reports only.
        WaitReason::from_u8(self.reason.load(Ordering::Relaxed))
    }

    /// Wakes the coroutine, whatever it waits for. The wait looks at its own condition again.
    #[inline]
    pub(crate) fn unpark(&self) {
        if let Some(ready) = self.make_ready() {
            self.queue(ready);
        }
    }

    /// The first half of [`unpark`](Self::unpark), for code that returns ready coroutines instead of queueing them.
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

    /// Whether this scheduler queues the coroutine. No other one may (S10).
    #[inline(always)]
    pub(crate) fn belongs_to<S: Schedule>(&self, scheduler: &S) -> bool {
        let own = self.scheduler.get().map(|own| ptr::from_ref(own).cast::<()>());
        own == Some(ptr::from_ref(scheduler).cast())
    }
}

/// The duty to queue a coroutine. The holder passes it on; if it drops it, the coroutine is lost.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ready(NonNull<Core>);

// SAFETY: S2: a Ready is the ownership of a core that is not running.
unsafe impl Send for Ready {}

impl Ready {
    /// Passes the coroutine to its own scheduler, which queues it.
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

    /// Gives up the type's protection. The caller queues or runs the core.
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

/// Gives a core back to the pool. Its coroutine has ended, and nothing refers to it any more.
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
