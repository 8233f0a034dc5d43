//! How a closure is run once while other callers wait for its end: the states of `Once`.
//!
//! # States
//! | word | meaning | next |
//! |---|---|---|
//! | `INCOMPLETE` | no closure has begun, or the one that had begun was cancelled | `RUNNING` |
//! | `POISONED` | the closure that had begun panicked | `RUNNING`, by callers that force it |
//! | `RUNNING` | a closure runs | one of the others |
//! | `RUNNING` with `WAITERS` | a closure runs, and other callers wait for it | the same, and all waiters are woken |
//! | `COMPLETE` | a closure has run to its end | |
//!
//! [`Once::wait`] may set `WAITERS` beside `INCOMPLETE` too, and [`Once::wait_force`] also beside `POISONED`: these
//! callers run nothing and wait for a closure of another caller.
//!
//! A waiter sets `WAITERS` under the queue's lock, in the hold in which it joins the queue. The runner swaps the word
//! when the closure ends, and takes that lock to wake if it has seen the bit. So either the runner sees the bit and
//! finds the waiter, or the waiter sees the new word. Woken callers look at the word again; one of them runs its
//! closure if the first closure failed.

use crate::coroutine::{Outcome, WaitReason, is_panicking};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::const_unless_loom;
use crate::wait::list::{WaitList, WaitOptions, WaitQueue};
use std::cell::Cell;
use std::fmt;

const INCOMPLETE: u32 = 0;
const POISONED: u32 = 1;
const RUNNING: u32 = 2;
const COMPLETE: u32 = 3;
const WAITERS: u32 = 4;

/// Runs a closure once: [`std::sync::Once`] with cancellation.
///
/// A runner that is cancelled leaves the `Once` as it was: the next caller runs its closure. A panic poisons the
/// `Once`, as in std.
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
///
/// # Examples
/// ```
/// use silken::sync::{Once, OnceState};
/// fn start(state: &OnceState) {
///     assert!(!state.is_poisoned());
/// }
/// Once::new().call_once_force(start);
/// ```
pub struct OnceState {
    was_poisoned: bool,
}

impl OnceState {
    /// Whether an earlier closure has panicked.
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
        /// Makes a `Once` for which no closure has run.
        #[must_use]
        pub fn new() -> Self {
            Self {
                state: AtomicU32::new(INCOMPLETE),
                queue: WaitQueue::new(()),
            }
        }
    }

    /// Runs the closure, unless one has run already. Waits while the closure of another caller runs. When it returns,
    /// one closure has run to its end. A call from within the closure deadlocks.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Once`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds. If the coroutine is cancelled inside the
    /// closure, the next caller runs its closure.
    ///
    /// # Panics
    /// If the closure panics, or an earlier one has panicked.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Once;
    /// let (once, mut runs) = (Once::new(), 0);
    /// once.call_once(|| runs += 1);
    /// once.call_once(|| unreachable!());
    /// assert_eq!(runs, 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call(false, &mut |_| f.take().expect("called once")());
        }
    }

    /// As [`call_once`](Self::call_once), but runs the closure even if an earlier one has panicked.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::{Arc, Once};
    /// let once = Arc::new(Once::new());
    /// let failing = once.clone();
    /// assert!(silken::spawn(move || failing.call_once(|| panic!("at the first try"))).join().is_err());
    /// once.call_once_force(|state| assert!(state.is_poisoned()));
    /// assert!(once.is_completed());
    /// ```
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
        // Acquire: pairs with the Release in `Completion::drop`, so the caller sees what the closure did.
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits until the closure of some caller has run to its end.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Once`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds.
    ///
    /// # Panics
    /// If a closure has panicked.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Once;
    /// static START: Once = Once::new();
    /// silken::spawn(|| START.call_once(|| ()));
    /// START.wait();
    /// assert!(START.is_completed());
    /// ```
    #[track_caller]
    pub fn wait(&self) {
        let is_poisoned = !self.await_completion(None, true);
        assert!(!is_poisoned, "Once instance has previously been poisoned");
    }

    /// As [`wait`](Self::wait), but ignores panics: waits until a closure has run to its end.
    ///
    /// # Examples
    /// ```
    /// let once = silken::sync::Once::new();
    /// once.call_once(|| ());
    /// once.wait_force();
    /// ```
    pub fn wait_force(&self) {
        self.await_completion(None, false);
    }

    /// Waits until a closure has run to its end, or until the deadline; if `until_poisoned`, also until a closure
    /// panics. Returns whether one has run to its end.
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

    /// Under the queue's lock: the state, if there is nothing to wait for. A bystander, which has no closure, waits
    /// while the `Once` is incomplete as well.
    fn refuse_bystander(&self, until_poisoned: bool) -> Option<u32> {
        // Relaxed: the exchange decides, and the queue's lock orders.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            // Others may wait while it is poisoned: for a closure that mends it.
            let settled = state & !WAITERS;
            if settled == COMPLETE || settled == POISONED && until_poisoned {
                return Some(settled);
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
                    // Woken or refused, the caller looks at the state again.
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

    /// Under the queue's lock: `Some` if no closure runs any more.
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

/// Ends the `RUNNING` state, however the closure ends.
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
