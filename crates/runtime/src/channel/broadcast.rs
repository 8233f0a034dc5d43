//! How does every receiver get every value, while senders never wait for a slow receiver? A receiver that is too slow
//! loses the oldest values, and is told how many. [`channel`] makes the first two ends, [`Sender::subscribe`] further
//! receivers.
//!
//! ```
//! use silken::channel::broadcast;
//!
//! let (tx, mut first) = broadcast::channel(8);
//! let mut second = tx.subscribe();
//! tx.send("to all").unwrap();
//! assert_eq!((first.recv(), second.recv()), (Ok("to all"), Ok("to all")));
//! ```
//!
//! The rest of this page is for those who change the code.
//!
//! # Protocol
//! The channel is a ring of `capacity` slots under one short lock. Values are numbered from 0: value `p` is in slot
//! `p % capacity` until value `p + capacity` replaces it. The state of a receiver is one number: that of the value that
//! it takes next. Senders never wait for receivers. A slot counts the receivers that have not had its value yet. The
//! last of them takes the value out, so that a value which no receiver can receive any more is not kept.
//!
//! Values are behind an `Arc`: under the lock only counts change, and the user's `Clone` and `Drop` run outside. The
//! receiver that holds the last reference gets the value itself, the others get clones. With one receiver nothing is
//! cloned.
//!
//! # Why `T: Sync`
//! Two receivers may clone one value at the same time. A channel that asks only for `Send` there is unsound
//! (RUSTSEC-2025-0023).
//!
//! # The race: a receiver is dropped while values are sent
//! The dropped receiver is first taken off the count of receivers, so that values sent later do not count it. Then it
//! gives up its part in the values that were sent before.

#[forbid(unsafe_code)]
mod errors;

pub use super::SendError;
pub use errors::{RecvError, RecvTimeoutError, TryRecvError};

use super::select::{Arm, Operation, Ticket};
use crate::coroutine::{WaitReason, lost};
use crate::wait::monitor::{Look, Monitor, MonitorWaiter, MonitorWake};
use crate::wait::{deadline_after, deadline_at};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Slot<T> {
    value: Option<Arc<T>>,
    /// Number of receivers that have not had the value.
    remaining: usize,
}

struct State<T> {
    slots: Box<[Slot<T>]>,
    /// The number of the value that is sent next.
    tail: u64,
    senders: usize,
    receivers: usize,
}

struct Shared<T> {
    monitor: Monitor<State<T>>,
}

/// Makes a channel that keeps the last `capacity` values for receivers that have not taken them yet.
///
/// # Panics
/// If `capacity` is 0.
///
/// # Examples
/// ```
/// use silken::channel::broadcast::{self, RecvError};
/// let (sender, mut one) = broadcast::channel(2);
/// let mut other = sender.subscribe();
/// assert_eq!(sender.send("a"), Ok(2));
/// assert_eq!((one.recv(), other.recv()), (Ok("a"), Ok("a")));
/// for word in ["b", "c", "d"] {
///     sender.send(word).unwrap();
/// }
/// assert_eq!(one.recv(), Err(RecvError::Lagged(1)));
/// assert_eq!(one.recv(), Ok("c"));
/// ```
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast channel keeps at least one value");
    let empty = || Slot {
        value: None,
        remaining: 0,
    };
    let shared = Arc::new(Shared {
        monitor: Monitor::new(State {
            slots: std::iter::repeat_with(empty).take(capacity).collect(),
            tail: 0,
            senders: 1,
            receivers: 1,
        }),
    });
    let receiver = Receiver {
        shared: shared.clone(),
        next: 0,
    };
    (Sender { shared }, receiver)
}

/// The sending side: it sends to all receivers. A clone is a further sender.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving side: it receives the values that are sent after it was made.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The number of the value that the receiver takes next.
    next: u64,
}

impl<T> State<T> {
    fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    fn slot(&mut self, number: u64) -> &mut Slot<T> {
        let index = (number % self.capacity()) as usize;
        &mut self.slots[index]
    }

    /// Takes the result for a receiver whose next value has the number `next`. `None`: there is nothing yet.
    fn take(&mut self, next: &mut u64) -> Option<Result<Arc<T>, RecvError>> {
        if *next == self.tail {
            return (self.senders == 0).then_some(Err(RecvError::Closed));
        }
        let oldest = self.tail.saturating_sub(self.capacity());
        if *next < oldest {
            let missed = oldest - *next;
            *next = oldest;
            return Some(Err(RecvError::Lagged(missed)));
        }
        let slot = self.slot(*next);
        *next += 1;
        slot.remaining -= 1;
        let value = match slot.remaining {
            0 => slot.value.take(),
            _ => slot.value.clone(),
        };
        Some(Ok(
            value.expect("a slot keeps its value as long as somebody is to have it")
        ))
    }

    /// Number of values that at least one receiver has not had. They are the latest values, because a receiver that has
    /// not had a value has not had any later one either.
    fn held(&mut self) -> u64 {
        let (mut low, mut high) = (self.tail.saturating_sub(self.capacity()), self.tail);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.slot(middle).remaining == 0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.tail - low
    }
}

impl<T> Sender<T> {
    /// Sends a value to all present receivers, and returns their number. Never waits.
    ///
    /// # Errors
    /// [`SendError`] with the value when there are no receivers. A later send may succeed, for
    /// [`subscribe`](Self::subscribe) makes further receivers.
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        let value = Arc::new(value);
        let sent = self.shared.monitor.update(|state| {
            let receivers = state.receivers;
            if receivers == 0 {
                return (Err(value), MonitorWake::None);
            }
            let tail = state.tail;
            state.tail += 1;
            let slot = state.slot(tail);
            slot.remaining = receivers;
            (Ok((receivers, slot.value.replace(value))), MonitorWake::All)
        });
        match sent {
            Ok((receivers, _overwritten)) => Ok(receivers),
            Err(value) => Err(SendError(Arc::into_inner(value).expect("nobody else has seen it"))),
        }
    }

    /// Makes a further receiver, which receives the values that are sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        subscribe(&self.shared)
    }

    /// Waits until there are no receivers.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Send`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::broadcast;
    ///
    /// let (tx, rx) = broadcast::channel::<u32>(4);
    /// let receiver = silken::spawn(move || drop(rx));
    /// tx.closed();
    /// assert!(tx.send(1).is_err());
    /// receiver.join().unwrap();
    /// ```
    pub fn closed(&self) {
        self.shared
            .monitor
            .wait(WaitReason::Send, |state, _| match state.receivers {
                0 => Look::Done(()),
                _ => Look::Wait(None),
            });
    }

    /// Number of receivers.
    pub fn receiver_count(&self) -> usize {
        self.shared.monitor.with(|state| state.receivers)
    }

    /// Number of senders.
    pub fn sender_count(&self) -> usize {
        self.shared.monitor.with(|state| state.senders)
    }

    /// Number of the kept values that at least one receiver has not had yet.
    pub fn len(&self) -> usize {
        self.shared.monitor.with(|state| state.held() as usize)
    }

    /// Whether every receiver has had every value that is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of values that the channel can keep.
    pub fn capacity(&self) -> usize {
        self.shared.monitor.with(|state| state.slots.len())
    }

    /// Whether both senders belong to the same channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

fn subscribe<T>(shared: &Arc<Shared<T>>) -> Receiver<T> {
    let next = shared.monitor.with(|state| {
        state.receivers += 1;
        state.tail
    });
    Receiver {
        shared: shared.clone(),
        next,
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.monitor.with(|state| state.senders += 1);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.monitor.update(|state| {
            state.senders -= 1;
            let wake = if state.senders == 0 {
                MonitorWake::All
            } else {
                MonitorWake::None
            };
            ((), wake)
        });
    }
}

impl<T: Clone> Receiver<T> {
    /// Takes the next value; waits while there is none.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; no value is lost.
    ///
    /// # Errors
    /// `Closed` when all senders are gone and this receiver has had all values; `Lagged` when values were overwritten
    /// before this receiver took them.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::broadcast::{self, RecvError};
    ///
    /// let (tx, mut first) = broadcast::channel(2);
    /// let mut second = tx.subscribe();
    /// let reader = silken::spawn(move || (second.recv(), second.recv()));
    /// tx.send("a").unwrap();
    /// tx.send("b").unwrap();
    /// assert_eq!(reader.join().unwrap(), (Ok("a"), Ok("b")));
    /// tx.send("c").unwrap();
    /// drop(tx);
    /// assert_eq!(first.recv(), Err(RecvError::Lagged(1)));
    /// assert_eq!((first.recv(), first.recv(), first.recv()), (Ok("b"), Ok("c"), Err(RecvError::Closed)));
    /// ```
    pub fn recv(&mut self) -> Result<T, RecvError> {
        let Self { shared, next } = self;
        let taken = shared
            .monitor
            .wait(WaitReason::Receive, |state, _| match state.take(next) {
                Some(taken) => Look::Done(taken),
                None => Look::Wait(None),
            });
        taken.map(Arc::unwrap_or_clone).map_err(if_closed)
    }

    /// Returns an arm of a [`select!`](crate::select) that receives the next value; the form `on(…)` takes it. Its
    /// result is that of [`recv`](Self::recv).
    ///
    /// # Examples
    /// ```
    /// use silken::channel::{broadcast, never};
    /// let (sender, mut receiver) = broadcast::channel(4);
    /// silken::spawn(move || sender.send("all"));
    /// let got = silken::select! {
    ///     on(receiver.recv_arm()) -> got => got,
    ///     recv(never::<()>()) -> _ => unreachable!(),
    /// };
    /// assert_eq!(got, Ok("all"));
    /// ```
    pub fn recv_arm(&mut self) -> RecvArm<'_, T> {
        RecvArm {
            next: Cell::new(self.next),
            receiver: self,
            waiter: MonitorWaiter::new(),
            taken: Cell::new(None),
        }
    }

    /// Does what [`recv`](Self::recv) does, but waits for at most `timeout`.
    ///
    /// # Errors
    /// `Timeout` when the time is up; `Closed` when all senders are gone and this receiver has had all values; `Lagged`
    /// when values were overwritten before this receiver took them.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline_after(timeout))
    }

    /// Does what [`recv`](Self::recv) does, but waits until `deadline` at most.
    ///
    /// # Errors
    /// `Timeout` when the time is up; `Closed` when all senders are gone and this receiver has had all values; `Lagged`
    /// when values were overwritten before this receiver took them.
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline_at(deadline))
    }

    fn recv_until(&mut self, deadline_ns: u64) -> Result<T, RecvTimeoutError> {
        let Self { shared, next } = self;
        let taken = shared
            .monitor
            .wait(WaitReason::Receive, |state, expired| match state.take(next) {
                Some(taken) => Look::Done(taken.map_err(RecvTimeoutError::from)),
                None if expired => Look::Done(Err(RecvTimeoutError::Timeout)),
                None => Look::Wait(Some(deadline_ns)),
            });
        match taken {
            Err(RecvTimeoutError::Closed) => Err(lost(RecvTimeoutError::Closed)),
            taken => taken.map(Arc::unwrap_or_clone),
        }
    }

    /// Takes the next value, if there is one. Never waits.
    ///
    /// # Errors
    /// `Empty` when there is no new value; `Closed` when all senders are gone and this receiver has had all values;
    /// `Lagged` when values were overwritten before this receiver took them.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.shared.monitor.with(|state| state.take(&mut self.next)) {
            Some(taken) => Ok(taken.map(Arc::unwrap_or_clone)?),
            None => Err(TryRecvError::Empty),
        }
    }
}

/// An arm that receives a value: see [`Receiver::recv_arm`].
pub struct RecvArm<'a, T> {
    receiver: &'a mut Receiver<T>,
    waiter: MonitorWaiter,
    /// The result that the arm has taken. `next` is the number of the value after it.
    taken: Cell<Option<Result<Arc<T>, RecvError>>>,
    next: Cell<u64>,
}

// SAFETY: S8: the channel's list holds the node from `enlist` to `withdraw`, and is locked in both. No waker claims the
// ticket: a woken select looks again.
unsafe impl<T> Arm for RecvArm<'_, T> {
    fn try_now(&self) -> bool {
        let mut next = self.next.get();
        let taken = self.receiver.shared.monitor.with(|state| state.take(&mut next));
        self.next.set(next);
        let is_ready = taken.is_some();
        self.taken.set(taken);
        is_ready
    }

    unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
        let next = self.next.get();
        let is_ready = |state: &mut State<T>| next != state.tail || state.senders == 0;
        // SAFETY: S8: the select keeps this arm and its ticket in place until `withdraw` has returned.
        unsafe {
            self.receiver
                .shared
                .monitor
                .watch(&self.waiter, ticket.cell(), is_ready)
        }
    }

    fn withdraw(&self) {
        self.receiver.shared.monitor.withdraw(&self.waiter);
    }

    fn discard(&self) {
        drop(self.taken.take());
    }
}

impl<T> Drop for RecvArm<'_, T> {
    fn drop(&mut self) {
        self.receiver.next = self.next.get();
    }
}

impl<T: Clone> Operation for RecvArm<'_, T> {
    type Output = Result<T, RecvError>;

    fn finish(self) -> Self::Output {
        let taken = self.taken.take().expect("a chosen arm has what it took");
        taken.map(Arc::unwrap_or_clone).map_err(if_closed)
    }
}

/// For a closed channel: unwinds the caller if the request that has closed the channel is to end the caller too.
fn if_closed(error: RecvError) -> RecvError {
    match error {
        RecvError::Closed => lost(error),
        RecvError::Lagged(_) => error,
    }
}

impl<T> fmt::Debug for RecvArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecvArm { .. }")
    }
}

impl<T> Receiver<T> {
    /// Number of values that this receiver has not had yet. If it is larger than the capacity, the next receive returns
    /// [`Lagged`](RecvError::Lagged).
    pub fn len(&self) -> usize {
        self.shared.monitor.with(|state| (state.tail - self.next) as usize)
    }

    /// Whether there is no value to receive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes a further receiver. It receives the values that are sent from now on, not those that this receiver has
    /// still to receive.
    pub fn resubscribe(&self) -> Self {
        subscribe(&self.shared)
    }

    /// Number of senders.
    pub fn sender_count(&self) -> usize {
        self.shared.monitor.with(|state| state.senders)
    }

    /// Whether both receivers belong to the same channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let end = self.shared.monitor.update(|state| {
            state.receivers -= 1;
            let wake = if state.receivers == 0 {
                MonitorWake::All
            } else {
                MonitorWake::None
            };
            (state.tail, wake)
        });
        while self.next < end {
            // One value at a time, so that each value is dropped while the lock is free. Overwritten values need no
            // drop here, since the sender that overwrote them has dropped them.
            let _given_up = self.shared.monitor.with(|state| {
                let oldest = state.tail.saturating_sub(state.capacity());
                self.next = self.next.max(oldest);
                (self.next < end).then(|| state.take(&mut self.next))
            });
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
