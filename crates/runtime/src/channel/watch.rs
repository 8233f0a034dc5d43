//! One value that changes: receivers see the latest, and hear that it changed.
//!
//! # Protocol
//! Three parts. The *value* behind a read-write lock whose waiters park, for users' code runs under it (closures,
//! comparisons, drops) and may park itself. The *version*, one word: bit 0 says that the senders are gone, the rest
//! counts changes. The *news*, a list of those who wait for either end: receivers for another version, senders for the
//! last receiver to go.
//!
//! A sender takes the value for writing, changes it, raises the version, lets go, and wakes the news. A receiver keeps
//! the version that it saw last; it reads the word for its value only under the lock for reading, where no sender is at
//! work, so version and value belong together.
//!
//! # The race: a change against a receiver that goes to sleep
//! The receiver compares the version under the news' lock before it is listed. The sender raises the version *before*
//! it takes that lock to wake. So if the receiver held the lock first, it is listed and woken; if it came second, the
//! lock shows it the new version.
//!
//! # The lock of the value
//! A `Monitor` over a count of readers and a flag. Writers go first: a reader waits while a writer waits, or receivers
//! that read all the time would keep a sender out. Hence a receiver must not borrow twice at once: a writer that came
//! in between would wait for the first borrow and the second for the writer. Rejected: an `Arc` that is swapped (no
//! `send_modify` without `Clone`, and an allocation for each change).

mod arm;

pub use super::{RecvError, RecvTimeoutError, SendError};
pub use arm::ChangedArm;

use crate::coroutine::{WaitReason, lost};
use crate::driver::monitor::{Look, Monitor, MonitorWake};
use crate::driver::timers::{deadline_after, deadline_at};
use crate::loom::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::loom::{Arc, UnsafeCell};
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// Bit 0 of the version.
const CLOSED: u64 = 1;
const CHANGE: u64 = 2;

/// Who uses the value.
#[derive(Default)]
struct Access {
    readers: usize,
    writes: bool,
    waiting_writers: usize,
}

struct Shared<T> {
    value: UnsafeCell<T>,
    access: Monitor<Access>,
    version: AtomicU64,
    news: Monitor<()>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

// SAFETY: S2: the lock lets several threads read the value at once, or one write it.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}
// SAFETY: S2: moving it moves the value.
unsafe impl<T: Send> Send for Shared<T> {}

/// Makes a channel whose value is `value` at first. The receiver counts it as seen.
///
/// # Examples
/// ```
/// use silken::channel::watch;
/// let (sender, mut receiver) = watch::channel("starting");
/// let watcher = silken::spawn(move || {
///     let mut seen = vec![*receiver.borrow()];
///     while receiver.changed().is_ok() {
///         seen.push(*receiver.borrow_and_update());
///     }
///     seen
/// });
/// sender.send("done").unwrap();
/// drop(sender);
/// assert_eq!(watcher.join().unwrap().last(), Some(&"done"));
/// ```
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        value: UnsafeCell::new(value),
        access: Monitor::new(Access::default()),
        version: AtomicU64::new(0),
        news: Monitor::new(()),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    let receiver = Receiver {
        shared: shared.clone(),
        seen: 0,
    };
    (Sender { shared }, receiver)
}

/// Changes the value; clone it for more senders.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Sees the value, and waits for it to change. A clone has seen what its original has.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// A look at the value. Senders wait as long as it exists; hold it briefly, and one at a time.
pub struct Ref<'a, T> {
    value: *const T,
    shared: &'a Shared<T>,
    has_changed: bool,
}

// SAFETY: S2: it lends a `&T`; the lock that it holds belongs to no thread.
unsafe impl<T: Sync + Send> Send for Ref<'_, T> {}
// SAFETY: S2: it lends a `&T`.
unsafe impl<T: Sync + Send> Sync for Ref<'_, T> {}

/// Unlocks the value for a writer, also when its closure panics.
struct WriteAccess<'a, T>(&'a Shared<T>);

/// A writer that waits, and may be cancelled.
struct WaitingWriter<'a>(&'a Monitor<Access>, bool);

impl Drop for WaitingWriter<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.update(|access| {
                access.waiting_writers -= 1;
                ((), MonitorWake::All)
            });
        }
    }
}

impl<T> Shared<T> {
    fn read(&self) -> Ref<'_, T> {
        self.access.wait(WaitReason::Lock, |access, _| {
            if access.writes || access.waiting_writers > 0 {
                return Look::Wait(None);
            }
            access.readers += 1;
            Look::Done(())
        });
        Ref {
            value: self.value.with(|value| value),
            shared: self,
            has_changed: false,
        }
    }

    fn write(&self) -> WriteAccess<'_, T> {
        let mut waiting = WaitingWriter(&self.access, false);
        self.access.wait(WaitReason::Lock, |access, _| {
            if access.writes || access.readers > 0 {
                if !waiting.1 {
                    waiting.1 = true;
                    access.waiting_writers += 1;
                }
                return Look::Wait(None);
            }
            if waiting.1 {
                waiting.1 = false;
                access.waiting_writers -= 1;
            }
            access.writes = true;
            Look::Done(())
        });
        WriteAccess(self)
    }

    /// Runs `change` on the value; if it says so, the receivers hear of it.
    fn change<R>(&self, change: impl FnOnce(&mut T) -> (R, bool)) -> R {
        let access = self.write();
        let (result, changed) = self.value.with_mut(|value| {
            // SAFETY: S2: this caller has the value for writing.
            change(unsafe { &mut *value })
        });
        if changed {
            // Release: pairs with the Acquire in `current`.
            self.version.fetch_add(CHANGE, Ordering::Release);
        }
        drop(access);
        if changed {
            self.announce();
        }
        result
    }

    /// Something has happened that somebody may wait for; the atomic that says what was written before this.
    fn announce(&self) {
        self.news.update(|()| ((), MonitorWake::All));
    }

    fn current(&self) -> u64 {
        // Acquire: pairs with the Release in `change` and in the sender's drop: what a sender did before is seen.
        self.version.load(Ordering::Acquire)
    }

    /// What there is to tell a receiver that has seen this version: the new one, or that none will come.
    fn news(&self, seen: u64) -> Option<Result<u64, RecvError>> {
        match self.current() {
            version if version & !CLOSED != seen => Some(Ok(version & !CLOSED)),
            version => (version & CLOSED != 0).then_some(Err(RecvError)),
        }
    }

    fn receiver_count(&self) -> usize {
        // Acquire: pairs with the Release in the receiver's drop.
        self.receivers.load(Ordering::Acquire)
    }
}

fn subscribe<T>(shared: &Arc<Shared<T>>, seen: u64) -> Receiver<T> {
    // Relaxed: nothing is read on the strength of the count's growth.
    shared.receivers.fetch_add(1, Ordering::Relaxed);
    Receiver {
        shared: shared.clone(),
        seen,
    }
}

impl<T> Drop for WriteAccess<'_, T> {
    fn drop(&mut self) {
        self.0.access.update(|access| {
            access.writes = false;
            ((), MonitorWake::All)
        });
    }
}

impl<T> Drop for Ref<'_, T> {
    fn drop(&mut self) {
        self.shared.access.update(|access| {
            access.readers -= 1;
            let wake = if access.readers == 0 {
                MonitorWake::All
            } else {
                MonitorWake::None
            };
            ((), wake)
        });
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: S2: the borrow counts as a reader, so nobody writes.
        unsafe { &*self.value }
    }
}

impl<T> Ref<'_, T> {
    /// Whether the receiver that borrowed had not seen this version of the value; `false` for a sender's borrow.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }
}

impl<T> Sender<T> {
    /// Replaces the value, and tells the receivers. The old value is dropped.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread, while the value is borrowed.
    ///
    /// # Cancellation
    /// Unwinds when it has to wait; the value is as it was.
    ///
    /// # Errors
    /// Gives the new value back when there are no receivers; see [`send_replace`](Self::send_replace) for a send that
    /// does not mind.
    pub fn send(&self, mut value: T) -> Result<(), SendError<T>> {
        if self.is_closed() {
            return Err(SendError(value));
        }
        // The old one is dropped with the argument.
        self.swap(&mut value);
        Ok(())
    }

    /// Replaces the value, with or without receivers, and gives the old one. Otherwise as [`send`](Self::send).
    pub fn send_replace(&self, mut value: T) -> T {
        self.swap(&mut value);
        value
    }

    fn swap(&self, value: &mut T) {
        self.shared.change(|current| (std::mem::swap(current, value), true));
    }

    /// Changes the value in place, and tells the receivers. If `change` panics, the value stays as it left it and
    /// nobody is told. Otherwise as [`send_replace`](Self::send_replace).
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.shared.change(|value| (change(value), true));
    }

    /// As [`send_modify`](Self::send_modify), but the receivers are told only if `change` says `true`, which this
    /// returns.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        self.shared.change(|value| {
            let changed = change(value);
            (changed, changed)
        })
    }

    /// A look at the value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// A further receiver, which counts the present value as seen.
    pub fn subscribe(&self) -> Receiver<T> {
        subscribe(&self.shared, self.shared.current() & !CLOSED)
    }

    /// Whether there are no receivers.
    pub fn is_closed(&self) -> bool {
        self.receiver_count() == 0
    }

    /// Waits until there are no receivers.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Send`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds.
    pub fn closed(&self) {
        self.shared.news.wait(WaitReason::Send, |(), _| {
            if self.is_closed() {
                Look::Done(())
            } else {
                Look::Wait(None)
            }
        });
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.receiver_count()
    }

    /// How many senders there are.
    pub fn sender_count(&self) -> usize {
        // Relaxed: nothing is read on the strength of it.
        self.shared.senders.load(Ordering::Relaxed)
    }

    /// Whether both are of one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        std::ptr::eq(&*self.shared, &*other.shared)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        // Relaxed: as for a counted pointer: who clones has one.
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: pairs with itself among the senders, so that the last one's announcement has all changes before it.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Release: pairs with the Acquire in `current`.
            self.shared.version.fetch_or(CLOSED, Ordering::Release);
            self.shared.announce();
        }
    }
}

impl<T> Receiver<T> {
    /// A look at the value, which does not count as seen: [`changed`](Self::changed) goes on to report it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread, while a sender changes the
    /// value.
    ///
    /// # Cancellation
    /// Unwinds when it has to wait.
    pub fn borrow(&self) -> Ref<'_, T> {
        let mut value = self.shared.read();
        value.has_changed = self.differs(self.shared.current());
        value
    }

    /// A look at the value, which counts as seen. Otherwise as [`borrow`](Self::borrow).
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let Self { shared, seen } = self;
        let mut value = shared.read();
        let version = shared.current() & !CLOSED;
        value.has_changed = std::mem::replace(seen, version) != version;
        value
    }

    /// Whether the value has changed since it was seen last.
    ///
    /// # Errors
    /// When all senders are gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        match self.shared.current() {
            version if version & CLOSED != 0 => Err(RecvError),
            version => Ok(self.differs(version)),
        }
    }

    fn differs(&self, version: u64) -> bool {
        self.seen != version & !CLOSED
    }

    /// Waits until the value has changed since it was seen last, and counts the change as seen.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; a change that came is reported by the next call.
    ///
    /// # Errors
    /// When all senders are gone and the last change was seen.
    pub fn changed(&mut self) -> Result<(), RecvError> {
        self.wait_changed(None).map_err(|_| RecvError)
    }

    /// As [`changed`](Self::changed), for at most `timeout`.
    ///
    /// # Errors
    /// `Timeout` when the time is up; `Disconnected` as for [`changed`](Self::changed).
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        self.wait_changed(Some(deadline_after(timeout)))
    }

    /// As [`changed_timeout`](Self::changed_timeout), until `deadline`.
    ///
    /// # Errors
    /// As [`changed_timeout`](Self::changed_timeout).
    pub fn changed_deadline(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        self.wait_changed(Some(deadline_at(deadline)))
    }

    fn wait_changed(&mut self, deadline_ns: Option<u64>) -> Result<(), RecvTimeoutError> {
        let Self { shared, seen } = self;
        let mut look = || match shared.news(*seen)? {
            Ok(version) => {
                *seen = version;
                Some(Ok(()))
            }
            Err(RecvError) => Some(Err(RecvTimeoutError::Disconnected)),
        };
        let result = look().unwrap_or_else(|| {
            shared.news.wait(WaitReason::Receive, |(), expired| match look() {
                Some(result) => Look::Done(result),
                None if expired => Look::Done(Err(RecvTimeoutError::Timeout)),
                None => Look::Wait(deadline_ns),
            })
        });
        result.map_err(|error| match error {
            RecvTimeoutError::Disconnected => lost(error),
            RecvTimeoutError::Timeout => error,
        })
    }

    /// The next change as an arm of a [`select!`](crate::select), by `on(…)`. Its result is that of
    /// [`changed`](Self::changed).
    ///
    /// # Examples
    /// ```
    /// use silken::channel::{after, watch};
    /// let (sender, mut receiver) = watch::channel(1);
    /// silken::spawn(move || sender.send(2));
    /// silken::select! {
    ///     on(receiver.changed_arm()) -> changed => changed.unwrap(),
    ///     recv(after(std::time::Duration::from_secs(60))) -> _ => unreachable!(),
    /// }
    /// assert_eq!(*receiver.borrow(), 2);
    /// ```
    pub fn changed_arm(&mut self) -> ChangedArm<'_, T> {
        ChangedArm::new(self)
    }

    /// Waits until the value is one that `is_wanted` accepts, beginning with the present one, and counts it as seen.
    /// `is_wanted` runs while the value is borrowed. Blocking and cancellation as for [`borrow`](Self::borrow) and
    /// [`changed`](Self::changed).
    ///
    /// # Errors
    /// When all senders are gone and have left no such value.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::watch;
    /// let (sender, mut receiver) = watch::channel(0);
    /// let counter = silken::spawn(move || (1..=10).for_each(|i| drop(sender.send(i))));
    /// assert!(*receiver.wait_for(|number| *number >= 10).unwrap() == 10);
    /// # counter.join().unwrap();
    /// ```
    pub fn wait_for(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, RecvError> {
        loop {
            let Self { shared, seen } = &mut *self;
            let mut value = shared.read();
            let version = shared.current() & !CLOSED;
            value.has_changed = std::mem::replace(seen, version) != version;
            if is_wanted(&value) {
                // The borrow is made anew from its parts: the compiler cannot see that it ends where it is not
                // returned.
                let has_changed = value.has_changed;
                std::mem::forget(value);
                return Ok(Ref {
                    value: self.shared.value.with(|value| value),
                    shared: &self.shared,
                    has_changed,
                });
            }
            drop(value);
            self.changed()?;
        }
    }

    /// Counts the present value as not seen.
    pub fn mark_changed(&mut self) {
        // One change back: not the present version, and none that will come.
        self.seen = self.shared.current().wrapping_sub(CHANGE) & !CLOSED;
    }

    /// Counts the present value as seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.current() & !CLOSED;
    }

    /// Whether both are of one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        std::ptr::eq(&*self.shared, &*other.shared)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        subscribe(&self.shared, self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `receiver_count`.
        if self.shared.receivers.fetch_sub(1, Ordering::Release) == 1 {
            self.shared.announce();
        }
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        channel(T::default()).0
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
