//! `RwLock`: std's surface over [`RawRwLock`](super::raw_rwlock::RawRwLock), which has the protocol.

use super::lock_arm::Taking;
use super::poison;
use super::raw_rwlock::{RawRwLock, Reads, Writes};
use crate::driver::timers::{deadline_after, deadline_at};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{LockResult, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

/// A value that many may read or one may write; [`std::sync::RwLock`] with deadlines and cancellation.
///
/// Neither side starves: a writer that waits keeps new readers out, and after a writer the readers that waited go
/// first. So reading twice without letting go in between can deadlock, if a writer comes in the meantime.
///
/// # Poisoning
/// As in std: only a writer's panic poisons. The unwinding of a cancelled coroutine does not.
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

// What std promises of its lock: a panic of a writer shows as poison.
impl<T: ?Sized> std::panic::UnwindSafe for RwLock<T> {}
impl<T: ?Sized> std::panic::RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    const_unless_loom! {
        /// A lock that nobody holds.
        pub fn new(value: T) -> Self {
            Self {
                raw: RawRwLock::new(),
                poison: poison::Flag::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, of a lock that nobody else can reach.
    ///
    /// # Errors
    /// If the lock is poisoned; the error has the value.
    pub fn into_inner(self) -> LockResult<T> {
        let Self { poison, value, .. } = self;
        poison.result(value.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock to read, waiting while a writer has it or waits for it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds, if it has to wait.
    ///
    /// # Errors
    /// If the lock is poisoned; the error has the guard.
    ///
    /// # Panics
    /// If there are 2^29 readers.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.raw.read(None);
        // SAFETY: S2: locked just now.
        unsafe { self.read_guard() }
    }

    /// Takes the lock to read, if that needs no wait.
    ///
    /// # Errors
    /// `WouldBlock` if a writer has it or waits for it, `Poisoned`, with the guard, if it is poisoned.
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        self.read_guard_if(self.raw.try_read())
    }

    /// As [`read`](Self::read), but waits no longer than `timeout`.
    ///
    /// # Errors
    /// `WouldBlock` once the time is over, `Poisoned`, with the guard, if the lock is poisoned.
    pub fn read_timeout(&self, timeout: Duration) -> TryLockResult<RwLockReadGuard<'_, T>> {
        self.read_guard_if(self.raw.try_read() || self.raw.read(Some(deadline_after(timeout))))
    }

    /// As [`read_timeout`](Self::read_timeout), until a moment.
    ///
    /// # Errors
    /// As there.
    pub fn read_deadline(&self, deadline: Instant) -> TryLockResult<RwLockReadGuard<'_, T>> {
        self.read_guard_if(self.raw.try_read() || self.raw.read(Some(deadline_at(deadline))))
    }

    /// Takes the lock to write, waiting while others have it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds, if it has to wait.
    ///
    /// # Errors
    /// If the lock is poisoned; the error has the guard.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.write(None);
        // SAFETY: S2: locked just now.
        unsafe { self.write_guard() }
    }

    /// Takes the lock to write, if nobody has it at this moment.
    ///
    /// # Errors
    /// `WouldBlock` if somebody has it, `Poisoned`, with the guard, if it is poisoned.
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        self.write_guard_if(self.raw.try_write())
    }

    /// As [`write`](Self::write), but waits no longer than `timeout`.
    ///
    /// # Errors
    /// `WouldBlock` once the time is over, `Poisoned`, with the guard, if the lock is poisoned.
    pub fn write_timeout(&self, timeout: Duration) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        self.write_guard_if(self.raw.try_write() || self.raw.write(Some(deadline_after(timeout))))
    }

    /// As [`write_timeout`](Self::write_timeout), until a moment.
    ///
    /// # Errors
    /// As there.
    pub fn write_deadline(&self, deadline: Instant) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        self.write_guard_if(self.raw.try_write() || self.raw.write(Some(deadline_at(deadline))))
    }

    /// Whether a writer panicked.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Forgets that a writer panicked.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, of a lock that nobody else can reach.
    ///
    /// # Errors
    /// If the lock is poisoned; the error has the reference.
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

    /// The guard of what an arm of this lock holds.
    pub(crate) fn read_guard_of(&self, taking: Taking<Reads<'_>>) -> LockResult<RwLockReadGuard<'_, T>> {
        assert!(std::ptr::eq(taking.give_away().0, &raw const self.raw));
        // SAFETY: S2: it was held, and the guard has it now.
        unsafe { self.read_guard() }
    }

    /// The guard of what an arm of this lock holds.
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

/// The right to read a [`RwLock`]'s value, or a part of it; gives it back when dropped. Not `Send`, as std's.
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockReadGuard<'a, T: ?Sized + 'a> {
    value: NonNull<T>,
    raw: &'a RawRwLock,
    borrows: PhantomData<&'a T>,
}

// SAFETY: S2: a shared guard gives a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// The right to a part of the value only.
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

/// The right to write a [`RwLock`]'s value; gives it back when dropped. Not `Send`, as std's.
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockWriteGuard<'a, T: ?Sized + 'a> {
    lock: &'a RwLock<T>,
    since: poison::Since,
    not_send: PhantomData<*const ()>,
}

// SAFETY: S2: a shared guard gives a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns the right to write into the right to read, with nobody writing in between. Readers that wait go as well.
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
        // As the guard's drop, for a destructor may downgrade while it unwinds.
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
