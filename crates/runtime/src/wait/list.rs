//! How does a waiter wait for a primitive of `sync` without losing a wake? By the wait queue that all of them share.
//! The queue lists the waiters beside the state that they wait on: in order of arrival, or in front if the waiter was
//! woken and found the state taken again ([`Place`]).
//!
//! # Protocol
//! A primitive keeps its state under the queue's lock (`S`), or in an atomic word of its own. Such a word says "a
//! waiter is queued", and from then on a context whose change may let a waiter go takes the lock. (`raw_mutex.rs` and
//! `raw_rwlock.rs` have exceptions, with proofs of their own.) [`WaitQueue::wait`] looks at the state and lists the
//! waiter in one hold of the lock. A context that changes the state so that a waiter may go takes the lock as well. So
//! no wake can fall between the look and the sleep, and none is lost.
//!
//! For a wait on one primitive (a select is described below): under the lock a waker unlinks a node, writes what it
//! grants, copies the unparker, and settles the wait cell. Settling is its last touch of the node. It unparks once the
//! lock is free. A waiter that finds its cell `Woken` or `Closed` is therefore in no list, and returns without the
//! lock. A waiter that timed out or was cancelled takes the lock once more. It unlinks itself, unless a waker has done
//! so, and only then gives up its frame (S8). A waker that loses the settling is told so ([`PopResult::Gone`]) and
//! turns to the next waiter: no wake is spent on a waiter that has left.
//!
//! # The race: wake-all against waiters that return
//! A wake-all settles waiters in batches, because the lock blocks threads and must not be held while a thousand
//! coroutines are queued. Example: a coroutine of the first batch runs and waits again before the second batch is
//! settled. The wake-all must not wake it a second time, or it might never end. So nodes get ascending tickets, and a
//! wake-all ignores nodes that were listed after it began.
//!
//! # A part of a select
//! A waiter may stand for one arm of a select; a waker then settles the wait cell of the select. The select has waiters
//! in other lists too. So the settling may lose, because a waker of another list has settled the cell. Whether the
//! waiter was granted something is therefore written *after* the settling, which is not the last touch in this case.
//! The node stays valid, because the select removes each of its waiters under the lock ([`unlist`](WaitQueue::unlist))
//! before its frame ends. If the select has chosen another arm, the arm gives back what it was granted.
//!
//! # Rejected
//! *Moving all nodes to a list of the waker's own*, a wake-all without tickets: a waiter that times out meanwhile could
//! not tell which list it is in. *Unparking under the lock*: the woken coroutines would contend for it.

use crate::collections::list::{Link, List, Node};
use crate::coroutine::{Critical, Outcome, Unparker, WaitCell, WaitReason, raise_if_cancelled};
use crate::loom::UnsafeCell;
use crate::loom::const_unless_loom;
use crate::sys::Lock;
use crate::wait;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Unparkers gathered in one hold of the lock. The number is a guess: enough to pay for the hold, few enough for the
/// stack.
const BATCH: usize = if cfg!(loom) { 2 } else { 16 };

/// One wait, on the stack of the waiter.
pub(crate) struct QueuedWaiter {
    link: Link<QueuedWaiter>,
    cell: WaitCell,
    /// The wait cell of the select that this waiter stands for; null: the waiter settles its own cell.
    shared_cell: Cell<*const WaitCell>,
    /// What the waiter wants, in the primitive's terms.
    tag: u64,
    /// Written under the lock; the waiter reads it after its cell was settled.
    notes: UnsafeCell<Notes>,
}

#[derive(Clone, Copy)]
struct Notes {
    ticket: u64,
    granted: bool,
    /// It was settled together with others (`settle_those`), not by a wake of one waiter.
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
    pub(crate) fn new(tag: u64) -> Self {
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

    /// The notes of a waiter in the list whose lock the caller holds, or of the caller's own waiter that is in no list.
    fn notes(&self) -> Notes {
        // SAFETY: S8: by the rule above nobody writes them now.
        self.notes.with(|notes| unsafe { *notes })
    }

    fn set_notes(&self, notes: Notes) {
        // SAFETY: S8: under the lock of the list that the waiter is in, or is about to enter.
        self.notes.with_mut(|place| unsafe { *place = notes });
    }
}

/// The terms on which a caller waits.
#[derive(Clone, Copy)]
pub(crate) struct WaitOptions {
    pub(crate) reason: WaitReason,
    /// On the monotonic clock.
    pub(crate) deadline_ns: Option<u64>,
    /// Whether the caller's cancellation ends the wait. While the caller unwinds, it does not in any case.
    pub(crate) cancellable: bool,
}

impl WaitOptions {
    /// A wait without a deadline; cancellation ends it.
    pub(crate) fn new(reason: WaitReason) -> Self {
        Self::until(reason, None)
    }

    pub(crate) fn until(reason: WaitReason, deadline_ns: Option<u64>) -> Self {
        Self {
            reason,
            deadline_ns,
            cancellable: true,
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitResult {
    pub(crate) outcome: Outcome,
    /// The waker has given the waiter what it waited for, so the waiter need not try again.
    pub(crate) granted: bool,
}

/// What became of the first waiter in the queue.
#[must_use]
pub(crate) enum PopResult {
    /// The queue was empty.
    Nobody,
    /// The waiter had left, or was about to.
    Gone,
    /// The caller unparks the waiter once the lock is free.
    Settled(Unparker),
}

/// The waiters to unpark once the lock is free.
#[must_use]
pub(crate) struct WakeList {
    unparkers: [Option<Unparker>; BATCH],
    count: usize,
}

impl WakeList {
    pub(crate) fn none() -> Self {
        Self {
            unparkers: [None; BATCH],
            count: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == BATCH
    }

    pub(crate) fn room(&self) -> usize {
        BATCH - self.count
    }

    /// The caller has checked that there is room.
    pub(crate) fn push(&mut self, unparker: Unparker) {
        self.unparkers[self.count] = Some(unparker);
        self.count += 1;
    }

    pub(crate) fn unpark(self) {
        self.unparkers[..self.count]
            .iter()
            .flatten()
            .for_each(|unparker| unparker.unpark());
    }

    /// Unparks the waiters, then those of the batches that `next` settles in further holds of the lock: as long as a
    /// batch is full there may be more waiters to settle.
    pub(crate) fn unpark_batches(self, mut next: impl FnMut() -> WakeList) {
        let mut wakes = self;
        loop {
            let may_be_more = wakes.is_full();
            wakes.unpark();
            if !may_be_more {
                return;
            }
            wakes = next();
        }
    }
}

/// What the lock guards: the waiters, and the primitive's own state.
pub(crate) struct WaitList<S> {
    waiters: List<QueuedWaiter>,
    next_ticket: u64,
    pub(crate) state: S,
}

impl<S> WaitList<S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// What the first waiter wants.
    pub(crate) fn front_tag(&self) -> Option<u64> {
        // SAFETY: S8: in the list, and so in place.
        self.waiters.front().map(|node| unsafe { node.as_ref() }.tag)
    }

    /// Whether the first waiter stands for a select.
    pub(crate) fn front_is_part_of_select(&self) -> bool {
        // SAFETY: S8: in the list, and so in place.
        self.waiters
            .front()
            .is_some_and(|node| !unsafe { node.as_ref() }.shared_cell.get().is_null())
    }

    /// A ticket later than those of all listed waiters.
    pub(crate) fn end_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Settles the first waiter.
    pub(crate) fn settle_front(&mut self, outcome: Outcome, granted: bool) -> PopResult {
        match self.waiters.pop_front() {
            None => PopResult::Nobody,
            Some(node) => settle(node, outcome, granted, false).map_or(PopResult::Gone, PopResult::Settled),
        }
    }

    /// Settles the waiter that has waited longest, of those that still wait.
    pub(crate) fn settle_next(&mut self, outcome: Outcome) -> Option<Unparker> {
        loop {
            match self.settle_front(outcome, true) {
                PopResult::Nobody => return None,
                PopResult::Gone => {}
                PopResult::Settled(unparker) => return Some(unparker),
            }
        }
    }

    /// Settles, first to last, the waiters with a ticket before `end_ticket` whose tag `is_meant` accepts, while
    /// `wakes` has room.
    pub(crate) fn settle_those(
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

/// Settles a node that was just unlinked, as the last touch of it. The caller holds the lock.
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

/// What a waiter that is a part of a select was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    Nothing,
    /// Granted to this waiter alone; another waiter gets it if this one does not use it.
    Alone,
    WithAll,
}

/// See the head of the file.
pub(crate) struct WaitQueue<S = ()> {
    queue: Lock<WaitList<S>>,
}

impl<S> WaitQueue<S> {
    const_unless_loom! {
        pub(crate) fn new(state: S) -> Self {
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
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut WaitList<S>) -> R) -> R {
        let _critical = Critical::enter();
        let mut queue = self.queue.lock();
        f(&mut queue)
    }

    /// Waits, unless `decide`, called under the lock, returns a value: there is no need to wait then. If the wait ends
    /// by its deadline or by cancellation, `leave` runs under the lock; its second argument says whether the waiter was
    /// still listed.
    pub(crate) fn wait<R>(
        &self,
        terms: WaitOptions,
        waiter: (u64, Place),
        decide: impl FnOnce(&mut WaitList<S>) -> Option<R>,
        leave: impl FnMut(&mut WaitList<S>, bool) -> WakeList,
    ) -> Result<WaitResult, R> {
        let (tag, place) = waiter;
        let waiter = QueuedWaiter::new(tag);
        let decided = self.with(|queue| {
            let decided = decide(queue);
            if decided.is_none() {
                // SAFETY: S8: this frame stays until `await_end` has returned, and nothing in between unwinds.
                unsafe { queue.enlist(&waiter, place == Place::Front) };
            }
            decided
        });
        match decided {
            Some(decided) => Err(decided),
            None => Ok(self.await_end(&waiter, terms, leave)),
        }
    }

    /// Lists a waiter that is a part of a select, unless `decide`, called under the lock, returns a value: this method
    /// then returns that value.
    ///
    /// # Safety
    /// Waiter and cell stay in place until [`unlist`](Self::unlist) has returned (S8).
    pub(crate) unsafe fn list<R>(
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

    /// Removes a waiter that [`list`](Self::list) has listed, runs `leave` under the lock as [`wait`](Self::wait) does,
    /// and returns what the waiter was granted.
    pub(crate) fn unlist(
        &self,
        waiter: &QueuedWaiter,
        leave: impl FnMut(&mut WaitList<S>, bool) -> WakeList,
    ) -> Granted {
        self.withdraw(waiter, leave);
        // No other context refers to the waiter any more.
        match waiter.notes() {
            Notes { granted: false, .. } => Granted::Nothing,
            Notes { with_all: true, .. } => Granted::WithAll,
            Notes { .. } => Granted::Alone,
        }
    }

    /// Removes a waiter that does not wait any more. `leave` runs under the lock; its second argument says whether the
    /// waiter was still listed. As long as `leave` fills a batch of wakes, it runs again.
    fn withdraw(&self, waiter: &QueuedWaiter, mut leave: impl FnMut(&mut WaitList<S>, bool) -> WakeList) {
        let wakes = self.with(|queue| {
            // SAFETY: S8: alive, for it is borrowed, and in this list or in none.
            let was_listed = unsafe { queue.waiters.remove(NonNull::from(waiter)) };
            leave(queue, was_listed)
        });
        wakes.unpark_batches(|| self.with(|queue| leave(queue, false)));
    }

    /// Waits without a decision under the lock. `then` runs once the waiter is in the queue, where wakes reach it;
    /// `then` does not unwind.
    pub(crate) fn wait_then(&self, terms: WaitOptions, then: impl FnOnce()) -> WaitResult {
        let waiter = QueuedWaiter::new(0);
        // SAFETY: S8: this frame stays until `await_end` has returned; what would unwind ends the process.
        self.with(|queue| unsafe { queue.enlist(&waiter, false) });
        let stays = AbortOnUnwind;
        then();
        std::mem::forget(stays);
        self.await_end(&waiter, terms, |_, _| WakeList::none())
    }

    /// Waits until the listed waiter is settled. When this returns, the waiter is in no list.
    fn await_end(
        &self,
        waiter: &QueuedWaiter,
        terms: WaitOptions,
        leave: impl FnMut(&mut WaitList<S>, bool) -> WakeList,
    ) -> WaitResult {
        let cancellable = terms.cancellable && !std::thread::panicking();
        let outcome = wait::wait(&waiter.cell, terms.reason, terms.deadline_ns, cancellable);
        if matches!(outcome, Outcome::TimedOut | Outcome::Cancelled) {
            self.withdraw(waiter, leave);
        }
        // No other context refers to the waiter any more.
        let granted = waiter.notes().granted && matches!(outcome, Outcome::Woken | Outcome::Closed);
        WaitResult { outcome, granted }
    }

    /// As [`wait`](Self::wait), for a caller that joins at the back, has nothing to do when it leaves, and unwinds if
    /// it is cancelled.
    pub(crate) fn wait_plain<R>(
        &self,
        terms: WaitOptions,
        decide: impl FnOnce(&mut WaitList<S>) -> Option<R>,
    ) -> Result<WaitResult, R> {
        let ended = self.wait(terms, (0, Place::Back), decide, |_, _| WakeList::none())?;
        unwind_if_cancelled(ended.outcome);
        Ok(ended)
    }

    /// Settles all waiters that wait now.
    pub(crate) fn wake_all(&self, outcome: Outcome) {
        self.wake_before(self.with(|queue| queue.end_ticket()), outcome);
    }

    /// Settles all waiters with a ticket before `end_ticket`.
    pub(crate) fn wake_before(&self, end_ticket: u64, outcome: Outcome) {
        let settle = || {
            let mut wakes = WakeList::none();
            self.with(|queue| queue.settle_those(outcome, end_ticket, &mut wakes, |_| true));
            wakes
        };
        settle().unpark_batches(settle);
    }
}

/// Ends the process if it is dropped: the frame of a listed waiter must not be unwound.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Where a waiter joins the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind all waiters that came before.
    Back,
    /// Before all others: the waiter was woken, and found the lock taken again.
    Front,
}

/// Unwinds a caller whose wait was cancelled. The caller has restored its own state before.
pub(crate) fn unwind_if_cancelled(outcome: Outcome) {
    if outcome == Outcome::Cancelled {
        raise_if_cancelled();
    }
}
