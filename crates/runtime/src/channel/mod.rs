//! Channels: many senders, many receivers, each message to one of them.
//!
//! [`bounded`] channels hold so many messages and make senders wait; [`bounded`]`(0)` is a rendezvous, where a send
//! waits for its receiver; [`unbounded`] ones never make a sender wait. [`after`], [`tick`] and [`never()`] are
//! receivers that the clock sends to. Any of them are arms of a [`select!`](crate::select). Names and signatures are
//! those of the crate crossbeam-channel; [`mpsc`], [`mpmc`] and [`spsc`] have those of std.
//!
//! Three are of another kind: [`oneshot`] is for one value, [`broadcast`] gives every value to every receiver, and of a
//! [`watch`] receivers see the latest value and hear that it changed. They have the semantics of those of the crate
//! tokio.
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
//! What cannot go to another thread cannot go through a channel between them:
//! ```compile_fail
//! let (tx, rx) = silken::channel::unbounded();
//! silken::spawn(move || tx.send(std::rc::Rc::new(1)).unwrap());
//! rx.recv().unwrap();
//! ```
//!
//! # How it is built
//! | file | answers |
//! |---|---|
//! | `core` | the channel: one short lock over the queue and two lists of waiters; hand-off, close, the bound |
//! | `waiter` | the node of one who waits, and the race between hand-off, timeout, cancellation and the other arms of a select |
//! | `queue` | where messages lie: ring or blocks |
//! | `timed` | the clock's channels |
//! | `select/` | waiting for one of several operations |
//! | `oneshot`, `broadcast`, `watch` | the other kinds, each by itself |
//! | `sender`, `receiver`, `error` | the surface; `mpsc`, `mpmc`, `spsc`: the same with std's names |

pub mod broadcast;
mod core;
mod error;
pub mod mpmc;
pub mod mpsc;
pub mod oneshot;
mod queue;
mod receiver;
pub mod select;
mod sender;
pub mod spsc;
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
use crate::driver::timers;
use receiver::Flavour;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timed::Timed;

/// A channel that holds at most `capacity` messages. With 0 it holds none: a send waits until a receiver takes its
/// message.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::channel::bounded(0);
/// let sender = silken::spawn(move || tx.send("met").unwrap());
/// assert_eq!(rx.recv(), Ok("met"));
/// sender.join().unwrap();
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    // No memory holds usize::MAX messages: no bound at all.
    ends(Channel::new(capacity))
}

/// A channel that holds any number of messages. Their memory is given back as they are received.
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

/// A receiver that gets one message, the time, when `duration` has passed. It is never disconnected: a second receive
/// waits for ever.
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

/// A receiver that gets one message, the time, at `when`; otherwise as [`after`].
pub fn at(when: Instant) -> Receiver<Instant> {
    after(when.saturating_duration_since(Instant::now()))
}

/// A receiver that gets a message, the time it was due, every `period`. Ticks that nobody receives in time are skipped,
/// not queued.
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

/// A receiver that never gets a message and is never disconnected.
///
/// # Examples
/// ```
/// assert!(silken::channel::never::<()>().try_recv().unwrap_err().is_empty());
/// ```
pub fn never<T>() -> Receiver<T> {
    Receiver::of(Flavour::Never)
}

/// As [`timers::deadline_after`]; `None` if that is beyond all times.
fn deadline_after(timeout: Duration) -> Option<u64> {
    Some(timers::deadline_after(timeout)).filter(|&deadline_ns| deadline_ns != u64::MAX)
}

/// As [`timers::deadline_at`]; `None` if that is beyond all times.
fn deadline_at(deadline: Instant) -> Option<u64> {
    Some(timers::deadline_at(deadline)).filter(|&deadline_ns| deadline_ns != u64::MAX)
}

/// A channel: `chan!()` is [`unbounded`](crate::channel::unbounded), `chan!(n)` is
/// [`bounded`](crate::channel::bounded)`(n)`, and `chan!(T, n)` the same for messages of type `T`. (A capacity is first
/// read as a type: put a call with literal arguments in braces, `chan!({ f(1) })`.)
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
