//! How does other code refer to a coroutine? The spawner keeps a [`JoinHandle`], which waits for the result. Any code
//! may hold a [`Coroutine`], which wakes or cancels it.

use crate::coroutine::{
    CoreRef, JoinError, Kind, Outcome, Pools, ResultOwner, WaitReason, current_core, lost, raise_if_cancelled,
};
use crate::wait::{self, deadline_after};
use std::marker::PhantomData;
use std::time::Duration;

/// A reference to a coroutine, by which any code may inspect, wake or cancel it: the counterpart of
/// [`std::thread::Thread`]. [`current`] and [`JoinHandle::coroutine`] return one. It does not keep the coroutine
/// running, and may outlive it. A clone refers to the same coroutine.
///
/// # Examples
/// ```
/// let handle = silken::Builder::new().name("sleeper".to_string()).spawn(silken::park).unwrap();
/// let sleeper: silken::Coroutine = handle.coroutine();
/// assert_eq!(sleeper.name(), Some("sleeper"));
/// sleeper.unpark();
/// handle.join().unwrap();
/// ```
#[derive(Clone)]
pub struct Coroutine(CoreRef);

/// The number of a coroutine: unique in the process for the life time of the process. Numbers do not begin at 1 and
/// leave gaps, since workers take them in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoroutineId(u64);

impl CoroutineId {
    /// Returns the number as an integer.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for CoroutineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Coroutine {
    pub(crate) fn new(core: CoreRef) -> Self {
        Self(core)
    }

    /// Returns the number of the coroutine.
    pub fn id(&self) -> CoroutineId {
        CoroutineId(self.0.id())
    }

    /// Returns the name that the coroutine was given at the spawn, if any.
    pub fn name(&self) -> Option<&str> {
        self.0.name().map(|name| &**name)
    }

    /// Whether the coroutine is isolated, that is, has thread-locals of its own. If not, it is light and shares its
    /// worker's.
    pub fn is_isolated(&self) -> bool {
        self.0.kind.get() == Kind::Isolated
    }

    /// Returns what the coroutine waits for at this moment: `WaitReason::None` if it runs, is ready to run, or has
    /// ended. The wait may be over before the caller looks at the answer, so use it for reports only. Does not block.
    ///
    /// # Examples
    /// ```
    /// use silken::WaitReason;
    /// let sleeper = silken::spawn(|| silken::sleep(std::time::Duration::from_secs(3600)));
    /// while sleeper.coroutine().wait_reason() != WaitReason::Sleep {
    ///     silken::yield_now();
    /// }
    /// sleeper.cancel();
    /// ```
    pub fn wait_reason(&self) -> WaitReason {
        self.0.reason()
    }

    /// Returns the address space of the stack, in bytes. An isolated coroutine's identity takes about 4.5 KB of it.
    pub fn stack_size(&self) -> usize {
        Pools::class_bytes(self.0.class.get())
    }

    /// Returns the place in the source where the coroutine was spawned, if it is known.
    pub fn location(&self) -> Option<&'static std::panic::Location<'static>> {
        self.0.site.get()
    }

    /// Returns the priority that the coroutine was given at the spawn, 0 by default; see
    /// [`Builder::priority`](crate::Builder::priority).
    pub fn priority(&self) -> i64 {
        self.0.priority.get().into()
    }

    /// Makes the coroutine's present or next [`park`](crate::park) return. As with [`std::thread::Thread::unpark`], a
    /// wake-up before the park is kept, and at most one is kept. May be called from anywhere; does not block.
    ///
    /// # Examples
    /// ```
    /// let sleeper = silken::spawn(silken::park);
    /// sleeper.coroutine().unpark(); // before or after the park: it returns
    /// sleeper.join().unwrap();
    /// ```
    pub fn unpark(&self) {
        // Release: pairs with the Acquire in `park`.
        self.0.token.store(true, crate::loom::static_atomic::Ordering::Release);
        self.0.unpark();
    }

    /// Asks the coroutine to end: its present or next cancellable wait unwinds it, which runs its destructors. See
    /// [`JoinHandle::cancel`]. Does not block, and does not wait for the end.
    #[doc(alias = "abort")]
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether the coroutine's cancellation was requested. It may still run, or have ended with a value all the same.
    pub fn is_cancelled(&self) -> bool {
        self.0.lifecycle.is_cancelled()
    }
}

impl std::fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coroutine")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The right to wait for the end of a coroutine and to take its result. A dropped handle detaches the coroutine: it
/// goes on, and its result is dropped at its end.
///
/// # Examples
/// ```
/// let handle = silken::spawn(|| 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
pub struct JoinHandle<T> {
    core: CoreRef,
    /// The result has been taken.
    taken: bool,
    _result: PhantomData<T>,
}

// SAFETY: S2: the handle gives a T away by value and lends none.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: S2: as above: through a shared handle nobody gets at the T.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

/// The error of [`JoinHandle::join_timeout`]: the time was up before the coroutine ended. It holds the handle, which
/// may be joined again.
pub struct JoinTimeout<T>(pub JoinHandle<T>);

impl<T> std::fmt::Debug for JoinTimeout<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinTimeout(..)")
    }
}

impl<T> std::fmt::Display for JoinTimeout<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the coroutine has not ended in time")
    }
}

impl<T> std::error::Error for JoinTimeout<T> {}

/// The error of [`JoinHandle::timeout_join`].
pub enum TimeoutJoinError<T> {
    /// The time was up before the coroutine ended. The handle may be joined again.
    TimedOut(JoinHandle<T>),
    /// The coroutine panicked, was cancelled, or ran out of stack.
    Failed(JoinError),
}

impl<T> std::fmt::Debug for TimeoutJoinError<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut(_) => f.write_str("TimedOut(..)"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<T> std::fmt::Display for TimeoutJoinError<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut(_) => f.write_str("the coroutine has not ended in time"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<T> std::error::Error for TimeoutJoinError<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    /// The core's body was stored with result type `T`, and this is the only handle that takes its result (S1).
    pub(crate) unsafe fn new(core: CoreRef) -> Self {
        Self {
            core,
            taken: false,
            _result: PhantomData,
        }
    }

    /// Waits for the coroutine to end, and returns its result. If the coroutine has ended already, it does not wait.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds the caller; the coroutine that it waited for goes on, detached. If the caller cannot be unwound, it
    /// waits until the coroutine has ended. That is so in a destructor that runs because the caller already unwinds,
    /// inside [`mask_cancel`](crate::mask_cancel), and in a function that C has called.
    ///
    /// If one request ends both the coroutine and the caller (the end of a scope or of a runtime, or a common
    /// deadline), the caller unwinds too, and does not see [`JoinError::Cancelled`].
    ///
    /// # Errors
    /// [`JoinError`] if the coroutine panicked, was cancelled, or ran out of stack.
    ///
    /// # Panics
    /// In the coroutine itself, which would wait for its own end, as [`std::thread::JoinHandle::join`] does.
    ///
    /// # Examples
    /// ```
    /// let handle = silken::spawn(|| -> u32 { panic!("no value") });
    /// let error = handle.join().unwrap_err();
    /// assert_eq!(error.message(), Some("no value"));
    /// ```
    pub fn join(mut self) -> Result<T, JoinError> {
        self.wait_until(None);
        self.take()
    }

    /// Does what [`join`](Self::join) does, but waits for at most `timeout`.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread, for at most `timeout`.
    ///
    /// # Cancellation
    /// That of [`join`](Self::join).
    ///
    /// # Errors
    /// [`JoinTimeout`], which holds the handle, if the time is up first. The inner error is that of
    /// [`join`](Self::join).
    ///
    /// # Examples
    /// ```
    /// use silken::JoinTimeout;
    /// use std::time::Duration;
    /// let handle = silken::spawn(silken::park);
    /// let JoinTimeout(handle) = handle.join_timeout(Duration::from_millis(1)).unwrap_err();
    /// handle.coroutine().unpark();
    /// assert!(handle.join_timeout(Duration::from_secs(60)).is_ok_and(|result| result.is_ok()));
    /// ```
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<T, JoinError>, JoinTimeout<T>> {
        if self.wait_until(Some(deadline_after(timeout))) {
            Ok(self.take())
        } else {
            Err(JoinTimeout(self))
        }
    }

    /// Whether the coroutine has ended: then a [`join`](Self::join) does not wait. Does not block.
    pub fn is_finished(&self) -> bool {
        self.core.lifecycle.is_done()
    }

    /// Asks the coroutine to end. What happens depends on where it is:
    ///
    /// - One that has not started drops its closure.
    /// - One that waits in a silken wait is unwound from there, and runs its destructors.
    /// - Hooked I/O that waits fails with `ECANCELED`.
    /// - A hooked lock or channel of std is waited for to its end, and the next cancellable wait unwinds.
    /// - One that never waits again is not stopped.
    ///
    /// Does not block, and does not wait for the end. A later [`join`](Self::join) returns [`JoinError::Cancelled`], or
    /// the value if the coroutine ended with one. A request cannot be taken back.
    ///
    /// # Examples
    /// ```
    /// let handle = silken::spawn(silken::park);
    /// handle.cancel();
    /// assert!(handle.join().unwrap_err().is_cancelled());
    /// ```
    #[doc(alias = "abort")]
    pub fn cancel(&self) {
        self.core.cancel();
    }

    /// Returns a reference to the coroutine, to wake or cancel it later.
    pub fn coroutine(&self) -> Coroutine {
        Coroutine(self.core.clone())
    }

    /// Does what [`join_timeout`](Self::join_timeout) does, with one error type for both failures: this suits `expect`
    /// and `?`. The name is open-coroutine's.
    ///
    /// # Blocking and cancellation
    /// Those of [`join_timeout`](Self::join_timeout).
    ///
    /// # Errors
    /// [`TimeoutJoinError::TimedOut`], which holds the handle, if the time is up first; [`TimeoutJoinError::Failed`]
    /// with the error of [`join`](Self::join).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let handle = silken::spawn(|| 7);
    /// assert_eq!(handle.timeout_join(Duration::from_secs(5)).expect("in time"), 7);
    /// ```
    pub fn timeout_join(self, timeout: Duration) -> Result<T, TimeoutJoinError<T>> {
        match self.join_timeout(timeout) {
            Ok(outcome) => outcome.map_err(TimeoutJoinError::Failed),
            Err(JoinTimeout(handle)) => Err(TimeoutJoinError::TimedOut(handle)),
        }
    }

    /// Waits for the coroutine to end, and leaves its result for a later [`join`](Self::join).
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds the caller, as [`join`](Self::join) does; the handle stays as it was.
    ///
    /// # Panics
    /// In the coroutine itself, which would wait for its own end.
    ///
    /// # Examples
    /// ```
    /// let handle = silken::spawn(|| 7);
    /// handle.wait();
    /// assert!(handle.is_finished());
    /// assert_eq!(handle.join().unwrap(), 7);
    /// ```
    pub fn wait(&self) {
        self.wait_until(None);
        self.raise_if_lost();
    }

    /// The coroutine has ended. If the request that has cancelled it is to end the caller too, this unwinds the caller.
    pub(crate) fn raise_if_lost(&self) {
        if self.core.lifecycle.is_cancelled() {
            lost(());
        }
    }

    /// Whether the coroutine has ended: may's name for [`is_finished`](Self::is_finished).
    pub fn is_done(&self) -> bool {
        self.is_finished()
    }

    pub(crate) fn core(&self) -> &CoreRef {
        &self.core
    }

    /// Waits for the end; `false` if the deadline came first.
    pub(crate) fn wait_until(&self, deadline_ns: Option<u64>) -> bool {
        // While the caller unwinds its cancellation does not interrupt its destructors' waits.
        self.wait_with(deadline_ns, !std::thread::panicking())
    }

    /// Does what [`wait_until`](Self::wait_until) does; the caller says whether its own interruption may unwind it from
    /// here.
    pub(crate) fn wait_with(&self, deadline_ns: Option<u64>, cancellable: bool) -> bool {
        let mut outcome = self.wait_for_end(deadline_ns, cancellable);
        if outcome == Outcome::Cancelled {
            raise_if_cancelled();
            // An interruption does not unwind everywhere. A caller that was told "not ended" here would take a result
            // that is not there, so the caller stays.
            outcome = self.wait_for_end(deadline_ns, false);
        }
        outcome != Outcome::TimedOut
    }

    /// Does one wait. Returns `Cancelled` only if `cancellable`, and `TimedOut` only at the caller's own deadline;
    /// otherwise the coroutine has ended.
    fn wait_for_end(&self, deadline_ns: Option<u64>, cancellable: bool) -> Outcome {
        if self.is_finished() {
            return Outcome::Woken;
        }
        if deadline_ns.is_none() && current_core().is_some_and(|core| core.id() == self.core.id()) {
            panic!("a coroutine cannot join itself: it would wait for its own end");
        }
        wait::wait_for_end(&self.core, deadline_ns, cancellable)
    }

    /// Takes the result of a coroutine that has ended. If the request that has cancelled the coroutine is to end the
    /// caller too, this unwinds the caller.
    pub(crate) fn take(&mut self) -> Result<T, JoinError> {
        let result = self.take_as_it_is();
        if let Err(JoinError::Cancelled) = &result {
            lost(());
        }
        result
    }

    fn take_as_it_is(&mut self) -> Result<T, JoinError> {
        // The check costs a load. Without it the caller could read a value that the coroutine is still writing.
        assert!(self.is_finished(), "a result is taken before the coroutine's end");
        self.taken = true;
        // SAFETY: S1: by the contract of `new`; the coroutine has ended.
        unsafe { self.core.body.take::<T>() }.expect("a result is taken once")
    }

    /// Joins a coroutine that has ended. Returns the reason in every case, also to a caller that the same request is to
    /// end.
    pub(crate) fn join_ended(mut self) -> Result<T, JoinError> {
        self.take_as_it_is()
    }

    /// Drops the handle; returns whether that dropped a panic that was not taken.
    pub(crate) fn discard(&mut self) -> bool {
        if std::mem::replace(&mut self.taken, true) {
            return false;
        }
        match self.core.lifecycle.detach() {
            ResultOwner::Caller => self.core.body.clear(),
            ResultOwner::Other => false,
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.discard();
    }
}

impl<T> std::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinHandle")
            .field("coroutine", &self.coroutine())
            .finish_non_exhaustive()
    }
}

/// Returns the calling coroutine, or `None` on an OS thread.
///
/// # Examples
/// ```
/// assert!(silken::try_current().is_none());
/// assert!(silken::spawn(|| silken::try_current().is_some()).join().unwrap());
/// ```
pub fn try_current() -> Option<Coroutine> {
    current_core().map(|core| Coroutine(CoreRef::retain(core)))
}

/// Returns the calling coroutine.
///
/// # Panics
/// On an OS thread, where there is none: see [`try_current`].
///
/// # Examples
/// ```
/// let handle = silken::spawn(|| silken::current().id());
/// let id = handle.coroutine().id();
/// assert_eq!(handle.join().unwrap(), id);
/// ```
#[track_caller]
pub fn current() -> Coroutine {
    try_current().expect("silken::current() was called outside a coroutine")
}

/// Whether the caller runs on a coroutine; `false` on an OS thread.
///
/// # Examples
/// ```
/// assert!(!silken::is_coroutine());
/// assert!(silken::spawn(silken::is_coroutine).join().unwrap());
/// ```
pub fn is_coroutine() -> bool {
    current_core().is_some()
}

#[cfg(all(test, not(loom)))]
mod tests;
