//! What does a worker's thread do when its own queues are empty? It runs what it finds, searches for more, and sleeps.
//!
//! All of this runs in the worker's own context: on the OS thread's stack and identity, where hooks pass straight
//! through. A switch enters that context when the worker's own queues have no coroutine to pick, and from a stack that
//! has overflowed.

use super::idle::Idle;
use super::processor::SharedProcessor;
use super::queues::Pick;
use super::switch::run_from_base;
use super::worker::{SEARCH_ROUNDS_MAX, Worker};
use super::{Scheduler, blocked, monitor, preempt};
use crate::collections::ring::Owner;
use crate::coroutine::c_thread::native;
use crate::coroutine::{Ready, attach_worker_thread};
use crate::driver::Wait;
use crate::sys::{self, Lock};
use std::io;
use std::ptr;
use std::sync::{Arc, mpsc};

/// The fewest rounds of a search; see [`SEARCH_ROUNDS_MAX`].
const SEARCH_ROUNDS_MIN: u32 = 2;

/// Starts the threads of a scheduler.
pub(super) fn start_all(scheduler: &'static Scheduler, rings: Vec<Owner<Ready>>) -> io::Result<()> {
    let count = rings.len();
    let (prepared, all_prepared) = mpsc::channel();
    for (id, ring) in rings.into_iter().enumerate() {
        let prepared = prepared.clone();
        let started = native(|| thread_of(scheduler, id).spawn(move || run(scheduler, id, ring, Some(prepared))));
        match started {
            Ok(thread) => scheduler.keep_thread(thread),
            Err(error) => {
                scheduler.stop();
                (id..count).for_each(|_| scheduler.count_end_of_worker());
                scheduler.join_workers();
                let text = format!(
                    "the thread of worker {id} cannot be made (pthread_create): {error}; the limits are those of threads (`ulimit -u`, \
                     a cgroup's pids.max) and of address space (`ulimit -v`); fewer workers: SILKEN_WORKERS"
                );
                return Err(super::with_advice(error, text));
            }
        }
    }
    // From here on the workers take no more descriptors, so the program's own get the numbers that it expects.
    drop(prepared);
    let _ = all_prepared.recv();
    Ok(())
}

/// Dropped when a thread has all that it needs to run as a worker.
type Prepared = mpsc::Sender<std::convert::Infallible>;

fn thread_of(scheduler: &Scheduler, id: usize) -> std::thread::Builder {
    std::thread::Builder::new().name(format!("{}-{id}", scheduler.name))
}

/// Starts the thread of one more worker. Gives the ring back if the thread cannot be made.
pub(super) fn start_further(scheduler: &'static Scheduler, id: usize, ring: Owner<Ready>) -> Result<(), Owner<Ready>> {
    // A thread that cannot be made drops its closure, so the ring travels beside it.
    let cell = Arc::new(Lock::new(Some(ring)));
    let theirs = cell.clone();
    let begin = move || {
        scheduler.take_on_heritage();
        let ring = theirs.lock().take().expect("put there for this thread");
        run(scheduler, id, ring, None);
    };
    let started = native(|| thread_of(scheduler, id).spawn(begin));
    match started {
        Ok(thread) => {
            scheduler.keep_thread(thread);
            Ok(())
        }
        Err(_) => Err(cell.lock().take().expect("no thread has taken it")),
    }
}

/// Starts a spare thread. `false`: it could not be made.
pub(super) fn start_spare(scheduler: &'static Scheduler) -> bool {
    let thread = std::thread::Builder::new().name("silken-spare".to_string());
    let begin = move || {
        scheduler.take_on_heritage();
        serve(scheduler, None, None);
    };
    let started = native(|| thread.spawn(begin));
    started.map(|thread| scheduler.keep_thread(thread)).is_ok()
}

/// The body of a thread that begins as a worker.
fn run(scheduler: &'static Scheduler, id: usize, ring: Owner<Ready>, prepared: Option<Prepared>) {
    let worker: &'static Worker = Box::leak(Box::new(Worker::new(scheduler, id, ring)));
    serve(scheduler, Some(worker), prepared);
}

/// Runs as one worker after another: as the first until a call has blocked the thread for too long, then as those that
/// other blocked threads have lost.
fn serve(scheduler: &'static Scheduler, first: Option<&'static Worker>, prepared: Option<Prepared>) {
    sys::exact_timers();
    // Kept until the thread ends, since overflow handlers run on it.
    let alternate_stack = sys::signal::AltStack::new(ALTERNATE_STACK_BYTES);
    let registrations = (sys::set_id::register_worker_thread(), blocked::make_askable());
    drop(prepared);
    let mut next = first;
    while let Some(worker) = next.take().or_else(|| scheduler.spares.wait_for_worker(scheduler)) {
        worker.take_over();
        worker.blocked_signals.set(preempt::admit_signal());
        if worker.work() == WorkEnd::SchedulerIsOver {
            worker.end();
            break;
        }
    }
    drop(registrations);
    attach_worker_thread(ptr::null());
    drop(alternate_stack);
}

/// Why a thread stops running as a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkEnd {
    SchedulerIsOver,
    /// Another thread has taken the worker over.
    WorkerIsLost,
}

/// Room for the handler of a stack overflow, which walks the stack with libgcc's unwinder and prints a line. 8 KiB
/// suffice in a debug build, 4 KiB do not. The rest is for signal handlers that interrupt it.
const ALTERNATE_STACK_BYTES: usize = 32 * 1024;

impl Worker {
    /// Runs coroutines in the worker's own context.
    fn work(&'static self) -> WorkEnd {
        while let Some(next) = self.find() {
            if !run_from_base(self, next) {
                return WorkEnd::WorkerIsLost;
            }
        }
        WorkEnd::SchedulerIsOver
    }

    /// The scheduler is over.
    fn end(&'static self) {
        self.scheduler.workers[self.link.id].forget_thread();
        self.link.caches.flush();
        // The worker itself is not freed, since other threads may have its address. Its memory for batches is.
        drop(self.processor.batch.take());
        self.scheduler.count_end_of_worker();
    }

    /// Finds the next coroutine, wherever it is queued, and sleeps until there is one. `None`: the scheduler stops.
    #[allow(clippy::collapsible_if, reason = "becoming a searcher and finding are two steps")]
    fn find(&'static self) -> Option<Pick> {
        self.obey_size();
        self.take_inbox();
        if let Some(ready) = self.pick() {
            return Some(ready);
        }
        let mut searching = false;
        loop {
            if let Some(ready) = self.find_without_sleep(searching) {
                self.found(searching);
                return Some(ready);
            }
            if self.scheduler.is_over() {
                self.scheduler.leave(searching);
                return None;
            }
            if !searching && !self.is_surplus() {
                searching = self.scheduler.idle.start_searching();
                if searching {
                    if let Some(ready) = self.search() {
                        self.found(true);
                        return Some(ready);
                    }
                }
            }
            searching = self.sleep(searching);
            self.obey_size();
        }
    }

    /// The worker has found work. It stops searching, if it was counted as searching. If it was the last searcher, it
    /// wakes another worker, since there may be more work. A worker that cancelled its sleep is not counted as
    /// searching, yet a producer may have seen it counted as searching and skipped its notification. Notify here.
    fn found(&self, searching: bool) {
        let was_last = searching && self.stop_searching();
        if was_last || self.processor.shared.has_work() || self.scheduler.injector.len() > 0 {
            self.scheduler.notify();
        }
    }

    /// Counts the worker as busy and no longer as searching. Returns whether it was the last searcher.
    fn stop_searching(&self) -> bool {
        let (was_last, watcher) = self.scheduler.idle.stop_searching();
        self.scheduler.wake_watcher(watcher);
        monitor::note_busy();
        was_last
    }

    #[allow(clippy::collapsible_if, reason = "taking in and picking are two steps")]
    fn find_without_sleep(&'static self, searching: bool) -> Option<Pick> {
        self.take_inbox();
        if let Some(ready) = self.pick_own() {
            return Some(ready);
        }
        // What a surplus worker polls, its pick gives away.
        if self.take_injected() || self.poll(Wait::Not) {
            if let Some(ready) = self.pick_own() {
                return Some(ready);
            }
        }
        if searching && !self.is_surplus() {
            self.steal()
        } else {
            None
        }
    }

    /// Searches for a moment before the worker sleeps.
    fn search(&'static self) -> Option<Pick> {
        let rounds = self.search_rounds.get();
        for _ in 0..rounds {
            if let Some(ready) = self.find_without_sleep(true) {
                self.search_rounds.set((4 * rounds).min(SEARCH_ROUNDS_MAX));
                return Some(ready);
            }
            std::hint::spin_loop();
        }
        self.search_rounds.set((rounds / 2).max(SEARCH_ROUNDS_MIN));
        None
    }

    pub(super) fn victims(&self) -> impl Iterator<Item = &'static SharedProcessor> {
        let size = &self.scheduler.size;
        let count = size.made_count();
        let start = self.processor.random() % count;
        (0..count)
            .map(move |offset| (start + offset) % count)
            .filter(|index| *index != self.processor.index)
            .map(|index| size.processor(index))
    }

    fn steal(&'static self) -> Option<Pick> {
        if self.scheduler.has_had_priorities() {
            return self.steal_by_priority();
        }
        self.victims()
            .find_map(|victim| self.processor.steal(victim))
            .map(Pick::taken)
    }

    /// Sleeps in the driver. Returns whether the worker is counted as searching now.
    fn sleep(&'static self, searching: bool) -> bool {
        let idle: &Idle = &self.scheduler.idle;
        if self.is_surplus() {
            self.sleep_as_surplus(idle, searching);
        } else {
            idle.sleep(self.link.id, searching);
        }
        if !self.work_is_visible() {
            self.sleep_until_needed(idle);
        }
        let (searching, watcher) = idle.awake(self.link.id);
        self.scheduler.wake_watcher(watcher);
        monitor::note_busy();
        searching
    }

    /// The second look for work of the idle protocol (`idle.rs`), after the sleep was announced.
    pub(super) fn work_is_visible(&self) -> bool {
        if self.scheduler.is_over() || !self.scheduler.workers[self.link.id].inbox.is_empty() {
            return true;
        }
        if self.is_surplus() {
            return false;
        }
        self.scheduler.injector.len() > 0 || self.scheduler.size.made().any(SharedProcessor::has_work)
    }
}
