//! Who waits at a channel: a node with the message in it, on the waiter's stack, and the ticket that says which of its
//! nodes has won.
//!
//! # Vocabulary
//! A [`Waiter`] is in one list of one channel, that of the senders or that of the receivers. Its slot holds the message
//! that a sender offers, or gets the one that a receiver waits for. A [`Ticket`] is one wait: the cell that parks and
//! wakes, and, for a select, the index of the arm that won.
//!
//! # Protocol: taking a waiter
//! All under the channel's lock, by whoever does the opposite operation:
//! 1. unlink the node;
//! 2. [`claim`](Waiter::claim) it. The only node of a plain operation needs no claim: to be linked is to be free. Of a
//!    select's nodes, which lie in many channels under many locks, the first to be claimed wins, by one
//!    compare-and-swap on the ticket;
//! 3. move the message into the slot, or out of it. An untouched slot says that the channel was closed;
//! 4. [`finish`](Waiter::finish): copy the unparker, settle the cell. That is the last touch;
//!
//! and then, outside the lock, unpark.
//!
//! # The race: hand-off against timeout and cancellation
//! The cell does not decide who won, the list does. A waiter that finds its cell settled as timed out or cancelled
//! takes the lock and its node out; if the node was in no list any more, the hand-off had won, and the message (or its
//! absence from a sender's slot) is there to see. So a message that was handed over is never lost: the operation
//! succeeds, although its time was up. `finish` then finds the cell settled, and wakes nobody: the waiter is awake. Its
//! frame stays, for it waits at the lock.
//!
//! # The race: two arms of one select
//! Two wakers in two channels claim at once; one fails, leaves the node unlinked, and goes on to the next waiter. It
//! may, for a select that was claimed returns, and never waits with that ticket again. The failed waker does not touch
//! the node after its lock; the select takes every lock once more (except that of the arm which won, if its cell was
//! settled by it) before it returns (S8).
//!
//! `claim` may be relaxed: the winner's index is read after the cell's Acquire, or under the lock of the channel that
//! wrote it.

use crate::collections::list::{Link, Node};
use crate::coroutine::{Outcome, Unparker, WaitCell};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU32, Ordering};
use std::cell::Cell;
use std::ptr::NonNull;

/// No arm has won yet.
const NOBODY: u32 = u32::MAX;

/// The index of a node that is the only one of its wait.
pub(super) const SOLE: u32 = u32::MAX - 1;

/// One wait: see the head of the file.
pub struct Ticket {
    cell: WaitCell,
    winner: AtomicU32,
}

impl Ticket {
    /// A wait of the caller.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            cell: WaitCell::new(),
            winner: AtomicU32::new(NOBODY),
        }
    }

    /// What parks and wakes the waiter. A waker that cannot complete an arm's operation, but knows that it is worth
    /// another look, settles it as woken without a claim.
    #[inline]
    pub(crate) fn cell(&self) -> &WaitCell {
        &self.cell
    }

    /// Makes the arm the winner, if there is none yet.
    #[inline]
    #[must_use]
    pub(crate) fn claim(&self, index: u32) -> bool {
        // Relaxed: see the head of the file.
        self.winner
            .compare_exchange(NOBODY, index, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// The arm that won. For the waiter, once its nodes are out of all lists or the cell is settled.
    #[inline]
    pub(crate) fn winner(&self) -> Option<u32> {
        // Relaxed: as in `claim`.
        Some(self.winner.load(Ordering::Relaxed)).filter(|&winner| winner != NOBODY)
    }
}

/// See the head of the file.
pub(super) struct Waiter<T> {
    link: Link<Waiter<T>>,
    /// Of the wait that the node is listed for; set before it is listed.
    ticket: Cell<Option<NonNull<Ticket>>>,
    index: Cell<u32>,
    /// Under the channel's lock while the node is listed, else the waiter's.
    slot: UnsafeCell<Option<T>>,
}

// SAFETY: S8: `link` is the link, and only the channel's lists write it.
unsafe impl<T> Node for Waiter<T> {
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
        // SAFETY: S8: the caller promises a live element, so the field is in bounds.
        let link = unsafe { &raw mut (*this.as_ptr()).link };
        // SAFETY: S8: a field of a live element is not at null.
        unsafe { NonNull::new_unchecked(link) }
    }
}

// SAFETY: S2: while it is listed, its cells are used under the channel's lock only; the ticket is atomic.
unsafe impl<T: Send> Send for Waiter<T> {}

impl<T> Waiter<T> {
    /// A node in no list, with what a sender offers, or nothing.
    #[inline]
    pub(super) fn new(offer: Option<T>) -> Self {
        Self {
            link: Link::new(),
            ticket: Cell::new(None),
            index: Cell::new(SOLE),
            slot: UnsafeCell::new(offer),
        }
    }

    /// Says whose node it is. The node is in no list.
    #[inline]
    pub(super) fn set_ticket(&self, ticket: &Ticket, index: u32) {
        self.ticket.set(Some(NonNull::from(ticket)));
        self.index.set(index);
    }

    /// Whether this is a node of that wait. Under the channel's lock.
    #[inline]
    pub(super) fn has_ticket(&self, ticket: &Ticket) -> bool {
        self.ticket.get() == Some(NonNull::from(ticket))
    }

    /// # Safety
    /// The caller has just taken the node out of its list, under the channel's lock, and holds it still; the waiter's
    /// frame stays until then.
    #[inline]
    unsafe fn ticket(&self) -> &Ticket {
        let ticket = self.ticket.get().expect("a listed waiter has a ticket");
        // SAFETY: S8: in the waiter's frame, which the caller vouches for.
        unsafe { ticket.as_ref() }
    }

    /// Whether the caller may complete this node's operation.
    ///
    /// # Safety
    /// As for `ticket`.
    #[inline]
    #[must_use]
    pub(super) unsafe fn claim(&self) -> bool {
        let index = self.index.get();
        // SAFETY: S8: the caller promises what `ticket` asks.
        index == SOLE || unsafe { self.ticket() }.claim(index)
    }

    /// Ends the wait: the last touch. Returns whom to wake, outside the lock; nobody if the waiter is awake already.
    ///
    /// # Safety
    /// As for `ticket`; the caller has claimed the node, and touches it no more.
    #[inline]
    #[must_use]
    pub(super) unsafe fn finish(&self) -> Option<Unparker> {
        // SAFETY: S8: the caller promises what `ticket` asks.
        let cell = unsafe { self.ticket() }.cell();
        let unparker = cell.unparker();
        cell.settle(Outcome::Woken).then_some(unparker)
    }

    /// The slot, for the one who may use it.
    ///
    /// # Safety
    /// The node is listed or has been claimed, and the caller holds the channel's lock; or it is neither, and the
    /// caller is the waiter.
    #[inline]
    pub(super) unsafe fn with_slot<R>(&self, f: impl FnOnce(&mut Option<T>) -> R) -> R {
        // SAFETY: S8: by the contract nobody else has access, and `f` cannot come back here: it is ours and moves a
        // value.
        self.slot.with_mut(|slot| f(unsafe { &mut *slot }))
    }
}
