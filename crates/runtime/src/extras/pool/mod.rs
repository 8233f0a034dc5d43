//! How does a pool run many functions, at most so many at once, each on a coroutine of its own?
//!
//! | file | answers |
//! |---|---|
//! | `mod.rs` | who is taken in, and who starts when |
//! | `handle.rs` | a function's way from the queue to its result, and the handle that waits for it |
//!
//! # Protocol
//! Coroutines are cheap, so the pool keeps none: it keeps a queue, and counts the running functions. Each function that
//! starts holds a [`PoolSlot`]. Its coroutine drops the slot when it ends, also by a panic or a cancellation. Code that
//! adds to the queue or gives a slot back dispatches: it starts queued functions as long as slots are free.
//!
//! One caller dispatches at a time (`dispatching`). A caller that comes meanwhile leaves the work to the dispatcher,
//! which looks at the queue again before it stops. That bounds the depth of the stack too: in a runtime that ends, a
//! function that cannot be started drops its slot within the dispatch.

mod handle;

pub use handle::PoolHandle;

use crate::coroutine::{WaitReason, lost};
use crate::runtime::default::current_or_default;
use crate::sched::Scheduler;
use crate::wait::deadline_after;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use handle::{Job, Task};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

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
///
/// # Examples
/// ```
/// let pool = silken::Pool::bounded(1, 0);
/// let runs = pool.submit(silken::park).unwrap();
/// assert!(matches!(pool.try_submit(|| ()), Err(silken::SubmitError::Full(_))));
/// pool.close();
/// assert_eq!(pool.submit(|| ()).err().unwrap().to_string(), "the pool is closed");
/// runs.cancel();
/// ```
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
    /// runtime; on an OS thread, in that of the running `#[silken::main]`, otherwise in the default one.
    ///
    /// # Panics
    /// If `concurrency` is 0, or if the default runtime does not start.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::new(2);
    /// let handles: Vec<_> = (0..10).map(|_| pool.submit(silken::park).unwrap()).collect();
    /// assert_eq!((pool.running(), pool.waiting()), (2, 8));
    /// handles.iter().for_each(silken::PoolHandle::cancel);
    /// ```
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

    /// Queues `body`, which runs when its turn comes: first come, first served. A panic in `body` is the outcome of its
    /// [handle](PoolHandle::join); the pool goes on.
    ///
    /// # Blocking
    /// In a [bounded](Self::bounded) pool that is full, parks the calling coroutine (wait reason `Send`), or blocks the
    /// calling OS thread. Otherwise does not block. If all functions of a full pool submit to the pool, they wait for
    /// each other for ever.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; `body` is dropped.
    ///
    /// # Errors
    /// [`SubmitError::Closed`], which holds `body`: the pool is closed, or was closed while the call waited.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::new(1);
    /// let fails = pool.submit(|| -> u32 { panic!("on purpose") }).unwrap();
    /// let works = pool.submit(|| 7).unwrap();
    /// assert!(fails.join().unwrap_err().is_panic());
    /// assert_eq!(works.join().unwrap(), 7);
    /// ```
    #[track_caller]
    pub fn submit<T, F>(&self, body: F) -> Result<PoolHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.add(body, true, Location::caller())
    }

    /// Does what [`submit`](Self::submit) does, but never waits. Does not block.
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
        let task = Arc::new(Task::new(site, body));
        let job = task.clone();
        self.shared.queue.with(|queue| {
            queue.reserved -= 1;
            queue.jobs.push_back(job);
        });
        self.shared.dispatch();
        Ok(PoolHandle::new(task))
    }

    /// Waits until no function runs and none is queued. Functions that are submitted meanwhile are waited for too. If
    /// there is nothing to do, it does not wait.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread. A function of the pool
    /// must not call it: it would wait for itself for ever.
    ///
    /// # Cancellation
    /// Unwinds; the functions go on.
    ///
    /// # Examples
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// static DONE: AtomicU32 = AtomicU32::new(0);
    /// let pool = silken::Pool::new(2);
    /// for _ in 0..10 {
    ///     pool.submit(|| DONE.fetch_add(1, Ordering::Relaxed)).unwrap();
    /// }
    /// pool.wait();
    /// assert_eq!(DONE.load(Ordering::Relaxed), 10);
    /// ```
    pub fn wait(&self) {
        self.shared.wait(None);
    }

    /// Does what [`wait`](Self::wait) does, but for at most `timeout`; returns whether all functions are done.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Barrier`), or blocks the calling OS thread, for at most `timeout`.
    ///
    /// # Cancellation
    /// That of [`wait`](Self::wait).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let pool = silken::Pool::new(1);
    /// let sleeper = pool.submit(silken::park).unwrap();
    /// assert!(!pool.wait_timeout(Duration::from_millis(1)));
    /// sleeper.cancel();
    /// assert!(pool.wait_timeout(Duration::from_secs(60)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.wait(Some(deadline_after(timeout)))
    }

    /// Closes the pool: it takes no more functions, and those that it has still run. Submitters that wait fail. A pool
    /// that is closed stays closed. Does not block.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::new(1);
    /// let taken = pool.submit(|| 7).unwrap();
    /// pool.close();
    /// assert!(pool.is_closed() && pool.submit(|| 8).is_err());
    /// assert_eq!(taken.join().unwrap(), 7);
    /// ```
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

    /// [Closes](Self::close) the pool and [waits](Self::wait) for its functions, also for those that are queued.
    ///
    /// # Blocking and cancellation
    /// Those of [`wait`](Self::wait). The pool is closed even if the caller is cancelled.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::new(1);
    /// let handles: Vec<_> = (0..3).map(|n| pool.submit(move || n).unwrap()).collect();
    /// pool.shutdown();
    /// assert_eq!((pool.running(), pool.waiting()), (0, 0));
    /// assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<i32>(), 3);
    /// ```
    pub fn shutdown(&self) {
        self.close();
        self.wait();
    }

    /// [Closes](Self::close) the pool, drops the queued functions, and [waits](Self::wait) for the running ones. A
    /// handle of a dropped function gets [`JoinError::Cancelled`](crate::JoinError::Cancelled), or the panic of the
    /// function's own destructor. The running functions are not cancelled.
    ///
    /// # Blocking and cancellation
    /// Those of [`wait`](Self::wait). The destructors of the dropped functions run on the caller's stack, before the
    /// wait.
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

    /// Number of functions that run: they have been started, and have not ended.
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
