//! The receiving side: of a channel, or of the clock.

use super::core::Channel;
use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::timed::Timed;
use super::{deadline_after, deadline_at};
use std::fmt;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The receiving side of a channel. Clones share the messages: each goes to one of them. When the last one is dropped,
/// so are the messages that are queued, and those who wait to send get theirs back.
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
    /// Unwinds if it has to wait. If a message was handed to it meanwhile, it returns the message.
    ///
    /// # Errors
    /// [`RecvError`] when nothing is queued, and the channel is closed or the last sender has gone.
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

    /// Takes the next message if there is one, or, in a rendezvous channel, a sender that waits.
    ///
    /// # Errors
    /// [`TryRecvError`] says whether there may be one later.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match &self.flavour {
            Flavour::Channel(channel) => channel.try_recv(),
            Flavour::Timed(timed) => timed.take().ok_or(TryRecvError::Empty),
            Flavour::Never => Err(TryRecvError::Empty),
        }
    }

    /// As [`recv`](Self::recv), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError`] says whether the time was up, or there will be no message.
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

    /// As [`recv`](Self::recv), waiting until `deadline` at most.
    ///
    /// # Errors
    /// [`RecvTimeoutError`] says whether the time was up, or there will be no message.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline_at(deadline))
    }

    /// The messages as they come, until [`recv`](Self::recv) fails.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// The messages that are there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }

    /// Closes the channel, as [`Sender::close`](super::Sender::close): what is queued can still be received. The
    /// clock's channels cannot be closed: for them it does nothing.
    pub fn close(&self) -> bool {
        self.channel().is_some_and(|channel| channel.close())
    }

    /// Whether nobody sends any more: the channel was closed, or the last sender has gone. Messages may still be
    /// queued.
    pub fn is_closed(&self) -> bool {
        self.channel().is_some_and(|channel| channel.is_closed())
    }

    /// Messages that are queued.
    pub fn len(&self) -> usize {
        match &self.flavour {
            Flavour::Channel(channel) => channel.len(),
            Flavour::Timed(timed) => usize::from(timed.is_due()),
            Flavour::Never => 0,
        }
    }

    /// Whether none is queued; of a rendezvous channel always true.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room for more; of a rendezvous channel always true.
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

    /// How many senders the channel has; the clock has none.
    pub fn sender_count(&self) -> usize {
        self.channel().map_or(0, |channel| channel.sender_count())
    }

    /// How many receivers the channel has.
    pub fn receiver_count(&self) -> usize {
        match &self.flavour {
            Flavour::Channel(channel) => channel.receiver_count(),
            Flavour::Timed(timed) => Arc::strong_count(timed),
            Flavour::Never => 1,
        }
    }

    /// Whether both receive from the same channel. All that [`never`](super::never) gives are the same.
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

/// The messages as they come, of a receiver that it owns.
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
