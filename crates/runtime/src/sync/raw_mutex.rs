//! How a mutex is taken, waited for and passed on: the protocol of its word and of the queue beside it.
//!
//! # States
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `LOCKED` | held | the caller that takes it | the holder |
//! | `PARKED` | a waiter may be in the queue | a waiter about to join it, while `LOCKED` | the holder, under the queue's lock, when the queue is empty |
//! | `WOKEN` | one waiter was woken and has not yet used or given up its chance | the holder that wakes it, under the queue's lock | that waiter, as it takes the mutex, or under the queue's lock as it waits again |
//!
//! # Protocol
//! A free mutex belongs to whoever comes first, newcomer or woken waiter (*barging*). A holder that unlocks and comes
//! back at once keeps the cache line, and no caller waits until a sleeping waiter has been scheduled. A holder that
//! unlocks wakes the first waiter, unless a woken one is on its way already (`WOKEN`). A woken waiter that comes too
//! late waits again at the head of the queue. A part of a select is handed the mutex (`lock_arm.rs`), since it may
//! never come to take it.
//!
//! Once a waiter has waited for longer than `PATIENCE_NS`, the holder hands the mutex over: the word stays `LOCKED`. At
//! most one such hand-off happens in that time, so that a queue of a thousand does not turn each unlock into a switch.
//! (This is parking_lot's eventual fairness, with Go's reason for it.)
//!
//! # The race: a wake that finds no waiter
//! A waiter joins the queue only if, under the queue's lock, the word is `LOCKED` and `PARKED`. A waiter that had been
//! woken joins only after it has also cleared `WOKEN`. A holder skips the queue only if `PARKED` is clear or `WOKEN` is
//! set. If `PARKED` is clear, no waiter is in the queue, and none joins without looking at the word again. If `WOKEN`
//! is set, the woken waiter has yet to look at the word, and there are two cases. Either it takes the mutex, and its
//! own unlock serves the queue. Or it finds the mutex held and clears `WOKEN` before that holder unlocks; that holder
//! then wakes a waiter. The woken waiter never gives up in between: a deadline or a cancellation ends a wait only while
//! the waiter is in the queue.
//!
//! # The race: settled before the word says so
//! A waker settles a waiter before it writes `WOKEN`, because it tries the next waiter if the settling fails. For that
//! moment the settled waiter sees the mutex held, and may try to join the queue again. It needs the queue's lock for
//! that, and the waker writes the word under the same hold of that lock.
//!
//! # Spinning
//! A coroutine that spins may keep the holder from running. With one worker a coroutine never spins; with several it
//! spins briefly. It does not spin at all once another waiter has given up spinning (`PARKED` is set).

use super::lock_arm::Take;
use crate::coroutine::{Outcome, Unparker, WaitCell, WaitReason, budget, current_core};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::const_unless_loom;
use crate::loom::spin_loop;
use crate::sys::clock;
use crate::wait::list::{
    Granted, Place, PopResult, QueuedWaiter, WaitList, WaitOptions, WaitQueue, WakeList, unwind_if_cancelled,
};

const LOCKED: u32 = 1;
const PARKED: u32 = 2;
const WOKEN: u32 = 4;

/// How often an OS thread, and a coroutine, looks at a held lock before it waits. The numbers are guesses, to be tuned.
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

/// How long others may barge past a waiter; Go's number. Under loom it is without end, because no path may depend on a
/// clock there; the models of hand-off set it to 0.
const PATIENCE_DEFAULT_NS: u64 = if cfg!(loom) { u64::MAX } else { 1_000_000 };

/// See the head of the file.
pub(crate) struct RawMutex<const PATIENCE_NS: u64 = PATIENCE_DEFAULT_NS> {
    state: AtomicU32,
    /// The waiters; the state beside them is the time from which the next hand-off is allowed.
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

    /// Takes the mutex. If `cancellable`, a cancelled caller unwinds.
    #[inline]
    pub(super) fn lock(&self, cancellable: bool) {
        if !self.try_acquire(0) {
            self.lock_slow(None, cancellable);
        }
    }

    /// Takes the mutex; `false` if the deadline came first.
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
        // Whether it is the caller's duty to clear `WOKEN`.
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
                if !self.announce(state) {
                    continue;
                }
            }
            let terms = WaitOptions {
                cancellable,
                ..WaitOptions::until(WaitReason::Lock, deadline_ns)
            };
            let place = if began_ns.is_some() { Place::Front } else { Place::Back };
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

    /// Sets `PARKED` for a waiter about to join the queue; `false` if the word has changed.
    #[inline(always)]
    fn announce(&self, state: u32) -> bool {
        // Relaxed: the queue's lock orders what follows from the bit.
        self.state
            .compare_exchange(state, state | PARKED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Under the queue's lock: whether the caller may join the queue. If it may, `WOKEN` is no longer its duty.
    fn may_wait(&self, woken: bool) -> bool {
        // Relaxed: the queue's lock orders those that look at the queue; the head of the file explains those that do
        // not.
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

    /// Wakes the first waiter or hands it the mutex, and unlocks. The word is `LOCKED | PARKED`. A waiter that has set
    /// or seen `PARKED` and is not queued yet looks at the word again under the queue's lock.
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
            if state & PARKED == 0 && !self.announce(state) {
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

    /// In place of the time from which it waits, which no clock need tell: an arm is granted the lock however short its
    /// wait was.
    fn tag(&self) -> u64 {
        0
    }
}
