//! How the runtime makes calls that the kernel cannot make asynchronous: on OS threads, in the caller's stead.
//!
//! # Four pools
//! Name look-ups end by themselves, since they have timeouts. [`run`] makes them, and a bounded number of threads is
//! enough: every waiting call gets its turn. Calls on files and their names end by themselves too, as a rule: disks
//! answer. Those of silken's own files have a pool of their own ([`run_on_disk`]), bounded likewise. (A mount that
//! hangs holds one of its threads.) Other calls end only when another party acts, perhaps the very caller that waits
//! for a turn: a lock on a file, the end of a thread, the other end of a FIFO. Under a bound these calls could wait for
//! each other for ever, and keep look-ups from being made. [`wait`] makes each of these on a thread of its own, however
//! many there are. It makes hooked calls that wait for a disk too, where no ring makes them, so none of them waits
//! behind one on a slower disk. The fourth pool runs work of the user's, whose callers may stop waiting: `work.rs`.
//!
//! # Protocol
//! One lock holds the queue of jobs, the idle threads and the number of threads. [`run`] queues a boxed job. Then it
//! wakes the thread that became idle last, or makes a thread if none is idle and the limit allows; otherwise the job
//! waits its turn. The caller parks on the wait cell of its *call*, which the job shares; the call also has a slot for
//! the result, which is filled before the cell is settled. Threads take jobs first come first served. A thread that was
//! idle for ten seconds ends.
//!
//! # The race
//! A thread's idleness ends by a waker or by its deadline; the idle thread's cell decides (`coroutine/park.rs`). A
//! waker takes the idle thread off the list under the lock, where it has also queued the job, and settles the cell
//! afterwards. If the deadline was first, the settling does nothing, but the thread looks at the queue under the lock
//! before it ends: the job is there, or another thread has it. So every queued job has a thread that will look at the
//! queue again: a busy thread, one that was just taken off the idle list, or one that is being made. If a thread cannot
//! be made for a call of [`run`] and there is no other, the caller runs the queue; if there are others, the job waits
//! until one is free. A call of [`wait`] must not wait behind others of its kind. If no thread can be made for it, it
//! is taken back, and fails (ENOMEM); where it cannot fail, the caller makes it and blocks its worker.
//!
//! # Unsafe
//! None. A job is a boxed `'static` closure. A caller that lends it memory passes addresses and answers for them: `run`
//! does not return, nor unwind, before the job has ended, and is not cancellable, so the caller's frame outlives the
//! call (S5).
//!
//! # Rejected
//! *Lending the closure from the caller's stack*: it saves one allocation, out of the microseconds that two thread
//! switches cost, and needs unsafe. *A channel of std*: its locks are hooked.
//!
//! *Polling for what another party does*, instead of a thread: it needs no memory, but is late or busy.

pub(crate) mod turns;
pub(crate) mod work;

#[cfg(all(test, not(loom)))]
mod tests;

use crate::coroutine::{Critical, Outcome, WaitCell, WaitReason, current_core, park, park_thread_until};
use crate::sys::raw::{Errno, repeat_interrupted};
use crate::sys::{Lock, StaticLock, clock};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Once};

/// The most threads for calls that end by themselves: such calls wait for a server, and more threads do not get the
/// answers sooner.
const THREADS_MAX: usize = 64;

/// How long, in ns, a thread without a job stays.
const IDLE_NS: u64 = 10 * clock::NS_PER_SECOND;

/// The stack of a thread. A kernel call needs none of it; the resolver's modules are foreign code that expects a
/// thread's stack. Unused pages cost nothing.
const STACK_BYTES: usize = 1024 * 1024;

type Job = Box<dyn FnOnce() + Send>;

const NAME: &str = "silken-offload";

static ENDING: ThreadPool = ThreadPool::new(NAME, Some(STACK_BYTES), THREADS_MAX, IDLE_NS);

static ON_DISK: ThreadPool = ThreadPool::new(NAME, Some(STACK_BYTES), THREADS_MAX, IDLE_NS);

static WAITING: ThreadPool = ThreadPool::new(NAME, Some(STACK_BYTES), usize::MAX, IDLE_NS);

/// Makes a blocking call that ends by itself. On a coroutine, an OS thread makes the call while the coroutine is
/// parked; the wait cannot be cancelled. On an OS thread, or in a critical section, the caller makes the call itself.
///
/// A panic of the call continues in the caller.
pub(crate) fn run<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    // The pool never refuses: if it has no thread at all, the caller makes the calls.
    ENDING.run_for_caller(call).unwrap_or_else(|call| call())
}

/// Like [`run`], for a call that waits for a disk: name look-ups do not wait behind it.
pub(crate) fn run_on_disk<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    ON_DISK.run_for_caller(call).unwrap_or_else(|call| call())
}

/// Like [`run`], for a call that ends only when another party acts, or that waits for a disk. It has a thread of its
/// own. If none can be made for it, the caller makes the call, and blocks its worker.
pub(crate) fn wait<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    WAITING.run_for_caller(call).unwrap_or_else(|call| call())
}

/// Like [`wait`], for a call that can fail: if no thread can be made for it, the result is `refused`.
pub(crate) fn wait_or<R: Send + 'static>(refused: R, call: impl FnOnce() -> R + Send + 'static) -> R {
    WAITING.run_for_caller(call).unwrap_or(refused)
}

/// Like [`wait`], for a system call. If no thread can be made for it, it fails with ENOMEM.
pub(crate) fn try_wait(call: impl FnOnce() -> Result<usize, Errno> + Send + 'static) -> Result<usize, Errno> {
    wait_or(Err(Errno(libc::ENOMEM)), call)
}

/// Like [`try_wait`], for a system call that is repeated when a signal interrupts the thread.
pub(crate) fn try_wait_out(call: impl FnMut() -> Result<usize, Errno> + Send + 'static) -> Result<usize, Errno> {
    try_wait(move || repeat_interrupted(call))
}

/// Like [`wait`], for such a system call.
pub(crate) fn wait_out(call: impl FnMut() -> Result<usize, Errno> + Send + 'static) -> Result<usize, Errno> {
    wait(move || repeat_interrupted(call))
}

/// Says once why calls that wait fail or block.
#[cold]
fn report_no_thread() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        crate::sys::report(&[
            "silken: no thread can be made (pthread_create) for a call that waits. Such a call fails with ENOMEM, or blocks its worker. \
             The limits are those of threads (`ulimit -u`, a cgroup's pids.max) and of address space (`ulimit -v`)\n",
        ]);
    });
}

/// A pool of threads and its queue of jobs: see the file's head.
struct ThreadPool {
    /// The name of its threads.
    name: &'static str,
    /// The stack of a thread; `None`: what std gives to a thread.
    stack_bytes: Option<usize>,
    state: StaticLock<OffloadState>,
    idle_ns: u64,
    /// Each of its calls has a thread of its own, so none waits behind another.
    has_thread_per_call: bool,
}

struct OffloadState {
    threads_max: usize,
    /// Each job with its number.
    queue: VecDeque<(u64, Job)>,
    next_number: u64,
    /// The thread that became idle last is at the end.
    idle: Vec<Arc<WaitCell>>,
    /// The number of threads that run, are idle or are being made.
    threads: usize,
}

/// What a queued job needs from the caller that queued it.
enum Need {
    Nothing,
    Wake(Arc<WaitCell>),
    Thread,
}

/// A call that is made in the caller's stead.
type BoxedCall<R> = Box<dyn FnOnce() -> R + Send>;

/// One call that has not ended yet.
struct OffloadCall<R> {
    done: WaitCell,
    /// The call, until it begins.
    call: Lock<Option<BoxedCall<R>>>,
    result: Lock<Option<std::thread::Result<R>>>,
}

impl ThreadPool {
    const fn new(name: &'static str, stack_bytes: Option<usize>, threads_max: usize, idle_ns: u64) -> Self {
        let state = OffloadState {
            threads_max,
            queue: VecDeque::new(),
            next_number: 0,
            idle: Vec::new(),
            threads: 0,
        };
        Self {
            name,
            stack_bytes,
            state: StaticLock::new(state),
            idle_ns,
            has_thread_per_call: threads_max == usize::MAX,
        }
    }

    /// Gives the call back if there is no thread for it.
    fn run_for_caller<R: Send + 'static>(
        &'static self,
        call: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, BoxedCall<R>> {
        if is_on_coroutine() {
            // Boxed here, so that the rest is compiled once per result and not once per call. Beside the hop to another
            // thread an allocation is small.
            self.run(Box::new(call))
        } else {
            Ok(call())
        }
    }

    fn run<R: Send + 'static>(&'static self, call: BoxedCall<R>) -> Result<R, BoxedCall<R>> {
        let shared = Arc::new(OffloadCall {
            done: WaitCell::new(),
            call: Lock::new(Some(call)),
            result: Lock::new(None),
        });
        let theirs = shared.clone();
        let job = Box::new(move || {
            let Some(call) = critically(|| theirs.call.lock().take()) else {
                return;
            };
            let result = catch_unwind(AssertUnwindSafe(call));
            critically(|| *theirs.result.lock() = Some(result));
            settle(&theirs.done);
        });
        if !self.submit(job) {
            report_no_thread();
            return Err(critically(|| shared.call.lock().take()).expect("no thread has taken it"));
        }
        wait_for(&shared.done);
        match critically(|| shared.result.lock().take()).expect("a settled call has a result") {
            Ok(value) => Ok(value),
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Queues a job. `false`: it needs a thread of its own, and none can be made. Then it will not be run.
    fn submit(&'static self, job: Job) -> bool {
        let (need, number) = critically(|| {
            let mut state = self.state.lock();
            let number = state.next_number;
            state.next_number += 1;
            state.queue.push_back((number, job));
            let need = if let Some(idle) = state.idle.pop() {
                Need::Wake(idle)
            } else if state.threads < state.threads_max {
                state.threads += 1;
                Need::Thread
            } else {
                Need::Nothing
            };
            (need, number)
        });
        match need {
            Need::Nothing => true,
            Need::Wake(idle) => {
                settle(&idle);
                true
            }
            Need::Thread => self.make_thread(number),
        }
    }

    /// Makes a thread for the job of this number. `false`: there is none for it, and it will not be run.
    #[cold]
    fn make_thread(&'static self, number: u64) -> bool {
        // Critical: the code of std that makes a thread must not run into the runtime's hooks half-way.
        let made = critically(|| {
            let thread = std::thread::Builder::new().name(self.name.into());
            let thread = match self.stack_bytes {
                Some(bytes) => thread.stack_size(bytes),
                None => thread,
            };
            thread.spawn(move || self.serve()).is_ok()
        });
        if made {
            return true;
        }
        if self.has_thread_per_call {
            return !self.take_back(number);
        }
        self.serve_without_thread();
        true
    }

    /// Takes a job out of the queue, since no thread can be made. `false`: a thread has taken it.
    fn take_back(&self, number: u64) -> bool {
        let job = critically(|| {
            let mut state = self.state.lock();
            state.threads -= 1;
            let place = state.queue.iter().position(|(queued, _)| *queued == number)?;
            state.queue.remove(place)
        });
        // Dropped while the lock is free.
        job.is_some()
    }

    /// Runs the queue if a thread could not be made and there is no other: no other thread would run the queued jobs.
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
        orphans.into_iter().for_each(|(_, job)| job());
    }

    /// The main loop of a thread.
    fn serve(&self) {
        let mut idle: Option<Arc<WaitCell>> = None;
        loop {
            let mut state = self.state.lock();
            if let Some((_, job)) = state.queue.pop_front() {
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

    /// Waits for work or for the end of the idle time. Returns when the cell is settled.
    fn wait_for_work(&self, cell: &WaitCell) {
        let deadline_ns = clock::now_ns().saturating_add(self.idle_ns);
        while cell.outcome().is_none() {
            if clock::now_ns() >= deadline_ns {
                // If a waker was first, it has settled the cell already.
                let _ = cell.settle(Outcome::TimedOut);
            } else {
                park_thread_until(deadline_ns);
            }
        }
    }
}

impl OffloadState {
    /// Takes a thread off the idle list, unless a waker has done so.
    fn forget(&mut self, idle: &Arc<WaitCell>) {
        self.idle.retain(|other| !Arc::ptr_eq(other, idle));
    }
}

/// Whether the caller is a coroutine that may park. If not, the caller makes the call itself.
fn is_on_coroutine() -> bool {
    current_core().is_some() && !Critical::is_entered()
}

/// Parks until the cell is settled; not cancellable.
pub(crate) fn wait_for(cell: &WaitCell) {
    while cell.outcome().is_none() {
        park(WaitReason::Offload);
    }
}

/// Settles a cell that its `Arc` keeps alive, and unparks its waiter.
pub(crate) fn settle(cell: &WaitCell) {
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
