//! How a condition variable loses no notification between the unlock and the wait: `Condvar`, a queue beside a mutex.
//!
//! # Protocol
//! A waiter joins the queue while it holds the mutex, and unlocks the mutex afterwards. A notifier changes the
//! condition under the mutex and then notifies. So either it changed the condition before the waiter looked, or it
//! finds the waiter in the queue: no notification can be lost. `waiting` counts the waiters that are in the queue or
//! about to join it, so that a notification without waiters costs one load. Relaxed is enough for it: the count grows
//! before the waiter's unlock, and the notifier's lock of the mutex, or its own change under it, comes after that
//! unlock.
//!
//! The wait cell tells a waiter that was cancelled or timed out from one that was notified. A notification goes to a
//! waiter that still waits, or to none. The waiter takes the mutex back uncancelled in every case; a cancelled waiter
//! then unwinds with the guard, which unlocks the mutex.
//!
//! Different mutexes may be used with one condition variable at the same time; std would panic.
//!
//! # Rejected
//! *Moving waiters to the mutex's queue* in `notify_all` instead of waking them. Woken waiters spread over the workers,
//! and find the mutex held for a few instructions only; a waiter that finds it held waits in its queue then.

use super::mutex::MutexGuard;
use super::poison;
use crate::coroutine::{Outcome, WaitReason};
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::const_unless_loom;
use crate::wait::list::{WaitOptions, WaitQueue, unwind_if_cancelled};
use crate::wait::{deadline_after, deadline_at};
use std::fmt;
use std::sync::{LockResult, PoisonError};
use std::time::{Duration, Instant};

/// Waits for a change of a value that a [`Mutex`](super::Mutex) guards: [`std::sync::Condvar`] for silken's mutex.
///
/// Waiters are woken in order of arrival, and there are no spurious wake-ups. Checking the condition in a loop is still
/// right, since another caller may have taken the mutex first.
///
/// # Examples
/// ```
/// use silken::sync::{Condvar, Mutex};
/// static READY: Mutex<bool> = Mutex::new(false);
/// static CHANGED: Condvar = Condvar::new();
/// let setter = silken::spawn(|| {
///     *READY.lock().unwrap() = true;
///     CHANGED.notify_one();
/// });
/// let ready = CHANGED.wait_while(READY.lock().unwrap(), |ready| !*ready).unwrap();
/// assert!(*ready);
/// # drop(ready);
/// setter.join().unwrap();
/// ```
pub struct Condvar {
    waiting: AtomicUsize,
    queue: WaitQueue,
}

/// Whether a wait ended by its deadline. It stands for [`std::sync::WaitTimeoutResult`], which only std can make.
///
/// # Examples
/// ```
/// use silken::sync::{Condvar, Mutex, WaitTimeoutResult};
/// use std::time::Duration;
/// let mutex = Mutex::new(());
/// let waited = Condvar::new().wait_timeout(mutex.lock().unwrap(), Duration::from_millis(1));
/// let (_guard, result): (_, WaitTimeoutResult) = waited.unwrap();
/// assert!(result.timed_out());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the timeout or the deadline ended the wait.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    const_unless_loom! {
        /// Makes a condition variable without waiters.
        #[must_use]
        pub fn new() -> Self {
            Self {
                waiting: AtomicUsize::new(0),
                queue: WaitQueue::new(()),
            }
        }
    }

    /// Unlocks the mutex, waits for a notification, and takes the mutex again.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Condition`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// A cancelled coroutine takes the mutex back, then unwinds; the guard unlocks the mutex. The notification goes to
    /// another waiter.
    ///
    /// # Errors
    /// If the mutex is poisoned when it is taken again; the error holds the guard.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Condvar, Mutex};
    /// static READY: Mutex<bool> = Mutex::new(false);
    /// static CHANGED: Condvar = Condvar::new();
    /// silken::spawn(|| {
    ///     *READY.lock().unwrap() = true;
    ///     CHANGED.notify_all();
    /// });
    /// let mut ready = READY.lock().unwrap();
    /// while !*ready {
    ///     ready = CHANGED.wait(ready).unwrap();
    /// }
    /// ```
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        poison::map(self.wait_until(guard, None), |(guard, _)| guard)
    }

    /// Waits until `condition` is false. `condition` runs under the mutex. Each wait blocks and is cancelled as
    /// [`wait`](Self::wait) is.
    ///
    /// # Errors
    /// If the mutex is poisoned when it is taken again; the error holds the guard.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Condvar, Mutex};
    /// static ITEMS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    /// static ADDED: Condvar = Condvar::new();
    /// silken::spawn(|| {
    ///     ITEMS.lock().unwrap().push(7);
    ///     ADDED.notify_one();
    /// });
    /// let mut items = ADDED.wait_while(ITEMS.lock().unwrap(), |items| items.is_empty()).unwrap();
    /// assert_eq!(items.pop(), Some(7));
    /// ```
    pub fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait`](Self::wait), but waits for at most `timeout`.
    ///
    /// # Errors
    /// If the mutex is poisoned when it is taken again; the error holds the guard. A passed timeout is no error.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    /// let (mutex, changed) = (Mutex::new(false), Condvar::new());
    /// let guard = mutex.lock().unwrap();
    /// let (_guard, result) = changed.wait_timeout(guard, Duration::from_millis(1)).unwrap();
    /// assert!(result.timed_out());
    /// ```
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, Some(deadline_after(timeout)))
    }

    /// As [`wait`](Self::wait), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// If the mutex is poisoned when it is taken again; the error holds the guard. A passed deadline is no error.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Condvar, Mutex};
    /// use std::time::{Duration, Instant};
    /// let (mutex, changed) = (Mutex::new(()), Condvar::new());
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// let (_guard, result) = changed.wait_deadline(mutex.lock().unwrap(), deadline).unwrap();
    /// assert!(result.timed_out());
    /// ```
    pub fn wait_deadline<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, Some(deadline_at(deadline)))
    }

    /// As [`wait_while`](Self::wait_while), but waits for at most `timeout`. If `timed_out` says `true`, the condition
    /// is still true.
    ///
    /// # Errors
    /// If the mutex is poisoned when it is taken again; the error holds the guard. A passed timeout is no error.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    /// let (mutex, changed) = (Mutex::new(false), Condvar::new());
    /// let guard = mutex.lock().unwrap();
    /// let (guard, result) = changed.wait_timeout_while(guard, Duration::from_millis(1), |ready| !*ready).unwrap();
    /// assert!(result.timed_out() && !*guard);
    /// ```
    pub fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until_while(guard, deadline_after(timeout), condition)
    }

    /// As [`wait_while`](Self::wait_while), but waits no longer than until `deadline`. If `timed_out` says `true`, the
    /// condition is still true.
    ///
    /// # Errors
    /// If the mutex is poisoned when it is taken again; the error holds the guard. A passed deadline is no error.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Condvar, Mutex};
    /// use std::time::Instant;
    /// let (mutex, changed) = (Mutex::new(true), Condvar::new());
    /// let guard = mutex.lock().unwrap();
    /// let (_guard, result) = changed.wait_deadline_while(guard, Instant::now(), |ready| !*ready).unwrap();
    /// assert!(!result.timed_out(), "the condition was false at once");
    /// ```
    pub fn wait_deadline_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until_while(guard, deadline_at(deadline), condition)
    }

    /// Wakes the waiter that has waited longest. Without waiters it does nothing: the notification is not kept.
    pub fn notify_one(&self) {
        if self.has_waiters()
            && let Some(unparker) = self.queue.with(|queue| queue.settle_next(Outcome::Woken))
        {
            unparker.unpark();
        }
    }

    /// Wakes all callers that wait now.
    pub fn notify_all(&self) {
        if self.has_waiters() {
            self.queue.wake_all(Outcome::Woken);
        }
    }

    #[inline]
    fn has_waiters(&self) -> bool {
        // Relaxed: the mutex orders it; see the head of the file.
        self.waiting.load(Ordering::Relaxed) != 0
    }

    fn wait_until_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline_ns: u64,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let mut timed_out = false;
        while condition(&mut *guard) {
            if timed_out {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let (again, result) = self.wait_until(guard, Some(deadline_ns))?;
            guard = again;
            timed_out = result.timed_out();
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline_ns: Option<u64>,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let mutex = MutexGuard::mutex(&guard);
        let outcome = self.wait_unlocked(guard, deadline_ns);
        let relocked = mutex.lock_uncancelled();
        // The guard is alive here: if this unwinds, the guard unlocks.
        unwind_if_cancelled(outcome);
        let result = WaitTimeoutResult(outcome == Outcome::TimedOut);
        match relocked {
            Ok(guard) => Ok((guard, result)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), result))),
        }
    }

    /// Joins the queue, unlocks the mutex, and waits.
    fn wait_unlocked<T>(&self, guard: MutexGuard<'_, T>, deadline_ns: Option<u64>) -> Outcome {
        // Relaxed: the mutex, which the caller holds, orders it; see the head of the file.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let terms = WaitOptions::until(WaitReason::Condition, deadline_ns);
        let ended = self.queue.wait_then(terms, || drop(guard));
        // Relaxed: a count that is too high for a moment costs a notifier one look at the queue.
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        ended.outcome
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
