//! How does a pool run many functions, at most so many at once, each on a coroutine of its own?
//!
//! # Protocol
//! Coroutines are cheap, so the pool keeps none: it keeps a queue, and counts the running functions. Each function that
//! starts holds a [`PoolSlot`]. Its coroutine drops the slot when it ends, also by a panic or a cancellation. Code that
//! adds to the queue or gives a slot back dispatches: it starts queued functions as long as slots are free.
//!
//! One caller dispatches at a time (`dispatching`). A caller that comes meanwhile leaves the work to the dispatcher,
//! which looks at the queue again before it stops. That bounds the depth of the stack too: in a runtime that ends, a
//! function that cannot be started drops its slot within the dispatch.
//!
//! # A function's stages
//! | stage | set by | the handle |
//! |---|---|---|
//! | `Queued` | submit | waits |
//! | `Started` | the dispatcher | takes the coroutine's handle, and waits for its end |
//! | `Dropping` | the caller that takes the function out unrun: `cancel`, `shutdown_now` | waits |
//! | `Dropped` | the same caller, afterwards; the dispatcher, if the runtime refuses | is told `Cancelled`, or the panic of a destructor |
//! | `Detached` | the handle's drop | is gone; the function runs all the same |
//!
//! # Destructors
//! The dispatcher is any code that happens to come by, and acts for others: a submitter, or a function that has just
//! ended. What others submitted must not unwind there, or no function would be started any more. So the code that gives
//! a function up (`cancel`, `shutdown_now`) takes it out of its [`Task`] and drops it; the dispatcher then finds the
//! task empty. Destructors of functions run caught and masked. A panic in one is the outcome of that very function: its
//! handle is told `Panicked`, and no other code is.
//!
//! A coroutine that runs out of stack is not unwound; [`on_lost`] gives its slot back.

use crate::api::handle::JoinHandle;
use crate::api::spawn::spawn_on;
use crate::coroutine::{JoinError, PanicPayload, Payload, WaitReason, contained, discard, lost, on_lost};
use crate::runtime::default::current_or_default;
use crate::sched::{Scheduler, SpawnRequest};
use crate::wait::deadline_after;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// A function of any type, as the pool sees it.
trait Job: Send + Sync {
    /// Starts the function, unless it was given up. Runs no user code that could unwind.
    fn start(self: Arc<Self>, scheduler: &'static Scheduler, slot: PoolSlot);

    /// Drops the function uncalled, if it has not started.
    fn give_up(&self);
}

struct TaskQueue {
    jobs: VecDeque<Arc<dyn Job>>,
    /// Places that are promised to callers which are about to add a job.
    reserved: usize,
    running: usize,
    dispatching: bool,
    closed: bool,
}

struct PoolShared {
    scheduler: &'static Scheduler,
    concurrency: usize,
    waiting_max: usize,
    queue: Monitor<TaskQueue>,
}

/// Runs functions on coroutines, at most a given number at once. A clone is the same pool. Dropping the pool does not
/// stop it: the submitted functions still run.
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
    shared: Arc<PoolShared>,
}

/// The reason why a pool did not take a function; it holds the function.
pub enum SubmitError<F> {
    /// The pool was closed.
    Closed(F),
    /// The number of waiting functions is at its limit.
    Full(F),
}

impl<F> SubmitError<F> {
    /// Returns the function.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::new(1);
    /// pool.close();
    /// assert_eq!(pool.submit(|| 7).unwrap_err().into_inner()(), 7);
    /// ```
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
struct PoolSlot(Arc<PoolShared>);

impl Drop for PoolSlot {
    fn drop(&mut self) {
        self.0.queue.with(|queue| queue.running -= 1);
        self.0.dispatch();
    }
}

impl PoolShared {
    /// Starts queued functions, as long as there are free slots.
    fn dispatch(self: &Arc<Self>) {
        let mut continues = false;
        loop {
            let job = self.queue.update(|queue| {
                if queue.dispatching && !continues {
                    return (None, MonitorWake::None);
                }
                let has_slot = queue.running < self.concurrency;
                let job = if has_slot { queue.jobs.pop_front() } else { None };
                queue.dispatching = job.is_some();
                queue.running += usize::from(job.is_some());
                // Now there is room in the queue, or all may be done.
                (job, MonitorWake::All)
            });
            let Some(job) = job else { return };
            continues = true;
            job.start(self.scheduler, PoolSlot(self.clone()));
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
        let all_done = self.queue.wait(WaitReason::Barrier, |queue, expired| {
            if queue.running == 0 && queue.jobs.is_empty() && queue.reserved == 0 {
                Look::Done(true)
            } else if expired {
                Look::Done(false)
            } else {
                Look::Wait(deadline_ns)
            }
        });
        // The rest may have been cancelled together with the caller.
        lost(all_done)
    }
}

impl Pool {
    /// Makes a pool that runs up to `concurrency` functions at once, and lets any number wait. They run in the caller's
    /// runtime; on an OS thread, in the default one.
    ///
    /// # Panics
    /// If `concurrency` is 0, or if the default runtime does not start.
    #[track_caller]
    pub fn new(concurrency: usize) -> Self {
        Self::bounded(concurrency, usize::MAX)
    }

    /// Makes a pool as [`new`](Self::new) does, in which at most `waiting_max` functions wait. If the pool is full,
    /// [`submit`](Self::submit) waits and [`try_submit`](Self::try_submit) fails.
    ///
    /// # Panics
    /// If `concurrency` is 0, or if the default runtime does not start.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::bounded(2, 10); // at most 12 functions at a time
    /// let handle = pool.submit(|| 6 * 7).unwrap();
    /// assert_eq!(handle.join().unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn bounded(concurrency: usize, waiting_max: usize) -> Self {
        assert!(concurrency > 0, "a pool runs at least one function at once");
        let scheduler = current_or_default().unwrap_or_else(|error| panic!("the runtime does not start: {error}"));
        Self {
            shared: Arc::new(PoolShared {
                scheduler,
                concurrency,
                waiting_max,
                queue: Monitor::new(TaskQueue {
                    jobs: VecDeque::new(),
                    reserved: 0,
                    running: 0,
                    dispatching: false,
                    closed: false,
                }),
            }),
        }
    }

    /// Queues `body`, which runs when its turn comes: first come, first served.
    ///
    /// # Blocking
    /// In a [bounded](Self::bounded) pool that is full, parks the calling coroutine (wait reason `Send`), or blocks the
    /// calling OS thread. Otherwise does not block.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; `body` is dropped.
    ///
    /// # Errors
    /// [`SubmitError::Closed`], which holds `body`.
    #[track_caller]
    pub fn submit<T, F>(&self, body: F) -> Result<PoolHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.add(body, true, Location::caller())
    }

    /// Does what [`submit`](Self::submit) does, but never waits.
    ///
    /// # Errors
    /// [`SubmitError`], which holds `body`: the pool is closed or full.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::bounded(1, 0);
    /// let first = pool.submit(silken::park).unwrap();
    /// assert!(pool.try_submit(|| 7).is_err()); // full
    /// first.cancel();
    /// pool.shutdown();
    /// ```
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
        let state = PoolState {
            body: Some(Box::new(body) as Body<T>),
            stage: TaskStage::Queued,
            is_cancelled: false,
        };
        let task = Arc::new(Task {
            site,
            state: Monitor::new(state),
        });
        let job = task.clone();
        self.shared.queue.with(|queue| {
            queue.reserved -= 1;
            queue.jobs.push_back(job);
        });
        self.shared.dispatch();
        Ok(PoolHandle { task })
    }

    /// Waits until no function runs and none is queued.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread. A function of the pool
    /// must not call it: it would wait for itself for ever.
    ///
    /// # Cancellation
    /// Unwinds.
    pub fn wait(&self) {
        self.shared.wait(None);
    }

    /// Does what [`wait`](Self::wait) does, but for at most `timeout`; returns whether all functions are done.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.wait(Some(deadline_after(timeout)))
    }

    /// Closes the pool: it takes no more functions, and those that it has still run. Submitters that wait fail. Does
    /// not block.
    pub fn close(&self) {
        self.shared.queue.update(|queue| {
            queue.closed = true;
            ((), MonitorWake::All)
        });
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.shared.queue.with(|queue| queue.closed)
    }

    /// [Closes](Self::close) the pool and [waits](Self::wait) for its functions. Blocking and cancellation are those of
    /// [`wait`](Self::wait).
    pub fn shutdown(&self) {
        self.close();
        self.wait();
    }

    /// [Closes](Self::close) the pool, drops the queued functions, and [waits](Self::wait) for the running ones. A
    /// handle of a dropped function gets [`JoinError::Cancelled`], or the panic of the function's own destructor.
    /// Blocking and cancellation are those of [`wait`](Self::wait).
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::new(1);
    /// let running = pool.submit(silken::yield_now).unwrap();
    /// pool.shutdown_now();
    /// running.join().unwrap();
    /// assert!(pool.submit(|| ()).is_err());
    /// ```
    pub fn shutdown_now(&self) {
        let dropped = self.shared.queue.update(|queue| {
            queue.closed = true;
            (std::mem::take(&mut queue.jobs), MonitorWake::All)
        });
        dropped.iter().for_each(|job| job.give_up());
        self.wait();
    }

    /// Number of functions that run.
    pub fn running(&self) -> usize {
        self.shared.queue.with(|queue| queue.running)
    }

    /// Number of functions that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.shared.queue.with(|queue| queue.jobs.len())
    }

    /// Number of functions that run at once at most.
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

type Body<T> = Box<dyn FnOnce() -> T + Send>;
/// See the head of the file.
enum TaskStage<T> {
    Queued,
    Started(JoinHandle<T>),
    Dropping,
    Dropped(Option<Payload>),
    Detached,
}

struct PoolState<T> {
    /// The function, until it is started or given up.
    body: Option<Body<T>>,
    stage: TaskStage<T>,
    /// It was cancelled while it was being started.
    is_cancelled: bool,
}

/// A function: the part that the queue and the handle share.
struct Task<T> {
    site: &'static Location<'static>,
    state: Monitor<PoolState<T>>,
}

impl<T: Send + 'static> Job for Task<T> {
    fn start(self: Arc<Self>, scheduler: &'static Scheduler, slot: PoolSlot) {
        let Some(body) = self.state.with(|state| state.body.take()) else {
            return;
        };
        let run = move || {
            let pool = slot.0.clone();
            on_lost(move || drop(PoolSlot(pool)));
            let _slot = slot;
            body()
        };
        // In a runtime that ends no coroutine can be made, and the function is dropped.
        match contained(|| spawn_on(scheduler, SpawnRequest::at(self.site), run)) {
            Ok(Ok(handle)) => self.started(handle),
            Ok(Err(_)) => self.dropped(None),
            Err(payload) => self.dropped(Some(payload)),
        }
    }

    fn give_up(&self) {
        let body = self.state.with(|state| {
            let body = state.body.take();
            if body.is_some() && matches!(state.stage, TaskStage::Queued) {
                state.stage = TaskStage::Dropping;
            }
            body
        });
        if let Some(body) = body {
            self.dropped(contained(|| drop(body)).err());
        }
    }
}

impl<T> Task<T> {
    fn started(&self, handle: JoinHandle<T>) {
        let unwanted = self.state.update(|state| {
            let unwanted = state.is_cancelled.then(|| handle.coroutine());
            if matches!(state.stage, TaskStage::Queued) {
                state.stage = TaskStage::Started(handle);
                ((unwanted, None), MonitorWake::All)
            } else {
                ((unwanted, Some(handle)), MonitorWake::None)
            }
        });
        let (unwanted, unclaimed) = unwanted;
        if let Some(coroutine) = unwanted {
            coroutine.cancel();
        }
        // It may have ended by now; then its result is dropped here.
        if let Some(handle) = unclaimed
            && let Err(payload) = contained(|| drop(handle))
        {
            discard(payload);
        }
    }

    /// The function is gone, uncalled; its destructor may have panicked.
    fn dropped(&self, panic: Option<Payload>) {
        let unclaimed = self.state.update(|state| {
            if matches!(state.stage, TaskStage::Detached) {
                return (panic, MonitorWake::None);
            }
            state.stage = TaskStage::Dropped(panic);
            (None, MonitorWake::All)
        });
        if let Some(payload) = unclaimed {
            discard(payload);
        }
    }
}

/// The right to wait for a function of a pool and to take its result. A dropped handle detaches the function, which
/// still runs.
pub struct PoolHandle<T> {
    task: Arc<Task<T>>,
}

impl<T> PoolHandle<T> {
    /// Waits for the function to end, and returns its result. Blocking and cancellation are those of
    /// [`JoinHandle::join`].
    ///
    /// # Errors
    /// [`JoinError`] if the function panicked, was cancelled or dropped before it ended, or ran out of stack. If the
    /// function was dropped without having run, and a destructor in it panicked, the error is that panic.
    pub fn join(self) -> Result<T, JoinError> {
        match self.take_started(None) {
            Some(Ok(handle)) => handle.join(),
            Some(Err(JoinError::Cancelled)) | None => Err(lost(JoinError::Cancelled)),
            Some(Err(error)) => Err(error),
        }
    }

    /// Does what [`join`](Self::join) does, but waits for at most `timeout`.
    ///
    /// # Errors
    /// The handle, if the time is up first. The inner error is that of [`join`](Self::join).
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, Self> {
        let deadline_ns = deadline_after(timeout);
        match self.take_started(Some(deadline_ns)) {
            None => Err(self),
            Some(Err(JoinError::Cancelled)) => Ok(Err(lost(JoinError::Cancelled))),
            Some(Err(error)) => Ok(Err(error)),
            Some(Ok(mut handle)) => {
                if handle.wait_until(Some(deadline_ns)) {
                    return Ok(handle.take());
                }
                self.task.state.with(|state| state.stage = TaskStage::Started(handle));
                Err(self)
            }
        }
    }

    /// The coroutine's handle once there is one, or the reason why there never will be; `None` at the deadline.
    fn take_started(&self, deadline_ns: Option<u64>) -> Option<Result<JoinHandle<T>, JoinError>> {
        self.task
            .state
            .wait(WaitReason::Join, |state, expired| match state.stage {
                TaskStage::Queued | TaskStage::Dropping if expired => Look::Done(None),
                TaskStage::Queued | TaskStage::Dropping => Look::Wait(deadline_ns),
                TaskStage::Started(_) | TaskStage::Dropped(_) | TaskStage::Detached => {
                    Look::Done(Some(match std::mem::replace(&mut state.stage, TaskStage::Detached) {
                        TaskStage::Started(handle) => Ok(handle),
                        TaskStage::Dropped(Some(payload)) => Err(JoinError::Panicked(PanicPayload::new(payload))),
                        _ => Err(JoinError::Cancelled),
                    }))
                }
            })
    }

    /// Whether the function has ended, or will never run: then a [`join`](Self::join) does not wait.
    pub fn is_finished(&self) -> bool {
        self.task.state.with(|state| match &state.stage {
            TaskStage::Started(handle) => handle.is_finished(),
            TaskStage::Queued | TaskStage::Dropping | TaskStage::Detached => false,
            TaskStage::Dropped(_) => true,
        })
    }

    /// Asks the function to end. One that waits for its turn is dropped at once, on the caller's stack. One that runs
    /// is cancelled as by [`JoinHandle::cancel`].
    ///
    /// If a destructor of the dropped function panics, that panic is the function's [outcome](Self::join), and does not
    /// come out of this call. No wait in such a destructor is cut short.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::new(1);
    /// let sleeper = pool.submit(silken::park).unwrap();
    /// sleeper.cancel();
    /// assert!(sleeper.join().unwrap_err().is_cancelled());
    /// ```
    pub fn cancel(&self) {
        let (running, body) = self.task.state.with(|state| match &state.stage {
            TaskStage::Started(handle) => (Some(handle.coroutine()), None),
            TaskStage::Queued => {
                let body = state.body.take();
                if body.is_some() {
                    state.stage = TaskStage::Dropping;
                }
                state.is_cancelled = true;
                (None, body)
            }
            TaskStage::Dropping | TaskStage::Dropped(_) | TaskStage::Detached => (None, None),
        });
        if let Some(coroutine) = running {
            coroutine.cancel();
        }
        if let Some(body) = body {
            self.task.dropped(contained(|| drop(body)).err());
        }
    }
}

impl<T> Drop for PoolHandle<T> {
    fn drop(&mut self) {
        // A handle or a payload: its destructor runs outside the lock.
        let _stage = self
            .task
            .state
            .with(|state| std::mem::replace(&mut state.stage, TaskStage::Detached));
    }
}

impl<T> fmt::Debug for PoolHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHandle").finish_non_exhaustive()
    }
}
