//! What a user sees of a mutex: std's interface over [`RawMutex`], which has the protocol.

use super::lock_arm::Taking;
use super::poison;
use super::raw_mutex::RawMutex;
use crate::loom::const_unless_loom;
use crate::wait::{deadline_after, deadline_at};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{LockResult, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

/// A value that one coroutine or thread at a time may use: [`std::sync::Mutex`] with deadlines and cancellation.
///
/// Taking a free mutex is one atomic operation, and so is releasing it. A free mutex belongs to whoever comes first.
/// The holder hands the mutex to a waiter that has waited for a millisecond, so no waiter waits for ever. The mutex is
/// not reentrant: see [`lock`](Self::lock).
///
/// # Poisoning
/// As in std, a panic while the guard lives poisons the mutex. The unwinding of a cancelled coroutine does not.
///
/// # Examples
/// ```
/// use silken::sync::{Arc, Mutex};
/// static TOTAL: Mutex<u64> = Mutex::new(0);
/// let children: Vec<_> = (1..=10).map(|i| silken::spawn(move || *TOTAL.lock().unwrap() += i)).collect();
/// children.into_iter().for_each(|child| child.join().unwrap());
/// assert_eq!(*TOTAL.lock().unwrap(), 55);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: poison::Flag,
    value: UnsafeCell<T>,
}

// SAFETY: S2: the mutex hands the value from one user to the next, each unlock happening before the next lock.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: S2: as above; one user at a time, so `Send` is enough.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// std's mutex promises the same: a panic under the lock shows as poison.
impl<T: ?Sized> std::panic::UnwindSafe for Mutex<T> {}
impl<T: ?Sized> std::panic::RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    const_unless_loom! {
        /// Makes a mutex that is not held.
        pub fn new(value: T) -> Self {
            Self {
                raw: RawMutex::new(),
                poison: poison::Flag::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// Consumes the mutex and returns the value.
    ///
    /// # Errors
    /// If the mutex is poisoned; the error holds the value.
    pub fn into_inner(self) -> LockResult<T> {
        let Self { poison, value, .. } = self;
        poison.result(value.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the mutex, and waits while another caller holds it.
    ///
    /// A second `lock` by the holder deadlocks, in a coroutine and in an OS thread alike. The mutex does not notice
    /// that its holder waits for itself. Only a cancellation, or the deadline of an enclosing
    /// [`timeout`](crate::timeout), ends that wait.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds without the mutex. A free mutex is taken
    /// regardless.
    ///
    /// # Errors
    /// If the mutex is poisoned. The error holds the guard: the mutex is taken all the same.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Mutex;
    /// let mutex = Mutex::new(1);
    /// *mutex.lock().unwrap() += 1; // The guard is dropped here.
    /// assert_eq!(*mutex.lock().unwrap(), 2);
    /// ```
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock(true);
        // SAFETY: S2: locked just now.
        unsafe { self.guard() }
    }

    /// As [`lock`](Self::lock), but not cancellable: for a caller that must have the mutex back.
    pub(super) fn lock_uncancelled(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock(false);
        // SAFETY: S2: locked just now.
        unsafe { self.guard() }
    }

    /// Takes the mutex if it is free at this moment; never waits.
    ///
    /// # Errors
    /// `WouldBlock` if the mutex is held; `Poisoned`, with the guard, if it was free but is poisoned.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Mutex;
    /// let mutex = Mutex::new(());
    /// let guard = mutex.lock().unwrap();
    /// assert!(mutex.try_lock().is_err());
    /// # drop(guard);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        self.guard_if(self.raw.try_lock())
    }

    /// As [`lock`](Self::lock), but waits for at most `timeout`.
    ///
    /// # Errors
    /// `WouldBlock` once the timeout has passed; `Poisoned`, with the guard, if the mutex is poisoned.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Mutex;
    /// use std::time::Duration;
    /// let mutex = Mutex::new(());
    /// let guard = mutex.lock().unwrap();
    /// assert!(mutex.lock_timeout(Duration::from_millis(1)).is_err());
    /// drop(guard);
    /// assert!(mutex.lock_timeout(Duration::from_millis(1)).is_ok());
    /// ```
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> TryLockResult<MutexGuard<'_, T>> {
        self.guard_if(self.raw.lock_until(|| deadline_after(timeout)))
    }

    /// As [`lock`](Self::lock), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// `WouldBlock` once the deadline has passed; `Poisoned`, with the guard, if the mutex is poisoned.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Mutex;
    /// use std::time::{Duration, Instant};
    /// let mutex = Mutex::new(7);
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// let guard = mutex.lock_deadline(deadline).unwrap();
    /// assert!(mutex.lock_deadline(deadline).is_err());
    /// assert_eq!(*guard, 7);
    /// ```
    #[inline]
    pub fn lock_deadline(&self, deadline: Instant) -> TryLockResult<MutexGuard<'_, T>> {
        self.guard_if(self.raw.lock_until(|| deadline_at(deadline)))
    }

    /// Whether a holder has panicked.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Clears the poison that a holder's panic has left.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// Returns a reference to the value; the exclusive borrow makes locking needless.
    ///
    /// # Errors
    /// If the mutex is poisoned; the error holds the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let Self { poison, value, .. } = self;
        poison.result(value.get_mut())
    }

    #[inline]
    fn guard_if(&self, locked: bool) -> TryLockResult<MutexGuard<'_, T>> {
        match locked {
            // SAFETY: S2: the caller has just locked it.
            true => unsafe { self.guard() }.map_err(TryLockError::Poisoned),
            false => Err(TryLockError::WouldBlock),
        }
    }

    /// # Safety
    /// The caller has taken the raw mutex, and gives it to the guard (S2).
    #[inline]
    unsafe fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.poison.result(MutexGuard {
            mutex: self,
            since: self.poison.since(),
            not_send: PhantomData,
        })
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(crate) fn taking(&self) -> Taking<&RawMutex> {
        Taking::of(&self.raw)
    }

    /// The guard for the mutex that an arm of a select holds.
    pub(crate) fn guard_of(&self, taking: Taking<&RawMutex>) -> LockResult<MutexGuard<'_, T>> {
        assert!(std::ptr::eq(*taking.give_away(), &raw const self.raw));
        // SAFETY: S2: it was held, and the guard has it now.
        unsafe { self.guard() }
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => fields.field("data", &&*guard),
            Err(TryLockError::Poisoned(poisoned)) => fields.field("data", &&**poisoned.get_ref()),
            Err(TryLockError::WouldBlock) => fields.field("data", &format_args!("<locked>")),
        };
        fields.field("poisoned", &self.is_poisoned()).finish_non_exhaustive()
    }
}

/// The right to use the value of a [`Mutex`]. Dropping the guard releases the mutex. It is not `Send`, as in std.
///
/// # Examples
/// ```
/// use silken::sync::{Mutex, MutexGuard};
/// fn add(mut total: MutexGuard<'_, u32>) {
///     *total += 1;
/// } // The guard is dropped: the mutex is free.
/// let total = Mutex::new(0);
/// add(total.lock().unwrap());
/// assert_eq!(*total.lock().unwrap(), 1);
/// ```
///
/// The guard cannot be sent to another coroutine:
/// ```compile_fail
/// fn is_send<T: Send>() {}
/// is_send::<silken::sync::MutexGuard<'_, u32>>();
/// ```
#[must_use = "if unused the Mutex will immediately unlock"]
pub struct MutexGuard<'a, T: ?Sized + 'a> {
    mutex: &'a Mutex<T>,
    since: poison::Since,
    not_send: PhantomData<*const ()>,
}

// SAFETY: S2: a shared guard gives a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Narrows the guard to a part of the value. An associated function, so that it hides no method of `T`.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Mutex, MutexGuard};
    /// let words = Mutex::new(vec!["a", "b"]);
    /// let mut last = MutexGuard::map(words.lock().unwrap(), |words| words.last_mut().unwrap());
    /// *last = "c";
    /// drop(last);
    /// assert_eq!(*words.lock().unwrap(), ["a", "c"]);
    /// ```
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        let guard = ManuallyDrop::new(guard);
        // The new guard owns the mutex before user code runs, because that code may panic.
        let whole = MappedMutexGuard {
            // SAFETY: S2: the guard holds the mutex, and the new one takes that over.
            value: NonNull::from(unsafe { &mut *guard.mutex.value.get() }),
            raw: &guard.mutex.raw,
            poison: &guard.mutex.poison,
            since: guard.since,
            borrows: PhantomData,
        };
        MappedMutexGuard::map(whole, f)
    }

    pub(super) fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: S2: the guard holds the mutex, and the reference borrows the guard.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: S2: the guard holds the mutex, and the reference borrows the guard exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.poison.done(self.since);
        // SAFETY: S2: the guard holds the mutex.
        unsafe { self.mutex.raw.unlock() };
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The right to use a part of a [`Mutex`]'s value: see [`MutexGuard::map`].
///
/// # Examples
/// ```
/// use silken::sync::{Mutex, MutexGuard};
/// let pair = Mutex::new((1, "one"));
/// let mut first = MutexGuard::map(pair.lock().unwrap(), |pair| &mut pair.0);
/// *first += 1;
/// drop(first);
/// assert_eq!(*pair.lock().unwrap(), (2, "one"));
/// ```
#[must_use = "if unused the Mutex will immediately unlock"]
pub struct MappedMutexGuard<'a, T: ?Sized + 'a> {
    value: NonNull<T>,
    raw: &'a RawMutex,
    poison: &'a poison::Flag,
    since: poison::Since,
    borrows: PhantomData<&'a mut T>,
}

// SAFETY: S2: a shared guard gives a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for MappedMutexGuard<'_, T> {}

impl<'a, T: ?Sized> MappedMutexGuard<'a, T> {
    /// Narrows the guard to a smaller part.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{MappedMutexGuard, Mutex, MutexGuard};
    /// let nested = Mutex::new((1, (2, 3)));
    /// let pair = MutexGuard::map(nested.lock().unwrap(), |nested| &mut nested.1);
    /// let last = MappedMutexGuard::map(pair, |pair| &mut pair.1);
    /// assert_eq!(*last, 3);
    /// ```
    pub fn map<U: ?Sized>(mut guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        let value = NonNull::from(f(&mut *guard));
        let guard = ManuallyDrop::new(guard);
        MappedMutexGuard {
            value,
            raw: guard.raw,
            poison: guard.poison,
            since: guard.since,
            borrows: PhantomData,
        }
    }
}

impl<T: ?Sized> Deref for MappedMutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: S2: the guard holds the mutex, and the reference borrows the guard.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for MappedMutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: S2: the guard holds the mutex, and the reference borrows the guard exclusively.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized> Drop for MappedMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.poison.done(self.since);
        // SAFETY: S2: the guard holds the mutex.
        unsafe { self.raw.unlock() };
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
