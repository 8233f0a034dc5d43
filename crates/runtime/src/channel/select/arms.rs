//! How does a send or a receive of a channel become an arm of a select?
//!
//! Each arm holds a node. The node's slot gets the message that is received, or holds the one to send; so the slot also
//! shows the result.

use super::super::core::{Channel, Listed};
use super::super::receiver::Flavour;
use super::super::waiter::{Ticket, Waiter};
use super::super::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use super::{Arm, Operation};
use crate::coroutine::lost;
use std::fmt;

/// An arm that receives a message: see [`Receiver::recv_arm`].
pub struct RecvArm<'a, T> {
    receiver: &'a Receiver<T>,
    waiter: Waiter<T>,
}

impl<T> Receiver<T> {
    /// Returns an arm of a [`select!`](crate::select) that receives a message; the form `on(arm)` takes it.
    pub fn recv_arm(&self) -> RecvArm<'_, T> {
        RecvArm::new(self)
    }
}

impl<'a, T> RecvArm<'a, T> {
    pub(crate) fn new(receiver: &'a Receiver<T>) -> Self {
        Self {
            receiver,
            waiter: Waiter::new(None),
        }
    }

    /// Takes the message that an arm has received. After this the arm can be used in another select.
    pub(super) fn take(&self) -> Result<T, RecvError> {
        // SAFETY: S8: in no list: the arm's own.
        unsafe { self.waiter.with_slot(Option::take) }.ok_or(RecvError)
    }

    fn set(&self, message: T) {
        // A message of an earlier operation that was not taken is dropped here, outside `with_slot`.
        // SAFETY: S8: in no list: the arm's own.
        drop(unsafe { self.waiter.with_slot(|slot| slot.replace(message)) });
    }

    fn channel(&self) -> Option<&Channel<T>> {
        match &self.receiver.flavour {
            Flavour::Channel(channel) => Some(channel),
            Flavour::Timed(_) | Flavour::Never => None,
        }
    }
}

// SAFETY: S8: the channel's lists hold the node from `list_receiver` until a claim or `withdraw_receiver`; the clock's
// channels hold nothing.
unsafe impl<T> Arm for RecvArm<'_, T> {
    fn wakers_claim(&self) -> bool {
        true
    }

    fn try_now(&self) -> bool {
        match self.receiver.try_recv() {
            Ok(message) => {
                self.set(message);
                true
            }
            Err(TryRecvError::Disconnected) => {
                self.discard();
                true
            }
            Err(TryRecvError::Empty) => false,
        }
    }

    unsafe fn enlist(&self, ticket: &Ticket, index: u32) -> bool {
        let Some(channel) = self.channel() else {
            // The clock's channels and `never` have no wait list. If the message has become due just now, the deadline
            // of the arm has come, and the wait ends at once.
            return true;
        };
        // The slot is empty, because `discard` has run. If it stays empty, the channel was closed.
        // SAFETY: S8: the select keeps this arm and its ticket in place until `withdraw` has returned.
        let listed = unsafe { channel.list_receiver(&self.waiter, ticket, index) };
        matches!(listed, Listed::Waits)
    }

    fn withdraw(&self) {
        if let Some(channel) = self.channel() {
            channel.withdraw_receiver(&self.waiter);
        }
    }

    fn deadline_ns(&self) -> Option<u64> {
        match &self.receiver.flavour {
            Flavour::Timed(timed) => timed.due_ns(),
            Flavour::Channel(_) | Flavour::Never => None,
        }
    }

    fn discard(&self) {
        drop(self.take());
    }
}

impl<T> Operation for RecvArm<'_, T> {
    type Output = Result<T, RecvError>;

    fn finish(self) -> Self::Output {
        self.take().map_err(lost)
    }
}

impl<T> fmt::Debug for RecvArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecvArm { .. }")
    }
}

/// An arm that sends a message: see [`Sender::send_arm`].
pub struct SendArm<'a, T> {
    channel: &'a Channel<T>,
    waiter: Waiter<T>,
}

impl<T> Sender<T> {
    /// Returns an arm of a [`select!`](crate::select) that sends a message; the form `on(arm)` takes it.
    pub fn send_arm(&self, message: T) -> SendArm<'_, T> {
        SendArm::new(self, message)
    }
}

impl<'a, T> SendArm<'a, T> {
    pub(crate) fn new(sender: &'a Sender<T>, message: T) -> Self {
        Self {
            channel: &sender.channel,
            waiter: Waiter::new(Some(message)),
        }
    }

    /// Takes the message if it was not sent.
    pub(super) fn take(&self) -> Option<T> {
        // SAFETY: S8: in no list: the arm's own.
        unsafe { self.waiter.with_slot(Option::take) }
    }
}

// SAFETY: S8: as for the other arm, with `list_sender` and `withdraw_sender`.
unsafe impl<T> Arm for SendArm<'_, T> {
    fn wakers_claim(&self) -> bool {
        true
    }

    fn try_now(&self) -> bool {
        // SAFETY: S8: in no list: the arm's own.
        let sent = unsafe {
            self.waiter.with_slot(|slot| match slot {
                Some(_) => self.channel.offer(slot),
                None => Err(TrySendError::Full(())),
            })
        };
        !matches!(sent, Err(TrySendError::Full(())))
    }

    unsafe fn enlist(&self, ticket: &Ticket, index: u32) -> bool {
        // SAFETY: S8: in no list: the arm's own.
        if unsafe { self.waiter.with_slot(|slot| slot.is_none()) } {
            // This arm has sent its message, and never sends again.
            return true;
        }
        // SAFETY: S8: the select keeps this arm and its ticket in place until `withdraw` has returned.
        let listed = unsafe { self.channel.list_sender(&self.waiter, ticket, index) };
        matches!(listed, Listed::Waits)
    }

    fn withdraw(&self) {
        self.channel.withdraw_sender(&self.waiter);
    }
}

impl<T> Operation for SendArm<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn finish(self) -> Self::Output {
        self.take().map_or(Ok(()), |message| Err(lost(SendError(message))))
    }
}

impl<T> fmt::Debug for SendArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendArm { .. }")
    }
}
