//! How many workers run coroutines, and how does their number follow the machine?
//!
//! # Vocabulary
//! The *size* is the number of workers that take part in common work: those with a number below it (*active*). A worker
//! with a higher number is *surplus*. A processor is *made* for a worker before the worker is *started* with a thread;
//! both last until the scheduler ends. So there is one processor more than there are started workers if a thread could
//! not be made.
//!
//! # Protocol
//! A program that asks for a number of workers has that size for ever. Otherwise the size follows the CPUs that the
//! process may use: the affinity mask and the cgroup's quota (`sys::topology`). The monitor's thread asks for them once
//! a second while any worker runs. When it wakes up after more than a second, it asks first. It then starts the workers
//! that it needs for the first time, writes the size, and wakes the drivers of workers whose duty changes. Go has
//! followed the quota in the same way since 1.25. The files that the monitor reads are opened when the first such
//! runtime begins, and closed when the last one ends.
//!
//! | the worker | when it learns of the size | what it does |
//! |---|---|---|
//! | becomes surplus while it sleeps | its driver is woken | it sleeps on, among the surplus ones: nobody wakes it for common work |
//! | becomes surplus while it runs | at the next event interval, or when it is preempted | it gives what is queued here to the injector, at each pick, and picks only what is bound to it; then it sleeps |
//! | is surplus, and its driver has an event | the event wakes it | it gives the coroutine to the injector, or runs it if it is bound |
//! | is surplus no longer | its driver is woken | it searches, as any worker that wakes up |
//!
//! So a surplus worker's descriptors and deadlines are served where they are registered, at the cost of one wake-up,
//! and no registration moves. Coroutines that are bound to a surplus worker go on there: nobody else may run them.
//!
//! # The only worker gets company
//! A scheduler of size one uses the policy of an only worker (`queues.rs`). When the size grows, that worker gives the
//! policy up at the same places where it would learn that it is surplus: it moves what others may run from its pinned
//! queue to its ring. It does not take the policy up again when the size shrinks to one.
//!
//! # The race: a wake-up for a worker that has just become surplus
//! A producer may choose a sleeper for common work just before that sleeper learns that it is surplus. The sleeper is
//! then counted as searching, and producers skip their notifications. When it goes to sleep as a surplus worker, it
//! ends the count, and passes the notification on to another sleeper.
//!
//! # Rejected
//! *Ending the threads of surplus workers*: their drivers would have to be given up, with all registrations and timers,
//! and a quota that swings would make and end threads. *Asking at each spawn*: it costs three system calls.

use super::idle::Idle;
use super::processor::SharedProcessor;
use super::worker::Worker;
use super::{Scheduler, SchedulerConfig, run};
use crate::collections::ring::Owner;
use crate::coroutine::{Critical, Ready};
use crate::driver::IoDriver;
use crate::loom::static_atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sys::topology::CpuLimits;
use crate::sys::{Lock, StaticLock};
use std::io;
use std::sync::OnceLock;

/// What the machine allows. Its files are open while a runtime follows it.
struct Machine {
    limits: CpuLimits,
    followers: usize,
}

static MACHINE: StaticLock<Machine> = StaticLock::new(Machine {
    limits: CpuLimits::new(),
    followers: 0,
});

/// Asks the machine for the number of workers, after a change of the number of its followers. A runtime may be started
/// by a coroutine.
fn ask_machine(change_followers: impl FnOnce(usize) -> usize) -> usize {
    let _critical = Critical::enter();
    let mut machine = MACHINE.lock();
    machine.followers = change_followers(machine.followers);
    let workers = machine.limits.available_workers();
    if machine.followers == 0 {
        machine.limits.close();
    }
    workers
}

/// How many workers this process may usefully run now.
pub(crate) fn available_workers() -> usize {
    ask_machine(|followers| followers)
}

/// The workers of a scheduler: how many there may be, are, and should be.
pub(super) struct Size {
    processors: Box<[OnceLock<SharedProcessor>]>,
    made: AtomicUsize,
    active: AtomicUsize,
    follows: bool,
    io_driver: IoDriver,
    /// The process may use other cores now than when the scheduler was started.
    has_moved: AtomicBool,
    /// Held while the size changes. In it, the owner's part of a processor whose worker could not be started.
    resizing: Lock<Option<Owner<Ready>>>,
}

impl Size {
    /// Makes the first processors of the runtime of this number. Returns also the rings for their owners.
    pub(super) fn new(runtime: usize, config: &SchedulerConfig) -> io::Result<(Self, Vec<Owner<Ready>>)> {
        let count = config.workers;
        let size = Self {
            processors: (0..config.workers_max.max(count)).map(|_| OnceLock::new()).collect(),
            made: AtomicUsize::new(0),
            active: AtomicUsize::new(count),
            follows: config.follows_machine,
            io_driver: config.io_driver,
            has_moved: AtomicBool::new(false),
            resizing: Lock::new(None),
        };
        let mut rings = Vec::with_capacity(count);
        for id in 0..count {
            match size.make_processor(id, runtime) {
                Ok(ring) => rings.push(ring),
                Err(error) => {
                    size.made().for_each(|shared| shared.driver.retire());
                    return Err(error);
                }
            }
        }
        if size.follows {
            ask_machine(|followers| followers + 1);
        }
        Ok((size, rings))
    }

    /// No thread runs as a worker any more.
    pub(super) fn retire(&self) {
        self.made().for_each(|shared| shared.driver.retire());
        if self.follows {
            ask_machine(|followers| followers - 1);
        }
    }

    fn make_processor(&self, id: usize, runtime: usize) -> io::Result<Owner<Ready>> {
        let (shared, ring) = SharedProcessor::make(runtime, self.io_driver)?;
        let is_new = self.processors[id].set(shared).is_ok();
        debug_assert!(is_new, "one thread makes processors");
        // Release: pairs with the Acquire in `made_count`, whose reader finds the processor.
        self.made.store(id + 1, Ordering::Release);
        Ok(ring)
    }

    /// How many workers there can ever be.
    pub(super) fn max(&self) -> usize {
        self.processors.len()
    }

    /// How many processors there are. They never become fewer.
    #[inline(always)]
    pub(super) fn made_count(&self) -> usize {
        // Acquire: pairs with the Release in `make_processor`.
        self.made.load(Ordering::Acquire)
    }

    /// How many workers take part in common work.
    #[inline(always)]
    pub(super) fn active(&self) -> usize {
        // Relaxed: a worker that sees an old value sees the new one at the next event interval, or when it is woken.
        self.active.load(Ordering::Relaxed)
    }

    /// Whether the size follows the machine.
    pub(super) fn follows(&self) -> bool {
        self.follows
    }

    /// The processor of a worker. It was made.
    #[inline(always)]
    pub(super) fn processor(&self, id: usize) -> &SharedProcessor {
        self.processors[id].get().expect("the processor was made")
    }

    /// The processors of all workers that have or had a thread, and of one whose thread could not be made.
    pub(super) fn made(&self) -> impl Iterator<Item = &SharedProcessor> {
        self.processors[..self.made_count()].iter().filter_map(OnceLock::get)
    }
}

impl Scheduler {
    /// Makes the calling thread, which the monitor has made, as if the thread that has started the scheduler had made
    /// it. If the process may use other cores by now, the new thread keeps the monitor thread's cores.
    pub(super) fn take_on_heritage(&self) {
        // Relaxed: a thread that is made at this moment may be made a moment earlier.
        self.heritage.take_on(!self.size.has_moved.load(Ordering::Relaxed));
    }

    /// The process may use other cores from now on.
    pub(super) fn note_move(&self) {
        // Relaxed: as in `take_on_heritage`.
        self.size.has_moved.store(true, Ordering::Relaxed);
    }

    /// Changes the size, as far as there are processors and threads for it.
    pub(crate) fn resize(&'static self, wanted: usize) {
        let mut left = self.size.resizing.lock();
        let before = self.size.active();
        let wanted = wanted.clamp(1, self.size.max());
        while self.idle.started() < wanted && !self.is_stopping() && self.start_worker(&mut left) {}
        let started = self.idle.started();
        let now = wanted.min(started);
        // Relaxed: see `active`.
        self.size.active.store(now, Ordering::Relaxed);
        for id in before.min(now)..before.max(now).min(started) {
            self.wake_worker(id);
        }
    }

    /// Starts one more worker. `false`: the system refuses the descriptors or the thread; the next attempt comes in a
    /// second.
    fn start_worker(&'static self, left: &mut Option<Owner<Ready>>) -> bool {
        // First, since the last worker that ends gives the drivers back: none may be taken after that.
        if !self.count_start_of_worker() {
            return false;
        }
        let make = || self.size.make_processor(self.size.made_count(), self.number).ok();
        let Some(ring) = left.take().or_else(make) else {
            self.count_end_of_worker();
            return false;
        };
        let id = self.size.made_count() - 1;
        self.wake_watcher(self.idle.add_worker());
        match run::start_further(self, id, ring) {
            Ok(()) => true,
            Err(ring) => {
                self.idle.remove_worker();
                *left = Some(ring);
                self.count_end_of_worker();
                false
            }
        }
    }
}

impl Worker {
    /// Whether this worker takes no part in common work.
    #[inline(always)]
    pub(super) fn is_surplus(&self) -> bool {
        self.link.id >= self.scheduler.size.active()
    }

    /// Takes note of the size.
    #[inline(always)]
    pub(super) fn obey_size(&'static self) {
        let active = self.scheduler.size.active();
        if self.link.id >= active {
            // So that each pick gives work away (`priority.rs`).
            self.processor.set_picks_specially(true);
        } else if active > 1 && self.processor.is_alone() {
            self.share_processor();
        }
    }

    /// The only worker has company: thieves may take what is queued here.
    #[cold]
    fn share_processor(&'static self) {
        let mut all = Vec::new();
        all.extend(self.processor.take_lifo());
        while let Some(first) = self.pinned.first() {
            self.pinned.remove_first(first.core());
            all.push(first);
        }
        all.extend(std::iter::from_fn(|| self.processor.own_levels.pop()));
        self.processor.end_alone();
        all.into_iter().for_each(|ready| self.queue(ready));
        self.scheduler.notify();
    }

    /// Gives what others may run to the injector. What is bound to this worker stays.
    pub(super) fn give_work_away(&'static self) {
        let mut all = Vec::new();
        all.extend(self.processor.take_lifo());
        self.processor.take_all(&mut all);
        all.extend(std::iter::from_fn(|| self.processor.shared.levels.pop()));
        if !all.is_empty() {
            self.scheduler.injector.push_all(all.into_iter());
            self.scheduler.notify();
        }
    }

    /// Sleeps as a surplus worker until there is something for it to do.
    pub(super) fn sleep_as_surplus(&'static self, idle: &Idle, searching: bool) {
        idle.sleep_as_surplus(self.link.id, searching);
        if searching {
            // The notification that made it search is another worker's.
            self.scheduler.notify();
        }
    }
}
