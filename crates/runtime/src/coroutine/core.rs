//! What does the runtime keep of a coroutine? This file has its control block.
//!
//! The folder beside it has what the block's fields need to know of the rest: the duty to queue it (`core/ready.rs`),
//! the scheduler that does so (`core/schedule.rs`), and the worker that runs it (`core/link.rs`). Files that give the
//! block its behaviour (join, park, cancel, locals, groups) stand above it: they import it, and it knows of them no
//! more than the types of its fields.

mod link;
mod ready;
mod schedule;

pub(crate) use link::{ThreadLocals, WorkerLink};
pub(crate) use ready::Ready;
pub(crate) use schedule::Schedule;

use super::body::Body;
use super::cancel::scope::CancelScope;
use super::local::map::LocalMap;
use super::park::reason::{STAYS, WaitReason};
use super::pool::stack::PooledStack;
use super::segment::record::Segment;
use super::state::Lifecycle;
use crate::loom::atomic::AtomicPtr;
use crate::loom::static_atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::sys::Lock;
use silken_context::switch::Context;
use std::cell::{Cell, UnsafeCell};
use std::mem::offset_of;
use std::panic::Location;
use std::ptr;
use std::sync::Arc;

/// Whether a coroutine has an identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has thread-locals of its own and may continue on any worker.
    Isolated,
    /// It uses the worker's thread-locals and is bound to that worker once started.
    Light,
}

/// See [`Core::home`]. A runtime has fewer workers.
pub(crate) const NO_HOME: u16 = u16::MAX;

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
    /// It is a thread of C, whose caller may lend it anything (`c_thread.rs`).
    Thread,
}

/// The address of the first joiner's node; null: none. The lock around it guards the whole list.
pub(super) struct FirstJoiner(pub(super) *const ());

// SAFETY: S8: the nodes are touched under the lock only, and stay until delisted or settled.
unsafe impl Send for FirstJoiner {}

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
    /// Unwindings nest on one stack, so 16 bits suffice.
    pub(crate) panics: Cell<u16>,
    /// The number of the one worker that may run it: a light coroutine's since it has started, or the spawner's choice.
    /// [`NO_HOME`]: any.
    pub(crate) home: Cell<u16>,
    /// The link in the injector, an inbox, a level or a pinned queue. The code that holds the `Ready` owns it.
    pub(crate) next: AtomicPtr<Core>,
    /// The innermost cancel scope. Null: only its cancellation interrupts its waits.
    pub(super) cancel_scope: Cell<*const CancelScope>,
    /// The number of the payload of the present unwinding, if an interruption causes it; else 0 (`cancel.rs`).
    pub(super) interrupt: Cell<u32>,
    /// Stack size class, an index into the pools.
    pub(crate) class: Cell<u8>,
    tie: AtomicU8,
    /// The priority that the spawner gave; a smaller number is more urgent.
    pub(crate) priority: Cell<i16>,

    id: AtomicU64,
    pub(crate) body: Body,
    pub(crate) stack: UnsafeCell<Option<PooledStack>>,
    /// The newest segment on which the coroutine runs; null: it runs on `stack` (`segment.rs`).
    pub(super) segment: Cell<*const Segment>,
    pub(crate) scheduler: Cell<Option<&'static dyn Schedule>>,
    pub(crate) name: UnsafeCell<Option<Arc<str>>>,
    pub(crate) site: Cell<Option<&'static Location<'static>>>,
    /// The group of the scope that waits for this coroutine; null: none. `group.rs` knows the type.
    pub(super) group: Cell<*const ()>,
    /// The innermost scope that it has open itself. `group.rs` knows the type.
    pub(super) scopes: Cell<*const ()>,
    /// The first of the joiners that wait for its end. `join.rs` knows the type.
    pub(super) joiners: Lock<FirstJoiner>,
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
            home: Cell::new(NO_HOME),
            joiners: Lock::new(FirstJoiner(ptr::null())),
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

    /// Ends a life. The caller has dropped the last reference.
    pub(super) fn clear(&self) {
        // Relaxed: the life is over; reports skip it.
        self.id.store(0, Ordering::Relaxed);
        // SAFETY: S2: last reference: the field is the caller's.
        let name = unsafe { &mut *self.name.get() };
        if name.is_some() {
            *name = None;
        }
        self.scheduler.set(None);
        self.interrupt.set(0);
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

    /// Whether it is a thread of C: see `c_thread.rs`.
    #[inline(always)]
    pub(crate) fn is_c_thread(&self) -> bool {
        // Relaxed: as in `set_tie`.
        self.tie.load(Ordering::Relaxed) == Tie::Thread as u8
    }

    /// What the coroutine waits for, while it is parked.
    pub(crate) fn reason(&self) -> WaitReason {
        // Relaxed: for reports only.
        WaitReason::from_u8(self.reason.load(Ordering::Relaxed))
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

#[cfg(all(test, not(loom)))]
mod tests {
    /// A million of them lie beside each other.
    #[test]
    fn a_control_block_takes_four_cache_lines() {
        assert_eq!(size_of::<super::Core>(), 256);
    }
}
