//! What can a user do with the sending side of a channel?

use super::core::Channel;
use super::error::{SendError, SendTimeoutError, TrySendError};
use super::{deadline_after, deadline_at};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The sending side of a channel. Clones send to the same receivers. When the last sender is dropped, the receivers get
/// the queued messages and then [`RecvError`](super::RecvError).
pub struct Sender<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    /// Sends a message; waits while there is no room.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Send`), or blocks the calling OS thread. It never waits on an
    /// unbounded channel.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; the message is dropped. If a receiver has taken the message meanwhile, the send
    /// succeeds.
    ///
    /// # Errors
    /// [`SendError`] with the message when the channel is closed or the last receiver is gone, before or during the
    /// wait.
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

    /// Sends a message if there is room, or, in a rendezvous channel, if a receiver waits.
    ///
    /// # Errors
    /// [`TrySendError`] with the message when there is no room (or no waiting receiver), the channel is closed, or the
    /// last receiver is gone.
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

    /// Does what [`send`](Self::send) does, but waits for at most `timeout`.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the message when the time is up, the channel is closed, or the last receiver is gone.
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

    /// Does what [`send`](Self::send) does, but waits until `deadline` at most.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the message when the time is up, the channel is closed, or the last receiver is gone.
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.channel.send(message, deadline_at(deadline))
    }

    /// Closes the channel. From now on every send fails, including those that wait at this moment. Receivers get the
    /// queued messages and then [`RecvError`](super::RecvError). Returns whether this call closed the channel.
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

    /// Whether every send fails, because the channel was closed or the last receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// Number of queued messages.
    pub fn len(&self) -> usize {
        self.channel.len()
    }

    /// Whether no message is queued; always true for a rendezvous channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room; always true for a rendezvous channel.
    pub fn is_full(&self) -> bool {
        self.channel.is_full()
    }

    /// How many messages may be queued; `None`: any number.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.capacity()
    }

    /// Number of senders of the channel.
    pub fn sender_count(&self) -> usize {
        self.channel.sender_count()
    }

    /// Number of receivers of the channel.
    pub fn receiver_count(&self) -> usize {
        self.channel.receiver_count()
    }

    /// Whether both senders send to the same channel.
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
