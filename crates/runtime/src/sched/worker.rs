//! What is a worker, and how does work from elsewhere reach its queues? A worker is what runs coroutines: a processor,
//! caches, and the OS thread that runs as it. The thread may change (`late.rs`).
//!
//! The worker's own context does what takes time: searching, stealing, sleeping (`run.rs`). It runs on the OS thread's
//! stack and identity, where hooks pass straight through. Some things run on a coroutine's stack as well: the pick from
//! the worker's own queues, wakes and spawns (`queues.rs`), and the regular look at events, the inbox and the injector
//! at each event interval (`run_events`), with the round of watching that may be due.

use super::lost::LostThread;
use super::pinned::Pinned;
use super::processor::Processor;
use super::{ID_BLOCK, NEXT_ID, Scheduler};
use crate::collections::inbox::{Inbox, Linked};
use crate::collections::ring::Owner;
use crate::coroutine::{Caches, Core, Ready, WorkerLink, attach_worker_thread, current_link, own_slots};
use crate::driver::Wait;
use crate::loom::atomic::AtomicPtr;
use crate::loom::static_atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use crate::sys::{Lock, signal};
use libc::pid_t;
use silken_context::identity::{self, AllocatorPair, TlsLayout};
use silken_context::switch::{self, Context};
use std::cell::{Cell, RefCell};
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// The most coroutines that a worker takes from the injector at once. It takes a fair share, so that one worker does
/// not move the whole injector into its own ring.
pub(super) const INJECTOR_BATCH_MAX: usize = 64;

/// Even a worker with a full ring takes this many. Otherwise the coroutines that keep the ring full would starve those
/// in the injector.
const INJECTOR_BATCH_MIN: usize = 4;

/// The most rounds of search before a worker sleeps. They take about half as long as it costs to wake a sleeping
/// processor core in a virtual machine (25 µs and more). A search that finds nothing halves the next one, down to
/// `SEARCH_ROUNDS_MIN`. Otherwise a client that sends one request at a time and waits for each answer would burn as
/// much time in searching as in the request itself. A search that finds work makes the next one longer again.
pub(super) const SEARCH_ROUNDS_MAX: u32 = 64;

// SAFETY: S8: `next` is a field of the core, which stays where it is for ever; who holds the Ready owns the link.
unsafe impl Linked for Core {
    unsafe fn link(this: NonNull<Self>) -> NonNull<AtomicPtr<Self>> {
        // SAFETY: S8: within the core.
        unsafe { this.byte_add(offset_of!(Core, next)) }.cast()
    }
}

/// The part of a worker that other threads may touch.
pub(super) struct Public {
    /// Ready coroutines that are bound to this worker. Other threads put them here.
    pub(super) inbox: Inbox<Core>,
    /// The number of the worker's thread in the kernel; 0 while there is none.
    thread: AtomicI32,
    /// The worker, once its first thread has begun.
    worker: AtomicPtr<Worker>,
}

impl Public {
    pub(super) fn new() -> Self {
        Self {
            inbox: Inbox::new(),
            thread: AtomicI32::new(0),
            worker: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The number of the worker's thread in the kernel, while there is one.
    pub(super) fn thread(&self) -> Option<pid_t> {
        // Relaxed: a thread that has just ended takes no signal, or another thread of this process ignores it.
        Some(self.thread.load(Ordering::Relaxed)).filter(|thread| *thread != 0)
    }

    fn bind(&self, worker: &'static Worker, thread: pid_t) {
        // Release: pairs with the Acquire in `worker`.
        self.worker.store(ptr::from_ref(worker).cast_mut(), Ordering::Release);
        // Relaxed: as in `thread`.
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// The thread ends. (A thread that loses its worker is replaced here by the next one.)
    pub(super) fn forget_thread(&self) {
        // Relaxed: as in `thread`.
        self.thread.store(0, Ordering::Relaxed);
    }

    /// The worker's count of picks.
    pub(super) fn tick(&self) -> u32 {
        self.worker().map_or(0, |worker| worker.processor.tick())
    }

    /// The worker, once its first thread has begun.
    pub(super) fn worker(&self) -> Option<&'static Worker> {
        // Acquire: pairs with the Release in `bind`.
        // SAFETY: S2: workers live for ever.
        unsafe { self.worker.load(Ordering::Acquire).as_ref() }
    }
}

/// See the head of the file. A worker is never freed, since coroutines keep its address.
///
/// The fields that every switch writes come first, in one cache line. Stores to one line reach the cache together, and
/// the identity is not written before they have reached it.
#[repr(C, align(64))]
pub(crate) struct Worker {
    /// If this is the only worker of its scheduler, this queue holds every ready coroutine, since there are no thieves.
    pub(super) pinned: Pinned,
    /// The coroutine that runs. The monitor reads it.
    running: AtomicPtr<Core>,
    pub(super) processor: Processor,
    pub(super) link: WorkerLink,
    pub(super) scheduler: &'static Scheduler,
    /// Whether the last pick was from the pinned queue, so that the next one is from the ring.
    pub(super) pinned_last: Cell<bool>,
    ids: Cell<(u64, u64)>,
    pub(super) search_rounds: Cell<u32>,
    /// The signals that the thread has blocked since its start: bit n - 1 is signal n.
    pub(super) blocked_signals: Cell<u64>,
    pub(super) round: RefCell<Round>,
    /// The threads that have lost this worker and have not come back: see `late.rs`.
    pub(super) lost: Lock<Vec<LostThread>>,
    /// Whether a light coroutine has started here, so that the worker must keep its thread.
    has_light: AtomicBool,
}

/// The time of a busy worker's next round of watching, and the counts of picks that the last round, or this worker's
/// last turn as the watcher, has seen.
#[derive(Default)]
pub(super) struct Round {
    pub(super) next_ns: u64,
    pub(super) ticks: Vec<u32>,
    /// The last look for blocked threads, and the counts that it has seen.
    pub(super) looked_ns: u64,
    pub(super) looked_ticks: Vec<u32>,
}

impl Round {
    /// Allocates its memory here, since neither a round nor a watch may allocate.
    fn new(workers: usize) -> Self {
        Self {
            ticks: Vec::with_capacity(workers),
            looked_ticks: Vec::with_capacity(workers),
            ..Self::default()
        }
    }
}

/// The number of the worker that runs the caller; for tests and reports.
pub(crate) fn current_worker_id() -> Option<usize> {
    current_link().map(|link| link.id)
}

impl Worker {
    pub(super) fn new(scheduler: &'static Scheduler, id: usize, ring: Owner<Ready>) -> Self {
        let shared = scheduler.size.processor(id);
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
                own_slots: Cell::new(own_slots()),
                panic_count: Cell::new(no_panic_count()),
                allocator_words: facts.map_or(AllocatorPair::unusual(), TlsLayout::allocator_pair),
                scheduler,
                runtime: scheduler.number,
                driver: Cell::new(ptr::from_ref(shared.driver).cast()),
                caches: Caches::new(scheduler.class, facts),
                id,
            },
            scheduler,
            processor: Processor::new(id, scheduler.size.active(), shared, ring),
            pinned: Pinned::new(),
            pinned_last: Cell::new(false),
            ids: Cell::new((0, 0)),
            search_rounds: Cell::new(SEARCH_ROUNDS_MAX),
            blocked_signals: Cell::new(0),
            round: RefCell::new(Round::new(scheduler.size.max())),
            running: AtomicPtr::new(ptr::null_mut()),
            lost: Lock::new(Vec::new()),
            has_light: AtomicBool::new(false),
        }
    }

    /// Makes the calling thread the one that runs as this worker. No other thread does.
    pub(super) fn take_over(&'static self) {
        self.link.own_slots.set(own_slots());
        self.link.base.set_identity(switch::identity_base());
        self.set_running(None);
        attach_worker_thread(&raw const self.link);
        if self.scheduler.pins_workers {
            self.scheduler.heritage.pin_to(self.link.id);
        }
        self.scheduler.workers[self.link.id].bind(self, signal::gettid());
    }

    /// Names the coroutine that runs from now on.
    #[inline(always)]
    pub(super) fn set_running(&self, core: Option<&'static Core>) {
        let core = core.map_or(ptr::null_mut(), |core| ptr::from_ref(core).cast_mut());
        // Relaxed: for the monitor, which checks after a barrier what it concludes from it.
        self.running.store(core, Ordering::Relaxed);
    }

    /// Names the coroutine that runs after another context did. Between light coroutines, whose worker is never seized,
    /// nothing is named: they share an identity, and a store would cost them a tenth of a yield.
    #[inline(always)]
    pub(super) fn note_running(&self, core: &'static Core, predecessor_identity: usize) {
        if core.context.identity() != predecessor_identity {
            self.set_running(Some(core));
        }
    }

    /// The coroutine that runs; a snapshot.
    pub(super) fn running(&self) -> Option<&'static Core> {
        // Relaxed: as in `set_running`.
        // SAFETY: S2: cores are type-stable.
        unsafe { self.running.load(Ordering::Relaxed).as_ref() }
    }

    /// A light coroutine starts here.
    pub(super) fn note_light(&self) {
        // Relaxed: the coroutine begins with a pick, and a seizure that has missed this fails when it compares the
        // count of picks after its barrier.
        self.has_light.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_light(&self) -> bool {
        // Relaxed: as in `note_light`.
        self.has_light.load(Ordering::Relaxed)
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
        &unsafe { &*self.link.own_slots.get() }.core
    }

    /// Returns an id for a coroutine that is spawned on this worker.
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

    /// The worker on which the running coroutine runs. The coroutine is in a critical section. `None`: it runs late,
    /// without a worker (`late.rs`).
    #[inline(always)]
    pub(super) fn current() -> Option<&'static Worker> {
        current_link().map(Self::from_link)
    }

    /// Looks at what must not wait until the worker's own queues are empty: events, deadlines, the injector, the inbox.
    /// Also makes a round of watching, if one is due. What it finds is queued behind the others. But if a coroutine was
    /// preempted since the last look, the others may take a slice each; what it finds then goes first. So it does after
    /// a connect, for the acceptor.
    #[cold]
    #[inline(never)]
    pub(super) fn run_events(&'static self) {
        self.processor.shared.note_picks(self.processor.tick());
        if self.processor.take_connects() | self.processor.has_preempted.take() {
            self.poll_and_queue_first();
        } else if self.processor.shared.driver.is_worth_a_look() {
            self.poll(Wait::Not);
        }
        self.take_inbox();
        self.take_injected();
        self.obey_size();
        if !self.processor.is_alone() {
            self.watch_in_turn();
        }
    }

    /// Looks at the same things when one coroutine has run for long: what has waited for it meanwhile goes before what
    /// is queued here.
    #[cold]
    pub(super) fn run_overdue_events(&'static self) {
        self.poll_and_queue_first();
        self.processor.has_preempted.set(true);
        self.obey_size();
        if !self.processor.is_alone() {
            self.watch_in_turn();
        }
    }

    pub(super) fn take_inbox(&self) {
        let inbox = &self.scheduler.workers[self.link.id].inbox;
        if !inbox.is_empty() {
            for core in inbox.take_all() {
                // SAFETY: S1: the inbox held the one Ready of this core.
                self.queue(unsafe { Ready::from_core(core) });
            }
        }
    }

    /// Moves a share of the injector's coroutines into the ring; fewer, if the ring is well filled. A coroutine that an
    /// event or a deadline makes ready queues behind what is in the ring, and that should be little work. Returns
    /// whether it moved any.
    pub(super) fn take_injected(&self) -> bool {
        let waiting = self.scheduler.injector.len();
        if waiting == 0 || self.is_surplus() {
            return false;
        }
        let share = (waiting / self.scheduler.size.active() + 1).min(INJECTOR_BATCH_MAX);
        let share = share.saturating_sub(self.queued()).max(INJECTOR_BATCH_MIN);
        self.scheduler.injector.pop_batch(share, |ready| self.queue(ready)) > 0
    }

    pub(super) fn poll(&self, wait: Wait) -> bool {
        // Taken out of its cell, so that code that queues the coroutines may poll again.
        let mut batch = self.processor.batch.take();
        self.processor
            .shared
            .driver
            .poll(wait, self.processor.room(), &mut batch);
        let found = self.queue_batch(&mut batch);
        self.processor.batch.replace(batch);
        found
    }

    /// Polls the drivers, here and on other processors, and queues what they return, and what was made ready elsewhere,
    /// before all coroutines that are queued here. After a burst of connects, the acceptor must not wait until all
    /// connects have been made, nor for a worker that the kernel does not run.
    #[cold]
    fn poll_and_queue_first(&self) {
        /// Each driver costs a system call.
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
        self.take_inbox();
        self.take_injected();
        self.pinned.put_back(pinned);
        let hid_work = !rest.is_empty();
        rest.into_iter().for_each(|ready| self.queue(ready));
        if hid_work {
            // A thief may have found the ring empty meanwhile.
            self.scheduler.notify();
        }
    }
}

/// The word that is read where the place of std's panic count is not known. It is always 0.
pub(super) fn no_panic_count() -> *const Cell<usize> {
    static ZERO: AtomicUsize = AtomicUsize::new(0);
    ptr::from_ref(&ZERO).cast()
}
