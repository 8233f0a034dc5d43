//! Multi-producer, single-consumer channels with the types and names of `std::sync::mpsc`.
//!
//! The types are thin wrappers around the channels of [`channel`](super). The errors are the types of std themselves,
//! so code that names them keeps compiling. Unlike with std, a send or receive that waits parks only the calling
//! coroutine, and can be cancelled.

pub use super::{IntoIter, Iter, TryIter};
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use super::select::{RecvArm, SendArm};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// Makes an unbounded channel: a send never waits.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::mpsc::channel();
/// let sender = silken::spawn(move || (0..3).for_each(|n| tx.send(n).unwrap()));
/// assert_eq!(rx.iter().collect::<Vec<_>>(), [0, 1, 2]);
/// sender.join().unwrap();
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = super::unbounded();
    (Sender::of(tx), Receiver::of(rx))
}

/// Makes a channel with room for `bound` messages; with a bound of 0 it is a rendezvous.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::mpsc::sync_channel(1);
/// tx.send('a').unwrap();
/// assert!(tx.try_send('b').is_err());
/// assert_eq!(rx.recv(), Ok('a'));
/// ```
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let (tx, rx) = super::bounded(bound);
    (SyncSender::of(tx), Receiver::of(rx))
}

/// The sending side of an unbounded channel.
pub struct Sender<T> {
    inner: super::Sender<T>,
}

impl<T> Sender<T> {
    fn of(inner: super::Sender<T>) -> Self {
        Self { inner }
    }

    /// Sends a message; never waits.
    ///
    /// # Errors
    /// [`SendError`] with the message when the receiver is gone.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.inner.send(message).map_err(|error| SendError(error.0))
    }

    /// Returns an arm of a [`select!`](crate::select) that sends the message. With this method `send(tx, message)`
    /// accepts this sender too.
    pub fn send_arm(&self, message: T) -> SendArm<'_, T> {
        self.inner.send_arm(message)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self::of(self.inner.clone())
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

/// The sending side of a bounded channel.
pub struct SyncSender<T> {
    inner: super::Sender<T>,
}

impl<T> SyncSender<T> {
    fn of(inner: super::Sender<T>) -> Self {
        Self { inner }
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
    /// use silken::channel::mpsc;
    ///
    /// let (tx, rx) = mpsc::sync_channel(1);
    /// let sender = silken::spawn(move || (0..3).for_each(|k| tx.send(k).unwrap()));
    /// assert_eq!(rx.iter().sum::<u32>(), 3);
    /// sender.join().unwrap();
    /// ```
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.inner.send(message).map_err(|error| SendError(error.0))
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
        self.inner.try_send(message).map_err(|error| match error {
            super::TrySendError::Full(message) => TrySendError::Full(message),
            super::TrySendError::Disconnected(message) => TrySendError::Disconnected(message),
        })
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> Self {
        Self::of(self.inner.clone())
    }
}

impl<T> fmt::Debug for SyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncSender { .. }")
    }
}

/// The receiving side.
pub struct Receiver<T> {
    inner: super::Receiver<T>,
    /// Not `Sync`: only one thread at a time uses the receiver.
    _not_sync: PhantomData<Cell<()>>,
}

impl<T> Receiver<T> {
    fn of(inner: super::Receiver<T>) -> Self {
        Self {
            inner,
            _not_sync: PhantomData,
        }
    }

    /// Takes the next message; waits while there is none.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait. If a message was handed over to it meanwhile, it returns the message.
    ///
    /// # Errors
    /// [`RecvError`] when no message is queued and there is no sender any more.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::mpsc;
    ///
    /// let (tx, rx) = mpsc::channel();
    /// silken::spawn(move || tx.send(7).unwrap());
    /// assert_eq!(rx.recv(), Ok(7));
    /// assert!(rx.recv().is_err(), "the sender is gone");
    /// ```
    pub fn recv(&self) -> Result<T, RecvError> {
        self.inner.recv().map_err(|_| RecvError)
    }

    /// Takes the next message if there is one.
    ///
    /// # Errors
    /// [`TryRecvError`] tells whether a message may come later.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.inner.try_recv().map_err(|error| match error {
            super::TryRecvError::Empty => TryRecvError::Empty,
            super::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// Does what [`recv`](Self::recv) does, but waits for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError`] tells whether the time is up, or no message will come.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.inner.recv_timeout(timeout).map_err(timeout_error)
    }

    /// Does what [`recv`](Self::recv) does, but waits until `deadline` at most.
    ///
    /// # Errors
    /// [`RecvTimeoutError`] tells whether the time is up, or no message will come.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.inner.recv_deadline(deadline).map_err(timeout_error)
    }

    /// Iterates over the messages and waits for each, until there is no sender any more.
    pub fn iter(&self) -> Iter<'_, T> {
        self.inner.iter()
    }

    /// Iterates over the messages that are there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        self.inner.try_iter()
    }

    /// Returns an arm of a [`select!`](crate::select) that receives a message. With this method `recv(rx)` accepts this
    /// receiver too.
    pub fn recv_arm(&self) -> RecvArm<'_, T> {
        self.inner.recv_arm()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        self.inner.into_iter()
    }
}

fn timeout_error(error: super::RecvTimeoutError) -> RecvTimeoutError {
    match error {
        super::RecvTimeoutError::Timeout => RecvTimeoutError::Timeout,
        super::RecvTimeoutError::Disconnected => RecvTimeoutError::Disconnected,
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}
