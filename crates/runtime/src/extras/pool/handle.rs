//! How does a function of a pool get from the queue to its result, and who is told?
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

use super::PoolSlot;
use crate::api::handle::JoinHandle;
use crate::api::spawn::spawn_on;
use crate::coroutine::{JoinError, PanicPayload, Payload, WaitReason, contained, discard, lost, on_lost};
use crate::sched::{Scheduler, SpawnRequest};
use crate::wait::deadline_after;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// A function of any type, as the pool sees it.
pub(super) trait Job: Send + Sync {
    /// Starts the function, unless it was given up. Runs no user code that could unwind.
    fn start(self: Arc<Self>, scheduler: &'static Scheduler, slot: PoolSlot);

    /// Drops the function uncalled, if it has not started.
    fn give_up(&self);
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
pub(super) struct Task<T> {
    site: &'static Location<'static>,
    state: Monitor<PoolState<T>>,
}

impl<T> Task<T> {
    /// A function that waits for its turn.
    pub(super) fn new(site: &'static Location<'static>, body: impl FnOnce() -> T + Send + 'static) -> Self {
        Self {
            site,
            state: Monitor::new(PoolState {
                body: Some(Box::new(body)),
                stage: TaskStage::Queued,
                is_cancelled: false,
            }),
        }
    }
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
///
/// # Examples
/// ```
/// let pool = silken::Pool::new(4);
/// let handle = pool.submit(|| 6 * 7).unwrap();
/// assert_eq!(handle.join().unwrap(), 42);
/// drop(pool.submit(|| println!("runs all the same")));
/// pool.wait();
/// ```
pub struct PoolHandle<T> {
    task: Arc<Task<T>>,
}

impl<T> PoolHandle<T> {
    pub(super) fn new(task: Arc<Task<T>>) -> Self {
        Self { task }
    }

    /// Waits for the function to end, and returns its result. If the function has ended already, it does not wait.
    ///
    /// # Blocking and cancellation
    /// Those of [`JoinHandle::join`]. A function that joins one which is queued behind it in the same pool may wait for
    /// ever.
    ///
    /// # Errors
    /// [`JoinError`] if the function panicked, was cancelled or dropped before it ended, or ran out of stack. If the
    /// function was dropped without having run, and a destructor in it panicked, the error is that panic.
    ///
    /// # Examples
    /// ```
    /// let pool = silken::Pool::new(1);
    /// let fails = pool.submit(|| -> u32 { panic!("no value") }).unwrap();
    /// assert_eq!(fails.join().unwrap_err().message(), Some("no value"));
    /// ```
    pub fn join(self) -> Result<T, JoinError> {
        match self.take_started(None) {
            Some(Ok(handle)) => handle.join(),
            Some(Err(JoinError::Cancelled)) | None => Err(lost(JoinError::Cancelled)),
            Some(Err(error)) => Err(error),
        }
    }

    /// Does what [`join`](Self::join) does, but waits for at most `timeout`.
    ///
    /// # Blocking and cancellation
    /// Those of [`JoinHandle::join_timeout`].
    ///
    /// # Errors
    /// The handle, if the time is up first; it may be joined again. The inner error is that of [`join`](Self::join).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let pool = silken::Pool::new(1);
    /// let sleeper = pool.submit(silken::park).unwrap();
    /// let sleeper = sleeper.join_timeout(Duration::from_millis(1)).unwrap_err();
    /// sleeper.cancel();
    /// let ended = sleeper.join_timeout(Duration::from_secs(60)).unwrap();
    /// assert!(ended.unwrap_err().is_cancelled());
    /// ```
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

    /// Whether the function has ended, or will never run: then a [`join`](Self::join) does not wait. Does not block.
    pub fn is_finished(&self) -> bool {
        self.task.state.with(|state| match &state.stage {
            TaskStage::Started(handle) => handle.is_finished(),
            TaskStage::Queued | TaskStage::Dropping | TaskStage::Detached => false,
            TaskStage::Dropped(_) => true,
        })
    }

    /// Asks the function to end. One that waits for its turn is dropped at once, on the caller's stack. One that runs
    /// is cancelled as by [`JoinHandle::cancel`]. One that has ended keeps its result. Does not wait for the end.
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
