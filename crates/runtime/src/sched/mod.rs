//! Which coroutine runs next, on which worker, and for how long?
//!
//! # Vocabulary
//! | word | meaning |
//! |---|---|
//! | worker | what runs coroutines: a processor, caches, and the thread that runs as it, which may change (`worker.rs`, `late.rs`) |
//! | processor | the scheduling state of a worker: run queue (ring), LIFO slot, driver with its timers, counters; each worker has one (`processor.rs`) |
//! | injector | the queue for coroutines that were made ready outside of the workers, or did not fit into a ring (`injector.rs`) |
//! | level | the ready coroutines of one priority other than 0 (`levels.rs`) |
//! | pinned queue | a worker's own queue of the coroutines that are bound to it; of all coroutines, if it is the only worker (`pinned.rs`) |
//! | inbox | where other threads put bound coroutines for their worker |
//! | surplus | a worker that the machine has no CPU for at present (`size.rs`) |
//! | searching | looking for work elsewhere before sleeping; one worker at a time, as a rule (`idle.rs`) |
//!
//! # Nobody is blocked, nobody starves
//! | what holds the others up | who sees it | what happens |
//! |---|---|---|
//! | a coroutine computes, a worker is idle | the watcher (`watch.rs`) | it serves events and deadlines, and takes the LIFO slot; any idle worker steals from the ring |
//! | a coroutine computes for a slice | the monitor (`monitor.rs`) | it is preempted (`preempt.rs`) |
//! | a call blocks a worker's thread | the monitor | a spare thread continues as the worker (`late.rs`, `spare.rs`) |
//! | a coroutine never has to wait | itself (`coroutine/budget.rs`) | it yields after so many calls |
//!
//! # Kinds
//! A scheduler makes isolated coroutines. It makes a light one only where the program has vouched for it by an unsafe
//! call. It never makes a light one in place of an isolated one that cannot be had (`light.rs`). Light coroutines share
//! their worker's thread-locals; of these, each has its own copy of std's panic count only (`panics.rs`).
//!
//! # Policy
//! A worker takes work in this order:
//! - levels below 0, if there are any (`priority.rs`);
//! - the LIFO slot, which holds the coroutine woken last; after each third pick from it the queues go first;
//! - its pinned queue and its ring, alternately;
//! - levels above 0, after a look into the injector and at other workers' queues.
//!
//! Every 64 picks (the event interval) it polls its driver and looks at its inbox and the injector first. When its own
//! queues are empty it looks into the injector and polls its driver. If no other worker searches it then searches for a
//! moment: it looks at all of these again, and steals half of the first ring with work, from a random one on. If it
//! finds nothing it sleeps in its driver until an event, a deadline or a wake-up. A sleeper that watches also serves
//! the drivers of other processors (`watch.rs`).
//!
//! | a ready coroutine | is queued in | and a sleeper is woken |
//! |---|---|---|
//! | woken by a coroutine | the waker's LIFO slot | no: two coroutines that talk to each other stay on one worker |
//! | displaced from the slot; spawned | the ring | one, if no worker searches |
//! | returned by a poll | the ring | one, if the poll returned several and no worker searches |
//! | bound: started and light, or spawned for a worker | the pinned queue of its worker, through the inbox from elsewhere | its worker |
//! | that yields, or was woken while it left its stack | the ring | no |
//! | of another priority than 0 | a level of the worker | as for priority 0; also when a coroutine has woken it, if no worker searches |
//! | woken or spawned by code that is on no worker of the scheduler: an OS thread, another runtime, a late coroutine | the injector | one, if no worker searches |
//!
//! An only worker uses its pinned queue in place of the ring.
//!
//! The pick runs on the stack of the outgoing coroutine, in a critical section. The worker's own context is entered
//! when there is nothing to pick (or a stack has overflowed); it then does what takes time (`switch.rs`, `run.rs`).
//!
//! # Only its own scheduler queues a coroutine
//! Descriptors, futex words, channels and joins belong to the process. Workers, counts and malloc's words (the C
//! library's pointers to a thread's arena and cache) belong to one scheduler. So code that makes a coroutine ready asks
//! the coroutine's scheduler to queue it ([`Schedule`]). A worker whose driver returns another scheduler's coroutine
//! queues it at that scheduler (`Worker::queue_batch`). Otherwise a light coroutine would run under another thread's
//! identity, and the end of an isolated one would be counted for the wrong runtime (obligation S10 of SAFETY.md).
//!
//! # Rejected
//! *A queue per worker that only its owner may empty*: work waits while other workers sleep. *The LIFO slot out
//! of thieves' reach* (tokio): work behind a long computation is lost to the other workers; here a watcher takes it
//! after a moment. *One global queue only* (Go before 1.1): it needs one lock for all workers.

mod arrive;
mod blocked;
#[forbid(unsafe_code)]
mod blocked_calls;
mod handoff;
#[forbid(unsafe_code)]
mod idle;
#[forbid(unsafe_code)]
mod injector;
mod lane;
mod last_words;
mod late;
#[forbid(unsafe_code)]
mod levels;
mod life;
mod light;
#[cfg(all(test, loom))]
mod loom_tests;
mod loss;
mod lost;
#[forbid(unsafe_code)]
mod monitor;
#[forbid(unsafe_code)]
mod nudge;
mod overflow;
mod panics;
mod pinned;
mod preempt;
#[forbid(unsafe_code)]
mod priority;
mod processor;
mod queues;
#[forbid(unsafe_code)]
mod run;
mod shutdown;
#[forbid(unsafe_code)]
mod size;
mod spare;
mod spawn;
mod start;
mod switch;
#[forbid(unsafe_code)]
mod watch;
mod worker;

pub(crate) use blocked_calls::note_blocked_calls;
pub use blocked_calls::{BlockedCall, blocked_calls};
pub(crate) use life::set_key_destructors;
pub use light::allow_light;
pub(crate) use light::{Kinds, is_light_allowed, not_allowed, not_isolated, prepare_for_light, why_not_isolated};
pub(crate) use monitor::{HAND_OFF_AFTER_DEFAULT, HAND_OFF_AFTER_MIN, SLICE_DEFAULT, SLICE_MIN, SPARE_THREADS_DEFAULT};
pub use overflow::OverflowPolicy;
pub(crate) use overflow::expect_on_threads as expect_overflows_on_threads;
pub(crate) use preempt::why_not as why_not_preempted;
pub(crate) use size::available_workers;
pub(crate) use spawn::{SpawnError, SpawnRequest, spawn, spawn_batch, spawn_thread};
pub(crate) use switch::{end_thread, yield_core, yield_now};
pub(crate) use worker::current_worker_id;

use crate::coroutine::{
    Core, Critical, GuardSize, Kind, Pools, Ready, Schedule, WorkerLink, current_link, last_link, pools,
};
use crate::driver::IoDriver;
use crate::loom::static_atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::offload::work;
use crate::sys::{Lock, barrier, memory, signal};
use idle::Idle;
use injector::Injector;
use processor::SharedProcessor;
use size::Size;
use std::io;
use std::time::Duration;
use worker::Worker;

/// The parameters of a scheduler.
#[derive(Clone, Debug)]
pub(crate) struct SchedulerConfig {
    pub(crate) workers: usize,
    /// The most workers that there may be later.
    pub(crate) workers_max: usize,
    /// Whether the number of workers follows the machine.
    pub(crate) follows_machine: bool,
    /// Whether each worker runs on a processor core of its own.
    pub(crate) pins_workers: bool,
    /// Bytes of address space per stack, unless a spawn says otherwise.
    pub(crate) stack_bytes: usize,
    pub(crate) kinds: Kinds,
    pub(crate) name: String,
    /// `None`: what another runtime asked for, else the default.
    pub(crate) guard: Option<GuardSize>,
    /// `None`: what another runtime asked for, else to contain.
    pub(crate) overflow: Option<OverflowPolicy>,
    /// How long a coroutine may run while others wait. `None`: it is not preempted.
    pub(crate) slice: Option<Duration>,
    /// How long a call may block a worker before another thread takes the worker over. `None`: as long as it likes.
    pub(crate) hand_off_after: Option<Duration>,
    /// The most threads beyond one per worker.
    pub(crate) spare_threads: usize,
    /// `None`: what another runtime asked for, else the default.
    pub(crate) blocking_threads: Option<usize>,
    pub(crate) io_driver: IoDriver,
}

/// What a scheduler has done so far.
pub(crate) struct Counts {
    pub(crate) spawned: u64,
    pub(crate) ended: u64,
    pub(crate) switches: u64,
    pub(crate) preemptions: u64,
    pub(crate) hand_offs: u64,
    pub(crate) spare_threads_max: usize,
}

/// One runtime's scheduler. It is never freed, since a late waker may call it at any time. The shutdown gives back what
/// it holds of the system (descriptors, threads).
pub(crate) struct Scheduler {
    /// Distinct among the schedulers of the process, and not 0. Drivers know their owner by this number.
    number: usize,
    name: String,
    size: size::Size,
    workers: Box<[worker::Public]>,
    injector: Injector,
    idle: Idle,
    /// The size class of default stacks.
    class: u8,
    kinds: Kinds,
    /// How long a coroutine may run while others wait. `None`: it is not preempted.
    slice: Option<Duration>,
    /// How long a call may block a worker before another thread takes the worker over. `None`: as long as it likes.
    hand_off_after: Option<Duration>,
    spares: spare::Spares,
    /// How many times a worker was given to a spare thread. The monitor counts.
    hand_offs: AtomicU64,
    io_driver: IoDriver,
    pins_workers: bool,
    /// What threads inherit from the one that has started the scheduler.
    heritage: signal::Heritage,
    /// Whether a coroutine of another priority than 0 was ever spawned.
    has_priorities: AtomicBool,
    /// The shutdown cancels all of its coroutines.
    ending: AtomicBool,
    stopping: AtomicBool,
    /// Coroutines that were spawned outside of the workers: by OS threads, other runtimes, late coroutines. Workers
    /// count their spawns in their processors.
    spawned_outside: AtomicU64,
    /// Coroutines that ended on threads that had lost their worker. Workers count theirs in their processors.
    finished_outside: AtomicU64,
    /// Workers whose threads have not ended. The last one gives back what the scheduler holds of the system.
    running: AtomicUsize,
    threads: Lock<Vec<std::thread::JoinHandle<()>>>,
}

/// Reports a broken internal invariant and aborts, without allocating. The process must not go on with a corrupt queue.
#[cold]
pub(crate) fn fatal(what: &str) -> ! {
    crate::sys::report(&["silken: fatal: ", what, "\n"]);
    std::process::abort()
}

/// Marks the branch that calls it as cold, so that the compiler moves it out of line.
#[inline]
#[cold]
fn cold_path() {}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

static NEXT_NUMBER: AtomicUsize = AtomicUsize::new(1);

/// Workers get ids in blocks, so that a spawn touches no shared cache line.
const ID_BLOCK: u64 = 1024;

impl Scheduler {
    /// Makes a scheduler and starts its workers. An error of the system comes with advice on how to avoid it.
    pub(crate) fn start(config: &SchedulerConfig) -> io::Result<&'static Scheduler> {
        barrier::init();
        #[cfg(all(debug_assertions, not(loom)))]
        crate::sys::lock::set_witness(|| Critical::is_entered() || crate::coroutine::current_core().is_none());
        overflow::install(config.overflow);
        if let Some(threads) = config.blocking_threads {
            work::set_threads_max(threads);
        }
        shutdown::prepare_for_forks();
        let class = Self::reserve_first_stack(config)?;
        // Relaxed: only distinctness matters.
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let (size, rings) = Size::new(number, config).map_err(no_descriptors)?;
        let scheduler: &'static Scheduler = Box::leak(Box::new(Scheduler {
            number,
            name: config.name.clone(),
            pins_workers: config.pins_workers,
            workers: (0..size.max()).map(|_| worker::Public::new()).collect(),
            size,
            injector: Injector::new(),
            idle: Idle::new(config.workers),
            class,
            kinds: config.kinds,
            slice: config
                .slice
                .filter(|_| config.kinds == Kinds::Isolated && preempt::why_not().is_none()),
            has_priorities: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            spawned_outside: AtomicU64::new(0),
            finished_outside: AtomicU64::new(0),
            hand_off_after: config
                .hand_off_after
                .filter(|_| config.kinds == Kinds::Isolated && barrier::is_asymmetric()),
            spares: spare::Spares::new(config.spare_threads),
            hand_offs: AtomicU64::new(0),
            io_driver: config.io_driver,
            heritage: signal::Heritage::of_caller(),
            running: AtomicUsize::new(config.workers),
            threads: Lock::new(Vec::new()),
        }));
        run::start_all(scheduler, rings)?;
        let is_watched = scheduler.slice.is_some() || scheduler.hand_off_after.is_some() || scheduler.size.follows();
        if is_watched && let Err(error) = monitor::watch(scheduler) {
            scheduler.stop();
            scheduler.join_workers();
            let text = format!(
                "the monitor's thread cannot be made (pthread_create): {error}; the limit is that of threads (`ulimit -u`, a cgroup's \
                 pids.max); SILKEN_PREEMPT=off with SILKEN_HANDOFF=off and a fixed SILKEN_WORKERS starts without it"
            );
            return Err(with_advice(error, text));
        }
        Ok(scheduler)
    }

    /// The class of the scheduler's stacks. Reserving one of them proves that the class is available, at a place that
    /// can still report an error.
    fn reserve_first_stack(config: &SchedulerConfig) -> io::Result<u8> {
        // The pools lock; and a coroutine may start a runtime.
        let _critical = Critical::enter();
        let class = Pools::class_for(config.stack_bytes)?;
        if let Some(guard) = config.guard {
            pools().ask_for_guard(guard)?;
        }
        pools().reserve(class, 1)?;
        Ok(class)
    }

    /// The number of the runtime.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// The scheduler under which the caller's coroutine runs.
    pub(crate) fn current() -> Option<&'static Scheduler> {
        let _critical = Critical::enter();
        last_link().map(|link| Worker::from_link(link).scheduler)
    }

    /// The stack size of a program's main function, if it is to be larger than the default: the size of a thread's main
    /// stack, if there is address space for it.
    pub(crate) fn main_stack_bytes(&self) -> Option<usize> {
        let bytes = memory::main_stack_bytes();
        let _critical = Critical::enter();
        let class = Pools::class_for(bytes).ok().filter(|class| *class > self.class)?;
        pools().reserve(class, 1).ok()?;
        pools().unreserve(class, 1);
        Some(bytes)
    }

    /// The bytes of address space of a coroutine's stack, unless its spawn asks for another size.
    pub(crate) fn stack_bytes(&self) -> usize {
        Pools::class_bytes(self.class)
    }

    /// How long a coroutine may run while others wait. `None`: it is not preempted.
    pub(crate) fn slice(&self) -> Option<Duration> {
        self.slice
    }

    /// How long a call may block a worker before another thread takes the worker over. `None`: as long as it likes, as
    /// the program wants it, or because coroutines are light here, or the system has no `membarrier`.
    pub(crate) fn hand_off_after(&self) -> Option<Duration> {
        self.hand_off_after
    }

    /// By which interface of the kernel it waits, as far as there is that interface.
    pub(crate) fn io_driver(&self) -> IoDriver {
        self.io_driver
    }

    /// Whether coroutines are isolated unless they ask to be light.
    pub(crate) fn isolates(&self) -> bool {
        self.kinds == Kinds::Isolated
    }

    /// The kind of coroutine that a spawn makes, which did (`light`) or did not ask for a light one. An error where it
    /// would have to be light and nothing has vouched for it.
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
        self.size.active()
    }

    /// Whether the number of workers follows the machine.
    pub(crate) fn follows_machine(&self) -> bool {
        self.size.follows()
    }

    /// How many times, so far, a coroutine has continued on another worker than before.
    pub(crate) fn migrations(&self) -> u64 {
        // Relaxed: a report.
        self.size
            .made()
            .map(|shared| shared.migrations.load(Ordering::Relaxed))
            .sum()
    }

    fn count_hand_off(&self) {
        // Relaxed: for reports.
        self.hand_offs.fetch_add(1, Ordering::Relaxed);
    }

    /// What has happened so far, for reports.
    pub(crate) fn counts(&self) -> Counts {
        let ended = self.ended();
        let processors = || self.size.made().enumerate();
        // A worker's count begins with its number.
        let picks = |(index, shared): (usize, &SharedProcessor)| {
            let picks = shared.picks(self.workers[index].tick());
            picks.saturating_sub(index as u64)
        };
        // Relaxed: a report.
        let preemptions = |(_, shared): (usize, &SharedProcessor)| shared.preemptions.load(Ordering::Relaxed);
        Counts {
            // Asked after the ends, so that there are no more ends than spawns.
            spawned: self.spawned(),
            ended,
            switches: processors().map(picks).sum(),
            preemptions: processors().map(preemptions).sum(),
            hand_offs: self.hand_offs.load(Ordering::Relaxed),
            spare_threads_max: self.spares.count_seen_max(),
        }
    }

    /// The worker on which the caller runs, if it is one of this scheduler's.
    #[inline(always)]
    fn own_worker(&self, link: Option<&'static WorkerLink>) -> Option<&'static Worker> {
        let worker = Worker::from_link(link?);
        std::ptr::eq(worker.scheduler, self).then_some(worker)
    }

    /// Wakes a worker if one sleeps and none searches. Called after work was made visible.
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

    /// Wakes the sleeper that was appointed to watch, if one was.
    #[inline]
    fn wake_watcher(&self, watcher: Option<usize>) {
        if let Some(watcher) = watcher {
            self.wake_worker(watcher);
        }
    }

    fn wake_worker(&self, worker: usize) {
        self.size.processor(worker).driver.wake();
    }
}

fn no_descriptors(error: io::Error) -> io::Error {
    let text = format!(
        "a worker gets no descriptors (epoll_create1, eventfd): {error}; the limit is that of open files (`ulimit -n`), and a worker takes \
         two; fewer workers: SILKEN_WORKERS"
    );
    with_advice(error, text)
}

/// Why there is no io_uring for a runtime that insists on it.
pub(crate) fn no_ring(error: io::Error) -> io::Error {
    let text = format!(
        "no io_uring (io_uring_setup): {error}; it needs Linux 5.6 and a free descriptor for each worker, and sysctl \
         kernel.io_uring_disabled or a container's filter may forbid it; SILKEN_DRIVER=epoll does without"
    );
    with_advice(error, text)
}

/// An error of the system, with text on what failed and what helps. The system's error is its source.
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

impl Schedule for Scheduler {
    fn schedule(&self, ready: Ready) {
        let _critical = Critical::enter();
        match self.own_worker(current_link()) {
            Some(worker) => worker.queue_woken(ready),
            None => self.schedule_from_outside(ready),
        }
    }

    unsafe fn suspend(&self, core: &'static Core) {
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
            // The yield brings the next event interval nearer, and gives a queued acceptor its turn.
            yield_core(core);
        }
    }

    fn is_ending(&self) -> bool {
        // Relaxed: asked after the end of a cancelled coroutine was seen, which orders this load.
        self.ending.load(Ordering::Relaxed)
    }

    fn worker_count(&self) -> usize {
        self.size.active()
    }
}
