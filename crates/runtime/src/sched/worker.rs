//! The worker: an OS thread that runs coroutines while it holds a processor.
//!
//! Its own context does what takes time: looking outside, stealing, sleeping. It runs on the OS thread's stack and
//! identity, where hooks pass straight through. What runs on a coroutine's stack is the pick from the worker's own
//! queues only, and the regular look outside.

use super::pinned::Pinned;
use super::processor::Processor;
use super::{ID_BLOCK, NEXT_ID, Scheduler, is_bound};
use crate::collections::inbox::{Inbox, Linked};
use crate::collections::ring::Owner;
use crate::coroutine::{Caches, Core, Ready, WorkerLink, current_link, own_slots};
use crate::driver::Wait;
use crate::loom::atomic::AtomicPtr;
use crate::loom::static_atomic::{AtomicUsize, Ordering};
use silken_context::identity::{self, AllocatorPair, TlsLayout};
use silken_context::switch::{self, Context};
use std::cell::{Cell, RefCell};
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// From the injector at once: a fair share, so that one worker does not carry everything into its own ring.
const INJECTOR_BATCH_MAX: usize = 64;

/// Even a worker with a full ring takes a few, or those who keep it full would starve those who wait here.
const INJECTOR_BATCH_MIN: usize = 4;

/// Looks for work before a worker sleeps, at most: as long as about half of what the wake-up of a sleeping core costs
/// in a virtual machine (25 µs and more). A search that finds nothing halves the next one, down to the least: a client
/// that asks and waits for one answer after the other would burn as much in searching as it needs for the question. A
/// find makes it longer again.
pub(super) const SEARCH_ROUNDS_MAX: u32 = 64;

// SAFETY: S8: `next` is a field of the core, which stays where it is for ever; who holds the Ready owns the link.
unsafe impl Linked for Core {
    unsafe fn link(this: NonNull<Self>) -> NonNull<AtomicPtr<Self>> {
        // SAFETY: S8: within the core.
        unsafe { this.byte_add(offset_of!(Core, next)) }.cast()
    }
}

/// What others may touch of a worker.
pub(super) struct Public {
    /// Ready light coroutines of this worker, put here by others.
    pub(super) inbox: Inbox<Core>,
}

impl Public {
    pub(super) fn new() -> Self {
        Self { inbox: Inbox::new() }
    }
}

/// See the head of the file. Lives for ever: coroutines keep its address.
///
/// What every switch writes comes first, in one cache line: stores to one line reach the cache together, and the
/// identity is not written before they have.
#[repr(C, align(64))]
pub(crate) struct Worker {
    /// Alone, it holds every ready coroutine: there is nobody to share a ring with.
    pub(super) pinned: Pinned,
    pub(super) processor: Processor,
    pub(super) link: WorkerLink,
    pub(super) scheduler: &'static Scheduler,
    /// The last pick was from the pinned queue, and the ring has its turn.
    pinned_last: Cell<bool>,
    ids: Cell<(u64, u64)>,
    pub(super) search_rounds: Cell<u32>,
    pub(super) round: RefCell<Round>,
}

/// When a busy worker last looked after the others, and what it saw.
#[derive(Default)]
pub(super) struct Round {
    pub(super) next_ns: u64,
    pub(super) ticks: Vec<u32>,
}

impl Round {
    /// Has its memory from the beginning: neither a round nor a watch allocates.
    fn new(workers: usize) -> Self {
        Self {
            next_ns: 0,
            ticks: Vec::with_capacity(workers),
        }
    }
}

/// Who runs next.
pub(super) struct Pick {
    pub(super) ready: Ready,
    /// It is still the first of the pinned queue and takes itself out when it goes on: one store less before the
    /// identity is written, which waits for all stores.
    pub(super) from_pinned: bool,
}

impl Pick {
    #[inline(always)]
    pub(super) fn taken(ready: Ready) -> Self {
        Self {
            ready,
            from_pinned: false,
        }
    }

    #[inline(always)]
    fn first_pinned(ready: Ready) -> Self {
        Self {
            ready,
            from_pinned: true,
        }
    }
}

/// The worker that runs the caller, as a number; for tests and reports.
pub(crate) fn current_worker_id() -> Option<usize> {
    current_link().map(|link| link.id)
}

impl Worker {
    pub(super) fn new(scheduler: &'static Scheduler, id: usize, ring: Owner<Ready>) -> Self {
        let shared = &scheduler.processors[id];
        let base = Context::new();
        base.set_identity(switch::identity_base());
        let facts = if scheduler.isolates() {
            identity::facts().ok()
        } else {
            None
        };
        Self {
            link: WorkerLink {
                base,
                own_slots: own_slots(),
                panic_count: Cell::new(no_panic_count()),
                allocator_words: facts.map_or(AllocatorPair::unusual(), TlsLayout::allocator_pair),
                scheduler,
                runtime: scheduler.number,
                driver: Cell::new(ptr::from_ref(shared.driver).cast()),
                caches: Caches::new(scheduler.class, facts),
                id,
            },
            scheduler,
            processor: Processor::new(id, scheduler.workers.len(), shared, ring),
            pinned: Pinned::new(),
            pinned_last: Cell::new(false),
            ids: Cell::new((0, 0)),
            search_rounds: Cell::new(SEARCH_ROUNDS_MAX),
            round: RefCell::new(Round::new(scheduler.workers.len())),
        }
    }

    /// The worker of a link.
    #[inline(always)]
    pub(super) fn from_link(link: &'static WorkerLink) -> &'static Worker {
        let worker = ptr::from_ref(link).wrapping_byte_sub(offset_of!(Worker, link));
        // SAFETY: S2: every link is that field of a worker.
        unsafe { &*worker.cast::<Worker>() }
    }

    #[inline(always)]
    pub(super) fn processor(&self) -> &Processor {
        &self.processor
    }

    /// The slot that names the running light coroutine, in this worker's identity.
    #[inline(always)]
    pub(super) fn own_slot(&self) -> &Cell<*const Core> {
        // SAFETY: S3: the thread-local of the worker's own thread, which lives as long as the worker runs.
        &unsafe { &*self.link.own_slots }.core
    }

    /// An id for a coroutine that is spawned here.
    #[inline]
    pub(super) fn next_id(&self) -> u64 {
        let (next, end) = self.ids.get();
        if next < end {
            self.ids.set((next + 1, end));
            return next;
        }
        // Relaxed: only distinctness matters.
        let block = NEXT_ID.fetch_add(ID_BLOCK, Ordering::Relaxed);
        self.ids.set((block + 1, block + ID_BLOCK));
        block
    }

    /// The worker on which the running coroutine runs, which is in a critical section.
    #[inline(always)]
    pub(super) fn current() -> &'static Worker {
        let link = current_link();
        debug_assert!(link.is_some(), "a coroutine runs outside a worker");
        // SAFETY: S2: the worker that continued the coroutine has put itself there.
        Self::from_link(unsafe { link.unwrap_unchecked() })
    }

    /// The next coroutine to run here, of those that are at hand. On the stack of whoever leaves.
    #[inline(always)]
    pub(super) fn pick(&'static self) -> Option<Pick> {
        if self.processor.is_event_tick() {
            // Once is enough, even if nobody is picked.
            self.processor.count_pick();
            self.run_events();
        }
        self.pick_own()
    }

    #[inline(always)]
    pub(super) fn pick_own(&self) -> Option<Pick> {
        if self.processor.has_lifo() {
            return self.pick_lifo();
        }
        self.pick_queued()
    }

    /// The first of the pinned queue, if the whole scheduler is this worker, there is nothing else to do before, and it
    /// has run before. It stays in the queue. This calls nothing and stores nothing.
    #[inline(always)]
    pub(super) fn next_local(&self) -> Option<Ready> {
        if !self.processor.alone || self.processor.is_event_tick() || self.processor.has_own_lifo() {
            return None;
        }
        self.pinned.first().filter(|first| self.has_run(first.core()))
    }

    /// The pinned queue and the ring in turn, so that neither kind starves the other.
    #[inline(always)]
    fn pick_queued(&self) -> Option<Pick> {
        let pinned_last = self.pinned_last.replace(false);
        if !pinned_last && let Some(first) = self.pinned.first() {
            // Alone, the ring is empty for ever.
            self.pinned_last.set(!self.processor.alone);
            return Some(Pick::first_pinned(first));
        }
        match self.processor.pop_ring() {
            Some(ready) => Some(Pick::taken(ready)),
            None => self.pinned.first().map(Pick::first_pinned),
        }
    }

    /// What was woken last, unless it was its like too often while others wait.
    #[inline]
    fn pick_lifo(&self) -> Option<Pick> {
        let Some(ready) = self.processor.take_lifo() else {
            return self.pick_queued();
        };
        if self.processor.spend_lifo_budget() {
            return Some(Pick::taken(ready));
        }
        let Some(next) = self.pick_queued() else {
            return Some(Pick::taken(ready));
        };
        self.queue_tail(ready);
        Some(next)
    }

    /// What must not wait until the own queues are empty: events, deadlines, the injector, the inbox.
    #[cold]
    #[inline(never)]
    fn run_events(&'static self) {
        if self.processor.take_connects() {
            self.poll_for_those_first();
        } else if self.processor.shared.driver.is_worth_a_look() {
            self.poll(Wait::Not);
        }
        self.take_inbox();
        self.take_injected();
        if !self.processor.alone {
            self.watch_in_turn();
        }
    }

    pub(super) fn take_inbox(&self) {
        let inbox = &self.scheduler.workers[self.link.id].inbox;
        if !inbox.is_empty() {
            for core in inbox.take_all() {
                // SAFETY: S1: the inbox held the one Ready of this core.
                self.pinned.push(unsafe { Ready::from_core(core) });
            }
        }
    }

    /// A share of the injector's coroutines comes into the ring, unless that is well filled: a coroutine that an event
    /// or a deadline makes ready queues behind what is in the ring, which should not be more than a moment's work.
    pub(super) fn take_injected(&self) -> bool {
        let waiting = self.scheduler.injector.len();
        if waiting == 0 {
            return false;
        }
        let share = (waiting / self.scheduler.workers.len() + 1).min(INJECTOR_BATCH_MAX);
        let share = share.saturating_sub(self.queued()).max(INJECTOR_BATCH_MIN);
        self.scheduler.injector.pop_batch(share, |ready| self.queue_tail(ready)) > 0
    }

    pub(super) fn poll(&self, wait: Wait) -> bool {
        // Taken out, so that what queues them may poll again.
        let mut batch = self.processor.batch.take();
        self.processor
            .shared
            .driver
            .poll(wait, self.processor.room(), &mut batch);
        let found = self.queue_batch(&mut batch);
        self.processor.batch.replace(batch);
        found
    }

    /// A poll whose finds go before all who are queued, here and on other processors: the acceptor of a burst of
    /// connects must not wait until all of them have been made, nor for a worker that the machine does not run.
    #[cold]
    fn poll_for_those_first(&self) {
        /// A look costs a system call.
        const OTHERS_MAX: usize = 8;
        let (pinned, mut rest) = (self.pinned.set_aside(), Vec::new());
        self.processor.take_all(&mut rest);
        self.poll(Wait::Not);
        let mut batch = self.processor.batch.take();
        for other in self.victims().take(OTHERS_MAX) {
            if other.driver.is_worth_a_look() {
                other.driver.visit(self.processor.room(), &mut batch);
            }
        }
        self.queue_batch(&mut batch);
        self.processor.batch.replace(batch);
        self.pinned.put_back(pinned);
        let hid_work = !rest.is_empty();
        rest.into_iter().for_each(|ready| self.queue_tail(ready));
        if hid_work {
            // A thief may have looked for it meanwhile.
            self.scheduler.notify();
        }
    }

    pub(super) fn queue_batch(&self, batch: &mut Vec<Ready>) -> bool {
        let count = batch.len();
        for ready in batch.drain(..) {
            // A descriptor may be registered in several runtimes' drivers, and its event wakes the waiters of all.
            if ready.core().belongs_to(self.scheduler) {
                self.queue_from_driver(ready);
            } else {
                ready.send_home();
            }
        }
        if count > 1 {
            self.scheduler.notify();
        }
        count > 0
    }

    fn queue_from_driver(&self, ready: Ready) {
        if is_bound(ready.core()) {
            self.queue_bound(ready)
        } else {
            self.queue_tail(ready)
        }
    }

    /// How many coroutines wait here, as far as it matters for how many more to fetch.
    fn queued(&self) -> usize {
        if self.processor.alone {
            self.pinned.count_up_to(INJECTOR_BATCH_MAX)
        } else {
            self.processor.queued()
        }
    }

    /// Behind the others; half of a full ring goes to the injector.
    #[inline(always)]
    pub(super) fn queue_tail(&self, ready: Ready) {
        if self.processor.alone {
            return self.pinned.push(ready);
        }
        let injector = &self.scheduler.injector;
        self.processor.push(ready, |half| injector.push_all(half.into_iter()));
    }

    fn queue_bound(&self, ready: Ready) {
        if ptr::eq(ready.core().link.get(), &raw const self.link) {
            self.pinned.push(ready);
        } else {
            self.scheduler.send_to_its_worker(ready);
        }
    }

    /// Whether this worker keeps to itself the coroutine that just left it.
    #[inline(always)]
    pub(super) fn is_pinned(&self, ready: &Ready) -> bool {
        self.processor.alone || is_bound(ready.core())
    }

    /// A coroutine that gave way goes behind the others.
    #[inline(always)]
    pub(super) fn queue_yielded(&self, ready: Ready) {
        if self.is_pinned(&ready) {
            self.pinned.push(ready);
        } else {
            self.queue_tail(ready);
        }
    }

    /// A coroutine that code on this worker woke runs next.
    pub(super) fn queue_woken(&self, ready: Ready) {
        // Alone, there is nobody from whom a bound one would have to be kept.
        if !self.processor.alone && is_bound(ready.core()) {
            return self.queue_bound(ready);
        }
        if let Some(displaced) = self.processor.push_next(ready) {
            self.queue_tail(displaced);
            self.scheduler.notify();
        }
    }

    /// A new coroutine goes behind the others; somebody idle may come and take it.
    #[inline(always)]
    pub(super) fn queue_spawned(&self, ready: Ready) {
        self.queue_tail(ready);
        self.scheduler.notify();
    }

    /// New coroutines in one go, with one wake-up for all.
    pub(super) fn queue_spawned_batch(&self, batch: Vec<Ready>) {
        for ready in batch {
            self.queue_tail(ready);
        }
        self.scheduler.notify();
    }
}

/// What is read where std's count is not known: always 0.
pub(super) fn no_panic_count() -> *const Cell<usize> {
    static ZERO: AtomicUsize = AtomicUsize::new(0);
    ptr::from_ref(&ZERO).cast()
}
