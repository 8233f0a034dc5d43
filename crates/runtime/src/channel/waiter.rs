//! Which of hand-over, timeout, cancellation and the other arms of a select ends the wait of a sender or receiver? A
//! waiter is a node on the waiter's stack with the message in it; a ticket says which node of the wait has won.
//!
//! # Vocabulary
//! A [`Waiter`] is in one list of one channel: the list of senders or the list of receivers. Its slot holds the message
//! that a sender offers, or gets the message that a receiver waits for. A [`Ticket`] is one wait. It has the wait cell
//! that parks and wakes, and, for a select, the index of the arm that won.
//!
//! # Protocol: taking a waiter
//! The caller that does the opposite operation takes the waiter. It does all these steps under the lock of the channel:
//! 1. unlink the node;
//! 2. [`claim`](Waiter::claim) it. The only node of a plain operation needs no claim: while it is linked it is free.
//!    The nodes of a select lie in many channels under many locks; the first one to be claimed wins, by one
//!    compare-and-swap on the ticket;
//! 3. move the message into the slot, or out of it. An untouched slot tells the waiter that the channel was closed;
//! 4. [`finish`](Waiter::finish): copy the unparker, settle the wait cell. This is the last access to the node.
//!
//! After these steps the caller unparks the waiter, outside the lock.
//!
//! # The race: hand-over against timeout and cancellation
//! The list decides the winner, the wait cell does not. A waiter that finds its wait cell settled as timed out or
//! cancelled takes the lock and removes its node. If the node was in no list any more, the hand-over had won. Then the
//! waiter finds the message in its slot (or, as a sender, finds its slot empty). So a message that was handed over is
//! never lost: the operation succeeds, although its deadline has passed. In this case `finish` finds the wait cell
//! settled and wakes no one, for the waiter is awake. The waiter's frame stays in place, for the waiter waits at the
//! lock.
//!
//! # The race: two arms of one select
//! Two wakers in two channels claim the same select at once. One of them fails, leaves the node unlinked, and goes on
//! to the next waiter. It may leave the node unlinked, because a select that was claimed returns and never waits with
//! that ticket again. The failed waker does not touch the node after it has released its lock. Before the select
//! returns, it takes every lock once more, except that of the winning arm if that arm settled the wait cell (S8).
//!
//! The `claim` may be relaxed: the winner's index is read after the Acquire of the wait cell, or under the lock of the
//! channel that wrote it.

use crate::collections::list::{Link, Node};
use crate::coroutine::{Outcome, Unparker, WaitCell};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU32, Ordering};
use std::cell::Cell;
use std::ptr::NonNull;

/// No arm has won yet.
const NOBODY: u32 = u32::MAX;

/// The index of a node that is the only node of its wait.
pub(super) const SOLE: u32 = u32::MAX - 1;

/// One wait: see the head of the file.
pub struct Ticket {
    cell: WaitCell,
    winner: AtomicU32,
}

impl Ticket {
    /// Makes a ticket for a wait of the caller.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            cell: WaitCell::new(),
            winner: AtomicU32::new(NOBODY),
        }
    }

    /// The wait cell that parks and wakes the waiter. A waker that cannot complete an arm's operation, but knows that
    /// another attempt is worthwhile, settles it as woken without a claim.
    #[inline]
    pub(crate) fn cell(&self) -> &WaitCell {
        &self.cell
    }

    /// Makes the arm the winner, if there is no winner yet. Returns whether it did.
    #[inline]
    #[must_use]
    pub(crate) fn claim(&self, index: u32) -> bool {
        // Relaxed: see the head of the file.
        self.winner
            .compare_exchange(NOBODY, index, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// The arm that won. The waiter may call this once its nodes are out of all lists or the wait cell is settled.
    #[inline]
    pub(crate) fn winner(&self) -> Option<u32> {
        // Relaxed: see the head of the file.
        Some(self.winner.load(Ordering::Relaxed)).filter(|&winner| winner != NOBODY)
    }
}

/// The node of a waiter: see the head of the file.
pub(super) struct Waiter<T> {
    link: Link<Waiter<T>>,
    /// The ticket of the wait that the node is listed for; set before the node is listed.
    ticket: Cell<Option<NonNull<Ticket>>>,
    index: Cell<u32>,
    /// Used under the lock of the channel while the node is listed, and by the waiter alone otherwise.
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
    /// Makes a node in no list. Its slot holds the message of a sender, or is empty.
    #[inline]
    pub(super) fn new(offer: Option<T>) -> Self {
        Self {
            link: Link::new(),
            ticket: Cell::new(None),
            index: Cell::new(SOLE),
            slot: UnsafeCell::new(offer),
        }
    }

    /// Sets the wait that the node belongs to. The node is in no list.
    #[inline]
    pub(super) fn set_ticket(&self, ticket: &Ticket, index: u32) {
        self.ticket.set(Some(NonNull::from(ticket)));
        self.index.set(index);
    }

    /// Whether this is a node of that wait. Called under the lock of the channel.
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

    /// Claims the node; returns whether the caller may complete its operation.
    ///
    /// # Safety
    /// The caller has just taken the node out of its list, under the channel's lock, and holds it still; the waiter's
    /// frame stays until then.
    #[inline]
    #[must_use]
    pub(super) unsafe fn claim(&self) -> bool {
        let index = self.index.get();
        // SAFETY: S8: the caller promises what `ticket` asks.
        index == SOLE || unsafe { self.ticket() }.claim(index)
    }

    /// Ends the wait; this is the last access to the node. Returns the unparker to call outside the lock; `None` if the
    /// waiter is awake already.
    ///
    /// # Safety
    /// The caller has just taken the node out of its list, under the channel's lock, and holds it still; the waiter's
    /// frame stays until then. The caller has claimed the node, and touches it no more.
    #[inline]
    #[must_use]
    pub(super) unsafe fn finish(&self) -> Option<Unparker> {
        // SAFETY: S8: the caller promises what `ticket` asks.
        let cell = unsafe { self.ticket() }.cell();
        let unparker = cell.unparker();
        cell.settle(Outcome::Woken).then_some(unparker)
    }

    /// Runs `f` on the slot, for the caller that may use it.
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
