//! How do receivers see the latest state of one value, and learn that it has changed? [`channel`] makes the two ends:
//! the sender replaces the value, and receivers [borrow](Receiver::borrow) it, or wait until it has
//! [changed](Receiver::changed).
//!
//! ```
//! use silken::channel::watch;
//!
//! let (settings, mut follower) = watch::channel("verbose");
//! settings.send("quiet").unwrap();
//! follower.changed().unwrap();
//! assert_eq!(*follower.borrow(), "quiet");
//! ```
//!
//! The rest of this page is for those who change the code.
//!
//! # Protocol
//! The channel has three parts.
//! * The *value* is behind a read-write lock whose waiters park (`value.rs`), because user code runs under it
//!   (closures, comparisons, drops) and may park itself.
//! * The *version* is one word: bit 0 says that the senders are gone, the other bits count changes.
//! * The *news* is a list of waiters of both ends: receivers wait for another version, senders wait until the last
//!   receiver is gone.
//!
//! A sender locks the value for writing, changes it, raises the version, unlocks, and wakes the waiters of the news. A
//! receiver keeps the version that it saw last. When it reads the value, it reads the version under the same read lock.
//! No sender changes the value during that time, so version and value belong together.
//!
//! # The race: a change against a receiver that is about to park
//! The receiver compares the version under the lock of the news before it is put on the list. The sender raises the
//! version *before* it takes that lock to wake. So if the receiver held the lock first, it is on the list and is woken.
//! If it came second, the lock makes the new version visible to it.
//!

mod arm;
mod value;

pub use super::{RecvError, RecvTimeoutError, SendError};
pub use arm::ChangedArm;
pub use value::Ref;

use crate::coroutine::{WaitReason, lost};
use crate::loom::Arc;
use crate::loom::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use crate::wait::{deadline_after, deadline_at};
use std::fmt;
use std::time::{Duration, Instant};
use value::LockedValue;

/// Bit 0 of the version.
const CLOSED: u64 = 1;
const CHANGE: u64 = 2;

struct Shared<T> {
    value: LockedValue<T>,
    version: AtomicU64,
    news: Monitor<()>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// Makes a channel whose first value is `value`. The receiver counts this value as seen.
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
        value: LockedValue::new(value),
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

/// The sending side: it changes the value. A clone is a further sender.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving side: it reads the value, and waits for it to change. A clone has seen the same version as its
/// original.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Shared<T> {
    /// Runs `change` on the value. If `change` says that the value has changed, raises the version and wakes the
    /// receivers.
    fn change<R>(&self, change: impl FnOnce(&mut T) -> (R, bool)) -> R {
        let (result, changed) = self.value.change(|value| {
            let (result, changed) = change(value);
            if changed {
                // Release: pairs with the Acquire in `current`.
                self.version.fetch_add(CHANGE, Ordering::Release);
            }
            (result, changed)
        });
        if changed {
            self.announce();
        }
        result
    }

    /// Wakes all waiters of the news. The caller has written the atomic that they look at before this call.
    fn announce(&self) {
        self.news.update(|()| ((), MonitorWake::All));
    }

    fn current(&self) -> u64 {
        // Acquire: pairs with the Release in `change` and in the sender's drop: what a sender did before is visible.
        self.version.load(Ordering::Acquire)
    }

    /// The news for a receiver that has seen version `seen`: the new version, or that no other will come.
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
    // Relaxed: no other memory is read because of the larger count.
    shared.receivers.fetch_add(1, Ordering::Relaxed);
    Receiver {
        shared: shared.clone(),
        seen,
    }
}

impl<T> Sender<T> {
    /// Replaces the value, and notifies the receivers. The old value is dropped.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread, while the value is borrowed
    /// or another sender changes it.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; the value is unchanged.
    ///
    /// # Errors
    /// [`SendError`] with the new value when there are no receivers; [`send_replace`](Self::send_replace) sends also
    /// without receivers.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::watch;
    ///
    /// let (tx, mut rx) = watch::channel(0);
    /// tx.send(1).unwrap();
    /// assert_eq!(*rx.borrow_and_update(), 1);
    /// drop(rx);
    /// assert!(tx.send(2).is_err());
    /// ```
    pub fn send(&self, mut value: T) -> Result<(), SendError<T>> {
        if self.is_closed() {
            return Err(SendError(value));
        }
        // The old value is dropped with the argument.
        self.swap(&mut value);
        Ok(())
    }

    /// Replaces the value, with or without receivers, and returns the old value. Blocking and cancellation are those of
    /// [`send`](Self::send).
    pub fn send_replace(&self, mut value: T) -> T {
        self.swap(&mut value);
        value
    }

    fn swap(&self, value: &mut T) {
        self.shared.change(|current| (std::mem::swap(current, value), true));
    }

    /// Changes the value in place, and notifies the receivers. If `change` panics, the value stays as `change` left it,
    /// and no receiver is notified. Blocking and cancellation are those of [`send_replace`](Self::send_replace).
    ///
    /// # Examples
    /// ```
    /// use silken::channel::watch;
    ///
    /// let (tx, rx) = watch::channel(vec![1]);
    /// tx.send_modify(|list| list.push(2));
    /// assert_eq!(*rx.borrow(), [1, 2]);
    /// ```
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.shared.change(|value| (change(value), true));
    }

    /// Does what [`send_modify`](Self::send_modify) does, but notifies the receivers only if `change` returns `true`.
    /// Returns what `change` returned.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::watch;
    ///
    /// let (tx, rx) = watch::channel(5);
    /// let raise_to = |least: u32| tx.send_if_modified(|value| {
    ///     let is_lower = *value < least;
    ///     *value = least.max(*value);
    ///     is_lower
    /// });
    /// assert!(!raise_to(3));
    /// assert!(!rx.has_changed().unwrap());
    /// assert!(raise_to(9));
    /// assert!(rx.has_changed().unwrap());
    /// ```
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        self.shared.change(|value| {
            let changed = change(value);
            (changed, changed)
        })
    }

    /// Borrows the value. Blocking and cancellation are those of [`Receiver::borrow`].
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.value.read()
    }

    /// Makes a further receiver, which counts the present value as seen.
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
    /// Unwinds if it has to wait.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::watch;
    ///
    /// let (tx, rx) = watch::channel(());
    /// let receiver = silken::spawn(move || drop(rx));
    /// tx.closed();
    /// receiver.join().unwrap();
    /// ```
    pub fn closed(&self) {
        self.shared.news.wait(WaitReason::Send, |(), _| {
            if self.is_closed() {
                Look::Done(())
            } else {
                Look::Wait(None)
            }
        });
    }

    /// Number of receivers.
    pub fn receiver_count(&self) -> usize {
        self.shared.receiver_count()
    }

    /// Number of senders.
    pub fn sender_count(&self) -> usize {
        // Relaxed: no other memory is read because of the result.
        self.shared.senders.load(Ordering::Relaxed)
    }

    /// Whether both senders belong to the same channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        std::ptr::eq(&*self.shared, &*other.shared)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        // Relaxed: as for a counted pointer: the caller that clones holds a sender.
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: pairs with itself among the senders, so that the announcement of the last sender comes after all
        // changes.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Release: pairs with the Acquire in `current`.
            self.shared.version.fetch_or(CLOSED, Ordering::Release);
            self.shared.announce();
        }
    }
}

impl<T> Receiver<T> {
    /// Borrows the value without counting it as seen: [`changed`](Self::changed) still reports it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Lock`), or blocks the calling OS thread, while a sender changes the
    /// value.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::watch;
    ///
    /// let (tx, rx) = watch::channel("old");
    /// tx.send("new").unwrap();
    /// assert_eq!(*rx.borrow(), "new");
    /// assert!(rx.has_changed().unwrap(), "borrowing does not count as seeing");
    /// ```
    pub fn borrow(&self) -> Ref<'_, T> {
        let mut value = self.shared.value.read();
        value.has_changed = self.differs(self.shared.current());
        value
    }

    /// Borrows the value and counts it as seen. Blocking and cancellation are those of [`borrow`](Self::borrow).
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let Self { shared, seen } = self;
        let mut value = shared.value.read();
        let version = shared.current() & !CLOSED;
        value.has_changed = std::mem::replace(seen, version) != version;
        value
    }

    /// Whether the value has changed since this receiver saw it last.
    ///
    /// # Errors
    /// [`RecvError`] when all senders are gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        match self.shared.current() {
            version if version & CLOSED != 0 => Err(RecvError),
            version => Ok(self.differs(version)),
        }
    }

    fn differs(&self, version: u64) -> bool {
        self.seen != version & !CLOSED
    }

    /// Waits until the value has changed since this receiver saw it last, and counts the change as seen.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; the next call reports a change that has come.
    ///
    /// # Errors
    /// [`RecvError`] when all senders are gone and this receiver has seen the last change.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::watch;
    ///
    /// let (tx, mut rx) = watch::channel(0);
    /// let follower = silken::spawn(move || {
    ///     let mut last = 0;
    ///     while rx.changed().is_ok() {
    ///         last = *rx.borrow_and_update();
    ///     }
    ///     last
    /// });
    /// (1..=3).for_each(|value| tx.send(value).unwrap());
    /// drop(tx);
    /// assert_eq!(follower.join().unwrap(), 3);
    /// ```
    pub fn changed(&mut self) -> Result<(), RecvError> {
        self.wait_changed(None).map_err(|_| RecvError)
    }

    /// Does what [`changed`](Self::changed) does, but waits for at most `timeout`.
    ///
    /// # Errors
    /// `Timeout` when the time is up; `Disconnected` when all senders are gone and this receiver has seen the last
    /// change.
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        self.wait_changed(Some(deadline_after(timeout)))
    }

    /// Does what [`changed`](Self::changed) does, but waits until `deadline` at most.
    ///
    /// # Errors
    /// `Timeout` when the time is up; `Disconnected` when all senders are gone and this receiver has seen the last
    /// change.
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

    /// Returns an arm of a [`select!`](crate::select) that waits for the next change; the form `on(…)` takes it. Its
    /// result is that of [`changed`](Self::changed).
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

    /// Waits until `is_wanted` accepts the value, beginning with the present value, and counts the accepted value as
    /// seen. `is_wanted` runs while the value is borrowed. Blocking and cancellation are those of
    /// [`borrow`](Self::borrow) and [`changed`](Self::changed).
    ///
    /// # Errors
    /// [`RecvError`] when all senders are gone and `is_wanted` does not accept the last value.
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
            let mut value = shared.value.read();
            let version = shared.current() & !CLOSED;
            value.has_changed = std::mem::replace(seen, version) != version;
            if is_wanted(&value) {
                // The borrow is made anew from its parts: the compiler cannot see that the borrow ends in the
                // iterations that do not return it.
                let has_changed = value.has_changed;
                std::mem::forget(value);
                return Ok(self.shared.value.borrowed(has_changed));
            }
            drop(value);
            self.changed()?;
        }
    }

    /// Counts the present value as not seen.
    pub fn mark_changed(&mut self) {
        // The version one change before the present one: it differs from the present version and from all later ones.
        self.seen = self.shared.current().wrapping_sub(CHANGE) & !CLOSED;
    }

    /// Counts the present value as seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.current() & !CLOSED;
    }

    /// Whether both receivers belong to the same channel.
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

#[cfg(all(test, loom))]
mod loom_tests;
