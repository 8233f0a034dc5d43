//! Which threads stand by to take over the worker of a thread that the kernel has blocked, and when do they end?
//!
//! # Protocol
//! A spare thread has a *seat*, which is in the list of idle seats while the thread sleeps. The monitor takes a seat
//! out of the list before it seizes a worker (`late.rs`): a worker without a thread would run nothing. If the worker
//! could not be seized the seat goes back. If it could, its address is written into the seat, and the thread is woken.
//! If no seat is idle a thread is made, up to the limit. The worker then waits until the monitor's next turn, which
//! finds the new thread idle. A thread that has lost its worker becomes a spare one when its call has returned. A
//! thread that was idle for ten seconds ends, so the process returns to as many threads as it has workers.
//!
//! # The race
//! A seat's idle time ends while the monitor takes the seat. Both use the list's lock: the thread ends only if it finds
//! its seat in the list, and takes it out. If it is not there the thread waits for the monitor's decision. Example: the
//! monitor takes seat S; S's ten seconds end; its thread does not find S in the list, and waits. The monitor then
//! assigns a worker, or gives S back, and in both cases wakes the thread.
//!
//! # The limit
//! At the limit a blocked worker stays blocked, as it would be without spare threads. Calls that end by another
//! coroutine's help can then block all workers for ever. So the limit is 256 by default: more than the calls that
//! should ever block at one time.

use super::Scheduler;
use super::worker::Worker;
use crate::coroutine::{Critical, Unparker, park_thread_until};
use crate::loom::static_atomic::{AtomicPtr, Ordering};
use crate::sys::{Lock, clock};
use std::ptr;
use std::sync::Arc;

/// How long, in ns, a thread without a worker stays.
const IDLE_NS: u64 = 10 * clock::NS_PER_SECOND;

/// The place of a spare thread.
pub(super) struct Seat {
    thread: Unparker,
    /// The worker that the thread is to take over; null: none yet.
    worker: AtomicPtr<Worker>,
}

impl Seat {
    /// Gives the worker, which no thread has, to the seat's thread.
    pub(super) fn assign(&self, worker: &'static Worker) {
        let thread = self.thread;
        // Release: pairs with the Acquire in `taken`: the thread sees the worker as its last thread and the monitor
        // have left it.
        self.worker.store(ptr::from_ref(worker).cast_mut(), Ordering::Release);
        thread.unpark();
    }

    fn taken(&self) -> Option<&'static Worker> {
        // Acquire: pairs with the Release in `assign`.
        let worker = self.worker.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: S2: workers live for ever.
        unsafe { worker.as_ref() }
    }
}

struct SpareThreads {
    idle: Vec<Arc<Seat>>,
    /// The threads of the scheduler beyond one per worker: idle, blocked in a call, or being made.
    count: usize,
    /// The most that it was.
    count_seen_max: usize,
}

/// The spare threads of a scheduler.
pub(super) struct Spares {
    threads: Lock<SpareThreads>,
    count_max: usize,
}

impl Spares {
    pub(super) fn new(count_max: usize) -> Self {
        Self {
            threads: Lock::new(SpareThreads {
                idle: Vec::new(),
                count: 0,
                count_seen_max: 0,
            }),
            count_max,
        }
    }

    /// Takes an idle seat. If there is none, makes a thread, whose seat is idle soon.
    pub(super) fn reserve(&self, scheduler: &'static Scheduler) -> Option<Arc<Seat>> {
        {
            let mut threads = self.threads.lock();
            if let Some(seat) = threads.idle.pop() {
                return Some(seat);
            }
            if threads.count >= self.count_max {
                return None;
            }
            threads.count += 1;
            threads.count_seen_max = threads.count_seen_max.max(threads.count);
        }
        if !super::run::start_spare(scheduler) {
            self.threads.lock().count -= 1;
        }
        None
    }

    /// The most threads that there were.
    pub(super) fn count_seen_max(&self) -> usize {
        let _critical = Critical::enter();
        self.threads.lock().count_seen_max
    }

    /// Puts a seat back whose thread was not needed.
    pub(super) fn give_back(&self, seat: Arc<Seat>) {
        let thread = seat.thread;
        self.threads.lock().idle.push(seat);
        // Its idle time may have ended meanwhile.
        thread.unpark();
    }

    /// Wakes the idle threads, so that they look whether the scheduler is over.
    pub(super) fn wake_all(&self) {
        for seat in &self.threads.lock().idle {
            seat.thread.unpark();
        }
    }

    /// Waits, on a spare thread, for a worker to take over. `None`: the thread ends.
    pub(super) fn wait_for_worker(&self, scheduler: &Scheduler) -> Option<&'static Worker> {
        let seat = Arc::new(Seat {
            thread: Unparker::current(),
            worker: AtomicPtr::new(ptr::null_mut()),
        });
        self.threads.lock().idle.push(seat.clone());
        let end_ns = clock::now_ns().saturating_add(IDLE_NS);
        loop {
            if let Some(worker) = seat.taken() {
                return Some(worker);
            }
            let is_at_end = scheduler.is_over() || clock::now_ns() >= end_ns;
            if is_at_end && self.leave(&seat) {
                return None;
            }
            // A seat that is not idle any more is decided on soon.
            park_thread_until(if is_at_end { u64::MAX } else { end_ns });
        }
    }

    /// Takes the seat out of the idle ones. `false`: the monitor has done so.
    fn leave(&self, seat: &Arc<Seat>) -> bool {
        let mut threads = self.threads.lock();
        let place = threads.idle.iter().position(|idle| Arc::ptr_eq(idle, seat));
        if let Some(place) = place {
            threads.idle.remove(place);
            threads.count -= 1;
        }
        place.is_some()
    }
}
