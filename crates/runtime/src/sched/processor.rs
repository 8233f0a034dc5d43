//! The processor: the right to run coroutines, and what goes with it.
//!
//! A processor is a run queue (a ring and a LIFO slot), a driver with its timers, and counters. A *worker* is an OS
//! thread; it runs coroutines while it holds a processor. The two are separate so that a worker which the kernel blocks
//! can lose its processor to another. [`Processor`] is the owner's part, moved as a box: holding it is the right.
//! [`SharedProcessor`] is what thieves, pollers and reports may touch.

use crate::collections::ring::{self, Owner, Stealer, Word};
use crate::coroutine::{Core, Ready};
use crate::driver::Driver;
use crate::loom::static_atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};

/// How many times in a row the LIFO slot may go before the ring: two coroutines that wake each other must not starve
/// the rest. A guess to be tuned; tokio uses 3.
const LIFO_BUDGET: u32 = 3;

/// After so many picks the worker looks at its driver and at the injector, even if its own queue never empties. Each
/// look costs some 200 ns when descriptors are registered, so it adds 3 ns to a pick.
const EVENT_INTERVAL: u32 = 64;

/// Connects of all workers between two of their looks: the queue of a listener holds 128 as a rule, and an acceptor
/// that has given way itself comes to its turn after several looks.
const CONNECTS_PER_LOOK: u32 = 16;

/// And of one worker, even if there are many.
const CONNECTS_PER_LOOK_MIN: u32 = 2;

/// Cache lines of a suspended stack that its continuation touches at once: the frames from the switch up to the caller
/// of a hooked read. Measured by the echo benchmark with 5,000 connections.
const WARM_FRAME_LINES: usize = 8;

#[inline(always)]
fn prefetch(address: usize) {
    silken_context::switch::prefetch(address);
}

impl Word for Ready {
    #[inline(always)]
    fn into_word(self) -> NonZeroUsize {
        self.into_core().addr()
    }

    #[inline(always)]
    unsafe fn from_word(word: NonZeroUsize) -> Self {
        let core = NonNull::new(ptr::with_exposed_provenance_mut::<Core>(word.get())).expect("not zero");
        // SAFETY: S1: the word came from `into_word`, once: the ring passes the ownership on.
        unsafe { Ready::from_core(core) }
    }
}

/// With thousands of coroutines that take turns, each one's core, stack and identity have left the cache, and their
/// pages the translation buffer, when its turn comes. The queue tells who comes next, so what a switch will touch is
/// asked for one turn ahead: the core two turns ahead, and what the core points to one.
///
/// Inlined, since a call would make the compiler save registers before the identity is written, which waits for such
/// stores.
#[inline(always)]
pub(super) fn prefetch_next(next: &Core, after_next: Option<*mut Core>) {
    if let Some(after_next) = after_next {
        prefetch(after_next.addr());
    }
    prefetch_context(next);
}

#[inline(always)]
fn prefetch_context(core: &Core) {
    let (frames, identity) = (core.context.stack_pointer(), core.context.identity());
    for line in 0..WARM_FRAME_LINES {
        prefetch(frames.wrapping_add(64 * line));
    }
    // The head of the control block, and the thread-locals just below it.
    prefetch(identity);
    prefetch(identity.wrapping_sub(64));
    prefetch(identity.wrapping_sub(128));
}

/// What others see of a processor.
pub(super) struct SharedProcessor {
    stealer: Stealer<Ready>,
    /// The coroutine that the running one woke last; it runs next.
    lifo: AtomicPtr<Core>,
    pub(super) driver: &'static Driver,
    /// The owner's count of picks; a watcher sees by it that one coroutine runs for long.
    tick: AtomicU32,
    pub(super) spawned: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) migrations: AtomicU64,
}

/// The owner's part of a processor. What a pick looks at comes first.
#[repr(C)]
pub(super) struct Processor {
    /// Alone, the LIFO slot; it needs no atomic operation.
    own_lifo: Cell<*mut Core>,
    /// Counts picks.
    ticks: Cell<u32>,
    /// The only processor of its scheduler: there are no thieves, and the ring stays empty; see `pinned.rs`. A worker
    /// that loses its processor to another would have to hand on what may move.
    pub(super) alone: bool,
    pub(super) shared: &'static SharedProcessor,
    ring: Owner<Ready>,
    pub(super) index: usize,
    lifo_spent: Cell<u32>,
    /// Connects since the last look outside.
    connects: Cell<u32>,
    connects_max: u32,
    random: Cell<u32>,
    /// Ready coroutines on their way from the driver to the ring.
    pub(super) batch: RefCell<Vec<Ready>>,
}

impl SharedProcessor {
    /// Makes both halves of the `index`th processor of a runtime.
    pub(super) fn make(runtime: usize, index: usize) -> io::Result<(SharedProcessor, Owner<Ready>)> {
        let (owner, stealer) = ring::ring();
        let shared = SharedProcessor {
            stealer,
            lifo: AtomicPtr::new(ptr::null_mut()),
            driver: Driver::take(runtime)?,
            tick: AtomicU32::new(index as u32),
            spawned: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            migrations: AtomicU64::new(0),
        };
        Ok((shared, owner))
    }

    /// Whether a thief would find something.
    pub(super) fn has_work(&self) -> bool {
        !self.stealer.is_empty()
    }

    /// Adds one to a counter that only the owner of the processor writes.
    #[inline(always)]
    pub(super) fn count(counter: &AtomicU64) {
        // Relaxed: one writer. Release: pairs with the Acquire in `Scheduler::alive`: who sees a coroutine's end sees
        // its spawn.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Takes one back from such a counter.
    #[cold]
    pub(super) fn uncount(counter: &AtomicU64) {
        // Relaxed: one writer, and nobody relies on seeing it soon.
        counter.store(counter.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    pub(super) fn tick(&self) -> u32 {
        // Relaxed: a hint.
        self.tick.load(Ordering::Relaxed)
    }

    /// Takes the coroutine in the LIFO slot.
    #[inline(always)]
    fn take_lifo(&self) -> Option<Ready> {
        // Relaxed: the owner put it there itself, or misses for a moment what it will see at the next pick.
        if self.lifo.load(Ordering::Relaxed).is_null() {
            return None;
        }
        // Acquire: pairs with the Release in `swap_lifo`, for a thief.
        let core = NonNull::new(self.lifo.swap(ptr::null_mut(), Ordering::Acquire))?;
        // SAFETY: S1: the slot held the one Ready of this core.
        Some(unsafe { Ready::from_core(core) })
    }

    #[inline(always)]
    fn swap_lifo(&self, ready: Ready) -> Option<Ready> {
        // Release: pairs with the Acquire in `take_lifo`.
        let before = self.lifo.swap(ready.into_core().as_ptr(), Ordering::AcqRel);
        // SAFETY: S1: the slot held the one Ready of this core.
        NonNull::new(before).map(|core| unsafe { Ready::from_core(core) })
    }
}

impl Processor {
    pub(super) fn new(index: usize, workers: usize, shared: &'static SharedProcessor, ring: Owner<Ready>) -> Self {
        Self {
            index,
            ring,
            alone: workers == 1,
            own_lifo: Cell::new(ptr::null_mut()),
            ticks: Cell::new(index as u32),
            lifo_spent: Cell::new(0),
            connects: Cell::new(0),
            connects_max: (CONNECTS_PER_LOOK / workers as u32).max(CONNECTS_PER_LOOK_MIN),
            batch: RefCell::new(Vec::with_capacity(256)),
            random: Cell::new(0x9E37_79B9 ^ (index as u32 + 1)),
            shared,
        }
    }

    /// Whether the next pick is one at which it is time to look outside.
    #[inline(always)]
    pub(super) fn is_event_tick(&self) -> bool {
        self.ticks.get().wrapping_add(1).is_multiple_of(EVENT_INTERVAL)
    }

    /// Counts a pick. Whoever is picked does it, behind the switch; and whoever finds nobody.
    #[inline(always)]
    pub(super) fn count_pick(&self) {
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if !self.alone {
            // Relaxed: a hint for watchers.
            self.shared.tick.store(ticks, Ordering::Relaxed);
        }
    }

    /// Counts a yield for which nobody was ready. Whether the OS thread is to yield too: a loop that yields may wait
    /// for another thread, which may wait for this processor of the machine. Not each time: a system call costs as much
    /// as thirty yields, and eight of these are soon over.
    pub(super) fn count_fruitless_yield(&self) -> bool {
        self.count_pick();
        self.ticks.get().is_multiple_of(8)
    }

    /// Counts a connect from here, unless there have been so many since the last look outside that the look must come
    /// first.
    pub(super) fn admit_connect(&self) -> bool {
        let connects = self.connects.get();
        self.connects.set((connects + 1).min(self.connects_max));
        connects < self.connects_max
    }

    /// Whether there were connects since the last look; from now on they are counted anew.
    pub(super) fn take_connects(&self) -> bool {
        self.connects.replace(0) != 0
    }

    /// Empties the ring into `rest`, oldest first.
    pub(super) fn take_all(&self, rest: &mut Vec<Ready>) {
        rest.extend(std::iter::from_fn(|| self.ring.pop()));
    }

    /// As [`count_pick`](Self::count_pick), for an owner that is alone: nobody watches.
    #[inline(always)]
    pub(super) fn count_pick_alone(&self) {
        self.ticks.set(self.ticks.get().wrapping_add(1));
    }

    /// Whether there may be somebody in the LIFO slot.
    #[inline(always)]
    pub(super) fn has_lifo(&self) -> bool {
        if self.alone {
            return self.has_own_lifo();
        }
        // Relaxed: the owner put it there itself, or misses for a moment what it will see at the next pick.
        !self.shared.lifo.load(Ordering::Relaxed).is_null()
    }

    /// As [`has_lifo`](Self::has_lifo), for an owner that is alone.
    #[inline(always)]
    pub(super) fn has_own_lifo(&self) -> bool {
        !self.own_lifo.get().is_null()
    }

    /// Takes the coroutine in the LIFO slot.
    #[inline(always)]
    pub(super) fn take_lifo(&self) -> Option<Ready> {
        if self.alone {
            return self.replace_own_lifo(ptr::null_mut());
        }
        self.shared.take_lifo()
    }

    #[inline(always)]
    fn replace_own_lifo(&self, core: *mut Core) -> Option<Ready> {
        // SAFETY: S1: the slot held the one Ready of this core.
        NonNull::new(self.own_lifo.replace(core)).map(|core| unsafe { Ready::from_core(core) })
    }

    /// Counts a pick from the LIFO slot; `false` when those in the queues have their turn.
    #[inline(always)]
    pub(super) fn spend_lifo_budget(&self) -> bool {
        let hops = self.lifo_spent.get();
        let may = hops < LIFO_BUDGET;
        self.lifo_spent.set(if may { hops + 1 } else { 0 });
        may
    }

    /// Takes the oldest of the ring.
    #[inline(always)]
    pub(super) fn pop_ring(&self) -> Option<Ready> {
        let ready = self.ring.pop();
        if let Some(after_next) = self.ring.peek(1)
            && let Some(next) = self.ring.peek(0)
        {
            let after_next = ptr::with_exposed_provenance_mut(after_next.get());
            // SAFETY: S2: cores are type-stable; a stale hint costs a useless prefetch.
            prefetch_next(
                unsafe { &*ptr::with_exposed_provenance::<Core>(next.get()) },
                Some(after_next),
            );
        }
        ready
    }

    /// Queues at the tail; a full ring gives the coroutine back, with half of the ring in `overflow`.
    #[inline(always)]
    pub(super) fn push(&self, ready: Ready, overflow: impl FnOnce(Vec<Ready>)) {
        if let Err(ready) = self.ring.push(ready) {
            self.push_full(ready, overflow);
        }
    }

    #[cold]
    fn push_full(&self, ready: Ready, overflow: impl FnOnce(Vec<Ready>)) {
        let mut half = Vec::new();
        self.ring.take_half(&mut half);
        half.push(ready);
        overflow(half);
    }

    /// Queues to run next; returns who was displaced.
    #[inline(always)]
    pub(super) fn push_next(&self, ready: Ready) -> Option<Ready> {
        if self.alone {
            return self.replace_own_lifo(ready.into_core().as_ptr());
        }
        self.shared.swap_lifo(ready)
    }

    pub(super) fn queued(&self) -> usize {
        self.ring.len()
    }

    /// How many more coroutines the ring takes.
    pub(super) fn room(&self) -> usize {
        self.ring.room()
    }

    /// Steals half of a victim's ring; returns one to run.
    pub(super) fn steal(&self, victim: &SharedProcessor) -> Option<Ready> {
        victim.stealer.steal_into(&self.ring)
    }

    /// Takes what the victim's running coroutine woke and has not made way for.
    pub(super) fn steal_lifo(&self, victim: &SharedProcessor) -> Option<Ready> {
        victim.take_lifo()
    }

    /// xorshift (Marsaglia 2003): good enough to choose victims.
    pub(super) fn random(&self) -> usize {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x as usize
    }
}
