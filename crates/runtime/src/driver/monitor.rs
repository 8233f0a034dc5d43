//! A state with a wait list: what blockers are made of whose every step is short but has more to it than one word.
//!
//! # Protocol
//! The state and the list of those who wait for it to change are under one short lock. A waiter looks; what it wants is
//! not there, so it lists a node that lies on its own stack, in the same hold of the lock, and parks. Who changes the
//! state says in the same hold how many to wake: those nodes are unlinked and settled, and unparked once the lock is
//! free. A woken waiter looks again.
//!
//! # The races
//! * *Change against wait*: both hold the lock, so either the look sees the change or the change sees the node.
//! * *Wake against deadline or cancellation*: the node's cell decides (`coroutine/park.rs`). A waker copies the
//!   unparker and settles last. A waiter that was not woken takes its node back under the lock; when it has, nobody
//!   refers to the node (S8).
//! * *A wake of all against those who come back*: wakes go in batches with the lock free in between, and nodes have
//!   ascending tickets: whoever lists itself after the wake began is not woken by it, or the wake might never end.
//!
//! # Obligation of the closures
//! They run under a lock that blocks the thread: they move values and change numbers. No user code (no `Clone`, no
//! `Drop` of a user's value: hand the old value out instead), no wait, and an allocation only where none can be made
//! before.
//!
//! # Rejected
//! A condition variable beside a lock (two lists, a second hold), and a word in front of the lock: what needs one has
//! it itself (`oneshot`, `watch`).

use super::timers;
use crate::collections::list::{Link, List, Node};
use crate::coroutine::{Critical, Outcome, Unparker, WaitCell, WaitReason, raise_if_cancelled};
use crate::sys::Lock;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Unparkers gathered in one hold of the lock; a guess: enough to pay for the hold, few enough for the stack.
const BATCH: usize = if cfg!(loom) { 1 } else { 16 };

/// What a waiter found.
pub(crate) enum Look<R> {
    /// What it wanted; the wait ends.
    Done(R),
    /// Nothing yet: look again after a change, or when the monotonic clock shows this.
    Wait(Option<u64>),
}

/// Whom a change concerns. There is no "one": different waiters may wait for different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MonitorWake {
    None,
    All,
}

/// A place in the list, on the stack of who waits. Several, in several lists, may stand for one wait.
pub(crate) struct MonitorWaiter {
    link: Link<MonitorWaiter>,
    cell: Cell<*const WaitCell>,
    ticket: Cell<u64>,
}

impl MonitorWaiter {
    pub(crate) const fn new() -> Self {
        Self {
            link: Link::new(),
            cell: Cell::new(ptr::null()),
            ticket: Cell::new(0),
        }
    }
}

// SAFETY: S8: the field is always the same one, and only lists write it.
unsafe impl Node for MonitorWaiter {
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
        // SAFETY: S8: the caller promises a live element, so the field's address lies in it.
        NonNull::from(unsafe { &(*this.as_ptr()).link })
    }
}

// SAFETY: S2: what it has is used under the lock; the wait's cell is atomic and names type-stable memory.
unsafe impl Send for MonitorWaiter {}

struct MonitorInner<S> {
    state: S,
    waiters: List<MonitorWaiter>,
    next_ticket: u64,
}

/// See the head of the file.
pub(crate) struct Monitor<S> {
    inner: Lock<MonitorInner<S>>,
}

impl<S> Monitor<S> {
    pub(crate) fn new(state: S) -> Self {
        Self {
            inner: Lock::new(MonitorInner {
                state,
                waiters: List::new(),
                next_ticket: 0,
            }),
        }
    }

    /// Looks at the state, or changes it in a way that nobody waits for.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut S) -> R) -> R {
        let _critical = Critical::enter();
        look(&mut self.inner.lock().state)
    }

    /// Changes the state and wakes whom the change concerns.
    #[inline]
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut S) -> (R, MonitorWake)) -> R {
        let mut batch = [None; BATCH];
        let mut count = 0;
        let (result, end_ticket) = {
            let _critical = Critical::enter();
            let mut inner = self.inner.lock();
            let (result, wake) = change(&mut inner.state);
            let end_ticket = inner.next_ticket;
            if wake == MonitorWake::All {
                count = inner.settle_some(&mut batch, end_ticket);
            }
            (result, end_ticket)
        };
        // Outside the lock: whoever wakes runs into it next.
        batch.iter().flatten().for_each(|unparker| unparker.unpark());
        if count == BATCH {
            self.wake_rest(end_ticket);
        }
        result
    }

    #[cold]
    fn wake_rest(&self, end_ticket: u64) {
        loop {
            let mut batch = [None; BATCH];
            let count = {
                let _critical = Critical::enter();
                self.inner.lock().settle_some(&mut batch, end_ticket)
            };
            batch.iter().flatten().for_each(|unparker| unparker.unpark());
            if count < BATCH {
                return;
            }
        }
    }

    /// Waits until `look` is done. Its second argument says whether the deadline that it asked for last has come.
    ///
    /// A blocking point: a cancellation unwinds the caller, unless it unwinds already, or `look` was done at once.
    #[inline]
    pub(crate) fn wait<R>(&self, reason: WaitReason, mut look: impl FnMut(&mut S, bool) -> Look<R>) -> R {
        let mut expired = false;
        let mut cancellable = !std::thread::panicking();
        loop {
            let (waiter, cell) = (MonitorWaiter::new(), WaitCell::new());
            let deadline_ns = {
                let _critical = Critical::enter();
                let mut inner = self.inner.lock();
                match look(&mut inner.state, expired) {
                    Look::Done(result) => return result,
                    Look::Wait(deadline_ns) => {
                        // SAFETY: S8: below, the frame stays until the cell is settled as woken or the node is
                        // withdrawn.
                        unsafe { inner.enlist(&waiter, &cell) };
                        deadline_ns
                    }
                }
            };
            let outcome = timers::wait(&cell, reason, deadline_ns, cancellable);
            expired = outcome == Outcome::TimedOut;
            if !matches!(outcome, Outcome::Woken | Outcome::Closed) {
                self.withdraw(&waiter);
            }
            if outcome == Outcome::Cancelled {
                raise_if_cancelled();
                // It does not unwind everywhere: then the wait goes on, and is not interrupted again at once.
                cancellable = false;
            }
        }
    }

    /// Lists a node of a wait for several things, unless `is_ready`; says whether it did. The wait's cell is settled as
    /// woken when the state has changed.
    ///
    /// # Safety
    /// Node and cell stay where they are until [`withdraw`](Self::withdraw) has returned (S8).
    pub(crate) unsafe fn watch(
        &self,
        waiter: &MonitorWaiter,
        cell: &WaitCell,
        is_ready: impl FnOnce(&mut S) -> bool,
    ) -> bool {
        let _critical = Critical::enter();
        let mut inner = self.inner.lock();
        let waits = !is_ready(&mut inner.state);
        if waits {
            // SAFETY: S8: the caller promises: node and cell stay where they are until `withdraw` has
            // returned.
            unsafe { inner.enlist(waiter, cell) };
        }
        waits
    }

    /// Takes back a node that was not woken. Afterwards nobody refers to it.
    pub(crate) fn withdraw(&self, waiter: &MonitorWaiter) {
        let _critical = Critical::enter();
        let mut inner = self.inner.lock();
        // SAFETY: S8: alive, and in this list or in none.
        unsafe { inner.waiters.remove(NonNull::from(waiter)) };
    }
}

impl<S> MonitorInner<S> {
    /// # Safety
    /// Node, in no list, and cell stay where they are until the cell is settled as woken on account of this list, or
    /// `withdraw` has returned (S8).
    unsafe fn enlist(&mut self, waiter: &MonitorWaiter, cell: &WaitCell) {
        waiter.cell.set(cell);
        waiter.ticket.set(self.next_ticket);
        self.next_ticket += 1;
        // SAFETY: S8: by the caller's contract.
        unsafe { self.waiters.push_back(NonNull::from(waiter)) };
    }

    /// Settles those who came before `end_ticket`, longest wait first, until the batch is full; returns how many.
    fn settle_some(&mut self, batch: &mut [Option<Unparker>], end_ticket: u64) -> usize {
        let mut count = 0;
        while count < batch.len()
            && let Some(node) = self.waiters.front()
        {
            // SAFETY: S8: listed, so in place; settling is the last touch.
            let waiter = unsafe { node.as_ref() };
            if waiter.ticket.get() >= end_ticket {
                break;
            }
            self.waiters.pop_front();
            // SAFETY: S8: it lives as long as its nodes are listed, and until the lock is free.
            let cell = unsafe { &*waiter.cell.get() };
            let unparker = cell.unparker();
            if cell.settle(Outcome::Woken) {
                batch[count] = Some(unparker);
                count += 1;
            }
        }
        count
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
