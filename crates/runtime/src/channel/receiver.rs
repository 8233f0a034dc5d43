//! What can a user do with the receiving side of a channel, or of one of the clock's channels?

use super::core::Channel;
use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::timed::Timed;
use super::{deadline_after, deadline_at};
use std::fmt;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The receiving side of a channel. Clones share the messages: each message goes to one of them. When the last receiver
/// is dropped, the queued messages are dropped too, and waiting senders get their messages back.
pub struct Receiver<T> {
    pub(super) flavour: Flavour<T>,
}

pub(super) enum Flavour<T> {
    Channel(Arc<Channel<T>>),
    Timed(Arc<Timed<T>>),
    Never,
}

impl<T> Receiver<T> {
    pub(super) fn of(flavour: Flavour<T>) -> Self {
        Self { flavour }
    }

    #[inline]
    fn recv_until(&self, deadline_ns: Option<u64>) -> Result<T, RecvTimeoutError> {
        match &self.flavour {
            Flavour::Channel(channel) => channel.recv(deadline_ns),
            Flavour::Timed(timed) => timed.recv(deadline_ns).ok_or(RecvTimeoutError::Timeout),
            Flavour::Never => {
                super::timed::wait_for_nothing(deadline_ns);
                Err(RecvTimeoutError::Timeout)
            }
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
    /// [`RecvError`] when no message is queued, and the channel is closed or the last sender is gone.
    ///
    /// # Examples
    /// ```
    /// let (tx, rx) = silken::channel::unbounded();
    /// let sender = silken::spawn(move || tx.send(1).unwrap());
    /// assert_eq!(rx.recv(), Ok(1));
    /// sender.join().unwrap();
    /// assert_eq!(rx.recv(), Err(silken::channel::RecvError));
    /// ```
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(None).map_err(|_| RecvError)
    }

    /// Takes the next message if there is one, or, in a rendezvous channel, if a sender waits.
    ///
    /// # Errors
    /// [`TryRecvError`] tells whether a message may come later.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match &self.flavour {
            Flavour::Channel(channel) => channel.try_recv(),
            Flavour::Timed(timed) => timed.take().ok_or(TryRecvError::Empty),
            Flavour::Never => Err(TryRecvError::Empty),
        }
    }

    /// Does what [`recv`](Self::recv) does, but waits for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError`] tells whether the time is up, or no message will come.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::{RecvTimeoutError, unbounded};
    /// use std::time::Duration;
    /// let (_tx, rx) = unbounded::<()>();
    /// assert_eq!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline_after(timeout))
    }

    /// Does what [`recv`](Self::recv) does, but waits until `deadline` at most.
    ///
    /// # Errors
    /// [`RecvTimeoutError`] tells whether the time is up, or no message will come.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline_at(deadline))
    }

    /// Iterates over the messages and waits for each, until [`recv`](Self::recv) fails.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Iterates over the messages that are there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }

    /// Closes the channel, as [`Sender::close`](super::Sender::close) does: queued messages can still be received.
    /// Returns whether this call closed it. The clock's channels cannot be closed: for them the call does nothing and
    /// returns `false`.
    pub fn close(&self) -> bool {
        self.channel().is_some_and(|channel| channel.close())
    }

    /// Whether no message can be sent any more, because the channel was closed or the last sender is gone. Messages may
    /// still be queued.
    pub fn is_closed(&self) -> bool {
        self.channel().is_some_and(|channel| channel.is_closed())
    }

    /// Number of queued messages.
    pub fn len(&self) -> usize {
        match &self.flavour {
            Flavour::Channel(channel) => channel.len(),
            Flavour::Timed(timed) => usize::from(timed.is_due()),
            Flavour::Never => 0,
        }
    }

    /// Whether no message is queued; always true for a rendezvous channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room for more messages; always true for a rendezvous channel.
    pub fn is_full(&self) -> bool {
        match &self.flavour {
            Flavour::Channel(channel) => channel.is_full(),
            Flavour::Timed(timed) => timed.is_due(),
            Flavour::Never => true,
        }
    }

    /// How many messages may be queued; `None`: any number.
    pub fn capacity(&self) -> Option<usize> {
        match &self.flavour {
            Flavour::Channel(channel) => channel.capacity(),
            Flavour::Timed(_) => Some(1),
            Flavour::Never => Some(0),
        }
    }

    /// Number of senders of the channel; the clock's channels have none.
    pub fn sender_count(&self) -> usize {
        self.channel().map_or(0, |channel| channel.sender_count())
    }

    /// Number of receivers of the channel.
    pub fn receiver_count(&self) -> usize {
        match &self.flavour {
            Flavour::Channel(channel) => channel.receiver_count(),
            Flavour::Timed(timed) => Arc::strong_count(timed),
            Flavour::Never => 1,
        }
    }

    /// Whether both receivers receive from the same channel. All receivers that [`never`](super::never) returns count
    /// as one channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        match (&self.flavour, &other.flavour) {
            (Flavour::Channel(one), Flavour::Channel(other)) => Arc::ptr_eq(one, other),
            (Flavour::Timed(one), Flavour::Timed(other)) => Arc::ptr_eq(one, other),
            (Flavour::Never, Flavour::Never) => true,
            _ => false,
        }
    }

    fn channel(&self) -> Option<&Channel<T>> {
        match &self.flavour {
            Flavour::Channel(channel) => Some(channel),
            Flavour::Timed(_) | Flavour::Never => None,
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::of(match &self.flavour {
            Flavour::Channel(channel) => {
                channel.add_receiver();
                Flavour::Channel(channel.clone())
            }
            Flavour::Timed(timed) => Flavour::Timed(timed.clone()),
            Flavour::Never => Flavour::Never,
        })
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let Flavour::Channel(channel) = &self.flavour {
            channel.drop_receiver();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

/// See [`Receiver::iter`].
pub struct Iter<'a, T>(&'a Receiver<T>);

/// See [`Receiver::try_iter`].
pub struct TryIter<'a, T>(&'a Receiver<T>);

/// The iterator of a receiver that it owns; it waits for each message.
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}

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
        IntoIter(self)
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iter { .. }")
    }
}

impl<T> fmt::Debug for TryIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TryIter { .. }")
    }
}

impl<T> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntoIter { .. }")
    }
}
