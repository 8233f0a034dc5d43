//! How can a [`select!`](crate::select) wait for the types of `sync`? This file holds arms for a notification, permits,
//! the end of a wait group, and locks.
//!
//! The wakers of these types cannot claim an arm. They settle the select's cell, and the select looks at all arms again
//! (`api/select.rs`). Meanwhile a waker may have given a notification, permits or a lock to one particular arm. The arm
//! keeps it. The select's next look takes it, or, if the select chooses another arm, it goes to the next waiter
//! (`wait/list.rs`, "A part of a select").

use crate::channel::select::{Arm, Operation, Ticket};
use crate::sync::{
    AcquireError, Acquisition, Departure, Mutex, MutexGuard, Notification, Notify, RawMutex, Reads, RwLock,
    RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit, Taking, WaitGroup, Writes,
};
use std::fmt;
use std::sync::LockResult;

/// An arm of a [`select!`](crate::select) that waits for a notification: see [`Notify::notified_arm`].
pub struct NotifiedArm<'a>(Notification<'a>);

impl Notify {
    /// Returns an arm of a [`select!`](crate::select) that waits for the next notification; the form `on(…)` takes it.
    /// A notification that reaches an arm which is not chosen goes to another waiter, or is kept.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Notify;
    /// use std::time::Duration;
    /// static NEWS: Notify = Notify::new();
    /// silken::spawn(|| NEWS.notify_one());
    /// silken::select! {
    ///     on(NEWS.notified_arm()) -> () => {},
    ///     default(Duration::from_secs(60)) => panic!("no news for a minute"),
    /// }
    /// ```
    pub fn notified_arm(&self) -> NotifiedArm<'_> {
        NotifiedArm(Notification::of(self))
    }
}

/// An arm of a [`select!`](crate::select) that takes permits: see [`Semaphore::acquire_arm`].
pub struct AcquireArm<'a>(Acquisition<'a>);

impl Semaphore {
    /// Returns an arm of a [`select!`](crate::select) that takes a permit; the form `on(…)` takes it. Its result is
    /// that of [`acquire`](Self::acquire). Permits that reach an arm which is not chosen go back.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Semaphore;
    /// use std::time::Duration;
    /// let places = Semaphore::new(1);
    /// let first = places.acquire().unwrap();
    /// let late = silken::select! {
    ///     on(places.acquire_arm()) -> _permit => false,
    ///     default(Duration::from_millis(1)) => true,
    /// };
    /// drop(first);
    /// assert!(late && places.available_permits() == 1);
    /// ```
    pub fn acquire_arm(&self) -> AcquireArm<'_> {
        self.acquire_many_arm(1)
    }

    /// Returns an arm that takes several permits at once; otherwise as [`acquire_arm`](Self::acquire_arm).
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Semaphore;
    /// let places = Semaphore::new(3);
    /// silken::select! {
    ///     on(places.acquire_many_arm(2)) -> permits => {
    ///         assert_eq!(places.available_permits(), 1);
    ///         drop(permits);
    ///     },
    /// }
    /// assert_eq!(places.available_permits(), 3);
    /// ```
    pub fn acquire_many_arm(&self, permits: usize) -> AcquireArm<'_> {
        AcquireArm(Acquisition::of(self, permits))
    }
}

/// An arm of a [`select!`](crate::select) that waits for the other members of a group: see
/// [`WaitGroup::wait_others_arm`].
pub struct WaitGroupArm<'a>(Departure<'a>);

impl WaitGroup {
    /// Returns an arm of a [`select!`](crate::select) that is ready when all other members have left; the form `on(…)`
    /// takes it. See [`wait_others`](Self::wait_others).
    ///
    /// # Examples
    /// ```
    /// use silken::sync::WaitGroup;
    /// use std::time::Duration;
    /// let group = WaitGroup::new();
    /// let member = group.clone();
    /// silken::spawn(move || drop(member));
    /// silken::select! {
    ///     on(group.wait_others_arm()) -> () => {},
    ///     default(Duration::from_secs(60)) => panic!("somebody stays"),
    /// }
    /// ```
    pub fn wait_others_arm(&self) -> WaitGroupArm<'_> {
        WaitGroupArm(Departure::of_others(self))
    }
}

/// An arm of a [`select!`](crate::select) that locks a mutex: see [`Mutex::lock_arm`].
pub struct LockArm<'a, T: ?Sized>(&'a Mutex<T>, Taking<&'a RawMutex>);

impl<T: ?Sized> Mutex<T> {
    /// Returns an arm of a [`select!`](crate::select) that locks the mutex; the form `on(…)` takes it. Its result is
    /// that of [`lock`](Self::lock). If the mutex reaches an arm which is not chosen, it is unlocked again.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Mutex;
    /// use std::time::Duration;
    /// let value = Mutex::new(7);
    /// let seen = silken::select! {
    ///     on(value.lock_arm()) -> guard => *guard.unwrap(),
    ///     default(Duration::from_secs(60)) => panic!("somebody holds it for a minute"),
    /// };
    /// assert_eq!(seen, 7);
    /// ```
    pub fn lock_arm(&self) -> LockArm<'_, T> {
        LockArm(self, self.taking())
    }
}

/// An arm of a [`select!`](crate::select) that locks for reading: see [`RwLock::read_arm`].
pub struct ReadArm<'a, T: ?Sized>(&'a RwLock<T>, Taking<Reads<'a>>);

/// An arm of a [`select!`](crate::select) that locks for writing: see [`RwLock::write_arm`].
pub struct WriteArm<'a, T: ?Sized>(&'a RwLock<T>, Taking<Writes<'a>>);

impl<T: ?Sized> RwLock<T> {
    /// Returns an arm of a [`select!`](crate::select) that locks for reading; the form `on(…)` takes it. Its result is
    /// that of [`read`](Self::read). If the lock reaches an arm which is not chosen, it is unlocked again.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::after;
    /// use silken::sync::RwLock;
    /// use std::time::Duration;
    /// let table = RwLock::new(vec![7]);
    /// let writer = table.write().unwrap();
    /// let seen = silken::select! {
    ///     on(table.read_arm()) -> guard => guard.unwrap().first().copied(),
    ///     recv(after(Duration::from_millis(1))) -> _ => None,
    /// };
    /// assert_eq!(seen, None);
    /// # drop(writer);
    /// ```
    pub fn read_arm(&self) -> ReadArm<'_, T> {
        ReadArm(self, self.taking_to_read())
    }

    /// Returns an arm of a [`select!`](crate::select) that locks for writing; the form `on(…)` takes it. Its result is
    /// that of [`write`](Self::write). If the lock reaches an arm which is not chosen, it is unlocked again.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::after;
    /// use silken::sync::RwLock;
    /// use std::time::Duration;
    /// let table = RwLock::new(vec![7]);
    /// silken::select! {
    ///     on(table.write_arm()) -> guard => guard.unwrap().push(8),
    ///     recv(after(Duration::from_secs(60))) -> _ => panic!("somebody holds it for a minute"),
    /// }
    /// assert_eq!(*table.read().unwrap(), [7, 8]);
    /// ```
    pub fn write_arm(&self) -> WriteArm<'_, T> {
        WriteArm(self, self.taking_to_write())
    }
}

macro_rules! arms {
    ($($arm:ident $(<$t:ident>)?: $field:tt, $try_now:ident;)*) => {$(
        // SAFETY: S8: the queue holds the waiter from `list` to `unlist`, and is locked in both.
        unsafe impl $(<$t: ?Sized>)? Arm for $arm<'_ $(, $t)?> {
            fn try_now(&self) -> bool {
                self.$field.$try_now()
            }

            unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
                // SAFETY: S8: the select keeps this arm and its ticket in place until `withdraw` has returned.
                unsafe { self.$field.list(ticket.cell()) }
            }

            fn withdraw(&self) {
                self.$field.unlist();
            }

            fn let_go(&self) {
                self.$field.let_go();
            }
        }

        impl $(<$t: ?Sized>)? fmt::Debug for $arm<'_ $(, $t)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($arm), " { .. }"))
            }
        }
    )*};
}

arms! {
    NotifiedArm: 0, take;
    AcquireArm: 0, is_over;
    WaitGroupArm: 0, is_over;
    LockArm<T>: 1, is_held;
    ReadArm<T>: 1, is_held;
    WriteArm<T>: 1, is_held;
}

impl<'a, T: ?Sized> Operation for LockArm<'a, T> {
    type Output = LockResult<MutexGuard<'a, T>>;

    fn finish(self) -> Self::Output {
        self.0.guard_of(self.1)
    }
}

impl<'a, T: ?Sized> Operation for ReadArm<'a, T> {
    type Output = LockResult<RwLockReadGuard<'a, T>>;

    fn finish(self) -> Self::Output {
        self.0.read_guard_of(self.1)
    }
}

impl<'a, T: ?Sized> Operation for WriteArm<'a, T> {
    type Output = LockResult<RwLockWriteGuard<'a, T>>;

    fn finish(self) -> Self::Output {
        self.0.write_guard_of(self.1)
    }
}

impl Operation for NotifiedArm<'_> {
    type Output = ();

    fn finish(self) {}
}

impl<'a> Operation for AcquireArm<'a> {
    type Output = Result<SemaphorePermit<'a>, AcquireError>;

    fn finish(self) -> Self::Output {
        self.0.finish()
    }
}

impl Operation for WaitGroupArm<'_> {
    type Output = ();

    fn finish(self) {}
}
