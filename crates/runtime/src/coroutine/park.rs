//! How does code wait, and which of several wakers ends the wait? All blocking goes through the functions `park…` of
//! this file. One cell settles each wait, except two that `wait/mod.rs` names.
//!
//! # Protocol
//! A blocker puts a [`WaitCell`] on its stack and makes it reachable for wakers, under the lock of the list that it
//! joins. It calls [`park`] until the cell is settled. [`park`] may return early, so every waiter looks at its own
//! condition again. A waker settles the cell by one compare-and-swap and then unparks. Success, timeout, cancellation
//! and closure all settle that one word, and the first one wins.
//!
//! # The race
//! After the cell is settled the waiter may return, and its stack frame may vanish. So a waker copies the [`Unparker`]
//! out *before* it settles the cell, and settling is its last access to the waiter's memory. Example: a waker settles a
//! cell as woken and is preempted; the waiter sees the outcome in its own check, returns, and waits for something else;
//! then the waker unparks it. The unparker names type-stable memory, so this late wake ends some other wait early, and
//! that waiter looks at its condition again.
//!
//! Outside of a coroutine, [`park`] parks the OS thread. So each blocker is written only once.

#[forbid(unsafe_code)]
pub(super) mod reason;

use super::core::Core;
use super::current::{self, Critical};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::sys::{self, FutexWord};
use reason::{STAYS, WaitReason};
use std::cell::Cell;
use std::ptr::NonNull;

/// Parks the caller until it is unparked. May return early, without a reason. A coroutine parks itself; an OS thread
/// parks the thread.
#[inline]
pub(crate) fn park(reason: WaitReason) {
    match current::current_core() {
        Some(core) => park_core(core, reason as u8),
        None => ThreadParker::own().park(None),
    }
}

/// Parks as [`park`] does, for a wait that no cancellation ends. A shutdown that finds only such waits does not wait
/// for them.
pub(crate) fn park_to_stay(reason: WaitReason) {
    match current::current_core() {
        Some(core) => park_core(core, reason as u8 | STAYS),
        None => ThreadParker::own().park(None),
    }
}

/// Parks the OS thread as [`park`] does, until `deadline_ns` of the monotonic clock. Not for coroutines, which arm a
/// timer instead: see `wait/mod.rs`.
pub(crate) fn park_thread_until(deadline_ns: u64) {
    ThreadParker::own().park(Some(deadline_ns));
}

#[inline]
fn park_core(core: &'static Core, reason: u8) {
    if core.lifecycle.take_notification() {
        return;
    }
    let critical = Critical::enter();
    core.set_reason_word(reason);
    current::forget_spent();
    let scheduler = core.scheduler.get().expect("a running coroutine has a scheduler");
    // SAFETY: S1: the caller is the running coroutine, in a critical section.
    unsafe { scheduler.suspend(core) };
    core.set_reason(WaitReason::None);
    drop(critical);
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Outcome {
    /// The condition that the waiter waited for is true.
    Woken = 1,
    /// The deadline came first.
    TimedOut = 2,
    /// The waiter gave up because it was cancelled, or because a deadline that it inherited has passed (`cancel.rs`).
    Cancelled = 3,
    /// The object that the waiter waited on is gone.
    Closed = 4,
}

impl Outcome {
    fn from_u32(value: u32) -> Option<Self> {
        [Outcome::Woken, Outcome::TimedOut, Outcome::Cancelled, Outcome::Closed]
            .into_iter()
            .find(|outcome| *outcome as u32 == value)
    }
}

/// One wait: undecided, or settled with an [`Outcome`].
#[derive(Debug)]
pub(crate) struct WaitCell {
    outcome: AtomicU32,
    unparker: Unparker,
}

impl WaitCell {
    /// An undecided wait of the caller.
    #[inline]
    pub(crate) fn new() -> Self {
        Self::with_unparker(Unparker::current())
    }

    pub(crate) fn with_unparker(unparker: Unparker) -> Self {
        Self {
            outcome: AtomicU32::new(0),
            unparker,
        }
    }

    /// The waiter to wake once the cell is settled. Read it before the cell is settled.
    #[inline]
    pub(crate) fn unparker(&self) -> Unparker {
        self.unparker
    }

    /// Settles the wait. Returns `true` for the one caller that decides it. That caller wakes the waiter, and does not
    /// touch the cell any more.
    #[inline]
    #[must_use]
    pub(crate) fn settle(&self, outcome: Outcome) -> bool {
        // Release: pairs with the Acquire in `outcome`: what the waker did is seen. Relaxed on failure: a caller that
        // loses learns nothing from the word.
        self.outcome
            .compare_exchange(0, outcome as u32, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// How the wait ended; `None` while it has not.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        // Acquire: pairs with the Release in `settle`.
        Outcome::from_u32(self.outcome.load(Ordering::Acquire))
    }
}

/// A waiter to wake: an address of type-stable memory, not a reference. A stale one does no harm.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unparker {
    Coroutine(NonNull<Core>),
    Thread(&'static ThreadParker),
}

// SAFETY: S2: both kinds of address are type-stable, and waking is an atomic operation.
unsafe impl Send for Unparker {}
// SAFETY: S2: both kinds of address are type-stable, and waking is an atomic operation.
unsafe impl Sync for Unparker {}

impl Unparker {
    /// The caller's unparker.
    #[inline]
    pub(crate) fn current() -> Self {
        match current::current_core() {
            Some(core) => Self::Coroutine(NonNull::from(core)),
            None => Self::Thread(ThreadParker::own()),
        }
    }

    /// Wakes the waiter, or leaves a notification for its next park.
    #[inline]
    pub(crate) fn unpark(self) {
        match self {
            // SAFETY: S2: cores are type-stable.
            Self::Coroutine(core) => unsafe { core.as_ref() }.unpark(),
            Self::Thread(parker) => parker.unpark(),
        }
    }
}

const EMPTY: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED: u32 = 2;

/// Parks an OS thread: one futex word. It is never freed; a thread that ends leaves its parker to the next new thread.
#[derive(Debug)]
pub(crate) struct ThreadParker {
    word: sys::Word,
}

impl ThreadParker {
    /// The calling thread's parker.
    #[cfg(not(loom))]
    pub(super) fn own() -> &'static ThreadParker {
        static IDLE_PARKERS: sys::StaticLock<Vec<&'static ThreadParker>> = sys::StaticLock::new(Vec::new());

        /// Gives the parker back when the thread ends.
        struct GiveBack;

        impl Drop for GiveBack {
            fn drop(&mut self) {
                if let Some(parker) = OWN.take() {
                    IDLE_PARKERS.lock().push(parker);
                }
            }
        }

        thread_local! {
            /// Has no destructor, so that a thread has one parker at any time, even for code that waits in a later
            /// destructor of the thread.
            static OWN: Cell<Option<&'static ThreadParker>> = const { Cell::new(None) };
            static GIVE_BACK: GiveBack = const { GiveBack };
        }
        OWN.get().unwrap_or_else(|| {
            // A parker that is asked for after the giving back is never reused.
            let gives_back = GIVE_BACK.try_with(|_| ()).is_ok();
            let idle = gives_back.then(|| IDLE_PARKERS.lock().pop()).flatten();
            let parker = idle.unwrap_or_else(Self::leak);
            OWN.set(Some(parker));
            parker
        })
    }

    /// The calling thread's parker, for loom's threads. It is never passed on, since a model's objects end with its
    /// execution.
    #[cfg(loom)]
    pub(super) fn own() -> &'static ThreadParker {
        loom::thread_local! {
            static OWN: Cell<Option<&'static ThreadParker>> = Cell::new(None);
        }
        OWN.with(|own| {
            let parker = own.get().unwrap_or_else(Self::leak);
            own.set(Some(parker));
            parker
        })
    }

    /// Makes a new parker.
    fn leak() -> &'static ThreadParker {
        Box::leak(Box::new(Self {
            word: sys::Word::new(EMPTY),
        }))
    }

    pub(super) fn park(&self, deadline_ns: Option<u64>) {
        // Acquire: pairs with the Release in `unpark`. A notification that comes between the two swaps is consumed by
        // the second: the caller looks at its condition after it, and so sees what the waker did.
        if self.word.swap(SLEEPING, Ordering::Acquire) != NOTIFIED {
            self.word.sleep_while(SLEEPING, deadline_ns);
        }
        // Acquire: pairs with the Release in `unpark`, as above.
        self.word.swap(EMPTY, Ordering::Acquire);
    }

    pub(super) fn unpark(&self) {
        // Release: pairs with the Acquire in `park`.
        if self.word.swap(NOTIFIED, Ordering::Release) == SLEEPING {
            self.word.wake_one();
        }
    }
}
