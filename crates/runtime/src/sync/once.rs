//! `Once`: something that is done once, while the others wait for it.
//!
//! # States
//! | word | meaning | next |
//! |---|---|---|
//! | `INCOMPLETE` | nobody has begun, or who had begun was cancelled | `RUNNING` |
//! | `POISONED` | who had begun panicked | `RUNNING`, by those who force it |
//! | `RUNNING` | somebody is at it | one of the others |
//! | `RUNNING` with `WAITERS` | and others wait for it | the same, and all waiters are woken |
//! | `COMPLETE` | done | |
//!
//! A waiter sets `WAITERS` under the queue's lock, in the hold in which it joins the queue. Who ends the running swaps
//! the word, then takes that lock to wake: either it sees the bit, and finds the waiter, or the waiter sees the new
//! word. The woken look again; one of them runs if the first one failed.

use super::wait_queue::{WaitList, WaitOptions, WaitQueue};
use crate::coroutine::{Outcome, WaitReason, is_panicking};
use crate::loom::atomic::{AtomicU32, Ordering};
use std::cell::Cell;
use std::fmt;

const INCOMPLETE: u32 = 0;
const POISONED: u32 = 1;
const RUNNING: u32 = 2;
const COMPLETE: u32 = 3;
const WAITERS: u32 = 4;

/// Runs something once; [`std::sync::Once`] with cancellation.
///
/// Who is cancelled while at it leaves the `Once` as it was: the next caller runs. A panic poisons it, as in std.
///
/// # Examples
/// ```
/// use silken::sync::Once;
/// static START: Once = Once::new();
/// let children: Vec<_> = (0..4).map(|_| silken::spawn(|| START.call_once(|| println!("once")))).collect();
/// children.into_iter().for_each(|child| child.join().unwrap());
/// assert!(START.is_completed());
/// ```
pub struct Once {
    state: AtomicU32,
    queue: WaitQueue,
}

/// What [`Once::call_once_force`] tells the closure.
pub struct OnceState {
    was_poisoned: bool,
}

impl OnceState {
    /// Whether an earlier closure panicked.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.was_poisoned
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState")
            .field("poisoned", &self.was_poisoned)
            .finish()
    }
}

impl Once {
    const_unless_loom! {
        /// Nothing done yet.
        #[must_use]
        pub fn new() -> Self {
            Self {
                state: AtomicU32::new(INCOMPLETE),
                queue: WaitQueue::new(()),
            }
        }
    }

    /// Runs the closure, unless one has run; waits while another's runs. When it returns, one has run to its end. To
    /// call it from within the closure deadlocks.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Once`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds, if it has to wait.
    ///
    /// # Panics
    /// If the closure panics, or an earlier one has.
    #[inline]
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call(false, &mut |_| f.take().expect("called once")());
        }
    }

    /// As [`call_once`](Self::call_once), but runs the closure even if an earlier one has panicked.
    #[inline]
    pub fn call_once_force(&self, f: impl FnOnce(&OnceState)) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call(true, &mut |state| f.take().expect("called once")(state));
        }
    }

    /// Whether a closure has run to its end.
    #[inline]
    #[must_use]
    pub fn is_completed(&self) -> bool {
        // Acquire: pairs with the Release in `Completion::drop`: what the closure did is seen.
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits until some caller's closure has run to its end.
    ///
    /// # Blocking
    /// As [`call_once`](Self::call_once).
    ///
    /// # Cancellation
    /// As [`call_once`](Self::call_once).
    ///
    /// # Panics
    /// If a closure has panicked.
    #[track_caller]
    pub fn wait(&self) {
        let is_poisoned = !self.await_completion(None, true);
        assert!(!is_poisoned, "Once instance has previously been poisoned");
    }

    /// As [`wait`](Self::wait), whoever panics meanwhile.
    pub fn wait_force(&self) {
        self.await_completion(None, false);
    }

    /// Whether it is complete, waiting for that until the deadline, or until somebody panics if that is to end it.
    pub(super) fn await_completion(&self, deadline_ns: Option<u64>, until_poisoned: bool) -> bool {
        while !self.is_completed() {
            let terms = WaitOptions::until(WaitReason::Once, deadline_ns);
            let ended = self.queue.wait_plain(terms, |_| self.refuse_bystander(until_poisoned));
            let poisoned = ended == Err(POISONED);
            if poisoned || ended.is_ok_and(|ended| ended.outcome == Outcome::TimedOut) {
                break;
            }
        }
        self.is_completed()
    }

    /// Under the queue's lock: the state, if there is nothing to wait for. Bystanders wait for an incomplete one as
    /// well.
    fn refuse_bystander(&self, until_poisoned: bool) -> Option<u32> {
        // Relaxed: the exchange decides, and the queue's lock orders.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state == COMPLETE || state == POISONED && until_poisoned {
                return Some(state);
            }
            if state & WAITERS != 0 {
                return None;
            }
            // Relaxed: as above.
            match self
                .state
                .compare_exchange(state, state | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return None,
                Err(now) => state = now,
            }
        }
    }

    #[cold]
    #[track_caller]
    fn call(&self, force: bool, f: &mut dyn FnMut(&OnceState)) {
        // Acquire: pairs with the Release in `Completion::drop`.
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            match state & !WAITERS {
                COMPLETE => return,
                POISONED if !force => panic!("Once instance has previously been poisoned"),
                RUNNING => {
                    let refuse = |_: &mut WaitList<()>| self.refuse_caller();
                    // Woken or refused: it looks again.
                    let _ = self.queue.wait_plain(WaitOptions::new(WaitReason::Once), refuse);
                    // Acquire: pairs as above.
                    state = self.state.load(Ordering::Acquire);
                }
                before => {
                    let taken = RUNNING | state & WAITERS;
                    // Acquire: pairs as above, so that what a failed closure did is seen; on failure too, since the
                    // state is looked at again.
                    match self
                        .state
                        .compare_exchange(state, taken, Ordering::Acquire, Ordering::Acquire)
                    {
                        Ok(_) => return self.run(before == POISONED, f),
                        Err(now) => state = now,
                    }
                }
            }
        }
    }

    /// Under the queue's lock: something, if nobody is at it any more.
    fn refuse_caller(&self) -> Option<()> {
        // Relaxed: the queue's lock orders what follows; `call` looks at the state again.
        let marked = self
            .state
            .compare_exchange(RUNNING, RUNNING | WAITERS, Ordering::Relaxed, Ordering::Relaxed);
        match marked {
            Ok(_) => None,
            Err(now) => (now != RUNNING | WAITERS).then_some(()),
        }
    }

    fn run(&self, was_poisoned: bool, f: &mut dyn FnMut(&OnceState)) {
        let completion = Completion {
            once: self,
            end: Cell::new(None),
        };
        f(&OnceState { was_poisoned });
        completion.end.set(Some(COMPLETE));
    }
}

/// Ends the running, however the closure ends.
struct Completion<'a> {
    once: &'a Once,
    end: Cell<Option<u32>>,
}

impl Drop for Completion<'_> {
    fn drop(&mut self) {
        let failed = if is_panicking() { POISONED } else { INCOMPLETE };
        let end = self.end.get().unwrap_or(failed);
        // Release: pairs with the Acquire in `is_completed` and `call`.
        let before = self.once.state.swap(end, Ordering::Release);
        if before & WAITERS != 0 {
            self.once.queue.wake_all(Outcome::Woken);
        }
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}
