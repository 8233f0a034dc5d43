//! Calls that the kernel cannot make asynchronous, on OS threads in the caller's stead.
//!
//! # Protocol
//! One lock holds the queue of jobs, the idle threads and the number of threads. [`run`] queues a boxed job, then wakes the thread that became idle
//! last, or makes a thread if none is idle and the limit allows; else the job waits its turn. The caller parks on the wait cell of its *call*, which the
//! job shares: a slot for the result, filled before the cell is settled. Threads take jobs first come first served, and one that was idle for ten
//! seconds ends.
//!
//! # The race
//! A thread's idleness ends by a waker or by its deadline; its cell decides (`coroutine/park.rs`). A waker takes the idle thread off the list under
//! the lock, where it has also queued the job, and settles afterwards. If the deadline was first the settling does nothing, but the thread looks at the queue
//! under the lock before it ends: the job is there, or another thread has it. So a queued job always has a thread that is yet to look at the queue: one that runs
//! another job, one that was taken off the idle list, or one that is being made. If the making fails and it was the last of these, who failed runs the queue.
//!
//! # Unsafe
//! None. A job is a boxed `'static` closure; who lends it memory passes addresses and answers for them: `run` does not return, nor unwind,
//! before the job has ended, and is not cancellable, so the caller's frame outlives the call (S5).
//!
//! # Rejected
//! *Lending the closure from the caller's stack*: saves one allocation of the microseconds that two thread switches cost, and needs unsafe. *A
//! channel of std*: its locks are hooked. *One thread per call*: unbounded.
//!
//! A job that needs another job's progress can deadlock when the pool is full: 512 is the bound that tokio's users live with.

#[cfg(all(test, not(loom)))]
mod tests;

use crate::coroutine::{Critical, Outcome, WaitCell, WaitReason, current_core, park, park_thread_until};
use crate::sys::{Lock, StaticLock, clock};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Threads at most.
const THREADS_MAX: usize = 512;

/// How long a thread without a job stays.
const IDLE_NS: u64 = 10 * clock::NS_PER_SECOND;

/// A kernel call needs none of it; the resolver's modules are foreign code that expects a thread's stack. Unused pages cost nothing.
const STACK_BYTES: usize = 1024 * 1024;

type Job = Box<dyn FnOnce() + Send>;

static POOL: Pool = Pool::new(THREADS_MAX, IDLE_NS);

/// Makes a blocking call. On a coroutine an OS thread makes it, while the coroutine is parked; it cannot be cancelled. On an OS thread, or in a critical
/// section, it is simply made.
///
/// A panic of the call goes on in the caller.
pub(crate) fn run<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    match current_core() {
        Some(_) if !Critical::is_entered() => POOL.run(call),
        _ => call(),
    }
}

/// See the head of the file.
struct Pool {
    state: StaticLock<State>,
    threads_max: usize,
    idle_ns: u64,
}

struct State {
    queue: VecDeque<Job>,
    /// The last one became idle last.
    idle: Vec<Arc<WaitCell>>,
    /// Threads that run, are idle or are being made.
    threads: usize,
}

/// What a queued job needs from the one who queued it.
enum Need {
    Nothing,
    Wake(Arc<WaitCell>),
    Thread,
}

/// One call in flight.
struct Call<R> {
    done: WaitCell,
    result: Lock<Option<std::thread::Result<R>>>,
}

impl Pool {
    const fn new(threads_max: usize, idle_ns: u64) -> Self {
        let state = State {
            queue: VecDeque::new(),
            idle: Vec::new(),
            threads: 0,
        };
        Self {
            state: StaticLock::new(state),
            threads_max,
            idle_ns,
        }
    }

    fn run<R: Send + 'static>(&'static self, call: impl FnOnce() -> R + Send + 'static) -> R {
        let shared = Arc::new(Call {
            done: WaitCell::new(),
            result: Lock::new(None),
        });
        let theirs = shared.clone();
        self.submit(Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(call));
            *theirs.result.lock() = Some(result);
            settle(&theirs.done);
        }));
        while shared.done.outcome().is_none() {
            park(WaitReason::Offload);
        }
        match critically(|| shared.result.lock().take()).expect("a settled call has a result") {
            Ok(value) => value,
            Err(payload) => resume_unwind(payload),
        }
    }

    fn submit(&'static self, job: Job) {
        let need = critically(|| {
            let mut state = self.state.lock();
            state.queue.push_back(job);
            if let Some(idle) = state.idle.pop() {
                Need::Wake(idle)
            } else if state.threads < self.threads_max {
                state.threads += 1;
                Need::Thread
            } else {
                Need::Nothing
            }
        });
        match need {
            Need::Nothing => {}
            Need::Wake(idle) => settle(&idle),
            Need::Thread => self.make_thread(),
        }
    }

    #[cold]
    fn make_thread(&'static self) {
        // Critical: what std does on the way to a new thread must not meet our hooks half-way.
        let made = critically(|| {
            std::thread::Builder::new()
                .name("silken-offload".into())
                .stack_size(STACK_BYTES)
                .spawn(move || self.serve())
                .is_ok()
        });
        if !made {
            self.serve_without_thread();
        }
    }

    /// A thread could not be made. If there is no other, nobody else would run what is queued.
    #[cold]
    fn serve_without_thread(&self) {
        let orphans = critically(|| {
            let mut state = self.state.lock();
            state.threads -= 1;
            if state.threads == 0 {
                std::mem::take(&mut state.queue)
            } else {
                VecDeque::new()
            }
        });
        orphans.into_iter().for_each(|job| job());
    }

    /// The life of a thread.
    fn serve(&self) {
        let mut idle: Option<Arc<WaitCell>> = None;
        loop {
            let mut state = self.state.lock();
            if let Some(job) = state.queue.pop_front() {
                if let Some(idle) = idle.take() {
                    state.forget(&idle);
                }
                drop(state);
                job();
                continue;
            }
            if let Some(idle) = idle.take()
                && idle.outcome() == Some(Outcome::TimedOut)
            {
                state.forget(&idle);
                state.threads -= 1;
                return;
            }
            let cell = Arc::new(WaitCell::new());
            state.idle.push(cell.clone());
            drop(state);
            self.wait_for_work(&cell);
            idle = Some(cell);
        }
    }

    /// Returns when the cell is settled.
    fn wait_for_work(&self, cell: &WaitCell) {
        let deadline_ns = clock::now_ns().saturating_add(self.idle_ns);
        while cell.outcome().is_none() {
            if clock::now_ns() >= deadline_ns {
                // A waker that was first has settled it.
                let _ = cell.settle(Outcome::TimedOut);
            } else {
                park_thread_until(deadline_ns);
            }
        }
    }
}

impl State {
    /// Takes a thread off the idle list, unless a waker has.
    fn forget(&mut self, idle: &Arc<WaitCell>) {
        self.idle.retain(|other| !Arc::ptr_eq(other, idle));
    }
}

/// Settles a cell that is kept by its `Arc`, and wakes.
fn settle(cell: &WaitCell) {
    let unparker = cell.unparker();
    if cell.settle(Outcome::Woken) {
        unparker.unpark();
    }
}

/// Runs `section` with hooks and preemption off; for locks and for calls into std.
fn critically<R>(section: impl FnOnce() -> R) -> R {
    let _critical = Critical::enter();
    section()
}
