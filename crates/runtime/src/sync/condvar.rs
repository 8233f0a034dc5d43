//! `Condvar`: a queue beside a mutex.
//!
//! # Protocol
//! A waiter joins the queue while it holds the mutex, and lets go of the mutex afterwards. Who changes the condition
//! under the mutex and then notifies either changed it before the waiter looked, or finds the waiter in the queue:
//! there is nothing to lose. `waiting` counts those who are in the queue or about to be, so that a notification for
//! nobody costs one load. Relaxed is enough for it: it grows before the waiter's unlock, and the notifier's lock of the
//! mutex, or its own change under it, comes after that unlock.
//!
//! A waiter that was cancelled or timed out and one that was notified are told apart by the cell: a notification goes
//! to somebody who still waits, or is for nobody. The mutex is taken back uncancelled in every case; a cancelled waiter
//! unwinds with the guard, which unlocks it.
//!
//! Any mutexes may be used with one condition variable at the same time; std would panic.
//!
//! # Rejected
//! *Moving waiters to the mutex's queue* in `notify_all` instead of waking them: the woken spread over the workers, and
//! find the mutex held for a few instructions; they wait in its queue then.

use super::mutex::MutexGuard;
use super::poison;
use super::wait_queue::{WaitOptions, WaitQueue, unwind_if_cancelled};
use crate::coroutine::{Outcome, WaitReason};
use crate::driver::timers::{deadline_after, deadline_at};
use crate::loom::atomic::{AtomicUsize, Ordering};
use std::fmt;
use std::sync::{LockResult, PoisonError};
use std::time::{Duration, Instant};

/// Waits for a change of a value that a [`Mutex`](super::Mutex) guards; [`std::sync::Condvar`] for our mutex.
///
/// Wake-ups are first come, first served, and none comes for no reason; looking at the condition in a loop is still
/// right, since others may have been faster.
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

/// Whether a wait ended by its deadline: [`std::sync::WaitTimeoutResult`], which only std can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    const_unless_loom! {
        /// A condition variable that nobody waits on.
        #[must_use]
        pub fn new() -> Self {
            Self {
                waiting: AtomicUsize::new(0),
                queue: WaitQueue::new(()),
            }
        }
    }

    /// Lets go of the mutex, waits for a notification, and takes the mutex again.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Condition`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Takes the mutex back, then unwinds. A notification goes to another waiter.
    ///
    /// # Errors
    /// If the mutex is poisoned when it is taken again; the error has the guard.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        poison::map(self.wait_until(guard, None), |(guard, _)| guard)
    }

    /// Waits until `condition` is false.
    ///
    /// # Blocking
    /// As [`wait`](Self::wait).
    ///
    /// # Cancellation
    /// As [`wait`](Self::wait).
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
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

    /// As [`wait`](Self::wait), but no longer than `timeout`.
    ///
    /// # Errors
    /// As [`wait`](Self::wait). That the time was over is no error.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, Some(deadline_after(timeout)))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`.
    ///
    /// # Errors
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, Some(deadline_at(deadline)))
    }

    /// Waits until `condition` is false, but no longer than `timeout`; `timed_out` says that it is still true.
    ///
    /// # Errors
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until_while(guard, deadline_after(timeout), condition)
    }

    /// As [`wait_timeout_while`](Self::wait_timeout_while), until a moment.
    ///
    /// # Errors
    /// As there.
    pub fn wait_deadline_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until_while(guard, deadline_at(deadline), condition)
    }

    /// Wakes the one that has waited longest, if anybody waits.
    pub fn notify_one(&self) {
        if self.has_waiters()
            && let Some(unparker) = self.queue.with(|queue| queue.settle_next(Outcome::Woken))
        {
            unparker.unpark();
        }
    }

    /// Wakes all who wait now.
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
        // The guard lives: should this unwind, it unlocks.
        unwind_if_cancelled(outcome);
        let result = WaitTimeoutResult(outcome == Outcome::TimedOut);
        match relocked {
            Ok(guard) => Ok((guard, result)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), result))),
        }
    }

    /// Joins the queue, lets go of the mutex, and waits.
    fn wait_unlocked<T>(&self, guard: MutexGuard<'_, T>, deadline_ns: Option<u64>) -> Outcome {
        // Relaxed: the mutex, which the caller holds, orders it; see the head of the file.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let terms = WaitOptions::until(WaitReason::Condition, deadline_ns);
        let ended = self.queue.wait_then(terms, || drop(guard));
        // Relaxed: too high for a moment costs a notifier a look.
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
