//! What a user sees of a read-write lock: std's interface over [`RawRwLock`](super::raw_rwlock::RawRwLock), which has
//! the protocol.

use super::lock_arm::Taking;
use super::poison;
use super::raw_rwlock::{RawRwLock, Reads, Writes};
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

/// A value that many may read or one may write: [`std::sync::RwLock`] with deadlines and cancellation.
///
/// Neither readers nor writers starve: a writer that waits keeps new readers out, and after a writer the readers that
/// waited go first. So a caller that takes the lock to read twice, without releasing it in between, can deadlock: a
/// writer may come in the meantime.
///
/// # Poisoning
/// As in std, only a writer's panic poisons the lock. The unwinding of a cancelled coroutine does not.
///
/// # Examples
/// ```
/// use silken::sync::RwLock;
/// static TABLE: RwLock<Vec<u32>> = RwLock::new(Vec::new());
/// TABLE.write().unwrap().push(7);
/// let readers: Vec<_> = (0..4).map(|_| silken::spawn(|| TABLE.read().unwrap()[0])).collect();
/// assert!(readers.into_iter().all(|reader| reader.join().unwrap() == 7));
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: poison::Flag,
    value: UnsafeCell<T>,
}

// SAFETY: S2: the lock hands the value from one user to the next.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: S2: a writer may move the value out or in, and readers share it.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

// std's lock promises the same: a panic of a writer shows as poison.
impl<T: ?Sized> std::panic::UnwindSafe for RwLock<T> {}
impl<T: ?Sized> std::panic::RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    const_unless_loom! {
        /// Makes a lock that is not held.
        pub fn new(value: T) -> Self {
            Self {
                raw: RawRwLock::new(),
                poison: poison::Flag::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// Consumes the lock and returns the value.
    ///
    /// # Errors
    /// If the lock is poisoned; the error holds the value.
    pub fn into_inner(self) -> LockResult<T> {
        let Self { poison, value, .. } = self;
        poison.result(value.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock to read, and waits while a writer holds it or waits for it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds without the lock.
    ///
    /// # Errors
    /// If the lock is poisoned. The error holds the guard: the lock is taken all the same.
    ///
    /// # Panics
    /// If there would be 2^29 readers at the same time.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::RwLock;
    /// let lock = RwLock::new(1);
    /// let (first, second) = (lock.read().unwrap(), lock.try_read().unwrap());
    /// assert_eq!(*first + *second, 2);
    /// ```
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.raw.read(None);
        // SAFETY: S2: locked just now.
        unsafe { self.read_guard() }
    }

    /// Takes the lock to read if that needs no wait.
    ///
    /// # Errors
    /// `WouldBlock` if a writer holds the lock or waits for it; `Poisoned`, with the guard, if the lock is poisoned.
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        self.read_guard_if(self.raw.try_read())
    }

    /// As [`read`](Self::read), but waits for at most `timeout`.
    ///
    /// # Errors
    /// `WouldBlock` once the timeout has passed; `Poisoned`, with the guard, if the lock is poisoned.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::RwLock;
    /// use std::time::Duration;
    /// let lock = RwLock::new(1);
    /// let writer = lock.write().unwrap();
    /// assert!(lock.read_timeout(Duration::from_millis(1)).is_err());
    /// drop(writer);
    /// assert_eq!(*lock.read_timeout(Duration::from_millis(1)).unwrap(), 1);
    /// ```
    pub fn read_timeout(&self, timeout: Duration) -> TryLockResult<RwLockReadGuard<'_, T>> {
        self.read_guard_if(self.raw.try_read() || self.raw.read(Some(deadline_after(timeout))))
    }

    /// As [`read`](Self::read), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// `WouldBlock` once the deadline has passed; `Poisoned`, with the guard, if the lock is poisoned.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::RwLock;
    /// use std::time::{Duration, Instant};
    /// let lock = RwLock::new(1);
    /// assert_eq!(*lock.read_deadline(Instant::now() + Duration::from_millis(1)).unwrap(), 1);
    /// ```
    pub fn read_deadline(&self, deadline: Instant) -> TryLockResult<RwLockReadGuard<'_, T>> {
        self.read_guard_if(self.raw.try_read() || self.raw.read(Some(deadline_at(deadline))))
    }

    /// Takes the lock to write, and waits while others hold it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds without the lock.
    ///
    /// # Errors
    /// If the lock is poisoned. The error holds the guard: the lock is taken all the same.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::RwLock;
    /// let lock = RwLock::new(1);
    /// *lock.write().unwrap() += 1;
    /// assert_eq!(*lock.read().unwrap(), 2);
    /// ```
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.write(None);
        // SAFETY: S2: locked just now.
        unsafe { self.write_guard() }
    }

    /// Takes the lock to write if it is free at this moment; never waits.
    ///
    /// # Errors
    /// `WouldBlock` if the lock is held; `Poisoned`, with the guard, if it is poisoned.
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        self.write_guard_if(self.raw.try_write())
    }

    /// As [`write`](Self::write), but waits for at most `timeout`.
    ///
    /// # Errors
    /// `WouldBlock` once the timeout has passed; `Poisoned`, with the guard, if the lock is poisoned.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::RwLock;
    /// use std::time::Duration;
    /// let lock = RwLock::new(1);
    /// let reader = lock.read().unwrap();
    /// assert!(lock.write_timeout(Duration::from_millis(1)).is_err());
    /// drop(reader);
    /// *lock.write_timeout(Duration::from_millis(1)).unwrap() = 2;
    /// ```
    pub fn write_timeout(&self, timeout: Duration) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        self.write_guard_if(self.raw.try_write() || self.raw.write(Some(deadline_after(timeout))))
    }

    /// As [`write`](Self::write), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// `WouldBlock` once the deadline has passed; `Poisoned`, with the guard, if the lock is poisoned.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::RwLock;
    /// use std::time::{Duration, Instant};
    /// let lock = RwLock::new(1);
    /// *lock.write_deadline(Instant::now() + Duration::from_millis(1)).unwrap() = 2;
    /// assert_eq!(*lock.read().unwrap(), 2);
    /// ```
    pub fn write_deadline(&self, deadline: Instant) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        self.write_guard_if(self.raw.try_write() || self.raw.write(Some(deadline_at(deadline))))
    }

    /// Whether a writer has panicked.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Clears the poison that a writer's panic has left.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// Returns a reference to the value; the exclusive borrow makes locking needless.
    ///
    /// # Errors
    /// If the lock is poisoned; the error holds the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let Self { poison, value, .. } = self;
        poison.result(value.get_mut())
    }

    fn read_guard_if(&self, locked: bool) -> TryLockResult<RwLockReadGuard<'_, T>> {
        match locked {
            // SAFETY: S2: the caller has just locked it.
            true => unsafe { self.read_guard() }.map_err(TryLockError::Poisoned),
            false => Err(TryLockError::WouldBlock),
        }
    }

    fn write_guard_if(&self, locked: bool) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        match locked {
            // SAFETY: S2: the caller has just locked it.
            true => unsafe { self.write_guard() }.map_err(TryLockError::Poisoned),
            false => Err(TryLockError::WouldBlock),
        }
    }

    /// # Safety
    /// The caller has taken the raw lock to read, and gives that to the guard (S2).
    #[inline]
    unsafe fn read_guard(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.poison.result(RwLockReadGuard {
            // SAFETY: S2: nobody writes while the guard lives.
            value: NonNull::from(unsafe { &*self.value.get() }),
            raw: &self.raw,
            borrows: PhantomData,
        })
    }

    /// # Safety
    /// The caller has taken the raw lock to write, and gives that to the guard (S2).
    #[inline]
    unsafe fn write_guard(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.poison.result(RwLockWriteGuard {
            lock: self,
            since: self.poison.since(),
            not_send: PhantomData,
        })
    }
}

impl<T: ?Sized> RwLock<T> {
    pub(crate) fn taking_to_read(&self) -> Taking<Reads<'_>> {
        Taking::of(Reads(&self.raw))
    }

    pub(crate) fn taking_to_write(&self) -> Taking<Writes<'_>> {
        Taking::of(Writes(&self.raw))
    }

    /// The guard for the lock that an arm of a select holds.
    pub(crate) fn read_guard_of(&self, taking: Taking<Reads<'_>>) -> LockResult<RwLockReadGuard<'_, T>> {
        assert!(std::ptr::eq(taking.give_away().0, &raw const self.raw));
        // SAFETY: S2: it was held, and the guard has it now.
        unsafe { self.read_guard() }
    }

    /// The guard for the lock that an arm of a select holds.
    pub(crate) fn write_guard_of(&self, taking: Taking<Writes<'_>>) -> LockResult<RwLockWriteGuard<'_, T>> {
        assert!(std::ptr::eq(taking.give_away().0, &raw const self.raw));
        // SAFETY: S2: it was held, and the guard has it now.
        unsafe { self.write_guard() }
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => fields.field("data", &&*guard),
            Err(TryLockError::Poisoned(poisoned)) => fields.field("data", &&**poisoned.get_ref()),
            Err(TryLockError::WouldBlock) => fields.field("data", &format_args!("<locked>")),
        };
        fields.field("poisoned", &self.is_poisoned()).finish_non_exhaustive()
    }
}

/// The right to read the value of a [`RwLock`], or a part of it. Dropping the guard gives the right back. It is not
/// `Send`, as in std.
///
/// # Examples
/// ```
/// use silken::sync::{RwLock, RwLockReadGuard};
/// fn first<'a>(words: &RwLockReadGuard<'a, Vec<&'a str>>) -> &'a str {
///     words[0]
/// }
/// let words = RwLock::new(vec!["a", "b"]);
/// assert_eq!(first(&words.read().unwrap()), "a");
/// ```
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockReadGuard<'a, T: ?Sized + 'a> {
    value: NonNull<T>,
    raw: &'a RawRwLock,
    borrows: PhantomData<&'a T>,
}

// SAFETY: S2: a shared guard gives a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// Narrows the guard to a part of the value. An associated function, so that it hides no method of `T`.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{RwLock, RwLockReadGuard};
    /// let pair = RwLock::new((1, "one"));
    /// let name = RwLockReadGuard::map(pair.read().unwrap(), |pair| &pair.1);
    /// assert_eq!(*name, "one");
    /// ```
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> RwLockReadGuard<'a, U> {
        let value = NonNull::from(f(&guard));
        let guard = ManuallyDrop::new(guard);
        RwLockReadGuard {
            value,
            raw: guard.raw,
            borrows: PhantomData,
        }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: S2: the guard keeps writers out, and the reference borrows the guard.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: S2: the guard has the right to read.
        unsafe { self.raw.unlock_read() };
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The right to write the value of a [`RwLock`]. Dropping the guard gives the right back. It is not `Send`, as in std.
///
/// # Examples
/// ```
/// use silken::sync::{RwLock, RwLockWriteGuard};
/// fn clear(mut words: RwLockWriteGuard<'_, Vec<u8>>) {
///     words.clear();
/// } // The guard is dropped: the lock is free.
/// let words = RwLock::new(vec![1, 2]);
/// clear(words.write().unwrap());
/// assert!(words.read().unwrap().is_empty());
/// ```
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockWriteGuard<'a, T: ?Sized + 'a> {
    lock: &'a RwLock<T>,
    since: poison::Since,
    not_send: PhantomData<*const ()>,
}

// SAFETY: S2: a shared guard gives a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns the right to write into the right to read, with no writer in between. Readers that wait get the lock as
    /// well.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{RwLock, RwLockWriteGuard};
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write().unwrap();
    /// *writer = 2;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!((*reader, *lock.read().unwrap()), (2, 2));
    /// ```
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let guard = ManuallyDrop::new(guard);
        let lock = guard.lock;
        // Poisons as the drop of the guard would: a destructor may downgrade while it unwinds.
        lock.poison.done(guard.since);
        // SAFETY: S2: the guard has the right to write, and is gone.
        unsafe { lock.raw.downgrade() };
        RwLockReadGuard {
            // SAFETY: S2: nobody writes while the guard lives.
            value: NonNull::from(unsafe { &*lock.value.get() }),
            raw: &lock.raw,
            borrows: PhantomData,
        }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: S2: the guard has the right to write, and the reference borrows the guard.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: S2: the guard has the right to write, and the reference borrows the guard exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.done(self.since);
        // SAFETY: S2: the guard has the right to write.
        unsafe { self.lock.raw.unlock_write() };
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
