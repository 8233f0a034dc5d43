//! How a read-write lock is taken, waited for and passed on: the protocol of its word, and the order of readers and
//! writers.
//!
//! # States
//! | part | meaning |
//! |---|---|
//! | `WRITER` | a writer holds the lock |
//! | `PARKED` | a waiter is in the queue; newcomers do not take the lock past it |
//! | the rest, in units of `READER` | the number of readers that hold the lock |
//!
//! # Protocol
//! Without `PARKED` each operation is one atomic operation. A caller that cannot have the lock sets `PARKED` under the
//! queue's lock and waits. From then on the lock is *granted*: holders that unlock decide, under the queue's lock, who
//! goes next. They write the decision into the word before they settle the waiter. After a writer all waiting readers
//! go; after the last reader the first in the queue goes, which is a writer as a rule. So a stream of readers does not
//! starve a writer, nor the reverse.
//!
//! `PARKED` is set and cleared under the queue's lock only. While it is set, the lock is entered by a grant only.
//! Readers and the writer may leave meanwhile, and the last to leave serves the queue. A waiter that gives up serves
//! the queue as well, because readers behind a writer that has left may go.
//!
//! # The race: the last reader has left, and has not served the queue yet
//! In that moment the word is `PARKED` alone. A waiter that joins the queue now is found by that reader. If another
//! context has cleared `PARKED` meanwhile (the last waiter gave up), the lock is free, and may be taken before the
//! reader comes to the queue. The reader then finds `WRITER` set, or the queue empty, and does nothing.
//!
//! # The race: granted readers that leave before the count is right
//! A batch of readers is added to the count before the first of them is settled; the surplus is subtracted at the end.
//! A granted reader that leaves meanwhile sees a count above zero, and does not serve the queue. So the context that
//! subtracts the surplus looks at the word again.

use super::lock_arm::Take;
use super::raw_mutex::spin_budget;
use crate::coroutine::{Outcome, WaitCell, WaitReason, budget};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::const_unless_loom;
use crate::loom::spin_loop;
use crate::wait::list::{
    Granted, Place, PopResult, QueuedWaiter, WaitList, WaitOptions, WaitQueue, WakeList, unwind_if_cancelled,
};

const WRITER: u32 = 1;
const PARKED: u32 = 2;
const READER: u32 = 4;
const READERS_MAX: u32 = u32::MAX / READER / 2;

/// The tags of waiters.
const READS: u64 = 0;
const WRITES: u64 = 1;

/// See the head of the file.
pub(crate) struct RawRwLock {
    state: AtomicU32,
    queue: WaitQueue,
}

impl RawRwLock {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self {
                state: AtomicU32::new(0),
                queue: WaitQueue::new(()),
            }
        }
    }

    #[inline]
    pub(super) fn try_read(&self) -> bool {
        budget::spend();
        self.take_read()
    }

    #[inline]
    fn take_read(&self) -> bool {
        // Relaxed: the exchange decides.
        let mut state = self.state.load(Ordering::Relaxed);
        while state & (WRITER | PARKED) == 0 {
            assert!(state / READER < READERS_MAX, "too many readers");
            // Acquire: pairs with the Release of the last writer's unlock. Relaxed on failure: it looks again.
            match self
                .state
                .compare_exchange_weak(state, state + READER, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[inline]
    pub(super) fn try_write(&self) -> bool {
        budget::spend();
        self.take_write()
    }

    #[inline]
    fn take_write(&self) -> bool {
        // Acquire: pairs with the Release of the last holder's unlock. Relaxed on failure: nothing is read on the
        // strength of it.
        self.state
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the lock to read; `false` if the deadline came first.
    #[inline]
    pub(super) fn read(&self, deadline_ns: Option<u64>) -> bool {
        self.try_read() || self.wait(READS, deadline_ns)
    }

    /// Takes the lock to write; `false` if the deadline came first.
    #[inline]
    pub(super) fn write(&self, deadline_ns: Option<u64>) -> bool {
        self.try_write() || self.wait(WRITES, deadline_ns)
    }

    /// # Safety
    /// The caller has the right to read (S2).
    #[inline]
    pub(super) unsafe fn unlock_read(&self) {
        // Release: pairs with the Acquire of the next writer, in `try_write` or in `admit`.
        let state = self.state.fetch_sub(READER, Ordering::Release);
        if state - READER == PARKED {
            self.hand_on(false);
        }
    }

    /// # Safety
    /// The caller has the right to write (S2).
    #[inline]
    pub(super) unsafe fn unlock_write(&self) {
        // Release: pairs with the Acquire of the next holder, in `try_*` or in `admit`.
        let state = self.state.fetch_sub(WRITER, Ordering::Release);
        if state != WRITER {
            self.hand_on(true);
        }
    }

    /// # Safety
    /// The caller has the right to write, and has the right to read afterwards (S2).
    pub(super) unsafe fn downgrade(&self) {
        // Release: pairs with the Acquire of the readers that it lets in.
        let state = self.state.fetch_add(READER - WRITER, Ordering::Release);
        if state != WRITER {
            self.hand_on(true);
        }
    }

    #[cold]
    fn wait(&self, tag: u64, deadline_ns: Option<u64>) -> bool {
        for _ in 0..spin_budget() {
            // Relaxed: a hint; a waiter that is queued has spun for longer than this already.
            if self.state.load(Ordering::Relaxed) & PARKED != 0 {
                break;
            }
            spin_loop();
            if self.try_take(tag) {
                return true;
            }
        }
        loop {
            let terms = WaitOptions::until(WaitReason::Lock, deadline_ns);
            let take = |_: &mut WaitList<()>| self.take_or_announce(tag).then_some(());
            let leave = |queue: &mut WaitList<()>, _| self.admit_after_leave(queue);
            let Ok(ended) = self.queue.wait(terms, (tag, Place::Back), take, leave) else {
                return true;
            };
            match ended.outcome {
                Outcome::Woken => return true,
                Outcome::TimedOut => return false,
                outcome => unwind_if_cancelled(outcome),
            }
        }
    }

    fn try_take(&self, tag: u64) -> bool {
        match tag {
            READS => self.take_read(),
            _ => self.take_write(),
        }
    }

    /// Under the queue's lock: takes the lock if that is possible after all; otherwise makes sure that `PARKED` is set.
    fn take_or_announce(&self, tag: u64) -> bool {
        loop {
            if self.try_take(tag) {
                return true;
            }
            if self.announce(tag) {
                return false;
            }
        }
    }

    /// Under the queue's lock: sets `PARKED`, or finds it set; `false` if the lock can be taken now.
    fn announce(&self, tag: u64) -> bool {
        loop {
            // Relaxed: the exchange decides.
            let state = self.state.load(Ordering::Relaxed);
            if state & PARKED != 0 {
                return true;
            }
            let is_taken = if tag == READS { state & WRITER != 0 } else { state != 0 };
            if !is_taken {
                return false;
            }
            // Relaxed: the queue's lock orders what follows from the bit.
            if self
                .state
                .compare_exchange(state, state | PARKED, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return true;
            }
        }
    }

    /// Under the queue's lock: a waiter has left the queue, and waiters behind it may go.
    fn admit_after_leave(&self, queue: &mut WaitList<()>) -> WakeList {
        self.admit(queue, false, queue.end_ticket())
    }

    /// The caller has unlocked, and there are waiters in the queue.
    #[cold]
    fn hand_on(&self, after_writer: bool) {
        let mut end_ticket = None;
        let mut settle = || {
            self.queue.with(|queue| {
                let end_ticket = *end_ticket.get_or_insert(queue.end_ticket());
                self.admit(queue, after_writer, end_ticket)
            })
        };
        settle().unpark_batches(settle);
    }

    /// Under the queue's lock: grants the lock to the waiters whose turn it is. In the readers' turn these are all
    /// readers with a ticket before `end_ticket`, also those behind writers. Otherwise these are the readers that have
    /// no writer before them. Each round of the loop takes a waiter out of the queue, or ends the readers' turn.
    fn admit(&self, queue: &mut WaitList<()>, mut readers_turn: bool, end_ticket: u64) -> WakeList {
        let mut wakes = WakeList::none();
        while !queue.is_empty() {
            // Acquire: pairs with the Release of the holders that have unlocked; the grant hands on what they did.
            let state = self.state.load(Ordering::Acquire);
            if state & WRITER != 0 || wakes.is_full() {
                return wakes;
            }
            if std::mem::take(&mut readers_turn) {
                self.admit_readers(queue, end_ticket, &mut wakes);
                continue;
            }
            if queue.front_tag() == Some(READS) {
                // No writer is before them. Readers that hold the lock already do not keep them out, however late they
                // came.
                self.admit_readers(queue, queue.end_ticket(), &mut wakes);
                continue;
            }
            // Acquire: pairs as above.
            if self.state.load(Ordering::Acquire) >= READER {
                // The last of these readers serves the queue.
                return wakes;
            }
            self.admit_writer(queue, &mut wakes);
        }
        // Relaxed: the queue's lock orders those that set it; a caller that finds it clear takes the lock by an
        // exchange.
        self.state.fetch_and(!PARKED, Ordering::Relaxed);
        wakes
    }

    /// Grants the lock to readers with a ticket before `end_ticket`, as far as `wakes` has room.
    fn admit_readers(&self, queue: &mut WaitList<()>, end_ticket: u64, wakes: &mut WakeList) {
        let room = wakes.room();
        // Relaxed: the settled cells hand over what the lock protects.
        self.state.fetch_add(READER * room as u32, Ordering::Relaxed);
        queue.settle_those(Outcome::Woken, end_ticket, wakes, |tag| tag == READS);
        // Relaxed: the surplus was given to no reader.
        self.state.fetch_sub(READER * wakes.room() as u32, Ordering::Relaxed);
    }

    /// Grants the lock to the first in the queue, which is a writer; the lock is free.
    fn admit_writer(&self, queue: &mut WaitList<()>, wakes: &mut WakeList) {
        // Relaxed: the settled cell hands over what the lock protects.
        self.state.fetch_add(WRITER, Ordering::Relaxed);
        match queue.settle_front(Outcome::Woken, true) {
            PopResult::Settled(unparker) => wakes.push(unparker),
            // Relaxed: no writer has had the lock.
            PopResult::Gone | PopResult::Nobody => drop(self.state.fetch_sub(WRITER, Ordering::Relaxed)),
        }
    }
}

/// The taking of the lock to read, as a part of a select.
pub(crate) struct Reads<'a>(pub(super) &'a RawRwLock);

/// The taking of the lock to write, as a part of a select.
pub(crate) struct Writes<'a>(pub(super) &'a RawRwLock);

macro_rules! take {
    ($($way:ident: $tag:ident, $try_now:ident, $unlock:ident;)*) => {$(
        // SAFETY: S2: the exchange has taken it, or `admit` has granted it.
        unsafe impl Take for $way<'_> {
            fn try_take(&self) -> bool {
                self.0.$try_now()
            }

            unsafe fn list(&self, waiter: &QueuedWaiter, cell: &WaitCell) -> bool {
                let refuse = |_: &mut WaitList<()>| (!self.0.announce($tag)).then_some(());
                // SAFETY: S8: waiter and cell stay in place until `unlist`, as `Take::list` asks.
                unsafe { self.0.queue.list(waiter, cell, refuse) }.is_none()
            }

            fn unlist(&self, waiter: &QueuedWaiter) -> bool {
                let leave = |queue: &mut WaitList<()>, _| self.0.admit_after_leave(queue);
                self.0.queue.unlist(waiter, leave) != Granted::Nothing
            }

            unsafe fn release(&self) {
                // SAFETY: S2: the caller holds the lock in this way, as `Take::release` asks.
                unsafe { self.0.$unlock() };
            }

            fn tag(&self) -> u64 {
                $tag
            }
        }
    )*};
}

take! {
    Reads: READS, try_read, unlock_read;
    Writes: WRITES, try_write, unlock_write;
}
