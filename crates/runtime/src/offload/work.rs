//! How does blocking work of the user's run, and what becomes of it when its caller no longer waits?
//!
//! # A pool of its own
//! Work runs on the threads of a fourth pool, which is bounded. It may not use the pool of [`run`](super::run): 64
//! pieces of work that never end would keep names from being looked up. It may not use the pool of
//! [`wait`](super::wait), which has no bound: a program that submits a piece of work per request would make a thread
//! per request. Under a bound, work that waits for other work may wait for ever, if the other work is queued. So the
//! bound is high ([`THREADS_MAX_DEFAULT`]), documented, and the program's to choose.
//!
//! # Protocol
//! The caller queues a job that shares a [`Call`] with it, and waits. The call holds the closure until the job takes
//! it, and the result until the caller takes it. Its cell is settled once, as *woken* by the job that has stored the
//! result, or as *cancelled* by the caller that gives up:
//!
//! | the cell says | the closure, if the job has not taken it | the result |
//! |---|---|---|
//! | nothing | the job will take it | there is none |
//! | woken | – | is the caller's: it takes it, or drops it with its [`Work`] |
//! | cancelled | is the caller's, which drops it: the work never begins | is the job's, which drops it |
//!
//! # The race
//! The job stores the result *before* it settles the cell, and the caller looks for the closure *after* it has settled
//! the cell. Example: the caller gives up in the moment in which the job ends. If the job settles first, the caller's
//! attempt fails, and the caller drops the result that lies there. If the caller settles first, the job's attempt
//! fails, and the job drops the result. The closure is taken under a lock by one of the two. A job that finds none does
//! nothing. So nothing is dropped twice, and nothing stays.
//!
//! # Work that goes on
//! Nobody can end a call that blocks a thread. So the work of a caller that has given up goes on. It is *abandoned*
//! from then on. Without more, the process could end in the middle of it, silently. So each piece of work is listed
//! while it runs, and the end of its runtime waits for those that are abandoned, for at most its grace, and reports
//! where each was begun (`runtime/mod.rs`). Work whose caller waits is not reported, since its coroutine is. A job
//! lists its work *before* it takes the closure. So a caller that gives up and finds no closure has work that is
//! listed, and the end of the runtime, which comes after the end of the caller, sees it.
//!
//! # Rejected
//! *A caller that waits for its work to end also when it was cancelled*: then `timeout` does not limit it, and that is
//! what people use around calls that block. It is what [`spawn_blocking`](crate::spawn_blocking) is for.

#[cfg(all(test, loom))]
mod loom_tests;

use super::{IDLE_NS, ThreadPool, critically, is_on_coroutine};
use crate::coroutine::{Critical, Outcome, Payload, WaitCell, contained, discard, last_link};
use crate::sys::{Lock, StaticLock};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;

/// The most threads for work, unless the program says otherwise. Tokio's number; more threads that run at once help
/// nobody, and work that waits for other work seldom needs so many.
const THREADS_MAX_DEFAULT: usize = 512;

// The threads have std's stacks (2 MiB, or RUST_MIN_STACK): what runs there was written for threads.
static POOL: ThreadPool = ThreadPool::new("silken-blocking", None, THREADS_MAX_DEFAULT, IDLE_NS);

/// The work that runs at this moment.
static UNDER_WAY: StaticLock<Vec<Arc<dyn UnderWay>>> = StaticLock::new(Vec::new());

/// What the list of running work needs to know of each.
trait UnderWay: Send + Sync {
    fn origin(&self) -> Origin;

    /// Whether the caller has given up.
    fn is_abandoned(&self) -> bool;
}

/// Which code has begun the work.
#[derive(Clone, Copy)]
struct Origin {
    /// The number of the caller's runtime.
    runtime: usize,
    site: &'static Location<'static>,
}

/// What the caller and the job share.
struct Call<F, R> {
    done: WaitCell,
    closure: Lock<Option<F>>,
    result: Lock<Option<Result<R, Payload>>>,
    origin: Origin,
}

/// A piece of work, for the caller that waits for it. If it is dropped before the work has ended, the work is
/// abandoned.
pub(crate) struct Work<F: FnOnce() -> R, R>(Arc<Call<F, R>>);

/// Sets the most threads that run work at once: at least one. Threads beyond it end when they become idle.
pub(crate) fn set_threads_max(threads_max: usize) {
    critically(|| POOL.state.lock().threads_max = threads_max.max(1));
}

/// The places where the work was begun that still runs, for a caller on a coroutine of this runtime that has given up.
pub(crate) fn abandoned(runtime: usize) -> Vec<&'static Location<'static>> {
    let under_way = critically(|| UNDER_WAY.lock().clone());
    let is_of_runtime = |call: &&Arc<dyn UnderWay>| call.origin().runtime == runtime && call.is_abandoned();
    under_way
        .iter()
        .filter(is_of_runtime)
        .map(|call| call.origin().site)
        .collect()
}

impl<F, R> Work<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    /// Gives `closure` to a thread of the pool, and returns at once. On an OS thread, or in a critical section, gives
    /// it back: the caller may block there, and calls it itself.
    pub(crate) fn begin(closure: F, site: &'static Location<'static>) -> Result<Self, F> {
        if !is_on_coroutine() {
            return Err(closure);
        }
        let runtime = {
            let _critical = Critical::enter();
            last_link().map_or(0, |link| link.runtime)
        };
        let call = Arc::new(Call::new(closure, Origin { runtime, site }));
        let theirs = call.clone();
        // Work ends by itself: the pool never refuses it.
        POOL.submit(Box::new(move || theirs.run()));
        Ok(Self(call))
    }

    /// The result or the panic, of work that has ended.
    pub(crate) fn take(self) -> Result<R, Payload> {
        critically(|| self.0.result.lock().take()).expect("work that has ended has a result")
    }
}

impl<F: FnOnce() -> R, R> Work<F, R> {
    pub(crate) fn has_ended(&self) -> bool {
        self.0.done.outcome().is_some()
    }
}

impl<F: FnOnce() -> R, R> Drop for Work<F, R> {
    /// See the table in the head of the file. What the user's destructors do stays in here: the caller may unwind.
    fn drop(&mut self) {
        let dropped = if self.0.done.settle(Outcome::Cancelled) {
            let closure = critically(|| self.0.closure.lock().take());
            contained(|| drop(closure))
        } else {
            let result = critically(|| self.0.result.lock().take());
            contained(|| drop(result))
        };
        if let Err(payload) = dropped {
            discard(payload);
        }
    }
}

impl<F, R> Call<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    fn new(closure: F, origin: Origin) -> Self {
        Self {
            done: WaitCell::new(),
            closure: Lock::new(Some(closure)),
            result: Lock::new(None),
            origin,
        }
    }

    /// The job.
    fn run(self: Arc<Self>) {
        let listed: Arc<dyn UnderWay> = self.clone();
        critically(|| UNDER_WAY.lock().push(listed));
        let Some(closure) = critically(|| self.closure.lock().take()) else {
            self.unlist();
            return;
        };
        let result = catch_unwind(AssertUnwindSafe(closure));
        critically(|| *self.result.lock() = Some(result));
        let unparker = self.done.unparker();
        if self.done.settle(Outcome::Woken) {
            self.unlist();
            unparker.unpark();
            return;
        }
        let result = critically(|| self.result.lock().take());
        if let Err(payload) = contained(|| drop(result)) {
            discard(payload);
        }
        self.unlist();
    }

    fn unlist(self: &Arc<Self>) {
        let own = Arc::as_ptr(self).cast::<()>();
        let listed = critically(|| {
            let mut under_way = UNDER_WAY.lock();
            let place = under_way.iter().position(|call| Arc::as_ptr(call).cast::<()>() == own);
            place.map(|place| under_way.swap_remove(place))
        });
        drop(listed);
    }
}

impl<F, R> UnderWay for Call<F, R>
where
    F: Send,
    R: Send,
{
    fn origin(&self) -> Origin {
        self.origin
    }

    fn is_abandoned(&self) -> bool {
        self.done.outcome() == Some(Outcome::Cancelled)
    }
}
