//! Who runs next, where, and for how long.
//!
//! # Vocabulary
//! | word | meaning |
//! |---|---|
//! | worker | an OS thread that runs coroutines (`worker.rs`) |
//! | processor | the right to run: ring, LIFO slot, driver, timers (`processor.rs`) |
//! | injector | the queue of what has no worker yet (`injector.rs`) |
//! | pinned queue, inbox | a worker's own queue of started light coroutines (of all, if it is the only worker), and where others put light ones |
//! | searching | looking for work elsewhere; one worker at a time (`idle.rs`) |
//!
//! # Kinds
//! A scheduler makes isolated coroutines. It makes a light one where somebody has vouched for it by an unsafe call, and
//! never in place of an isolated one that cannot be had (`light.rs`). What light coroutines share is their worker's
//! thread-locals; of these std's panic count is each one's own (`panics.rs`).
//!
//! # Policy
//! A worker takes, in this order: the LIFO slot (what was woken last, at most three times in a row), its pinned queue
//! and its ring in turn; every 64 picks the driver and the injector first. Without any of these it looks into the
//! injector, polls its driver, steals half of a random victim's ring, polls the victims' drivers, spins for a moment,
//! and sleeps in its driver until an event, a deadline or a wake-up.
//!
//! A woken coroutine goes into the waker's LIFO slot and nobody else is told: two coroutines that talk stay on one
//! worker. Whom it displaces, and whatever is spawned, goes to the ring, and one sleeper is woken if none searches.
//!
//! The pick runs on the stack of the coroutine that leaves, in a critical section; the worker's own context is entered
//! only when there is nothing to pick, and then does what takes time (`switch.rs`).
//!
//! # Only its own scheduler queues a coroutine
//! Descriptors, futex words, channels and joins belong to the process; a scheduler has workers, counts and malloc's
//! words of its own. So whoever makes a coroutine ready asks the coroutine's scheduler to queue it ([`Schedule`]), and
//! a worker whose driver returns another's coroutine sends it home (`Worker::queue_batch`). A light one would otherwise
//! run under another thread's identity, and an isolated one where its end is counted for the wrong runtime (S10).
//!
//! # Rejected
//! *A queue per worker that only its owner may empty* (may): work waits while others sleep. *The LIFO slot out of
//! thieves' reach* (tokio): work behind a long computation is lost to the others; here a watcher takes it after a
//! moment. *A global queue first* (Go before 1.1): one lock.

mod idle;
mod injector;
mod life;
mod light;
#[cfg(all(test, loom))]
mod loom_tests;
mod loss;
mod overflow;
mod panics;
mod pinned;
mod processor;
mod run;
mod shutdown;
mod spawn;
mod switch;
mod watch;
mod worker;

pub(crate) use life::set_key_destructors;
pub use light::allow_light;
pub(crate) use light::{Kinds, is_light_allowed, not_allowed, not_isolated, prepare_for_light, why_not_isolated};
pub use overflow::OverflowPolicy;
use spawn::SpawnError;
pub(crate) use spawn::{SpawnRequest, spawn, spawn_batch};
pub(crate) use switch::{yield_core, yield_now};
pub(crate) use worker::current_worker_id;

use crate::collections::ring::Owner;
use crate::coroutine::{Core, Critical, GuardSize, Kind, Pools, Ready, Schedule, WorkerLink, current_link, pools};
use crate::loom::static_atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sys::{Lock, barrier, memory};
use idle::Idle;
use injector::Injector;
use std::io;
use worker::Worker;

/// What a scheduler is made of.
#[derive(Clone, Debug)]
pub(crate) struct SchedulerConfig {
    pub(crate) workers: usize,
    /// Bytes of address space per stack, unless a spawn says otherwise.
    pub(crate) stack_bytes: usize,
    pub(crate) kinds: Kinds,
    pub(crate) name: String,
    /// `None`: what another runtime said, else the default.
    pub(crate) guard: Option<GuardSize>,
    /// `None`: what another runtime said, else to contain.
    pub(crate) overflow: Option<OverflowPolicy>,
}

/// One runtime's scheduler. Lives for ever once made: a late waker may call it at any time. What it holds of the system
/// (descriptors, threads) goes at the shutdown.
pub(crate) struct Scheduler {
    /// Distinct among the schedulers of the process, and not 0: the owner of the drivers.
    number: usize,
    processors: Box<[processor::SharedProcessor]>,
    workers: Box<[worker::Public]>,
    injector: Injector,
    idle: Idle,
    /// Size class of default stacks.
    class: u8,
    kinds: Kinds,
    /// Its coroutines are being cancelled, all of them.
    ending: AtomicBool,
    stopping: AtomicBool,
    /// Coroutines that OS threads have spawned; workers count in their processors.
    spawned_outside: AtomicU64,
    /// Workers whose threads have not ended; the last one gives up what the scheduler holds of the system.
    running: AtomicUsize,
    threads: Lock<Vec<std::thread::JoinHandle<()>>>,
}

/// A broken internal invariant: says so and aborts, without allocating. Never go on with a corrupt queue.
#[cold]
pub(crate) fn fatal(what: &str) -> ! {
    crate::sys::report(&["silken: fatal: ", what, "\n"]);
    std::process::abort()
}

/// Marks the way on which it is called as one that the compiler lays aside.
#[inline]
#[cold]
fn cold_path() {}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

static NEXT_NUMBER: AtomicUsize = AtomicUsize::new(1);

/// Ids are handed to workers in blocks, so that spawning touches no shared line.
const ID_BLOCK: u64 = 1024;

impl Scheduler {
    /// Makes a scheduler and starts its workers.
    pub(crate) fn start(config: &SchedulerConfig) -> io::Result<&'static Scheduler> {
        barrier::init();
        overflow::install(config.overflow);
        shutdown::prepare_for_forks();
        let class = Pools::class_for(config.stack_bytes)?;
        if let Some(guard) = config.guard {
            pools().ask_for_guard(guard)?;
        }
        // The first stack proves that the class can be had, where an error can still be told.
        pools().reserve(class, 1)?;
        // Relaxed: only distinctness matters.
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let (shares, rings) = make_processors(number, config.workers)?;
        let scheduler: &'static Scheduler = Box::leak(Box::new(Scheduler {
            number,
            processors: shares.into_boxed_slice(),
            workers: (0..config.workers).map(|_| worker::Public::new()).collect(),
            injector: Injector::new(),
            idle: Idle::new(config.workers),
            class,
            kinds: config.kinds,
            ending: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            spawned_outside: AtomicU64::new(0),
            running: AtomicUsize::new(config.workers),
            threads: Lock::new(Vec::new()),
        }));
        run::start_all(scheduler, rings, &config.name)?;
        Ok(scheduler)
    }

    /// The scheduler under which the caller's coroutine runs.
    pub(crate) fn current() -> Option<&'static Scheduler> {
        let _critical = Critical::enter();
        current_link().map(|link| Worker::from_link(link).scheduler)
    }

    /// The stack of a program's main function, if that is to be another than all have: what a thread's main has, if
    /// there is address space for it.
    pub(crate) fn main_stack_bytes(&self) -> Option<usize> {
        let bytes = memory::main_stack_bytes();
        let class = Pools::class_for(bytes).ok().filter(|class| *class > self.class)?;
        pools().reserve(class, 1).ok()?;
        pools().unreserve(class, 1);
        Some(bytes)
    }

    /// The address space of a coroutine's stack, unless its spawn says otherwise.
    pub(crate) fn stack_bytes(&self) -> usize {
        Pools::class_bytes(self.class)
    }

    /// Whether coroutines are isolated unless they ask to be light.
    pub(crate) fn isolates(&self) -> bool {
        self.kinds == Kinds::Isolated
    }

    /// What a spawn makes that did or did not ask for a light coroutine; an error where it would have to be a light one
    /// and nobody has vouched for it.
    #[inline(always)]
    fn kind_of(&self, light: bool) -> Result<Kind, SpawnError> {
        match self.kinds {
            Kinds::Isolated if !light => Ok(Kind::Isolated),
            Kinds::LightOnRequest if !light => Self::kind_without_request(),
            _ => Ok(Kind::Light),
        }
    }

    #[cold]
    fn kind_without_request() -> Result<Kind, SpawnError> {
        if is_light_allowed() {
            return Ok(Kind::Light);
        }
        Err(SpawnError::NotIsolated)
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// How often a coroutine continued on another worker than before, so far.
    pub(crate) fn migrations(&self) -> u64 {
        // Relaxed: a report.
        self.processors
            .iter()
            .map(|shared| shared.migrations.load(Ordering::Relaxed))
            .sum()
    }

    /// The worker of this scheduler on which the caller runs.
    #[inline(always)]
    fn own_worker(&self, link: Option<&'static WorkerLink>) -> Option<&'static Worker> {
        let worker = Worker::from_link(link?);
        std::ptr::eq(worker.scheduler, self).then_some(worker)
    }

    /// A worker is woken if one sleeps and none searches; to be called after work was made visible.
    #[inline(always)]
    fn notify(&self) {
        if self.idle.should_wake() {
            self.wake_one();
        }
    }

    #[cold]
    fn wake_one(&self) {
        if let Some(worker) = self.idle.wake_one() {
            self.wake_worker(worker);
        }
    }

    /// One was appointed to watch.
    #[inline]
    fn wake_watcher(&self, watcher: Option<usize>) {
        if let Some(watcher) = watcher {
            self.wake_worker(watcher);
        }
    }

    fn wake_worker(&self, worker: usize) {
        self.processors[worker].driver.wake();
    }

    /// Queues from an OS thread, or from another runtime's worker.
    fn schedule_from_outside(&self, ready: Ready) {
        debug_assert!(ready.core().belongs_to(self), "queued by another's scheduler");
        if is_bound(ready.core()) {
            self.send_to_its_worker(ready);
        } else {
            self.injector.push(ready);
            self.notify();
        }
    }

    /// A started light coroutine runs on its own worker only.
    fn send_to_its_worker(&self, ready: Ready) {
        // SAFETY: S2: a started coroutine's worker lives for ever.
        let id = unsafe { &*ready.core().link.get() }.id;
        let public = &self.workers[id];
        // SAFETY: S8: a ready core is in no other queue, and the inbox owns it from here.
        unsafe { public.inbox.push(ready.into_core()) };
        if self.idle.wake_this(id) {
            self.wake_worker(id);
        }
    }
}

/// The processors of the runtime of this number, and the rings of their owners.
fn make_processors(runtime: usize, count: usize) -> io::Result<(Vec<processor::SharedProcessor>, Vec<Owner<Ready>>)> {
    let mut shares: Vec<processor::SharedProcessor> = Vec::with_capacity(count);
    let mut rings = Vec::with_capacity(count);
    for index in 0..count {
        match processor::SharedProcessor::make(runtime, index) {
            Ok((shared, ring)) => {
                shares.push(shared);
                rings.push(ring);
            }
            Err(error) => {
                shares.iter().for_each(|shared| shared.driver.retire());
                let text = format!(
                    "worker {index} gets no descriptors (epoll_create1, eventfd): {error}; the limit is that of open files (`ulimit -n`), and a worker \
                     takes two; fewer workers: SILKEN_WORKERS"
                );
                return Err(with_advice(error, text));
            }
        }
    }
    Ok((shares, rings))
}

/// An error of the system with what it is about; the system's own is its source.
#[derive(Debug)]
struct Advice {
    text: String,
    source: io::Error,
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Advice {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn with_advice(source: io::Error, text: String) -> io::Error {
    io::Error::new(source.kind(), Advice { text, source })
}

/// Whether the coroutine may continue on one worker only.
#[inline(always)]
fn is_bound(core: &Core) -> bool {
    core.kind.get() == Kind::Light && core.started.get()
}

impl Schedule for Scheduler {
    fn schedule(&self, ready: Ready) {
        let _critical = Critical::enter();
        match self.own_worker(current_link()) {
            Some(worker) => worker.queue_woken(ready),
            None => self.schedule_from_outside(ready),
        }
    }

    unsafe fn suspend(&self, core: &Core) {
        // SAFETY: S1: `core` is the running coroutine, as `Schedule::suspend` asks.
        unsafe { switch::park(core) };
    }

    fn give_way(&self, core: &'static Core) {
        yield_core(core);
    }

    fn admit_connect(&self, core: &'static Core) {
        loop {
            let admitted = {
                let _critical = Critical::enter();
                self.own_worker(current_link())
                    .is_none_or(|worker| worker.processor.admit_connect())
            };
            if admitted {
                return;
            }
            // Brings the look nearer, and lets an acceptor come to its turn who is in the queue.
            yield_core(core);
        }
    }

    fn is_ending(&self) -> bool {
        // Relaxed: asked once the end of one that was cancelled has been seen, which orders it.
        self.ending.load(Ordering::Relaxed)
    }

    fn worker_count(&self) -> usize {
        self.workers.len()
    }
}
