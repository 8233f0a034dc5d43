//! How does a channel pass each message from one sender to one receiver? Its messages, its waiting senders and its
//! waiting receivers are all under one short lock.
//!
//! # Invariants, between two holds of the lock
//! * Receivers wait only while no message is queued and no sender waits.
//! * Senders wait only while the queue is full. The queue of a rendezvous channel is always full: it has room for no
//!   message.
//! * A closed channel lists no new waiter, and the call that closes it takes out those that are listed.
//! * Exception: one select may have a node in both lists, because it does not meet itself.
//!
//! So a send finds a waiting receiver and hands the message over to it, past the queue; or it finds room in the queue;
//! or it waits itself. A receive takes the first message of the queue, and the message of the first waiting sender
//! moves into the queue; or it takes the message of a waiting sender; or it waits. Messages leave in the order in which
//! their sends took the lock. A send is complete when a receiver has the message or the queue has it. The bound is
//! checked where the push is made, so it is never exceeded.
//!
//! (A listed select may have been claimed by another channel already. It does not count as a waiter, and a caller that
//! finds its node unlinks it.)
//!
//! # What never happens under the lock
//! Under the lock there is no foreign code (a message's `Drop`), no allocation and no wake. Messages that no receiver
//! will receive are moved out and dropped after the unlock.
//!
//! # Cost
//! An uncontended send or receive is one lock and one unlock: two atomic operations on one cache line. A wake costs
//! what `unpark` costs; a close that wakes many waiters wakes them in batches of `BATCH`. Each attempt to send or
//! receive counts against the budget of the caller (`coroutine/budget.rs`), whether it succeeds or not.
//!
//! # Rejected
//! *Lock-free rings* (the array and list flavours of crossbeam) are faster where many cores meet at one channel. But
//! then the hand-over to a parked receiver, the exact bound, close and select each need a protocol of their own around
//! the ring. Here they are one state. *Two locks* (for head and tail): a rendezvous needs both.

use super::queue::{Block, Queue, move_out};
use super::waiter::{SOLE, Ticket, Waiter};
use super::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
use crate::collections::list::List;
use crate::coroutine::{Critical, Outcome, Unparker, WaitReason, budget, lost, raise_if_cancelled};
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::sys::{Lock, clock};
use crate::wait;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// Number of waiters that are woken after one hold of the lock; a guess, like the batch of the futex table.
const BATCH: usize = if cfg!(loom) { 2 } else { 16 };

/// The state of a channel: see the head of the file.
pub(super) struct Channel<T> {
    state: Lock<State<T>>,
    /// The bound; `usize::MAX`: no bound.
    capacity: usize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

struct State<T> {
    queue: Queue<T>,
    senders: List<Waiter<T>>,
    receivers: List<Waiter<T>>,
    /// No message can be sent any more: the channel was closed, or all senders or all receivers are gone.
    closed: bool,
}

/// The result of an attempt to send. It says whether the message has left its place.
enum Sent {
    /// The message has left its place; a waiter may have to be woken.
    Done(Option<Unparker>),
    Full,
    Closed,
    /// The caller has to try again with a block.
    NeedsBlock,
}

/// The result of an attempt to receive.
enum Received<T> {
    /// The message is in the caller's place.
    Message {
        wake: Option<Unparker>,
        drained: Option<Box<Block<T>>>,
    },
    Empty,
    Closed,
    /// The caller has to try again with a block.
    NeedsBlock,
}

/// Whether a waiter was put on the list.
pub(super) enum Listed {
    Waits,
    /// The waiter is not listed and need not wait: an attempt would succeed or fail at once.
    Not,
}

impl<T> State<T> {
    /// Takes the message out of `offer` unless there is no place for it.
    #[inline]
    fn send(&mut self, offer: &mut Option<T>, capacity: usize, block: &mut Option<Box<Block<T>>>) -> Sent {
        if self.closed {
            return Sent::Closed;
        }
        if let Some(wake) = self.hand_over(offer) {
            return Sent::Done(wake);
        }
        if self.queue.len() >= capacity {
            return Sent::Full;
        }
        if self.queue.needs_block() {
            match block.take() {
                Some(block) => self.queue.add_block(block),
                None => return Sent::NeedsBlock,
            }
        }
        self.queue.push(offer);
        Sent::Done(None)
    }

    /// Hands the message over to the first receiver that still waits.
    #[inline]
    fn hand_over(&mut self, offer: &mut Option<T>) -> Option<Option<Unparker>> {
        take_waiter(&mut self.receivers, |slot| std::mem::swap(slot, offer))
    }

    #[inline]
    fn receive(
        &mut self,
        place: &mut MaybeUninit<T>,
        capacity: usize,
        block: &mut Option<Box<Block<T>>>,
    ) -> Received<T> {
        // The block is for the message of a waiting sender, which moves into the queue. The pop below makes room for
        // it, but no block.
        if !self.senders.is_empty() && capacity > 0 && self.queue.needs_block() {
            match block.take() {
                Some(block) => self.queue.add_block(block),
                None => return Received::NeedsBlock,
            }
        }
        if let Some(drained) = self.queue.pop_into(place) {
            let queue = &mut self.queue;
            let wake = take_waiter(&mut self.senders, |slot| queue.push(slot));
            let wake = wake.flatten();
            return Received::Message { wake, drained };
        }
        let to_place = |slot: &mut Option<T>| {
            assert!(move_out(slot, place), "a waiting sender offers a message");
        };
        if let Some(wake) = take_waiter(&mut self.senders, to_place) {
            let drained = None;
            return Received::Message { wake, drained };
        }
        if self.closed { Received::Closed } else { Received::Empty }
    }
}

/// Completes the operation of the first waiter that can be claimed. Returns `None` if there was no such waiter;
/// otherwise the unparker to call, if the waiter has to be woken.
#[inline]
fn take_waiter<T>(waiters: &mut List<Waiter<T>>, transfer: impl FnOnce(&mut Option<T>)) -> Option<Option<Unparker>> {
    loop {
        let waiter = waiters.pop_front()?;
        // SAFETY: S8: it was listed, and we hold the lock: the waiter's frame stays until it is settled or the lock is
        // free.
        let waiter = unsafe { waiter.as_ref() };
        // SAFETY: S8: just unlinked, under the lock.
        if !unsafe { waiter.claim() } {
            continue;
        }
        // SAFETY: S8: claimed, under the lock.
        unsafe { waiter.with_slot(transfer) };
        // SAFETY: S8: claimed, and touched no more.
        return Some(unsafe { waiter.finish() });
    }
}

/// Whether the list has a waiter with another ticket than this one.
#[inline]
fn has_other<T>(waiters: &List<Waiter<T>>, ticket: &Ticket) -> bool {
    // SAFETY: S8: listed, and we hold the lock.
    waiters
        .iter()
        .any(|waiter| !unsafe { waiter.as_ref() }.has_ticket(ticket))
}

impl<T> Channel<T> {
    /// Makes a channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Lock::new(State {
                queue: Queue::new(capacity),
                senders: List::new(),
                receivers: List::new(),
                closed: false,
            }),
            capacity,
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    /// Runs `f` under the lock. `f` is short and runs no foreign code.
    #[inline]
    fn locked<R>(&self, f: impl FnOnce(&mut State<T>) -> R) -> R {
        let _critical = Critical::enter();
        let mut state = self.state.lock();
        f(&mut state)
    }

    /// Sends the message in `offer` if there is room for it.
    #[inline]
    pub(super) fn offer(&self, offer: &mut Option<T>) -> Result<(), TrySendError<()>> {
        budget::spend();
        let mut block = None;
        loop {
            match self.locked(|state| state.send(offer, self.capacity, &mut block)) {
                Sent::Done(wake) => {
                    wake_one(wake);
                    return Ok(());
                }
                Sent::Full => return Err(TrySendError::Full(())),
                Sent::Closed => return Err(TrySendError::Disconnected(())),
                Sent::NeedsBlock => block = Some(Block::new()),
            }
        }
    }

    #[inline]
    pub(super) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let mut offer = Some(message);
        self.offer(&mut offer).map_err(|error| {
            let message = offer.take().expect("what was not sent is still there");
            match error {
                TrySendError::Full(()) => TrySendError::Full(message),
                TrySendError::Disconnected(()) => TrySendError::Disconnected(message),
            }
        })
    }

    #[inline]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut place = MaybeUninit::uninit();
        self.try_recv_into(&mut place)?;
        // SAFETY: S2: filled in.
        Ok(unsafe { place.assume_init() })
    }

    /// Does what [`try_recv`](Self::try_recv) does, and puts the message into `place`. So a large message is moved as
    /// seldom as possible.
    #[inline]
    fn try_recv_into(&self, place: &mut MaybeUninit<T>) -> Result<(), TryRecvError> {
        budget::spend();
        let mut block = None;
        loop {
            match self.locked(|state| state.receive(place, self.capacity, &mut block)) {
                Received::Message { wake, drained } => {
                    wake_one(wake);
                    drop(drained);
                    return Ok(());
                }
                Received::Empty => return Err(TryRecvError::Empty),
                Received::Closed => return Err(TryRecvError::Disconnected),
                Received::NeedsBlock => block = Some(Block::new()),
            }
        }
    }

    /// Lists a sender, unless a send would succeed or fail at once.
    ///
    /// # Safety
    /// The waiter and the ticket stay in place until the wait cell is settled as woken, by the waker that claimed this
    /// waiter, or [`withdraw_sender`](Self::withdraw_sender) has returned (S8). The waiter is in no list, and offers a
    /// message.
    pub(super) unsafe fn list_sender(&self, waiter: &Waiter<T>, ticket: &Ticket, index: u32) -> Listed {
        waiter.set_ticket(ticket, index);
        self.locked(|state| {
            if state.closed || state.queue.len() < self.capacity || has_other(&state.receivers, ticket) {
                return Listed::Not;
            }
            // SAFETY: S8: in no list; the caller keeps it in place, and only shared references to it exist.
            unsafe { state.senders.push_back(NonNull::from(waiter)) };
            Listed::Waits
        })
    }

    /// Lists a receiver, unless a receive would succeed or fail at once.
    ///
    /// # Safety
    /// The waiter and the ticket stay in place until the wait cell is settled as woken, by the waker that claimed this
    /// waiter, or [`withdraw_receiver`](Self::withdraw_receiver) has returned (S8). The waiter is in no list.
    pub(super) unsafe fn list_receiver(&self, waiter: &Waiter<T>, ticket: &Ticket, index: u32) -> Listed {
        waiter.set_ticket(ticket, index);
        self.locked(|state| {
            if state.closed || state.queue.len() > 0 || has_other(&state.senders, ticket) {
                return Listed::Not;
            }
            // SAFETY: S8: as in `list_sender`.
            unsafe { state.receivers.push_back(NonNull::from(waiter)) };
            Listed::Waits
        })
    }

    /// Removes a sender from the list. Returns whether it was still waiting; if not, it has been claimed, here or in
    /// another channel. When this returns, no waker of this channel refers to the waiter.
    pub(super) fn withdraw_sender(&self, waiter: &Waiter<T>) -> bool {
        // SAFETY: S8: alive, for it is borrowed, and in this list or in none.
        self.locked(|state| unsafe { state.senders.remove(NonNull::from(waiter)) })
    }

    /// Does what [`withdraw_sender`](Self::withdraw_sender) does, for a receiver.
    pub(super) fn withdraw_receiver(&self, waiter: &Waiter<T>) -> bool {
        // SAFETY: S8: alive, for it is borrowed, and in this list or in none.
        self.locked(|state| unsafe { state.receivers.remove(NonNull::from(waiter)) })
    }

    /// Sends the message; waits for room until the deadline.
    pub(super) fn send(&self, message: T, deadline_ns: Option<u64>) -> Result<(), SendTimeoutError<T>> {
        let mut offer = Some(message);
        self.send_from(&mut offer, deadline_ns)
            .map_err(|error| not_sent(&mut offer, error))
    }

    /// Does what [`send`](Self::send) does with the message in `offer`.
    #[inline]
    fn send_from(&self, offer: &mut Option<T>, deadline_ns: Option<u64>) -> Result<(), SendTimeoutError<()>> {
        loop {
            match self.offer(offer) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(())) => return Err(lost(SendTimeoutError::Disconnected(()))),
                Err(TrySendError::Full(())) if is_past(deadline_ns) => return Err(SendTimeoutError::Timeout(())),
                Err(TrySendError::Full(())) => {}
            }
            raise_if_cancelled();
            if let Some(outcome) = self.wait_to_send(offer, deadline_ns) {
                return outcome.map_err(|()| lost(SendTimeoutError::Disconnected(())));
            }
        }
    }

    /// Waits until a receiver takes the message. `None`: no receiver took it, and it is in `offer` again.
    #[inline(never)]
    fn wait_to_send(&self, offer: &mut Option<T>, deadline_ns: Option<u64>) -> Option<Result<(), ()>> {
        let waiter = Waiter::new(offer.take());
        let ticket = Ticket::new();
        let mut outcome = None;
        // SAFETY: S8: withdrawn below, unless the waiter was claimed and the wait is over.
        if let Listed::Waits = unsafe { self.list_sender(&waiter, &ticket, SOLE) } {
            outcome = Some(wait(&ticket, WaitReason::Send, deadline_ns));
        }
        let has_ended = outcome.is_some_and(|outcome| self.sender_has_ended(&waiter, outcome));
        // SAFETY: S8: in no list: the waiter's own.
        unsafe { waiter.with_slot(|slot| std::mem::swap(slot, offer)) };
        if has_ended {
            return Some(if offer.is_none() { Ok(()) } else { Err(()) });
        }
        if let Some(outcome) = outcome {
            raise_if_outcome_cancelled(outcome);
        }
        None
    }

    /// Whether a sender whose wait is over was claimed. After this call the sender is in no list.
    pub(super) fn sender_has_ended(&self, waiter: &Waiter<T>, outcome: Outcome) -> bool {
        outcome == Outcome::Woken || !self.withdraw_sender(waiter)
    }

    /// Receives a message; waits for one until the deadline.
    pub(super) fn recv(&self, deadline_ns: Option<u64>) -> Result<T, RecvTimeoutError> {
        let mut place = MaybeUninit::uninit();
        self.recv_into(&mut place, deadline_ns)?;
        // SAFETY: S2: filled in.
        Ok(unsafe { place.assume_init() })
    }

    /// Does what [`recv`](Self::recv) does, and puts the message into `place`.
    #[inline]
    fn recv_into(&self, place: &mut MaybeUninit<T>, deadline_ns: Option<u64>) -> Result<(), RecvTimeoutError> {
        loop {
            match self.try_recv_into(place) {
                Ok(()) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(lost(RecvTimeoutError::Disconnected)),
                Err(TryRecvError::Empty) if is_past(deadline_ns) => return Err(RecvTimeoutError::Timeout),
                Err(TryRecvError::Empty) => {}
            }
            raise_if_cancelled();
            if let Some(outcome) = self.wait_to_receive(place, deadline_ns) {
                return outcome;
            }
        }
    }

    /// Waits until a sender hands a message over. `None`: no sender did.
    #[inline(never)]
    fn wait_to_receive(
        &self,
        place: &mut MaybeUninit<T>,
        deadline_ns: Option<u64>,
    ) -> Option<Result<(), RecvTimeoutError>> {
        let waiter = Waiter::new(None);
        let ticket = Ticket::new();
        // SAFETY: S8: withdrawn below, unless the waiter was claimed and the wait is over.
        let Listed::Waits = (unsafe { self.list_receiver(&waiter, &ticket, SOLE) }) else {
            return None;
        };
        let outcome = wait(&ticket, WaitReason::Receive, deadline_ns);
        if self.receiver_has_ended(&waiter, outcome) {
            // SAFETY: S8: in no list: the waiter's own.
            let received = unsafe { waiter.with_slot(|slot| move_out(slot, place)) };
            return Some(
                received
                    .then_some(())
                    .ok_or_else(|| lost(RecvTimeoutError::Disconnected)),
            );
        }
        raise_if_outcome_cancelled(outcome);
        None
    }

    /// Whether a receiver whose wait is over was claimed. After this call the receiver is in no list.
    pub(super) fn receiver_has_ended(&self, waiter: &Waiter<T>, outcome: Outcome) -> bool {
        outcome == Outcome::Woken || !self.withdraw_receiver(waiter)
    }

    /// Closes the channel: no message can be sent any more. Returns whether it was this call that closed it.
    pub(super) fn close(&self) -> bool {
        let closes = self.locked(|state| !std::mem::replace(&mut state.closed, true));
        if closes {
            self.wake_all();
        }
        closes
    }

    /// The last receiver is gone: closes the channel and drops the queued messages.
    fn abandon(&self) {
        let queue = self.locked(|state| {
            state.closed = true;
            std::mem::replace(&mut state.queue, Queue::empty())
        });
        self.wake_all();
        drop(queue);
    }

    /// Ends the waits of all listed waiters. The channel is closed, so no waiter is listed again.
    fn wake_all(&self) {
        loop {
            let mut batch = [None; BATCH];
            let more = self.locked(|state| {
                for place in &mut batch {
                    let taken = take_waiter(&mut state.senders, |_| ());
                    let Some(wake) = taken.or_else(|| take_waiter(&mut state.receivers, |_| ())) else {
                        return false;
                    };
                    *place = wake;
                }
                true
            });
            batch.into_iter().for_each(wake_one);
            if !more {
                return;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.locked(|state| state.queue.len())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.locked(|state| state.closed)
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        (self.capacity != usize::MAX).then_some(self.capacity)
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    pub(super) fn sender_count(&self) -> usize {
        // Relaxed: the count is a snapshot; no other memory is read because of it.
        self.senders.load(Ordering::Relaxed)
    }

    pub(super) fn receiver_count(&self) -> usize {
        // Relaxed: the count is a snapshot; no other memory is read because of it.
        self.receivers.load(Ordering::Relaxed)
    }

    pub(super) fn add_sender(&self) {
        // Relaxed: a caller that adds a sender holds one.
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_receiver(&self) {
        // Relaxed: a caller that adds a receiver holds one.
        self.receivers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drop_sender(&self) {
        // Relaxed: the count only tells which sender is the last. The messages of the other senders went through the
        // lock, which the last one takes.
        if self.senders.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.close();
        }
    }

    pub(super) fn drop_receiver(&self) {
        // Relaxed: the count only tells which receiver is the last; the last one takes the lock.
        if self.receivers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.abandon();
        }
    }
}

/// Gives the message back that was not sent.
#[cold]
fn not_sent<T>(offer: &mut Option<T>, error: SendTimeoutError<()>) -> SendTimeoutError<T> {
    let message = offer.take().expect("what was not sent is still there");
    match error {
        SendTimeoutError::Timeout(()) => SendTimeoutError::Timeout(message),
        SendTimeoutError::Disconnected(()) => SendTimeoutError::Disconnected(message),
    }
}

#[inline]
fn wake_one(unparker: Option<Unparker>) {
    if let Some(unparker) = unparker {
        unparker.unpark();
    }
}

#[inline]
fn wait(ticket: &Ticket, reason: WaitReason, deadline_ns: Option<u64>) -> Outcome {
    // While the caller unwinds, its cancellation does not interrupt the waits of its destructors.
    wait::wait(ticket.cell(), reason, deadline_ns, !std::thread::panicking())
}

#[inline]
fn raise_if_outcome_cancelled(outcome: Outcome) {
    if outcome == Outcome::Cancelled {
        raise_if_cancelled();
    }
}

/// Whether the deadline has passed.
pub(super) fn is_past(deadline_ns: Option<u64>) -> bool {
    deadline_ns.is_some_and(|deadline_ns| deadline_ns <= clock::now_ns())
}
