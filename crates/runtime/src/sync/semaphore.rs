//! How permits are counted and handed out: `Semaphore`, a number of permits, first come, first served.
//!
//! # Protocol
//! One word holds the number of permits, `WAITERS` (a waiter is in the queue) and `CLOSED`. Without `WAITERS`, taking
//! permits is one atomic operation, and so is giving them back. A caller that finds too few permits sets `WAITERS`
//! under the queue's lock and waits. While `WAITERS` is set, no caller takes permits past the queue, however few it
//! wants. A caller that gives permits back then does so under the queue's lock, and serves the queue from its head:
//! small requests do not starve a big one. So under the lock, with `WAITERS` set, no other context changes the number.
//!
//! A waiter that gives up serves the queue as well, because the waiter behind it may want fewer permits.

use crate::coroutine::{Outcome, WaitReason, budget, lost};
use crate::loom::{
    atomic::{AtomicUsize, Ordering},
    const_unless_loom,
};
use crate::wait::list::{Place, PopResult, WaitList, WaitOptions, WaitQueue, WakeList, unwind_if_cancelled};
use crate::wait::{deadline_after, deadline_at};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod acquisition;
#[forbid(unsafe_code)]
mod permit;

pub(crate) use acquisition::Acquisition;
pub use permit::{OwnedSemaphorePermit, SemaphorePermit};

const WAITERS: usize = 1;
const CLOSED: usize = 2;
const PERMIT: usize = 4;

/// A counting semaphore: permits are taken to do something, and given back afterwards; first come, first served.
///
/// # Examples
/// ```
/// use silken::sync::Semaphore;
/// static AT_ONCE: Semaphore = Semaphore::new(2);
/// let children: Vec<_> = (0..10)
///     .map(|_| {
///         silken::spawn(|| {
///             let _permit = AT_ONCE.acquire().unwrap();
///             // At most two are here.
///         })
///     })
///     .collect();
/// children.into_iter().for_each(|child| child.join().unwrap());
/// assert_eq!(AT_ONCE.available_permits(), 2);
/// ```
pub struct Semaphore {
    state: AtomicUsize,
    queue: WaitQueue,
}

/// [`Semaphore`] under the name that may and cogo use.
pub type Semphore = Semaphore;

/// Why no permits were taken.
///
/// # Examples
/// ```
/// use silken::sync::{AcquireError, Semaphore};
/// assert_eq!(Semaphore::new(0).try_acquire().unwrap_err(), AcquireError::NoPermits);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// The semaphore is closed.
    Closed,
    /// There are too few permits, or other callers wait already.
    NoPermits,
    /// The deadline came first.
    TimedOut,
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AcquireError::Closed => "the semaphore is closed",
            AcquireError::NoPermits => "the semaphore has too few permits",
            AcquireError::TimedOut => "timed out waiting for a semaphore",
        })
    }
}

impl std::error::Error for AcquireError {}

impl Semaphore {
    /// The greatest number of permits of a semaphore.
    pub const MAX_PERMITS: usize = usize::MAX / PERMIT;

    const_unless_loom! {
        /// Makes a semaphore with `permits` permits.
        ///
        /// # Panics
        /// If `permits` exceeds [`MAX_PERMITS`](Self::MAX_PERMITS).
        #[must_use]
        pub fn new(permits: usize) -> Self {
            assert!(permits <= Self::MAX_PERMITS, "too many permits");
            Self {
                state: AtomicUsize::new(permits * PERMIT),
                queue: WaitQueue::new(()),
            }
        }
    }

    /// Takes a permit, and waits for one if there is none or other callers wait already.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Semaphore`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds without a permit.
    ///
    /// # Errors
    /// `Closed`, if the semaphore is closed before the call or while it waits.
    ///
    /// # Examples
    /// ```
    /// let semaphore = silken::sync::Semaphore::new(1);
    /// let _permit = semaphore.acquire().unwrap();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// ```
    #[inline]
    pub fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many(1)
    }

    /// Takes several permits at once. It blocks and is cancelled as [`acquire`](Self::acquire) is. Callers that come
    /// later wait, even if there are enough permits for them.
    ///
    /// # Errors
    /// `Closed`, if the semaphore is closed before the call or while it waits.
    ///
    /// # Examples
    /// ```
    /// let semaphore = silken::sync::Semaphore::new(5);
    /// let _permits = semaphore.acquire_many(3).unwrap();
    /// assert_eq!(semaphore.available_permits(), 2);
    /// ```
    #[inline]
    pub fn acquire_many(&self, permits: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_until(permits, || None)
    }

    /// Takes a permit if that needs no wait.
    ///
    /// # Errors
    /// `NoPermits`, if a wait would be needed; `Closed`, if the semaphore is closed.
    #[inline]
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes several permits at once if that needs no wait.
    ///
    /// # Errors
    /// `NoPermits`, if a wait would be needed; `Closed`, if the semaphore is closed.
    #[inline]
    pub fn try_acquire_many(&self, permits: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        budget::spend();
        self.take(permits)?;
        Ok(self.permit(permits))
    }

    /// As [`acquire`](Self::acquire), but waits for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`, once the timeout has passed; `Closed`, if the semaphore is closed.
    ///
    /// # Examples
    /// ```
    /// let semaphore = silken::sync::Semaphore::new(0);
    /// assert!(semaphore.acquire_timeout(std::time::Duration::from_millis(1)).is_err());
    /// ```
    #[inline]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many_timeout(1, timeout)
    }

    /// As [`acquire`](Self::acquire), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// `TimedOut`, once the deadline has passed; `Closed`, if the semaphore is closed.
    ///
    /// # Examples
    /// ```
    /// let semaphore = silken::sync::Semaphore::new(1);
    /// let deadline = std::time::Instant::now() + std::time::Duration::from_millis(1);
    /// assert!(semaphore.acquire_deadline(deadline).is_ok());
    /// ```
    #[inline]
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_until(1, || Some(deadline_at(deadline)))
    }

    /// As [`acquire_many`](Self::acquire_many), but waits for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`, once the timeout has passed; `Closed`, if the semaphore is closed.
    ///
    /// # Examples
    /// ```
    /// let semaphore = silken::sync::Semaphore::new(2);
    /// assert!(semaphore.acquire_many_timeout(3, std::time::Duration::from_millis(1)).is_err());
    /// ```
    #[inline]
    pub fn acquire_many_timeout(&self, permits: usize, timeout: Duration) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_until(permits, || Some(deadline_after(timeout)))
    }

    /// As [`acquire`](Self::acquire), but the permit owns an `Arc` of the semaphore. So the permit may move to another
    /// coroutine, or into a struct.
    ///
    /// # Errors
    /// `Closed`, if the semaphore is closed before the call or while it waits.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Semaphore;
    /// use std::sync::Arc;
    /// let places = Arc::new(Semaphore::new(1));
    /// let permit = places.clone().acquire_owned().unwrap();
    /// silken::spawn(move || drop(permit)).join().unwrap();
    /// assert_eq!(places.available_permits(), 1);
    /// ```
    pub fn acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many_owned(1)
    }

    /// As [`acquire_many`](Self::acquire_many), but the permit owns an `Arc` of the semaphore.
    ///
    /// # Errors
    /// `Closed`, if the semaphore is closed before the call or while it waits.
    ///
    /// # Examples
    /// ```
    /// let semaphore = silken::sync::Arc::new(silken::sync::Semaphore::new(2));
    /// assert_eq!(semaphore.acquire_many_owned(2).unwrap().num_permits(), 2);
    /// ```
    pub fn acquire_many_owned(self: Arc<Self>, permits: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many(permits)?.forget();
        Ok(OwnedSemaphorePermit {
            semaphore: self,
            permits,
        })
    }

    /// As [`try_acquire`](Self::try_acquire), but the permit owns an `Arc` of the semaphore.
    ///
    /// # Errors
    /// `NoPermits`, if a wait would be needed; `Closed`, if the semaphore is closed.
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.try_acquire()?.forget();
        Ok(OwnedSemaphorePermit {
            semaphore: self,
            permits: 1,
        })
    }

    /// Adds permits: new ones, or those that [`SemaphorePermit::forget`] has kept.
    ///
    /// # Panics
    /// If there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub fn add_permits(&self, permits: usize) {
        // Relaxed: the exchange decides.
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITERS == 0 {
            let more = sum(state, permits);
            // Release: pairs with the Acquire in `take`. Relaxed on failure: it looks again.
            match self
                .state
                .compare_exchange_weak(state, more, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.add_to_queue(permits);
    }

    /// Another name of [`add_permits`](Self::add_permits).
    pub fn release(&self, permits: usize) {
        self.add_permits(permits);
    }

    /// The number of permits that are available at this moment.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        // Relaxed: it may be wrong as soon as it is known.
        self.state.load(Ordering::Relaxed) / PERMIT
    }

    /// Closes the semaphore: no permits can be taken any more, and all waits end with `Closed`.
    pub fn close(&self) {
        // Relaxed: the queue's lock orders it for those that wait.
        self.state.fetch_or(CLOSED, Ordering::Relaxed);
        self.queue.wake_all(Outcome::Closed);
    }

    /// Whether the semaphore is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Relaxed: a hint.
        self.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Takes a permit for good; the name is may's and cogo's. It blocks and is cancelled as [`acquire`](Self::acquire)
    /// is. If the semaphore is closed, it returns at once without a permit.
    ///
    /// # Examples
    /// ```
    /// let semaphore = silken::sync::Semaphore::new(1);
    /// semaphore.wait();
    /// assert_eq!(semaphore.get_value(), 0);
    /// ```
    pub fn wait(&self) {
        if let Ok(permit) = self.acquire() {
            permit.forget();
        }
    }

    /// As [`wait`](Self::wait), but for at most `timeout`; returns whether it took a permit.
    ///
    /// # Examples
    /// ```
    /// let semaphore = silken::sync::Semaphore::new(0);
    /// assert!(!semaphore.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.acquire_timeout(timeout).map(SemaphorePermit::forget).is_ok()
    }

    /// Takes a permit for good if that needs no wait; returns whether it did.
    #[must_use]
    pub fn try_wait(&self) -> bool {
        self.take(1).is_ok()
    }

    /// Adds a permit; the name is may's and cogo's.
    pub fn post(&self) {
        self.add_permits(1);
    }

    /// [`available_permits`](Self::available_permits) under may's and cogo's name.
    #[must_use]
    pub fn get_value(&self) -> usize {
        self.available_permits()
    }

    #[inline(always)]
    fn permit(&self, permits: usize) -> SemaphorePermit<'_> {
        SemaphorePermit {
            semaphore: self,
            permits,
        }
    }

    #[inline]
    fn acquire_until(
        &self,
        permits: usize,
        deadline_ns: impl FnOnce() -> Option<u64>,
    ) -> Result<SemaphorePermit<'_>, AcquireError> {
        budget::spend();
        let taken = match self.take(permits) {
            Err(AcquireError::NoPermits) => self.wait_for(permits, deadline_ns()),
            taken => taken,
        };
        match taken {
            Ok(()) => Ok(self.permit(permits)),
            Err(AcquireError::Closed) => Err(lost(AcquireError::Closed)),
            Err(error) => Err(error),
        }
    }

    /// Takes permits without waiting.
    #[inline]
    fn take(&self, permits: usize) -> Result<(), AcquireError> {
        // Relaxed: the exchange decides.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return Err(AcquireError::Closed);
            }
            if state & WAITERS != 0 || state / PERMIT < permits {
                return Err(AcquireError::NoPermits);
            }
            // Acquire: pairs with the Release in `add_permits`. Relaxed on failure: it looks again.
            match self.state.compare_exchange_weak(
                state,
                state - permits * PERMIT,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    #[cold]
    fn wait_for(&self, permits: usize, deadline_ns: Option<u64>) -> Result<(), AcquireError> {
        loop {
            let terms = WaitOptions::until(WaitReason::Semaphore, deadline_ns);
            let take = |_: &mut WaitList<()>| self.take_or_announce(permits);
            let leave = |queue: &mut WaitList<()>, _| self.serve(queue);
            match self.queue.wait(terms, (permits as u64, Place::Back), take, leave) {
                Err(taken) => return taken,
                Ok(ended) => match ended.outcome {
                    Outcome::Woken => return Ok(()),
                    Outcome::TimedOut => return Err(AcquireError::TimedOut),
                    Outcome::Closed => return Err(AcquireError::Closed),
                    outcome @ Outcome::Cancelled => unwind_if_cancelled(outcome),
                },
            }
        }
    }

    /// Under the queue's lock: takes permits after all, or finds the semaphore closed; otherwise makes sure that
    /// `WAITERS` is set and returns `None`.
    fn take_or_announce(&self, permits: usize) -> Option<Result<(), AcquireError>> {
        loop {
            match self.take(permits) {
                Err(AcquireError::NoPermits) => {}
                taken => return Some(taken),
            }
            // Relaxed: the exchange decides.
            let state = self.state.load(Ordering::Relaxed);
            if state & WAITERS != 0 {
                return None;
            }
            // Relaxed: the queue's lock orders what follows from the bit.
            if state & CLOSED == 0
                && state / PERMIT < permits
                && self
                    .state
                    .compare_exchange(state, state | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                return None;
            }
        }
    }

    #[cold]
    #[track_caller]
    fn add_to_queue(&self, permits: usize) {
        let mut added = false;
        let wakes = self.queue.with(|queue| {
            added = self.add(permits);
            self.serve(queue)
        });
        // Outside the lock: a panic runs the program's panic hook, which may wait.
        assert!(added, "{TOO_MANY}");
        wakes.unpark_batches(|| self.queue.with(|queue| self.serve(queue)));
    }

    /// Adds permits under the queue's lock. If the queue is empty by now, others may add at the same time. `false`:
    /// there would be too many permits.
    fn add(&self, permits: usize) -> bool {
        // Relaxed: the exchange decides.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let Some(more) = sum_if_fits(state, permits) else {
                return false;
            };
            // Release: pairs with the Acquire in `take` and `serve`. Relaxed on failure: it looks again.
            match self
                .state
                .compare_exchange_weak(state, more, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// Under the queue's lock: gives permits to the first in the queue as long as there are enough.
    fn serve(&self, queue: &mut WaitList<()>) -> WakeList {
        let mut wakes = WakeList::none();
        while let Some(permits) = queue.front_tag() {
            let permits = permits as usize;
            // Acquire: pairs with the Release of the caller that gave back; the settled cell hands it on.
            let state = self.state.load(Ordering::Acquire);
            if state / PERMIT < permits || wakes.is_full() {
                return wakes;
            }
            if let PopResult::Settled(unparker) = queue.settle_front(Outcome::Woken, true) {
                wakes.push(unparker);
                // Relaxed: under the lock, with `WAITERS` set, nobody else changes the number.
                self.state.fetch_sub(permits * PERMIT, Ordering::Relaxed);
            }
        }
        // Relaxed: the queue's lock orders those that set it.
        self.state.fetch_and(!WAITERS, Ordering::Relaxed);
        wakes
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available_permits", &self.available_permits())
            .finish_non_exhaustive()
    }
}

/// The state with `permits` more permits.
#[inline]
#[track_caller]
fn sum(state: usize, permits: usize) -> usize {
    sum_if_fits(state, permits).expect(TOO_MANY)
}

const TOO_MANY: &str = "more than MAX_PERMITS permits";

#[inline]
fn sum_if_fits(state: usize, permits: usize) -> Option<usize> {
    let fits = permits <= Semaphore::MAX_PERMITS - state / PERMIT;
    fits.then(|| state + permits * PERMIT)
}
