//! Multi-producer, multi-consumer channels with the names of `std::sync::mpmc`.
//!
//! The types are the crate's own [`Sender`] and [`Receiver`]. [`sync_channel`] returns the same types, for a bounded
//! channel.

pub use super::{IntoIter, Iter, Receiver, Sender, TryIter};
pub use super::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};

/// Makes an unbounded channel: see [`unbounded`](super::unbounded).
///
/// # Examples
/// ```
/// let (tx, rx) = silken::mpmc::channel();
/// let receivers = [rx.clone(), rx].map(|rx| silken::spawn(move || rx.iter().sum::<u32>()));
/// (1..=100).for_each(|n| tx.send(n).unwrap());
/// drop(tx);
/// assert_eq!(receivers.map(|one| one.join().unwrap()).iter().sum::<u32>(), 5050);
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    super::unbounded()
}

/// Makes a channel with room for `bound` messages; with a bound of 0 it is a rendezvous: see
/// [`bounded`](super::bounded).
pub fn sync_channel<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    super::bounded(bound)
}
