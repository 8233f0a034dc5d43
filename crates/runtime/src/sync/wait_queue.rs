//! The wait queue that all of `sync` shares: who waits, in the order in which they came, beside the state they wait on.
//!
//! # Protocol
//! The state under the lock (`S`), or an atomic word of the primitive that says "somebody waits" and is then changed
//! under the lock only, is looked at in [`WaitQueue::wait`], in the same hold of the lock that lists the waiter.
//! Whoever changes it so that a waiter may go takes the lock as well. So a wake between the look and the sleep cannot
//! be lost: there is no between.
//!
//! A waker unlinks a node, writes what it grants, copies the unparker, and settles the cell as its last touch of the
//! node, all under the lock; it unparks when the lock is free. A waiter that finds itself `Woken` or `Closed` is
//! therefore in no list, and returns without the lock. One that timed out or was cancelled takes the lock once more,
//! unlinks itself if nobody has, and only then lets go of its frame (S8). A waker whose settling lost hears so
//! ([`PopResult::Gone`]) and turns to the next waiter: a wake is never spent on somebody who has left.
//!
//! # The race: wake-all against those who come back
//! Wakes go in batches, so that the lock, which blocks threads, is not held while a thousand coroutines are queued. Who
//! was woken in the first batch may wait again before the second. Nodes get ascending tickets, and a wake-all does not
//! look at nodes that came after it began.
//!
//! # A part of a select
//! A waiter may stand for a select, and then settles the select's cell. So it is in the queue beside other lists, and
//! whoever settles it may lose: the cell was settled by another list. Whether the waiter was granted something is
//! therefore written *after* the settling, which is not the last touch then: the select takes each waiter out under the
//! lock ([`unlist`](WaitQueue::unlist)) before its frame ends. What was granted to a select that has chosen another arm
//! is given back by the arm.
//!
//! # Rejected
//! *Moving all nodes to a list of the waker's own* (wake-all without tickets): one that times out meanwhile could not
//! tell which list it is in. *Waking under the lock*: the woken run into it.

use crate::collections::list::{Link, List, Node};
use crate::coroutine::{Critical, Outcome, Unparker, WaitCell, WaitReason, raise_if_cancelled};
use crate::driver::timers;
use crate::loom::UnsafeCell;
use crate::sys::Lock;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Wakes gathered under one hold of the lock; a guess: long enough to pay for the lock, short enough for the stack.
const BATCH: usize = if cfg!(loom) { 2 } else { 16 };

/// One wait, on the stack of who waits.
pub(crate) struct QueuedWaiter {
    link: Link<QueuedWaiter>,
    cell: WaitCell,
    /// The cell to settle instead: a select's; null: its own.
    shared_cell: Cell<*const WaitCell>,
    /// What it wants, in its primitive's terms.
    tag: u64,
    /// Written under the lock, read by the waiter after it was settled.
    notes: UnsafeCell<Notes>,
}

#[derive(Clone, Copy)]
struct Notes {
    ticket: u64,
    granted: bool,
    /// It was settled as one of all.
    with_all: bool,
}

// SAFETY: S8: `link` is the link, and only the queue's list writes it.
unsafe impl Node for QueuedWaiter {
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
        // SAFETY: S8: the caller promises a live element, so the field is in bounds.
        let link = unsafe { &raw mut (*this.as_ptr()).link };
        // SAFETY: S8: a field of a live element is not at null.
        unsafe { NonNull::new_unchecked(link) }
    }
}

// SAFETY: S2: link and notes are used under the queue's lock, or by the waiter once it is in no list; the wait cell is
// atomic.
unsafe impl Send for QueuedWaiter {}

impl QueuedWaiter {
    pub(super) fn new(tag: u64) -> Self {
        Self {
            link: Link::new(),
            cell: WaitCell::new(),
            shared_cell: Cell::new(ptr::null()),
            tag,
            notes: UnsafeCell::new(Notes {
                ticket: 0,
                granted: false,
                with_all: false,
            }),
        }
    }

    /// The notes, of a waiter in the list whose lock the caller holds, or of the caller's own that is in none.
    fn notes(&self) -> Notes {
        // SAFETY: S8: by the rule above nobody writes them now.
        self.notes.with(|notes| unsafe { *notes })
    }

    fn set_notes(&self, notes: Notes) {
        // SAFETY: S8: under the lock of the list that the waiter is in, or is about to enter.
        self.notes.with_mut(|place| unsafe { *place = notes });
    }
}

/// How a caller is ready to wait.
#[derive(Clone, Copy)]
pub(super) struct WaitOptions {
    pub(super) reason: WaitReason,
    /// On the monotonic clock.
    pub(super) deadline_ns: Option<u64>,
    /// Whether the caller's cancellation ends the wait. It does not while the caller unwinds.
    pub(super) cancellable: bool,
}

impl WaitOptions {
    /// A wait without end, except by cancellation.
    pub(super) fn new(reason: WaitReason) -> Self {
        Self::until(reason, None)
    }

    pub(super) fn until(reason: WaitReason, deadline_ns: Option<u64>) -> Self {
        Self {
            reason,
            deadline_ns,
            cancellable: true,
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaitResult {
    pub(super) outcome: Outcome,
    /// The waker has given the waiter what it waited for, and it need not try again.
    pub(super) granted: bool,
}

/// What became of the first in the queue.
#[must_use]
pub(super) enum PopResult {
    /// There was nobody.
    Nobody,
    /// It had left, or was about to.
    Gone,
    /// It is to be unparked once the lock is free.
    Settled(Unparker),
}

/// Whom to unpark once the lock is free.
#[must_use]
pub(super) struct WakeList {
    unparkers: [Option<Unparker>; BATCH],
    count: usize,
}

impl WakeList {
    pub(super) fn none() -> Self {
        Self {
            unparkers: [None; BATCH],
            count: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == BATCH
    }

    pub(super) fn room(&self) -> usize {
        BATCH - self.count
    }

    /// There is room: the caller has looked.
    pub(super) fn push(&mut self, unparker: Unparker) {
        self.unparkers[self.count] = Some(unparker);
        self.count += 1;
    }

    pub(super) fn unpark(self) {
        self.unparkers[..self.count]
            .iter()
            .flatten()
            .for_each(|unparker| unparker.unpark());
    }
}

/// What the lock guards: the waiters, and a state of the primitive's own.
pub(super) struct WaitList<S> {
    waiters: List<QueuedWaiter>,
    next_ticket: u64,
    pub(super) state: S,
}

impl<S> WaitList<S> {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// What the first waiter wants.
    pub(super) fn front_tag(&self) -> Option<u64> {
        // SAFETY: S8: in the list, and so in place.
        self.waiters.front().map(|node| unsafe { node.as_ref() }.tag)
    }

    /// Whether the first waiter stands for a select.
    pub(super) fn front_is_part_of_select(&self) -> bool {
        // SAFETY: S8: in the list, and so in place.
        self.waiters
            .front()
            .is_some_and(|node| !unsafe { node.as_ref() }.shared_cell.get().is_null())
    }

    /// A ticket later than all that are listed.
    pub(super) fn end_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Settles the first waiter.
    pub(super) fn settle_front(&mut self, outcome: Outcome, granted: bool) -> PopResult {
        match self.waiters.pop_front() {
            None => PopResult::Nobody,
            Some(node) => settle(node, outcome, granted, false).map_or(PopResult::Gone, PopResult::Settled),
        }
    }

    /// Settles the longest waiting of those who still wait.
    pub(super) fn settle_next(&mut self, outcome: Outcome) -> Option<Unparker> {
        loop {
            match self.settle_front(outcome, true) {
                PopResult::Nobody => return None,
                PopResult::Gone => {}
                PopResult::Settled(unparker) => return Some(unparker),
            }
        }
    }

    /// Settles, first to last, those who came before `end_ticket` and whose tag is meant, while there is room in
    /// `wakes`.
    pub(super) fn settle_those(
        &mut self,
        outcome: Outcome,
        end_ticket: u64,
        wakes: &mut WakeList,
        mut is_meant: impl FnMut(u64) -> bool,
    ) {
        let mut cursor = self.waiters.cursor();
        while !wakes.is_full()
            && let Some(node) = cursor.current()
        {
            // SAFETY: S8: in the list, so in place; not used after it is settled.
            let waiter = unsafe { node.as_ref() };
            if waiter.notes().ticket >= end_ticket || !is_meant(waiter.tag) {
                cursor.move_next();
                continue;
            }
            cursor.remove_current();
            if let Some(unparker) = settle(node, outcome, true, true) {
                wakes.push(unparker);
            }
        }
    }

    /// # Safety
    /// The waiter is in no list, and stays in place until its cell is `Woken` or `Closed`, or it was removed from this
    /// list (S8).
    unsafe fn enlist(&mut self, waiter: &QueuedWaiter, in_front: bool) {
        waiter.set_notes(Notes {
            ticket: self.next_ticket,
            granted: false,
            with_all: false,
        });
        self.next_ticket += 1;
        let node = NonNull::from(waiter);
        match in_front {
            // SAFETY: S8: the caller promises: the waiter is in no list, and stays in place until its cell is `Woken`
            // or `Closed`, or it was removed from this list.
            true => unsafe { self.waiters.push_front(node) },
            // SAFETY: S8: the caller promises: the waiter is in no list, and stays in place until its cell is `Woken`
            // or `Closed`, or it was removed from this list.
            false => unsafe { self.waiters.push_back(node) },
        }
    }
}

/// The last touch of a node that was just unlinked; the lock is held.
fn settle(node: NonNull<QueuedWaiter>, outcome: Outcome, granted: bool, with_all: bool) -> Option<Unparker> {
    // SAFETY: S8: unlinked under the lock; a waiter that gave up waits for the lock before its frame ends.
    let waiter = unsafe { node.as_ref() };
    let ticket = waiter.notes().ticket;
    let notes = |granted| Notes {
        ticket,
        granted,
        with_all,
    };
    // SAFETY: S8: a shared cell lives as long as the waiter is listed, and until it is unlisted, which needs the lock.
    if let Some(shared) = unsafe { waiter.shared_cell.get().as_ref() } {
        let unparker = shared.unparker();
        let has_won = shared.settle(outcome);
        waiter.set_notes(notes(granted && has_won));
        return has_won.then_some(unparker);
    }
    waiter.set_notes(notes(granted));
    let unparker = waiter.cell.unparker();
    waiter.cell.settle(outcome).then_some(unparker)
}

/// What a waiter that is a part of a select has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    Nothing,
    /// It alone: somebody else is to have it if it is not used.
    Alone,
    WithAll,
}

/// See the head of the file.
pub(super) struct WaitQueue<S = ()> {
    queue: Lock<WaitList<S>>,
}

impl<S> WaitQueue<S> {
    const_unless_loom! {
        pub(super) fn new(state: S) -> Self {
            Self {
                queue: Lock::new(WaitList {
                    waiters: List::new(),
                    next_ticket: 0,
                    state,
                }),
            }
        }
    }

    /// Runs `f` under the lock. `f` is short, does not park, and calls no user code.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut WaitList<S>) -> R) -> R {
        let _critical = Critical::enter();
        let mut queue = self.queue.lock();
        f(&mut queue)
    }

    /// Waits, unless `decide`, under the lock, says that there is no need. If the wait ends by its deadline or by
    /// cancellation, `leave` runs under the lock and hears whether the waiter was still listed.
    pub(super) fn wait<R>(
        &self,
        terms: WaitOptions,
        waiter: (u64, Place),
        decide: impl FnOnce(&mut WaitList<S>) -> Option<R>,
        leave: impl FnOnce(&mut WaitList<S>, bool) -> WakeList,
    ) -> Result<WaitResult, R> {
        let (tag, place) = waiter;
        let waiter = QueuedWaiter::new(tag);
        let decided = self.with(|queue| {
            let decided = decide(queue);
            if decided.is_none() {
                // SAFETY: S8: this frame stays until `await_end` has returned, and nothing in between unwinds.
                unsafe { queue.enlist(&waiter, place == Place::PopResult) };
            }
            decided
        });
        match decided {
            Some(decided) => Err(decided),
            None => Ok(self.await_end(&waiter, terms, leave)),
        }
    }

    /// Lists a waiter that is a part of a select, unless `decide`, under the lock, says that there is no need: then
    /// gives what it said.
    ///
    /// # Safety
    /// Waiter and cell stay in place until [`unlist`](Self::unlist) has returned (S8).
    pub(super) unsafe fn list<R>(
        &self,
        waiter: &QueuedWaiter,
        cell: &WaitCell,
        decide: impl FnOnce(&mut WaitList<S>) -> Option<R>,
    ) -> Option<R> {
        waiter.shared_cell.set(cell);
        self.with(|queue| {
            let decided = decide(queue);
            if decided.is_none() {
                // SAFETY: S8: the caller promises: waiter and cell stay in place until `unlist` has
                // returned.
                unsafe { queue.enlist(waiter, false) };
            }
            decided
        })
    }

    /// Takes a waiter out that was listed by [`list`](Self::list), runs `leave` under the lock as [`wait`](Self::wait)
    /// does, and tells what the waiter has got.
    pub(super) fn unlist(
        &self,
        waiter: &QueuedWaiter,
        leave: impl FnOnce(&mut WaitList<S>, bool) -> WakeList,
    ) -> Granted {
        let (granted, wakes) = self.with(|queue| {
            // SAFETY: S8: alive, for it is borrowed, and in this list or in none.
            let was_listed = unsafe { queue.waiters.remove(NonNull::from(waiter)) };
            let granted = match waiter.notes() {
                Notes { granted: false, .. } => Granted::Nothing,
                Notes { with_all: true, .. } => Granted::WithAll,
                Notes { .. } => Granted::Alone,
            };
            (granted, leave(queue, was_listed))
        });
        wakes.unpark();
        granted
    }

    /// Waits in any case, and runs `then` once it is in the queue, where wakes reach it. `then` does not unwind.
    pub(super) fn wait_then(&self, terms: WaitOptions, then: impl FnOnce()) -> WaitResult {
        let waiter = QueuedWaiter::new(0);
        // SAFETY: S8: this frame stays until `await_end` has returned; what would unwind ends the process.
        self.with(|queue| unsafe { queue.enlist(&waiter, false) });
        let stays = AbortOnUnwind;
        then();
        std::mem::forget(stays);
        self.await_end(&waiter, terms, |_, _| WakeList::none())
    }

    /// Sleeps until the listed waiter is settled. Then it is in no list.
    fn await_end(
        &self,
        waiter: &QueuedWaiter,
        terms: WaitOptions,
        leave: impl FnOnce(&mut WaitList<S>, bool) -> WakeList,
    ) -> WaitResult {
        let cancellable = terms.cancellable && !std::thread::panicking();
        let outcome = timers::wait(&waiter.cell, terms.reason, terms.deadline_ns, cancellable);
        if matches!(outcome, Outcome::TimedOut | Outcome::Cancelled) {
            let wakes = self.with(|queue| {
                // SAFETY: S8: alive, for it is borrowed, and in this list or in none.
                let was_listed = unsafe { queue.waiters.remove(NonNull::from(waiter)) };
                leave(queue, was_listed)
            });
            wakes.unpark();
        }
        // Nobody else knows the waiter any more.
        let granted = waiter.notes().granted && matches!(outcome, Outcome::Woken | Outcome::Closed);
        WaitResult { outcome, granted }
    }

    /// As [`wait`](Self::wait), for those who mind neither place nor leave, and who unwind if cancelled.
    pub(super) fn wait_plain<R>(
        &self,
        terms: WaitOptions,
        decide: impl FnOnce(&mut WaitList<S>) -> Option<R>,
    ) -> Result<WaitResult, R> {
        let ended = self.wait(terms, (0, Place::Back), decide, |_, _| WakeList::none())?;
        unwind_if_cancelled(ended.outcome);
        Ok(ended)
    }

    /// Settles all who wait now.
    pub(super) fn wake_all(&self, outcome: Outcome) {
        self.wake_before(self.with(|queue| queue.end_ticket()), outcome);
    }

    /// Settles all who came before a ticket.
    pub(super) fn wake_before(&self, end_ticket: u64, outcome: Outcome) {
        loop {
            let mut wakes = WakeList::none();
            self.with(|queue| queue.settle_those(outcome, end_ticket, &mut wakes, |_| true));
            let more = wakes.is_full();
            wakes.unpark();
            if !more {
                return;
            }
        }
    }
}

/// A listed waiter's frame must not be unwound.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Where a waiter joins the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind those who came before.
    Back,
    /// Before all others: it was woken, and came too late.
    PopResult,
}

/// What a wait that was cancelled ends in, once everything is in order.
pub(super) fn unwind_if_cancelled(outcome: Outcome) {
    if outcome == Outcome::Cancelled {
        raise_if_cancelled();
    }
}
