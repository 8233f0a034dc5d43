//! A pool: at most so many functions at once, each on a coroutine of its own.
//!
//! # Protocol
//! Coroutines are cheap, so the pool keeps none: it keeps a queue, and counts who runs. Each function that starts holds a [`Slot`], which its coroutine drops when it
//! ends, be it by a panic or a cancellation. Whoever adds to the queue or gives a slot back dispatches: it starts what is queued as long as slots are free.
//!
//! One dispatches at a time (`dispatching`); another who comes meanwhile leaves the work to it, which looks at the queue again before it stops. That bounds the
//! depth too: in a runtime that ends, a function that cannot be started drops its slot within the dispatch.
//!
//! # A function's stages
//! | stage | set by | the handle |
//! |---|---|---|
//! | `Queued` | submit | waits |
//! | `Started` | the dispatcher | takes the coroutine's handle, and waits for its end |
//! | `Unwanted` | the handle's `cancel` | is told `Cancelled`; the dispatcher drops the function |
//! | `Detached` | the handle's drop | is gone; the function runs all the same |
//! | `Dropped` | the entry's drop, if it was not started | is told `Cancelled` |
//!
//! A coroutine that runs out of stack is not unwound and keeps its slot: the pool is smaller by one from then on.

use crate::coroutine::{JoinError, WaitReason};
use crate::driver::monitor::{Look, Monitor, Wake};
use crate::driver::timers::deadline_after;
use crate::handle::JoinHandle;
use crate::runtime::ambient;
use crate::sched::{Scheduler, SpawnRequest};
use crate::spawn::spawn_on;
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

type Job = Box<dyn FnOnce(Slot) + Send>;

struct Queue {
    jobs: VecDeque<Job>,
    /// Places promised to those who are about to add a job.
    reserved: usize,
    running: usize,
    dispatching: bool,
    closed: bool,
}

struct Shared {
    scheduler: &'static Scheduler,
    concurrency: usize,
    waiting_max: usize,
    queue: Monitor<Queue>,
}

/// Runs functions on coroutines, at most so many at once. Clones are the same pool. Dropping it lets what was submitted run.
///
/// # Examples
/// ```
/// let pool = silken::Pool::new(4);
/// let squares: Vec<_> = (0..100).map(|i| pool.submit(move || i * i).unwrap()).collect();
/// let sum: i32 = squares.into_iter().map(|square| square.join().unwrap()).sum();
/// assert_eq!(sum, 328_350);
/// pool.shutdown();
/// ```
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// Why a pool did not take a function; it comes back.
pub enum SubmitError<F> {
    /// The pool was closed.
    Closed(F),
    /// As many functions wait as the pool lets wait.
    Full(F),
}

impl<F> SubmitError<F> {
    /// The function.
    pub fn into_inner(self) -> F {
        match self {
            Self::Closed(body) | Self::Full(body) => body,
        }
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "Closed(..)",
            Self::Full(_) => "Full(..)",
        })
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "the pool is closed",
            Self::Full(_) => "too many functions wait in the pool",
        })
    }
}

impl<F> std::error::Error for SubmitError<F> {}

/// The right to run one function; its drop makes room for the next.
struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.queue.with(|queue| queue.running -= 1);
        self.0.dispatch();
    }
}

impl Shared {
    /// Starts what is queued, as far as there are slots.
    fn dispatch(self: &Arc<Self>) {
        let mut continues = false;
        loop {
            let job = self.queue.update(|queue| {
                if queue.dispatching && !continues {
                    return (None, Wake::None);
                }
                let has_slot = queue.running < self.concurrency;
                let job = if has_slot { queue.jobs.pop_front() } else { None };
                queue.dispatching = job.is_some();
                queue.running += usize::from(job.is_some());
                // There is room in the queue, or all may be done.
                (job, Wake::All)
            });
            let Some(job) = job else { return };
            continues = true;
            job(Slot(self.clone()));
        }
    }

    fn reserve(&self, wait: bool) -> Result<(), SubmitError<()>> {
        self.queue.wait(WaitReason::Send, |queue, _| {
            if queue.closed {
                return Look::Done(Err(SubmitError::Closed(())));
            }
            let taken = queue.jobs.len() + queue.reserved + queue.running;
            if taken < self.concurrency.saturating_add(self.waiting_max) {
                queue.reserved += 1;
                return Look::Done(Ok(()));
            }
            if wait {
                Look::Wait(None)
            } else {
                Look::Done(Err(SubmitError::Full(())))
            }
        })
    }

    fn wait(&self, deadline_ns: Option<u64>) -> bool {
        self.queue.wait(WaitReason::Barrier, |queue, expired| {
            if queue.running == 0 && queue.jobs.is_empty() && queue.reserved == 0 {
                Look::Done(true)
            } else if expired {
                Look::Done(false)
            } else {
                Look::Wait(deadline_ns)
            }
        })
    }
}

impl Pool {
    /// A pool that runs up to `concurrency` functions at once, and lets any number wait. It runs them in the caller's runtime; on an OS thread, in the
    /// default one.
    ///
    /// # Panics
    /// When `concurrency` is 0, or the default runtime does not start.
    #[track_caller]
    pub fn new(concurrency: usize) -> Self {
        Self::bounded(concurrency, usize::MAX)
    }

    /// As [`new`](Self::new), and lets at most `waiting_max` functions wait: [`submit`](Self::submit) waits for room, [`try_submit`](Self::try_submit) refuses.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[track_caller]
    pub fn bounded(concurrency: usize, waiting_max: usize) -> Self {
        assert!(concurrency > 0, "a pool runs at least one function at once");
        let scheduler = ambient().unwrap_or_else(|error| panic!("the runtime does not start: {error}"));
        Self {
            shared: Arc::new(Shared {
                scheduler,
                concurrency,
                waiting_max,
                queue: Monitor::new(Queue {
                    jobs: VecDeque::new(),
                    reserved: 0,
                    running: 0,
                    dispatching: false,
                    closed: false,
                }),
            }),
        }
    }

    /// Runs `body` when its turn comes: first come, first served.
    ///
    /// # Blocking
    /// In a pool that is [bounded](Self::bounded) and full, parks the calling coroutine (wait reason `Send`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds when it has to wait; `body` is dropped.
    ///
    /// # Errors
    /// [`SubmitError::Closed`] gives `body` back.
    #[track_caller]
    pub fn submit<T, F>(&self, body: F) -> Result<PoolHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.add(body, true, Location::caller())
    }

    /// As [`submit`](Self::submit), but never waits.
    ///
    /// # Errors
    /// [`SubmitError`] gives `body` back.
    #[track_caller]
    pub fn try_submit<T, F>(&self, body: F) -> Result<PoolHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.add(body, false, Location::caller())
    }

    fn add<T, F>(&self, body: F, wait: bool, site: &'static Location<'static>) -> Result<PoolHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.shared.reserve(wait) {
            Ok(()) => {}
            Err(SubmitError::Closed(())) => return Err(SubmitError::Closed(body)),
            Err(SubmitError::Full(())) => return Err(SubmitError::Full(body)),
        }
        let stage = Arc::new(Monitor::new(Stage::Queued));
        let entry = Entry(stage.clone());
        let scheduler = self.shared.scheduler;
        let job: Job = Box::new(move |slot| entry.start(scheduler, site, slot, body));
        self.shared.queue.with(|queue| {
            queue.reserved -= 1;
            queue.jobs.push_back(job);
        });
        self.shared.dispatch();
        Ok(PoolHandle { stage })
    }

    /// Waits until nothing runs and nothing is queued.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread. Called by a function of the pool it waits for itself.
    ///
    /// # Cancellation
    /// Unwinds.
    pub fn wait(&self) {
        self.shared.wait(None);
    }

    /// As [`wait`](Self::wait), for at most `timeout`; says whether all is done.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.wait(Some(deadline_after(timeout)))
    }

    /// Takes no more functions; those that it has still run.
    pub fn close(&self) {
        self.shared.queue.update(|queue| {
            queue.closed = true;
            ((), Wake::All)
        });
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.shared.queue.with(|queue| queue.closed)
    }

    /// [Closes](Self::close) the pool and [waits](Self::wait) for what it has.
    pub fn shutdown(&self) {
        self.close();
        self.wait();
    }

    /// [Closes](Self::close) the pool, drops what is queued (its handles are told [`JoinError::Cancelled`]), and [waits](Self::wait) for what runs.
    pub fn shutdown_now(&self) {
        let dropped = self.shared.queue.update(|queue| {
            queue.closed = true;
            (std::mem::take(&mut queue.jobs), Wake::All)
        });
        drop(dropped);
        self.wait();
    }

    /// How many functions run.
    pub fn running(&self) -> usize {
        self.shared.queue.with(|queue| queue.running)
    }

    /// How many functions wait for their turn.
    pub fn waiting(&self) -> usize {
        self.shared.queue.with(|queue| queue.jobs.len())
    }

    /// How many run at once at most.
    pub fn concurrency(&self) -> usize {
        self.shared.concurrency
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("concurrency", &self.concurrency())
            .finish_non_exhaustive()
    }
}

/// See the head of the file.
enum Stage<T> {
    Queued,
    Started(JoinHandle<T>),
    Unwanted,
    Detached,
    Dropped,
}

/// A function's side of its stage.
struct Entry<T>(Arc<Monitor<Stage<T>>>);

impl<T: Send + 'static> Entry<T> {
    fn start<F>(self, scheduler: &'static Scheduler, site: &'static Location<'static>, slot: Slot, body: F)
    where
        F: FnOnce() -> T + Send + 'static,
    {
        if self.0.with(|stage| matches!(stage, Stage::Unwanted)) {
            return;
        }
        let run = move || {
            let _slot = slot;
            body()
        };
        // In a runtime that ends nothing can be started: the handle is told when the entry is dropped.
        let Ok(handle) = spawn_on(scheduler, SpawnRequest::at(site), run) else {
            return;
        };
        let unclaimed = self.0.update(|stage| match stage {
            Stage::Queued => {
                *stage = Stage::Started(handle);
                (None, Wake::All)
            }
            other => (Some((handle, matches!(other, Stage::Unwanted))), Wake::None),
        });
        if let Some((handle, true)) = unclaimed {
            handle.cancel();
        }
    }
}

impl<T> Drop for Entry<T> {
    fn drop(&mut self) {
        self.0.update(|stage| {
            if matches!(stage, Stage::Queued) {
                *stage = Stage::Dropped;
            }
            ((), Wake::All)
        });
    }
}

/// The right to wait for a function of a pool and to take its result. Dropping it lets the function run without.
pub struct PoolHandle<T> {
    stage: Arc<Monitor<Stage<T>>>,
}

impl<T> PoolHandle<T> {
    /// Waits for the function's end and takes its result. Blocking and cancellation as [`JoinHandle::join`].
    ///
    /// # Errors
    /// [`JoinError`] when the function panicked, was cancelled or dropped before it ended, or ran out of stack.
    pub fn join(self) -> Result<T, JoinError> {
        match self.take_started(None) {
            Some(Some(handle)) => handle.join(),
            _ => Err(JoinError::Cancelled),
        }
    }

    /// As [`join`](Self::join), for at most `timeout`.
    ///
    /// # Errors
    /// Gives the handle back when the time is up; the inner error is that of [`join`](Self::join).
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, Self> {
        let deadline_ns = deadline_after(timeout);
        match self.take_started(Some(deadline_ns)) {
            None => Err(self),
            Some(None) => Ok(Err(JoinError::Cancelled)),
            Some(Some(mut handle)) => {
                if handle.wait_until(Some(deadline_ns)) {
                    return Ok(handle.take());
                }
                self.stage.with(|stage| *stage = Stage::Started(handle));
                Err(self)
            }
        }
    }

    /// The coroutine's handle, once it has one; `Some(None)` if it never will, `None` at the deadline.
    fn take_started(&self, deadline_ns: Option<u64>) -> Option<Option<JoinHandle<T>>> {
        self.stage.wait(WaitReason::Join, |stage, expired| match stage {
            Stage::Queued if expired => Look::Done(None),
            Stage::Queued => Look::Wait(deadline_ns),
            Stage::Started(_) => match std::mem::replace(stage, Stage::Detached) {
                Stage::Started(handle) => Look::Done(Some(Some(handle))),
                _ => Look::Done(Some(None)),
            },
            Stage::Unwanted | Stage::Detached | Stage::Dropped => Look::Done(Some(None)),
        })
    }

    /// Whether the function has ended, or never will run: a [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.stage.with(|stage| match stage {
            Stage::Started(handle) => handle.is_finished(),
            Stage::Queued | Stage::Detached => false,
            Stage::Unwanted | Stage::Dropped => true,
        })
    }

    /// Asks the function to end: one that waits for its turn is dropped, one that runs is cancelled as by [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        let running = self.stage.update(|stage| match stage {
            Stage::Started(handle) => (Some(handle.coroutine()), Wake::None),
            Stage::Queued => {
                *stage = Stage::Unwanted;
                (None, Wake::All)
            }
            Stage::Unwanted | Stage::Detached | Stage::Dropped => (None, Wake::None),
        });
        if let Some(running) = running {
            running.cancel();
        }
    }
}

impl<T> Drop for PoolHandle<T> {
    fn drop(&mut self) {
        let _handle = self.stage.with(|stage| match stage {
            Stage::Queued | Stage::Started(_) => Some(std::mem::replace(stage, Stage::Detached)),
            Stage::Unwanted | Stage::Detached | Stage::Dropped => None,
        });
    }
}

impl<T> fmt::Debug for PoolHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHandle").finish_non_exhaustive()
    }
}
