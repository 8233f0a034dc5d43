//! The sending side.

use super::core::Channel;
use super::error::{SendError, SendTimeoutError, TrySendError};
use super::{deadline_after, deadline_at};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The sending side of a channel. Clones send to the same receivers; when the last one is dropped, they get what is
/// queued and then [`RecvError`](super::RecvError).
pub struct Sender<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    /// Sends a message; waits while there is no room.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Send`), or blocks the calling OS thread. Never on an unbounded
    /// channel.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; the message is dropped. If a receiver has taken it meanwhile, the send succeeds.
    ///
    /// # Errors
    /// [`SendError`] with the message when the channel is closed or the last receiver has gone, before or while it
    /// waits.
    ///
    /// # Examples
    /// ```
    /// let (tx, rx) = silken::channel::bounded(1);
    /// tx.send("first").unwrap();
    /// drop(rx);
    /// assert_eq!(tx.send("second").unwrap_err().into_inner(), "second");
    /// ```
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.channel
            .send(message, None)
            .map_err(|error| SendError(error.into_inner()))
    }

    /// Sends a message if there is room, or, in a rendezvous channel, a receiver that waits.
    ///
    /// # Errors
    /// [`TrySendError`] with the message.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::TrySendError;
    /// let (tx, rx) = silken::channel::bounded(1);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    /// drop(rx);
    /// assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
    /// ```
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.channel.try_send(message)
    }

    /// As [`send`](Self::send), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the message.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let (tx, _rx) = silken::channel::bounded(0);
    /// let error = tx.send_timeout('a', Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timeout());
    /// assert_eq!(error.into_inner(), 'a');
    /// ```
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.channel.send(message, deadline_after(timeout))
    }

    /// As [`send`](Self::send), waiting until `deadline` at most.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the message.
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.channel.send(message, deadline_at(deadline))
    }

    /// Closes the channel: every send fails from now on, those that wait included, and receivers get what is queued and
    /// then [`RecvError`](super::RecvError). Returns whether this call closed it.
    ///
    /// # Examples
    /// ```
    /// let (tx, rx) = silken::channel::unbounded();
    /// tx.send(1).unwrap();
    /// assert!(tx.close());
    /// assert!(!rx.close());
    /// assert!(tx.send(2).is_err());
    /// assert_eq!(rx.iter().collect::<Vec<_>>(), [1]);
    /// ```
    pub fn close(&self) -> bool {
        self.channel.close()
    }

    /// Whether every send fails: the channel was closed, or the last receiver has gone.
    pub fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// Messages that are queued.
    pub fn len(&self) -> usize {
        self.channel.len()
    }

    /// Whether none is queued; of a rendezvous channel always true.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room; of a rendezvous channel always true.
    pub fn is_full(&self) -> bool {
        self.channel.is_full()
    }

    /// How many messages may be queued; `None`: any number.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.capacity()
    }

    /// How many senders the channel has.
    pub fn sender_count(&self) -> usize {
        self.channel.sender_count()
    }

    /// How many receivers the channel has.
    pub fn receiver_count(&self) -> usize {
        self.channel.receiver_count()
    }

    /// Whether both send to the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.channel.add_sender();
        Self {
            channel: self.channel.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.channel.drop_sender();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
