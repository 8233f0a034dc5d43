//! Channels with many senders and many receivers; each message goes to one receiver.
//!
//! [`bounded`] channels hold at most a fixed number of messages and make senders wait when they are full.
//! [`bounded`]`(0)` is a rendezvous, where a send waits for its receiver. [`unbounded`] channels never make a sender
//! wait. [`after`] and [`tick`] return receivers that the clock sends to; a receiver of [`never()`] gets nothing. All
//! of them can be arms of a [`select!`](crate::select). Names and signatures are those of the crate crossbeam-channel;
//! [`mpsc`], [`mpmc`] and [`spsc`] have those of std.
//!
//! Three channels are of another kind. [`oneshot`] is for one value. [`broadcast`] gives every value to every receiver.
//! Receivers of a [`watch`] see the latest value and are notified when it changes. These three have the semantics of
//! the channels of the crate tokio.
//!
//! Both sides work on coroutines, isolated and light, and on OS threads, in any mixture.
//!
//! ```
//! use silken::channel;
//!
//! let (tx, rx) = channel::bounded(4);
//! let squares = silken::spawn(move || rx.iter().map(|n: u64| n * n).sum::<u64>());
//! for n in 1..=10 {
//!     tx.send(n).unwrap();
//! }
//! drop(tx);
//! assert_eq!(squares.join().unwrap(), 385);
//! ```
//!
//! A value that cannot move to another thread cannot go through a channel between threads:
//! ```compile_fail
//! let (tx, rx) = silken::channel::unbounded();
//! silken::spawn(move || tx.send(std::rc::Rc::new(1)).unwrap());
//! rx.recv().unwrap();
//! ```
//!
//! # How it is built
//! | file | answers |
//! |---|---|
//! | `core` | the channel: one short lock over the queue and two lists of waiters; hand-over, close, the bound |
//! | `waiter` | the node of a waiter; the race between hand-over, timeout, cancellation and a select's other arms |
//! | `queue` | where messages lie: ring or blocks |
//! | `timed` | the clock's channels |
//! | `select/` | waiting for one of several operations |
//! | `oneshot`, `broadcast`, `watch` | the other kinds, each with a protocol of its own |
//! | `sender`, `receiver`, `error` | the public types; `mpsc`, `mpmc`, `spsc`: the same with the names of std |

pub mod broadcast;
mod core;
#[forbid(unsafe_code)]
mod error;
#[forbid(unsafe_code)]
pub mod mpmc;
#[forbid(unsafe_code)]
pub mod mpsc;
pub mod oneshot;
mod queue;
#[forbid(unsafe_code)]
mod receiver;
pub mod select;
#[forbid(unsafe_code)]
mod sender;
#[forbid(unsafe_code)]
pub mod spsc;
#[forbid(unsafe_code)]
mod timed;
mod waiter;
pub mod watch;

#[cfg(all(test, loom))]
mod loom_tests;

pub use error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
pub use receiver::{IntoIter, Iter, Receiver, TryIter};
pub use select::{Select, SelectTimeoutError, SelectedOperation, TrySelectError};
pub use sender::Sender;

use self::core::Channel;
use crate::wait;
use receiver::Flavour;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timed::Timed;

/// Makes a channel that holds at most `capacity` messages. With a capacity of 0 it holds none: a send waits until a
/// receiver takes its message.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::channel::bounded(0);
/// let sender = silken::spawn(move || tx.send("met").unwrap());
/// assert_eq!(rx.recv(), Ok("met"));
/// sender.join().unwrap();
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    // A bound of `usize::MAX` means no bound: no memory holds that many messages.
    ends(Channel::new(capacity))
}

/// Makes a channel that holds any number of messages. Their memory is given back as they are received.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::channel::unbounded();
/// for n in 0..1000 {
///     tx.send(n).unwrap();
/// }
/// assert_eq!(rx.len(), 1000);
/// assert_eq!(rx.try_iter().sum::<i32>(), 499_500);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(Channel::new(usize::MAX))
}

fn ends<T>(channel: Channel<T>) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(channel);
    let receiver = Receiver::of(Flavour::Channel(channel.clone()));
    (Sender { channel }, receiver)
}

/// Makes a receiver that gets one message, the time, when `duration` has passed. It is never disconnected: a second
/// receive waits for ever.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let begun = Instant::now();
/// let timeout = silken::channel::after(Duration::from_millis(5));
/// assert!(timeout.recv().unwrap() >= begun + Duration::from_millis(5));
/// assert!(timeout.try_recv().is_err());
/// ```
pub fn after(duration: Duration) -> Receiver<Instant> {
    Receiver::of(Flavour::Timed(Arc::new(Timed::new(duration, false, |at| at))))
}

/// Makes a receiver that gets one message, the time, at `when`. It is never disconnected: a second receive waits for
/// ever, as with [`after`].
pub fn at(when: Instant) -> Receiver<Instant> {
    after(when.saturating_duration_since(Instant::now()))
}

/// Makes a receiver that gets a message every `period`; the message is the time at which it was due. Ticks that are not
/// received in time are skipped, not queued.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let begun = Instant::now();
/// let ticks = silken::channel::tick(Duration::from_millis(2));
/// assert_eq!(ticks.iter().take(3).count(), 3);
/// assert!(begun.elapsed() >= Duration::from_millis(6));
/// ```
pub fn tick(period: Duration) -> Receiver<Instant> {
    Receiver::of(Flavour::Timed(Arc::new(Timed::new(period, true, |at| at))))
}

/// Makes a receiver that never gets a message and is never disconnected.
///
/// # Examples
/// ```
/// assert!(silken::channel::never::<()>().try_recv().unwrap_err().is_empty());
/// ```
pub fn never<T>() -> Receiver<T> {
    Receiver::of(Flavour::Never)
}

/// The monotonic time of [`wait::deadline_after`]; `None` if that time can never come.
fn deadline_after(timeout: Duration) -> Option<u64> {
    Some(wait::deadline_after(timeout)).filter(|&deadline_ns| deadline_ns != u64::MAX)
}

/// The monotonic time of [`wait::deadline_at`]; `None` if that time can never come.
fn deadline_at(deadline: Instant) -> Option<u64> {
    Some(wait::deadline_at(deadline)).filter(|&deadline_ns| deadline_ns != u64::MAX)
}

/// Makes a channel: `chan!()` is [`unbounded`](crate::channel::unbounded), `chan!(n)` is
/// [`bounded`](crate::channel::bounded)`(n)`, and `chan!(T, n)` is the same for messages of type `T`. (The macro first
/// tries to read a capacity as a type: put a call with literal arguments in braces, `chan!({ f(1) })`.)
///
/// # Examples
/// ```
/// let (tx, rx) = silken::chan!();
/// tx.send('a').unwrap();
/// assert_eq!(rx.recv(), Ok('a'));
/// let (tx, _rx) = silken::chan!(1);
/// assert!(tx.try_send(1).is_ok() && tx.try_send(2).is_err());
/// let (tx, _rx) = silken::chan!(String, 8);
/// assert_eq!(tx.capacity(), Some(8));
/// ```
#[macro_export]
macro_rules! chan {
    () => {
        $crate::channel::unbounded()
    };
    ($type:ty, $capacity:expr $(,)?) => {
        $crate::channel::bounded::<$type>($capacity)
    };
    ($capacity:expr $(,)?) => {
        $crate::channel::bounded($capacity)
    };
}
