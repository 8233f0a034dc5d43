//! What does a worker need in order to schedule coroutines, and which part of it may other threads touch? It needs a
//! processor.
//!
//! A processor is a run queue (a ring and a LIFO slot), a driver with its timers, and counters. A *worker* is what runs
//! coroutines with it: the processor, caches, and the link in which coroutines find them (`worker.rs`). An OS thread
//! runs as the worker; when a call blocks that thread, another thread does (`late.rs`). So a processor never moves: its
//! worker does, from thread to thread. [`SharedProcessor`] is the part that thieves, watchers, the monitor and reports
//! may touch.

use super::levels::{OwnLevels, SharedLevels};
use super::nudge::Sighting;
use crate::collections::ring::{self, Owner, Stealer, Word};
use crate::coroutine::{Core, Ready};
use crate::driver::{Driver, IoDriver};
use crate::loom::static_atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};

/// After so many picks from the LIFO slot the queues go first once, so that two coroutines that wake each other do not
/// starve the rest. The value is a guess that may be tuned; tokio uses 3. After a preemption the budget is as long as
/// an event interval, since each queued coroutine may take a slice.
const LIFO_BUDGET: u32 = 3;

/// After so many picks the worker looks at its driver and at the injector, even if its own queues never empty. Each
/// look costs some 200 ns when descriptors are registered, so it adds 3 ns to a pick.
const EVENT_INTERVAL: u32 = 64;

/// The most connects of all workers between two looks at their events. The queue of a listener holds 128 connections as
/// a rule, and an acceptor that has yielded runs again only after several looks.
const CONNECTS_PER_LOOK: u32 = 16;

/// The least such limit for one worker, even if there are many workers.
const CONNECTS_PER_LOOK_MIN: u32 = 2;

/// How many cache lines of a suspended stack its continuation touches at once: the frames from the switch up to the
/// caller of a hooked read. Measured by the echo benchmark with 5,000 connections.
const WARM_FRAME_LINES: usize = 8;

/// Marks a request for preemption, so that the count 0 is one, too.
const REQUESTED: u64 = 1 << 32;

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

/// Asks for the memory that the next switches will touch. When thousands of coroutines take turns, the core, stack and
/// identity of each have left the cache, and their pages the translation buffer, by the time of its turn. The queue
/// tells which coroutines come next. So the core is asked for two turns ahead, and what the core points to one turn
/// ahead.
///
/// Inlined, since a call would make the compiler save registers before the identity is written, and that write waits
/// for such stores.
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
    // The head of the identity's control block, and the thread-locals just below it.
    prefetch(identity);
    prefetch(identity.wrapping_sub(64));
    prefetch(identity.wrapping_sub(128));
}

/// The part of a processor that other threads may touch.
pub(super) struct SharedProcessor {
    stealer: Stealer<Ready>,
    /// The LIFO slot: the coroutine that the running one woke last, which runs next.
    lifo: AtomicPtr<Core>,
    /// Ready coroutines of another priority than 0.
    pub(super) levels: SharedLevels,
    pub(super) driver: &'static Driver,
    /// The pick that the monitor wants to end: its count, above [`REQUESTED`]. 0: none.
    preemption: AtomicU64,
    /// What other workers have seen of the present pick.
    pub(super) sighting: Sighting,
    pub(super) spawned: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) migrations: AtomicU64,
    pub(super) preemptions: AtomicU64,
    /// The count of picks at the last event interval, which does not overflow.
    picks: AtomicU64,
}

/// The owner's part of a processor. The fields that a pick reads come first.
#[repr(C)]
pub(super) struct Processor {
    /// The LIFO slot of an only processor. It needs no atomic operation.
    own_lifo: Cell<*mut Core>,
    /// The count of picks. A watcher and the monitor see by it that one coroutine runs for long. Only the owner writes
    /// it, by plain stores.
    ticks: AtomicU32,
    /// Whether this is the only processor of its scheduler. Then there are no thieves, and the ring stays empty; see
    /// `queues.rs`. It becomes `false` when the scheduler gets a second worker (`size.rs`).
    alone: Cell<bool>,
    /// Whether a pick is out of the ordinary: coroutines of another priority than 0 are queued here, or one of them
    /// runs (`priority.rs`); or the worker is surplus (`size.rs`). It may be `true` too long, until the next pick.
    picks_specially: Cell<bool>,
    /// Both at once, for the fast way of a yield: alone, and without levels.
    is_in_order: Cell<bool>,
    pub(super) shared: &'static SharedProcessor,
    ring: Owner<Ready>,
    pub(super) index: usize,
    lifo_spent: Cell<u32>,
    pub(super) own_levels: OwnLevels,
    /// Connects since the last look at events.
    connects: Cell<u32>,
    /// A coroutine was preempted since the last look at events, so what is queued here takes long.
    pub(super) has_preempted: Cell<bool>,
    connects_max: u32,
    random: Cell<u32>,
    /// The buffer for ready coroutines between the driver and the queues.
    pub(super) batch: RefCell<Vec<Ready>>,
}

impl SharedProcessor {
    /// Makes both halves of a processor of a runtime.
    pub(super) fn make(runtime: usize, io_driver: IoDriver) -> io::Result<(SharedProcessor, Owner<Ready>)> {
        let (owner, stealer) = ring::ring();
        let shared = SharedProcessor {
            stealer,
            lifo: AtomicPtr::new(ptr::null_mut()),
            levels: SharedLevels::new(),
            driver: Driver::take(runtime, io_driver)?,
            preemption: AtomicU64::new(0),
            sighting: Sighting::new(),
            spawned: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            migrations: AtomicU64::new(0),
            preemptions: AtomicU64::new(0),
            picks: AtomicU64::new(0),
        };
        Ok((shared, owner))
    }

    /// Whether a thief would find a coroutine in the ring or in the levels.
    pub(super) fn has_work(&self) -> bool {
        !self.stealer.is_empty() || self.levels.has_work()
    }

    /// Adds one to a counter that only the owner of the processor writes.
    #[inline(always)]
    pub(super) fn count(counter: &AtomicU64) {
        // Relaxed: one writer. Release: pairs with the Acquire in `Scheduler::alive`: a reader that sees a coroutine's
        // end sees its spawn.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Subtracts one from such a counter.
    #[cold]
    pub(super) fn uncount(counter: &AtomicU64) {
        // Relaxed: one writer, and no reader relies on seeing it soon.
        counter.store(counter.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    /// Notes the processor's count of picks, of which `ticks` is the lower half.
    pub(super) fn note_picks(&self, ticks: u32) {
        // Relaxed: one writer, and a report.
        self.picks.store(self.picks(ticks), Ordering::Relaxed);
    }

    /// The whole count of picks, of which `ticks` is the lower half. It was noted less than 2^31 picks ago.
    pub(super) fn picks(&self, ticks: u32) -> u64 {
        // Relaxed: a report.
        let noted = self.picks.load(Ordering::Relaxed);
        // A reader may have a count from before the note.
        noted.saturating_add_signed(i64::from(ticks.wrapping_sub(noted as u32).cast_signed()))
    }

    /// Asks the coroutine that was picked at this count to give way.
    pub(super) fn request_preemption(&self, tick: u32) {
        // Relaxed: the signal that follows orders it.
        self.preemption.store(REQUESTED | u64::from(tick), Ordering::Relaxed);
    }

    /// Whether a request has not been obeyed yet.
    pub(super) fn is_preemption_asked(&self) -> bool {
        // Relaxed: the monitor, which asks, may learn of it a turn later.
        self.preemption.load(Ordering::Relaxed) != 0
    }

    /// The request is obeyed.
    pub(super) fn forget_preemption(&self) {
        // Relaxed: a request that the monitor makes meanwhile is for the same pick.
        self.preemption.store(0, Ordering::Relaxed);
    }

    /// Takes the coroutine in the LIFO slot.
    #[inline(always)]
    fn take_lifo(&self) -> Option<Ready> {
        // Relaxed: the owner sees what it put there itself, or that a thief has taken it. A thief that does not see it
        // yet looks again at its next turn.
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
        // Release: pairs with the Acquire in `take_lifo`. What it displaces, the owner has put there itself.
        let before = self.lifo.swap(ready.into_core().as_ptr(), Ordering::Release);
        // SAFETY: S1: the slot held the one Ready of this core.
        NonNull::new(before).map(|core| unsafe { Ready::from_core(core) })
    }
}

impl Processor {
    pub(super) fn new(index: usize, workers: usize, shared: &'static SharedProcessor, ring: Owner<Ready>) -> Self {
        Self {
            index,
            ring,
            alone: Cell::new(workers == 1),
            own_lifo: Cell::new(ptr::null_mut()),
            ticks: AtomicU32::new(index as u32),
            lifo_spent: Cell::new(0),
            picks_specially: Cell::new(false),
            is_in_order: Cell::new(workers == 1),
            own_levels: OwnLevels::new(),
            connects: Cell::new(0),
            has_preempted: Cell::new(false),
            connects_max: (CONNECTS_PER_LOOK / workers as u32).max(CONNECTS_PER_LOOK_MIN),
            batch: RefCell::new(Vec::with_capacity(256)),
            random: Cell::new(0x9E37_79B9 ^ (index as u32 + 1)),
            shared,
        }
    }

    /// Whether this is the only processor of its scheduler.
    #[inline(always)]
    pub(super) fn is_alone(&self) -> bool {
        self.alone.get()
    }

    /// The scheduler gets a second worker.
    pub(super) fn end_alone(&self) {
        self.alone.set(false);
        self.is_in_order.set(false);
    }

    /// Whether a pick is out of the ordinary.
    #[inline(always)]
    pub(super) fn picks_specially(&self) -> bool {
        self.picks_specially.get()
    }

    pub(super) fn set_picks_specially(&self, does: bool) {
        self.picks_specially.set(does);
        self.is_in_order.set(self.alone.get() && !does);
    }

    /// Whether this is the only processor, and its picks are ordinary.
    #[inline(always)]
    pub(super) fn is_in_order(&self) -> bool {
        self.is_in_order.get()
    }

    /// The count of picks.
    #[inline(always)]
    pub(super) fn tick(&self) -> u32 {
        // Relaxed: the owner's own count, or a hint for others.
        self.ticks.load(Ordering::Relaxed)
    }

    /// Whether the event interval ends at the next pick: it looks at events first.
    #[inline(always)]
    pub(super) fn is_event_tick(&self) -> bool {
        self.tick().wrapping_add(1).is_multiple_of(EVENT_INTERVAL)
    }

    /// Counts a pick. The picked coroutine calls this after the switch; a worker that finds no coroutine calls it
    /// itself.
    #[inline(always)]
    pub(super) fn count_pick(&self) {
        // Relaxed: one writer; a hint for watchers and the monitor.
        self.ticks.store(self.tick().wrapping_add(1), Ordering::Relaxed);
    }

    /// Whether the monitor wants the present pick to end. A request for an earlier one is stale.
    pub(super) fn is_preemption_due(&self) -> bool {
        // Relaxed: the signal orders it.
        self.shared.preemption.load(Ordering::Relaxed) == REQUESTED | u64::from(self.tick())
    }

    /// Counts a yield that found no ready coroutine. Returns whether the OS thread is to yield too: a loop that yields
    /// may wait for another thread, and that thread may wait for this CPU. It does so every eighth time only: a system
    /// call costs as much as thirty yields, and eight yields do not take long.
    pub(super) fn count_fruitless_yield(&self) -> bool {
        self.count_pick();
        self.tick().is_multiple_of(8)
    }

    /// Counts a connect on this worker and returns `true`; or returns `false` if there have been so many since the last
    /// look at events that the look must come first.
    pub(super) fn admit_connect(&self) -> bool {
        let connects = self.connects.get();
        self.connects.set((connects + 1).min(self.connects_max));
        connects < self.connects_max
    }

    /// Whether there were connects since the last look at events. Sets their count to zero.
    pub(super) fn take_connects(&self) -> bool {
        self.connects.replace(0) != 0
    }

    /// Empties the ring into `rest`, oldest first.
    pub(super) fn take_all(&self, rest: &mut Vec<Ready>) {
        rest.extend(std::iter::from_fn(|| self.ring.pop()));
    }

    /// Whether there may be a coroutine in the LIFO slot.
    #[inline(always)]
    pub(super) fn has_lifo(&self) -> bool {
        if self.alone.get() {
            return self.has_own_lifo();
        }
        // Relaxed: the owner sees what it put there itself, or that a thief has taken it.
        !self.shared.lifo.load(Ordering::Relaxed).is_null()
    }

    /// Whether there is a coroutine in the LIFO slot of an only processor.
    #[inline(always)]
    pub(super) fn has_own_lifo(&self) -> bool {
        !self.own_lifo.get().is_null()
    }

    /// Takes the coroutine in the LIFO slot.
    #[inline(always)]
    pub(super) fn take_lifo(&self) -> Option<Ready> {
        if self.alone.get() {
            return self.replace_own_lifo(ptr::null_mut());
        }
        self.shared.take_lifo()
    }

    #[inline(always)]
    fn replace_own_lifo(&self, core: *mut Core) -> Option<Ready> {
        // SAFETY: S1: the slot held the one Ready of this core.
        NonNull::new(self.own_lifo.replace(core)).map(|core| unsafe { Ready::from_core(core) })
    }

    /// Counts a pick from the LIFO slot. `false`: the coroutines in the queues come first now.
    #[inline(always)]
    pub(super) fn spend_lifo_budget(&self) -> bool {
        let hops = self.lifo_spent.get();
        let may = hops < LIFO_BUDGET || self.has_preempted.get() && hops < EVENT_INTERVAL;
        self.lifo_spent.set(if may { hops + 1 } else { 0 });
        may
    }

    /// Takes the oldest coroutine of the ring.
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

    /// Queues at the tail. If the ring is full, passes half of the ring and the coroutine to `overflow`.
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

    /// Puts the coroutine into the LIFO slot, to run next. Returns the coroutine that it displaced.
    #[inline(always)]
    pub(super) fn push_next(&self, ready: Ready) -> Option<Ready> {
        if self.alone.get() {
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

    /// Steals half of a victim's ring. Returns the oldest of the stolen coroutines, to run now.
    pub(super) fn steal(&self, victim: &SharedProcessor) -> Option<Ready> {
        victim.stealer.steal_into(&self.ring)
    }

    /// Takes the coroutine in the victim's LIFO slot: the one that the running coroutine woke last, and that waits for
    /// it.
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
