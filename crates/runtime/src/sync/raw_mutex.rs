//! The word of a mutex: who has it, who waits for it, who is on the way.
//!
//! # States
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `LOCKED` | held | whoever takes it | the holder |
//! | `PARKED` | somebody may be in the queue | who is about to join it, while `LOCKED` | the holder, under the queue's lock, when the queue is empty |
//! | `WOKEN` | one waiter was woken and has not yet got or given up its chance | the holder that wakes it, under the queue's lock | that waiter, as it takes the mutex, or under the queue's lock as it waits again |
//!
//! # Protocol
//! Free, a mutex belongs to whoever comes first, be it newcomer or woken (barging): the holder that lets go and comes
//! back at once keeps its cache line, and nobody waits for a sleeper to get up. A holder that lets go wakes the first
//! waiter, unless one is on its way already. The woken one, if it comes too late, waits again at the head. A part of a
//! select is handed the mutex (`lock_arm.rs`), since it may not come. Once a waiter has waited for longer than
//! `PATIENCE_NS`, the holder hands the mutex over: it stays `LOCKED`. At most one hand-off in that time, so that a
//! queue of a thousand does not turn each unlock into a switch. (parking_lot's eventual fairness, with Go's reason for
//! it.)
//!
//! # The race: a wake that finds nobody
//! A waiter joins the queue only if, under the queue's lock, the word is `LOCKED` and `PARKED` and, if the waiter had
//! been woken, after it has taken `WOKEN` back. A holder skips the queue only if `PARKED` is clear, or `WOKEN` is set.
//! In the first case nobody is in the queue, or about to be without looking at the word again. In the second the woken
//! waiter has yet to look at the word: it takes the mutex, and its own unlock looks after the queue; or it finds the
//! mutex held, and clears `WOKEN` before that holder lets go, who then wakes. It never gives up in between: a deadline
//! or a cancellation ends a wait only from within the queue.
//!
//! # The race: settled before the word says so
//! A waiter is settled before the waker writes `WOKEN` (if settling fails, the next one is tried). For that moment it
//! sees the mutex held and may try to join the queue again; it needs the queue's lock for that, and under it the word
//! is written.
//!
//! # Spinning
//! A coroutine that spins may keep the holder from running: with one worker it never does, with several briefly, and
//! not at all behind others that gave up spinning already.

use super::lock_arm::Take;
use super::wait_queue::{
    Granted, Place, PopResult, QueuedWaiter, WaitList, WaitOptions, WaitQueue, WakeList, unwind_if_cancelled,
};
use crate::coroutine::{Outcome, Unparker, WaitCell, WaitReason, budget, current_core};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::spin_loop;
use crate::sys::clock;

const LOCKED: u32 = 1;
const PARKED: u32 = 2;
const WOKEN: u32 = 4;

/// Looks at a held lock before waiting for it, on an OS thread and on a coroutine; guesses to be tuned.
const SPINS_THREAD: u32 = if cfg!(loom) { 0 } else { 100 };
const SPINS_COROUTINE: u32 = if cfg!(loom) { 0 } else { 40 };

/// How often the caller may look before it waits.
pub(super) fn spin_budget() -> u32 {
    match current_core() {
        None => SPINS_THREAD,
        Some(core) => match core.scheduler.get() {
            Some(scheduler) if scheduler.worker_count() > 1 => SPINS_COROUTINE,
            _ => 0,
        },
    }
}

/// How long a waiter lets others pass: Go's number. Without end under loom, where no path may depend on a clock; the
/// models of hand-off set it to 0.
const PATIENCE_DEFAULT_NS: u64 = if cfg!(loom) { u64::MAX } else { 1_000_000 };

/// See the head of the file.
pub(crate) struct RawMutex<const PATIENCE_NS: u64 = PATIENCE_DEFAULT_NS> {
    state: AtomicU32,
    /// With it, when the next hand-off may be.
    queue: WaitQueue<u64>,
}

impl<const PATIENCE_NS: u64> RawMutex<PATIENCE_NS> {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self {
                state: AtomicU32::new(0),
                queue: WaitQueue::new(0),
            }
        }
    }

    /// Takes the mutex. Unwinds if cancelled, unless that is not wanted.
    #[inline]
    pub(super) fn lock(&self, cancellable: bool) {
        if !self.try_acquire(0) {
            self.lock_slow(None, cancellable);
        }
    }

    /// Takes the mutex, or says that it was not to be had before the deadline.
    #[inline]
    pub(super) fn lock_until(&self, deadline_ns: impl FnOnce() -> u64) -> bool {
        self.try_acquire(0) || self.lock_slow(Some(deadline_ns()), true)
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        budget::spend();
        let mut state = 0;
        while state & LOCKED == 0 {
            if self.try_acquire(state) {
                return true;
            }
            // Relaxed: `try_acquire` decides.
            state = self.state.load(Ordering::Relaxed);
        }
        false
    }

    /// # Safety
    /// The caller holds the mutex (S2).
    #[inline]
    pub(super) unsafe fn unlock(&self) {
        // Release: pairs with the Acquire in `try_acquire` and `lock_slow`. Relaxed on failure: the slow path looks
        // again.
        let unlocked = self
            .state
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed);
        if unlocked.is_err() {
            self.unlock_slow();
        }
    }

    #[inline(always)]
    fn try_acquire(&self, state: u32) -> bool {
        // Acquire: pairs with the Release in `unlock` and below it. Relaxed on failure: nothing is read on the strength
        // of it.
        self.state
            .compare_exchange(state, state | LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn lock_slow(&self, deadline_ns: Option<u64>, cancellable: bool) -> bool {
        let mut spins = spin_budget();
        let mut began_ns = None;
        // Whether `WOKEN` is the caller's to clear.
        let mut woken = false;
        loop {
            // Relaxed: a hint; the exchanges decide.
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 {
                let taken = (state | LOCKED) & if woken { !WOKEN } else { !0 };
                // Acquire: pairs with the Release of the last holder's unlock. Relaxed on failure: it looks again.
                let acquired = self
                    .state
                    .compare_exchange(state, taken, Ordering::Acquire, Ordering::Relaxed);
                if acquired.is_ok() {
                    return true;
                }
                continue;
            }
            if state & PARKED == 0 {
                if spins > 0 {
                    spins -= 1;
                    spin_loop();
                    continue;
                }
                // Relaxed: the queue's lock orders what follows from the bit.
                let announced =
                    self.state
                        .compare_exchange(state, state | PARKED, Ordering::Relaxed, Ordering::Relaxed);
                if announced.is_err() {
                    continue;
                }
            }
            let terms = WaitOptions {
                cancellable,
                ..WaitOptions::until(WaitReason::Lock, deadline_ns)
            };
            let place = if began_ns.is_some() {
                Place::PopResult
            } else {
                Place::Back
            };
            let began_ns = *began_ns.get_or_insert_with(clock::now_ns);
            let refuse = |_: &mut WaitList<u64>| (!self.may_wait(woken)).then_some(());
            let Ok(ended) = self
                .queue
                .wait(terms, (began_ns, place), refuse, |_, _| WakeList::none())
            else {
                continue;
            };
            woken = false;
            match ended.outcome {
                Outcome::Woken if ended.granted => return true,
                Outcome::Woken => woken = true,
                Outcome::TimedOut => return false,
                outcome => unwind_if_cancelled(outcome),
            }
        }
    }

    /// Under the queue's lock: whether the caller may join the queue. If so, `WOKEN` is no longer the caller's.
    fn may_wait(&self, woken: bool) -> bool {
        // Relaxed: the queue's lock orders those who look at the queue; see the head for those who do not.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & (LOCKED | PARKED) != LOCKED | PARKED {
                return false;
            }
            if !woken {
                return true;
            }
            // Relaxed: as above.
            match self
                .state
                .compare_exchange(state, state & !WOKEN, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    #[cold]
    fn unlock_slow(&self) {
        // Relaxed: the exchange decides, or the queue's lock.
        let mut state = self.state.load(Ordering::Relaxed);
        while state & (PARKED | WOKEN) != PARKED {
            // Release: pairs with the Acquire of the next holder. Relaxed on failure: it looks again.
            match self
                .state
                .compare_exchange(state, state & !LOCKED, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        let unparker = self.queue.with(|queue| self.hand_on(queue));
        if let Some(unparker) = unparker {
            unparker.unpark();
        }
    }

    /// Lets the first of those who wait have a chance, or the mutex, and lets go. The word is `LOCKED | PARKED`, or
    /// `LOCKED` with others about to set `PARKED`; they look again under the queue's lock.
    fn hand_on(&self, queue: &mut WaitList<u64>) -> Option<Unparker> {
        while let Some(began_ns) = queue.front_tag() {
            let now_ns = clock::now_ns();
            let is_impatient = now_ns.saturating_sub(began_ns) >= PATIENCE_NS && now_ns >= queue.state;
            let grant = is_impatient || queue.front_is_part_of_select();
            let PopResult::Settled(unparker) = queue.settle_front(Outcome::Woken, grant) else {
                continue;
            };
            let parked = if queue.is_empty() { 0 } else { PARKED };
            if grant {
                queue.state = now_ns.saturating_add(PATIENCE_NS);
                // Relaxed: the settled cell hands over what the mutex protects.
                self.state.store(LOCKED | parked, Ordering::Relaxed);
            } else {
                // Release: pairs with the Acquire of the next holder.
                self.state.store(WOKEN | parked, Ordering::Release);
            }
            return Some(unparker);
        }
        // Release: pairs with the Acquire of the next holder.
        self.state.store(0, Ordering::Release);
        None
    }
}

// SAFETY: S2: `try_lock` has said that it is held, or `hand_on` has granted it.
unsafe impl<const PATIENCE_NS: u64> Take for &RawMutex<PATIENCE_NS> {
    fn try_take(&self) -> bool {
        self.try_lock()
    }

    unsafe fn list(&self, waiter: &QueuedWaiter, cell: &WaitCell) -> bool {
        loop {
            // Relaxed: a hint; what follows decides.
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 {
                return false;
            }
            // Relaxed: the queue's lock orders what follows from the bit.
            if state & PARKED == 0
                && self
                    .state
                    .compare_exchange(state, state | PARKED, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            let refuse = |_: &mut WaitList<u64>| (!self.may_wait(false)).then_some(());
            // SAFETY: S8: waiter and cell stay in place until `unlist`, as `Take::list` asks.
            if unsafe { self.queue.list(waiter, cell, refuse) }.is_none() {
                return true;
            }
        }
    }

    fn unlist(&self, waiter: &QueuedWaiter) -> bool {
        self.queue.unlist(waiter, |_, _| WakeList::none()) != Granted::Nothing
    }

    unsafe fn release(&self) {
        // SAFETY: S2: the caller holds the mutex, as `Take::release` asks.
        unsafe { self.unlock() };
    }

    /// When it began to wait: an arm is granted the lock however short that was.
    fn tag(&self) -> u64 {
        clock::now_ns()
    }
}
