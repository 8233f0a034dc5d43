//! Multi-producer, multi-consumer channels with the names of `std::sync::mpmc`.
//!
//! The types are the crate's own [`Sender`] and [`Receiver`]; [`sync_channel`] gives the same ones, bounded.

pub use super::{IntoIter, Iter, Receiver, Sender, TryIter};
pub use super::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};

/// An unbounded channel: [`unbounded`](super::unbounded).
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

/// A channel with room for `bound` messages; with 0 a rendezvous: [`bounded`](super::bounded).
pub fn sync_channel<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    super::bounded(bound)
}
