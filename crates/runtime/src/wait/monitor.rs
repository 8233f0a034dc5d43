//! How does a waiter wait for a change of a state that is larger than one word? The state and its wait list share one
//! short lock: a monitor in Hoare's sense. (The thread called the monitor is in `sched/monitor.rs`.)
//!
//! # Protocol
//! The state and the list of its waiters are under one short lock. A waiter looks at the state. If it does not find
//! what it wants, it lists a node that lies on its own stack, in the same hold of the lock, and parks. A changer of the
//! state says in the same hold whether to wake them, all or none. The nodes are unlinked and settled, and their waiters
//! are unparked once the lock is free. A woken waiter looks again.
//!
//! # The races
//! * *Change against wait*: both sides hold the lock, so either the look sees the change or the change sees the node.
//! * *Wake against deadline or cancellation*: the node's cell decides (`coroutine/park.rs`). A waker copies the
//!   unparker and settles last. A waiter that was not woken takes its node back under the lock; after that, nobody
//!   refers to the node (S8).
//! * *A wake of all against waiters that come back*: wakes go in batches, with the lock free in between, and nodes have
//!   ascending tickets. A waiter that lists itself after the wake began is not woken by that wake, or the wake might
//!   never end.
//!
//! # Obligation of the closures
//! The closures run under a lock that blocks the thread: they move values and change numbers. They run no user code (no
//! `Clone`, no `Drop` of a user's value: return the old value instead) and do not wait. They allocate only where the
//! allocation cannot be made before.
//!
//! # Rejected
//! A condition variable beside a lock (two lists, a second hold). A word in front of the lock: a blocker that needs one
//! has it itself (`oneshot`, `watch`).

use crate::collections::list::{Link, List, Node};
use crate::coroutine::{Critical, Outcome, Unparker, WaitCell, WaitReason, raise_if_cancelled};
use crate::sys::Lock;
use crate::wait;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Unparkers gathered in one hold of the lock. The number is a guess: enough to pay for the hold, few enough for the
/// stack.
const BATCH: usize = if cfg!(loom) { 1 } else { 16 };

/// What a waiter found.
pub(crate) enum Look<R> {
    /// The waiter found what it wanted; the wait ends.
    Done(R),
    /// The waiter found nothing yet: it looks again after a change, or when the monotonic clock shows this time in ns.
    Wait(Option<u64>),
}

/// Which waiters a change concerns. There is no "one": different waiters may wait for different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MonitorWake {
    None,
    All,
}

/// A place in the list, on the waiter's stack. Several places, in several lists, may stand for one wait.
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

/// A state with a wait list: see the file's head.
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

    /// Looks at the state, or changes it in a way that no waiter waits for.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut S) -> R) -> R {
        let _critical = Critical::enter();
        look(&mut self.inner.lock().state)
    }

    /// Changes the state and wakes the waiters that the change concerns.
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
        // Outside of the lock, since a woken waiter takes the lock next.
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

    /// Waits until `look` is done. The second argument of `look` says whether the deadline that it asked for last has
    /// come.
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
            let outcome = wait::wait(&cell, reason, deadline_ns, cancellable);
            expired = outcome == Outcome::TimedOut;
            if !matches!(outcome, Outcome::Woken | Outcome::Closed) {
                self.withdraw(&waiter);
            }
            if outcome == Outcome::Cancelled {
                raise_if_cancelled();
                // The caller cannot unwind everywhere: then the wait continues, and is not interrupted again at once.
                cancellable = false;
            }
        }
    }

    /// Lists a node of a wait for several things, unless `is_ready`; returns whether it did. The wait's cell is settled
    /// as woken when the state has changed.
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

    /// Takes back a node that was not woken. Afterwards nobody refers to the node.
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

    /// Settles the waiters that came before `end_ticket`, the longest wait first, until the batch is full; returns how
    /// many.
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
