//! Single-producer, single-consumer channels: those of [`mpsc`] with senders that cannot be cloned.
//!
//! The receiver is that of [`mpsc`]. The senders are the senders of [`mpsc`] without `Clone` and without `Sync`: one
//! thread at a time uses them.

pub use super::mpsc::Receiver;
pub use super::{IntoIter, Iter, TryIter};
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use super::mpsc;
use super::select::SendArm;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// Makes an unbounded channel: a send never waits.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::spsc::channel();
/// let sender = silken::spawn(move || (0..3).for_each(|n| tx.send(n).unwrap()));
/// assert_eq!(rx.iter().collect::<Vec<_>>(), [0, 1, 2]);
/// sender.join().unwrap();
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = mpsc::channel();
    (Sender::of(tx), rx)
}

/// Makes a channel with room for `bound` messages; with a bound of 0 it is a rendezvous.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::spsc::sync_channel(1);
/// tx.send('a').unwrap();
/// assert!(tx.try_send('b').is_err());
/// assert_eq!(rx.recv(), Ok('a'));
/// ```
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let (tx, rx) = mpsc::sync_channel(bound);
    (SyncSender::of(tx), rx)
}

/// The sending side of an unbounded channel.
pub struct Sender<T> {
    inner: mpsc::Sender<T>,
    /// Not `Sync`: only one thread at a time uses the sender.
    _not_sync: PhantomData<Cell<()>>,
}

impl<T> Sender<T> {
    fn of(inner: mpsc::Sender<T>) -> Self {
        Self {
            inner,
            _not_sync: PhantomData,
        }
    }

    /// Sends a message; never waits.
    ///
    /// # Errors
    /// [`SendError`] with the message when the receiver is gone.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.inner.send(message)
    }

    /// Returns an arm of a [`select!`](crate::select) that sends the message. With this method `send(tx, message)`
    /// accepts this sender too.
    pub fn send_arm(&self, message: T) -> SendArm<'_, T> {
        self.inner.send_arm(message)
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

/// The sending side of a bounded channel.
pub struct SyncSender<T> {
    inner: mpsc::SyncSender<T>,
    /// Not `Sync`: only one thread at a time uses the sender.
    _not_sync: PhantomData<Cell<()>>,
}

impl<T> SyncSender<T> {
    fn of(inner: mpsc::SyncSender<T>) -> Self {
        Self {
            inner,
            _not_sync: PhantomData,
        }
    }

    /// Sends a message; waits while there is no room.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Send`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; the message is dropped.
    ///
    /// # Errors
    /// [`SendError`] with the message when the receiver is gone.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::spsc;
    ///
    /// let (tx, rx) = spsc::sync_channel(1);
    /// let sender = silken::spawn(move || (0..3).for_each(|k| tx.send(k).unwrap()));
    /// assert_eq!(rx.iter().sum::<u32>(), 3);
    /// sender.join().unwrap();
    /// ```
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.inner.send(message)
    }

    /// Returns an arm of a [`select!`](crate::select) that sends the message. With this method `send(tx, message)`
    /// accepts this sender too.
    pub fn send_arm(&self, message: T) -> SendArm<'_, T> {
        self.inner.send_arm(message)
    }

    /// Sends a message if there is room, or, in a rendezvous channel, if a receiver waits.
    ///
    /// # Errors
    /// [`TrySendError`] with the message when there is no room (or no waiting receiver), or the receiver is gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.inner.try_send(message)
    }
}

impl<T> fmt::Debug for SyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncSender { .. }")
    }
}
