//! What the spawner keeps of a coroutine: [`JoinHandle`], and [`Coroutine`], the name by which anyone may wake or
//! cancel it.

use crate::coroutine::{
    CoreRef, JoinError, Joiner, Kind, Outcome, Pools, ResultOwner, WaitReason, current_core, lost, raise_if_cancelled,
};
use crate::wait::{self, deadline_after};
use std::marker::PhantomData;
use std::time::Duration;

/// A coroutine, as others see it: [`std::thread::Thread`]'s counterpart.
#[derive(Clone)]
pub struct Coroutine(CoreRef);

/// A coroutine's number: unique in the process for its life time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoroutineId(u64);

impl CoroutineId {
    /// The number.
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

    /// Its number.
    pub fn id(&self) -> CoroutineId {
        CoroutineId(self.0.id())
    }

    /// The name it was given at the spawn.
    pub fn name(&self) -> Option<&str> {
        self.0.name().map(|name| &**name)
    }

    /// Whether it has thread-locals of its own; else it is a light one, which shares its worker's.
    pub fn is_isolated(&self) -> bool {
        self.0.kind.get() == Kind::Isolated
    }

    /// What it waits for at this moment; `WaitReason::None` if it runs, could run, or has ended. It may be over before
    /// the caller looks at it: for reports.
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

    /// Address space of its stack, in bytes. An isolated coroutine's identity block takes about 4.5 KB of it.
    pub fn stack_size(&self) -> usize {
        Pools::class_bytes(self.0.class.get())
    }

    /// Where it was spawned.
    pub fn location(&self) -> Option<&'static std::panic::Location<'static>> {
        self.0.site.get()
    }

    /// The priority it was given at the spawn, 0 by default; see [`Builder::priority`](crate::Builder::priority).
    pub fn priority(&self) -> i64 {
        self.0.priority.get().into()
    }

    /// Makes its next [`park`](crate::park) return, or the present one. As [`std::thread::Thread::unpark`]: wakes
    /// before the park are kept, one at most. From anywhere.
    pub fn unpark(&self) {
        // Release: pairs with the Acquire in `park`.
        self.0.token.store(true, crate::loom::static_atomic::Ordering::Release);
        self.0.unpark();
    }

    /// Asks it to end: its present or next cancellable wait unwinds it, running its destructors. See
    /// [`JoinHandle::cancel`].
    #[doc(alias = "abort")]
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether its cancellation was asked for.
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

/// The right to wait for a coroutine's end and to take its result. Dropping it detaches the coroutine.
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

/// The error of [`JoinHandle::join_timeout`]: the time was up first. Gives the handle back.
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

/// Why [`JoinHandle::timeout_join`] has no result.
pub enum TimeoutJoinError<T> {
    /// The time was up first. The handle may be joined again.
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

    /// Waits for the coroutine's end and takes its result.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds the caller; the coroutine that was waited for goes on, detached. Where the caller cannot be unwound (in
    /// a destructor that runs because it unwinds already, inside [`mask_cancel`](crate::mask_cancel), or in a function
    /// that C has called) it waits to the coroutine's end. A caller whom the request is to end that has ended the
    /// coroutine unwinds too, and does not see [`JoinError::Cancelled`].
    ///
    /// # Errors
    /// [`JoinError`] when the coroutine panicked, was cancelled, or ran out of stack.
    ///
    /// # Panics
    /// In the coroutine itself, which would wait for its own end; as [`std::thread::JoinHandle::join`].
    pub fn join(mut self) -> Result<T, JoinError> {
        self.wait_until(None);
        self.take()
    }

    /// As [`join`](Self::join), for at most `timeout`.
    ///
    /// # Errors
    /// [`JoinTimeout`] gives the handle back when the time is up; the inner error is that of [`join`](Self::join).
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<T, JoinError>, JoinTimeout<T>> {
        if self.wait_until(Some(deadline_after(timeout))) {
            Ok(self.take())
        } else {
            Err(JoinTimeout(self))
        }
    }

    /// Whether the coroutine has ended: a [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.core.lifecycle.is_done()
    }

    /// Asks the coroutine to end. One that has not started drops its closure; one that waits in a silken wait is
    /// unwound from there and runs its destructors; hooked I/O fails with `ECANCELED`; a hooked lock or channel of std
    /// is waited for to its end, and the next cancellable wait unwinds. A coroutine that never waits again is not
    /// stopped.
    #[doc(alias = "abort")]
    pub fn cancel(&self) {
        self.core.cancel();
    }

    /// The coroutine, to wake or cancel it later.
    pub fn coroutine(&self) -> Coroutine {
        Coroutine(self.core.clone())
    }

    /// As [`join_timeout`](Self::join_timeout), with one error for both: the form that suits `expect` and `?`.
    /// open-coroutine's name.
    ///
    /// # Errors
    /// [`TimeoutJoinError::TimedOut`] gives the handle back when the time is up; [`TimeoutJoinError::Failed`] has the
    /// error of [`join`](Self::join).
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

    /// Waits for the coroutine's end and leaves its result where it is. Blocking, cancellation and panics as
    /// [`join`](Self::join).
    pub fn wait(&self) {
        self.wait_until(None);
        self.raise_if_lost();
    }

    /// It has ended. Unwinds a caller that is to end by what has cancelled it.
    pub(crate) fn raise_if_lost(&self) {
        if self.core.lifecycle.is_cancelled() {
            lost(());
        }
    }

    /// may's name of [`is_finished`](Self::is_finished).
    pub fn is_done(&self) -> bool {
        self.is_finished()
    }

    pub(crate) fn core(&self) -> &CoreRef {
        &self.core
    }

    /// Waits for the end; `false` when the deadline came first.
    pub(crate) fn wait_until(&self, deadline_ns: Option<u64>) -> bool {
        // While the caller unwinds its cancellation does not interrupt its destructors' waits.
        self.wait_with(deadline_ns, !std::thread::panicking())
    }

    /// As [`wait_until`](Self::wait_until); the caller says whether its own interruption may unwind it from here.
    pub(crate) fn wait_with(&self, deadline_ns: Option<u64>, cancellable: bool) -> bool {
        let mut outcome = self.wait_for_end(deadline_ns, cancellable);
        if outcome == Outcome::Cancelled {
            raise_if_cancelled();
            // It does not unwind everywhere. Whoever is told "not ended" here would take a result that is not there, so
            // the caller stays.
            outcome = self.wait_for_end(deadline_ns, false);
        }
        outcome != Outcome::TimedOut
    }

    /// One wait. `Cancelled` only if `cancellable`; `TimedOut` only at the caller's own deadline; else the coroutine
    /// has ended.
    fn wait_for_end(&self, deadline_ns: Option<u64>, cancellable: bool) -> Outcome {
        if self.is_finished() {
            return Outcome::Woken;
        }
        if deadline_ns.is_none() && current_core().is_some_and(|core| core.id() == self.core.id()) {
            panic!("a coroutine cannot join itself: it would wait for its own end");
        }
        let joiner = Joiner::new();
        // SAFETY: S8: this frame stays until the cell is settled by the coroutine's end, or the node is delisted below.
        if !unsafe { self.core.enlist(&joiner) } {
            return Outcome::Woken;
        }
        let outcome = wait::wait(&joiner.cell, WaitReason::Join, deadline_ns, cancellable);
        if matches!(outcome, Outcome::TimedOut | Outcome::Cancelled) {
            self.core.delist(&joiner);
        }
        outcome
    }

    /// Takes the result of a coroutine that has ended. Unwinds a caller that is to end by what has cancelled it.
    pub(crate) fn take(&mut self) -> Result<T, JoinError> {
        let result = self.take_as_it_is();
        if let Err(JoinError::Cancelled) = &result {
            lost(());
        }
        result
    }

    fn take_as_it_is(&mut self) -> Result<T, JoinError> {
        // A load; the alternative to a panic is a value that somebody is about to write.
        assert!(self.is_finished(), "a result is taken before the coroutine's end");
        self.taken = true;
        // SAFETY: S1: by the contract of `new`; the coroutine has ended.
        unsafe { self.core.body.take::<T>() }.expect("a result is taken once")
    }

    /// Joins one that has ended; whatever it ended by, the caller is told.
    pub(crate) fn join_ended(mut self) -> Result<T, JoinError> {
        self.take_as_it_is()
    }

    /// Drops the handle; tells whether that dropped an untaken panic.
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

/// The coroutine that calls, or `None` on an OS thread.
pub fn try_current() -> Option<Coroutine> {
    current_core().map(|core| Coroutine(CoreRef::retain(core)))
}

/// The coroutine that calls.
///
/// # Panics
/// On an OS thread, which has none: see [`try_current`].
#[track_caller]
pub fn current() -> Coroutine {
    try_current().expect("silken::current() was called outside a coroutine")
}

/// Whether the caller is a coroutine.
pub fn is_coroutine() -> bool {
    current_core().is_some()
}

#[cfg(all(test, not(loom)))]
mod tests;
