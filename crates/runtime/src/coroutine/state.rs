//! What is a coroutine doing, and which code still refers to it? One atomic word, the lifecycle word, says both.
//!
//! | bit | name | meaning | set by | cleared by |
//! |---|---|---|---|---|
//! | 0 | `NOTIFIED` | a wake came while the coroutine was not parked | `unpark`, `cancel` | the coroutine (`take_notification`), or the successor that publishes it |
//! | 1 | `PARKED` | its registers are saved and it is in no queue | its successor (`publish_parked`) | the one waker that wins (`unpark`, `cancel`) |
//! | 2 | `CANCELLED` | cancellation was asked for | `cancel` | never in this life |
//! | 3 | `RESULT` | the body has ended and its result is stored | the coroutine, or its successor after an overflow | never in this life |
//! | 4 | `DONE` | thread-locals are destroyed, the result may be taken | the coroutine, or its successor after an overflow (`sched/loss.rs`) | never in this life |
//! | 5 | `DETACHED` | the result will not be taken | the join handle's drop | never in this life |
//! | 6 | `JOINING` | a joiner is, or has been, in the join list | a joiner | never in this life |
//! | 16.. | references | handles, plus one for the coroutine itself | `begin`, `retain`, `try_retain` | `release` |
//!
//! A coroutine is *active* when neither `PARKED` nor `DONE` is set: it runs, is in exactly one queue, or is held as a
//! `Ready`. The word does not tell these apart, because no waker needs to know: a wake of an active coroutine only
//! leaves `NOTIFIED` behind. So a yield does not change this word.
//!
//! # The race, and what decides it
//! A coroutine that parks still runs on its stack when it decides to park. If it were visible as parked then, a waker
//! could let another worker continue it before its registers are saved. Therefore the *successor* publishes it, after
//! the switch. `publish_parked` sets `PARKED`, unless `NOTIFIED` has been set in between; then the successor queues the
//! coroutine again. One compare-and-swap decides.
//!
//! Example: coroutine A decides to park, and a waker calls `unpark` before A's registers are saved. The waker sets
//! `NOTIFIED` and queues nothing. The successor finds `NOTIFIED`, clears it, and queues A. If the waker comes after
//! `publish_parked`, it finds `PARKED`, clears it, and queues A itself. Of several wakers, exactly one sees `PARKED`
//! and clears it. That one owns the coroutine and queues it. A cancel that races with a wake is one of those wakers.

use crate::loom::atomic::{AtomicU64, Ordering};

const NOTIFIED: u64 = 1;
const PARKED: u64 = 1 << 1;
const CANCELLED: u64 = 1 << 2;
const RESULT: u64 = 1 << 3;
const DONE: u64 = 1 << 4;
const DETACHED: u64 = 1 << 5;
const JOINING: u64 = 1 << 6;
const REFERENCE: u64 = 1 << 16;

/// What `publish_parked` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Published {
    /// The coroutine is parked until it is unparked.
    Parked,
    /// A wake came before: the caller queues the coroutine.
    Notified,
}

/// What a wake did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Wake {
    /// The coroutine was parked and is not any more: the caller must queue it.
    Schedule,
    /// The coroutine is active and will see the notification, or it has ended.
    Noted,
}

/// Which side drops the stored result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum ResultOwner {
    /// The caller.
    Caller,
    /// The side that comes later: the join handle, or the coroutine at its end.
    Other,
}

/// What `finish` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Finished {
    /// There is a joiner in the join list.
    pub(crate) joining: bool,
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Lifecycle(AtomicU64);

impl Lifecycle {
    /// The word of a core in the pool: ended, unreferenced. A stale waker that finds it does nothing.
    pub(crate) fn free() -> Self {
        Self(AtomicU64::new(DONE))
    }

    /// Begins a life: the coroutine is active, with `references` references.
    pub(crate) fn begin(&self, references: u64) {
        // Release: pairs with the Acquire in `try_retain` and `wake_with`: a stale waker sees a whole new life or the
        // old one's DONE.
        self.0.store(references * REFERENCE, Ordering::Release);
    }

    /// Whether a wake came since the coroutine last parked. Clears the notification. Called by the coroutine itself.
    #[inline(always)]
    pub(crate) fn take_notification(&self) -> bool {
        // Relaxed: a miss only costs a park that `publish_parked` turns into a requeue.
        if self.0.load(Ordering::Relaxed) & NOTIFIED == 0 {
            return false;
        }
        // Acquire: pairs with the Release in `wake_with`: what the waker wrote is seen after the park.
        self.0.fetch_and(!NOTIFIED, Ordering::Acquire);
        true
    }

    /// Publishes a coroutine that parks. Called by its successor.
    #[inline]
    pub(crate) fn publish_parked(&self) -> Published {
        // Relaxed: the compare-and-swap below checks the guess.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (next, published) = if word & NOTIFIED != 0 {
                (word & !NOTIFIED, Published::Notified)
            } else {
                (word | PARKED, Published::Parked)
            };
            // Release: pairs with the Acquire in `wake_with`: the saved registers are seen by the worker that continues
            // the coroutine. Acquire: pairs with the Release in `wake_with`: a requeued coroutine sees what its waker
            // wrote.
            match self
                .0
                .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return published,
                Err(now) => word = now,
            }
        }
    }

    /// Wakes the coroutine: makes it active, or leaves a notification.
    #[inline]
    pub(crate) fn unpark(&self) -> Wake {
        self.wake_with(0)
    }

    /// Asks for cancellation and wakes the coroutine. For a wait that is not cancellable the wake is spurious.
    pub(crate) fn cancel(&self) -> Wake {
        self.wake_with(CANCELLED)
    }

    #[inline(always)]
    fn wake_with(&self, extra: u64) -> Wake {
        // Relaxed: the compare-and-swap below checks the guess.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (next, wake) = if word & DONE != 0 {
                return Wake::Noted;
            } else if word & PARKED != 0 {
                ((word & !PARKED) | extra, Wake::Schedule)
            } else {
                // Written even when it is set already: the coroutine may be about to consume an older notification, and
                // must then see what this waker wrote.
                (word | NOTIFIED | extra, Wake::Noted)
            };
            // Release: pairs with the Acquire in `take_notification` and `publish_parked`.
            // Acquire: pairs with the Release in `publish_parked`: the registers are there before anyone continues; and
            // with that in `begin`.
            match self
                .0
                .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return wake,
                Err(now) => word = now,
            }
        }
    }

    /// Whether cancellation was asked for.
    #[inline(always)]
    pub(crate) fn is_cancelled(&self) -> bool {
        // Relaxed: a hint; the wake that comes with it orders what must be ordered.
        self.0.load(Ordering::Relaxed) & CANCELLED != 0
    }

    /// Whether the coroutine is parked (a snapshot).
    pub(crate) fn is_parked(&self) -> bool {
        // Relaxed: a snapshot.
        self.0.load(Ordering::Relaxed) & PARKED != 0
    }

    /// Whether the result may be taken.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `finish`: the result is seen.
        self.0.load(Ordering::Acquire) & DONE != 0
    }

    /// Notes that the coroutine has stored its result. Returns which side drops it.
    pub(crate) fn store_result(&self) -> ResultOwner {
        // Release: pairs with the Acquire in `detach`: a handle that comes later drops a whole result. Acquire: pairs
        // with its Release.
        if self.0.fetch_or(RESULT, Ordering::AcqRel) & DETACHED != 0 {
            ResultOwner::Caller
        } else {
            ResultOwner::Other
        }
    }

    /// Whether the body has ended. Called by the coroutine itself.
    pub(crate) fn has_result(&self) -> bool {
        // Relaxed: the coroutine's own bit.
        self.0.load(Ordering::Relaxed) & RESULT != 0
    }

    /// Notes that the join handle is dropped without taking the result. Returns which side drops the result.
    pub(crate) fn detach(&self) -> ResultOwner {
        // Acquire: pairs with the Release in `store_result`. Release: pairs with its Acquire.
        if self.0.fetch_or(DETACHED, Ordering::AcqRel) & RESULT != 0 {
            ResultOwner::Caller
        } else {
            ResultOwner::Other
        }
    }

    /// Notes that the coroutine has ended. Its own reference stays until [`release`](Self::release).
    pub(crate) fn finish(&self) -> Finished {
        // Release: pairs with the Acquire in `is_done` and `announce_joiner`: the result is seen. Acquire: pairs with
        // the Release in `announce_joiner`: the joiner's node is seen.
        let word = self.0.fetch_or(DONE, Ordering::AcqRel);
        Finished {
            joining: word & JOINING != 0,
        }
    }

    /// Notes that a joiner has put itself in the list. Returns `false` if the coroutine had ended before: then the
    /// joiner will not be woken.
    #[must_use]
    pub(crate) fn announce_joiner(&self) -> bool {
        // Release: pairs with the Acquire in `finish`: the joiner's node is seen. Acquire: pairs with the Release
        // there: the result is seen.
        self.0.fetch_or(JOINING, Ordering::AcqRel) & DONE == 0
    }

    /// Adds a reference.
    pub(crate) fn retain(&self) {
        // Relaxed: the caller holds a reference, so the object cannot go meanwhile.
        self.0.fetch_add(REFERENCE, Ordering::Relaxed);
    }

    /// Adds a reference to the life that the core has now; `false` when it has none. For code that finds the core by
    /// its place in the pool.
    #[must_use]
    pub(crate) fn try_retain(&self) -> bool {
        // Relaxed: the compare-and-swap below checks the guess.
        let mut word = self.0.load(Ordering::Relaxed);
        while word / REFERENCE != 0 {
            // Acquire: pairs with the Release in `begin`: the life's fields are seen as its spawner wrote them.
            match self
                .0
                .compare_exchange_weak(word, word + REFERENCE, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Removes a reference; `true` when it was the last.
    #[must_use]
    pub(crate) fn release(&self) -> bool {
        // Release: pairs with the Acquire of the last one: whatever others did with the object happened before it is
        // recycled.
        self.0.fetch_sub(REFERENCE, Ordering::AcqRel) / REFERENCE == 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn active() -> Lifecycle {
        let word = Lifecycle::free();
        word.begin(2);
        word
    }

    #[test]
    fn a_wake_of_a_parked_one_schedules_once() {
        let word = active();
        assert_eq!(word.publish_parked(), Published::Parked);
        assert!(word.is_parked());
        assert_eq!(word.unpark(), Wake::Schedule);
        assert_eq!(word.unpark(), Wake::Noted);
        assert!(word.take_notification());
        assert!(!word.take_notification());
    }

    #[test]
    fn a_wake_before_the_switch_requeues() {
        let word = active();
        assert_eq!(word.unpark(), Wake::Noted);
        assert_eq!(word.publish_parked(), Published::Notified);
        assert_eq!(word.publish_parked(), Published::Parked);
    }

    #[test]
    fn a_cancel_wakes_and_stays() {
        let word = active();
        assert_eq!(word.publish_parked(), Published::Parked);
        assert_eq!(word.cancel(), Wake::Schedule);
        assert!(word.is_cancelled());
        assert_eq!(word.publish_parked(), Published::Parked);
    }

    #[test]
    fn exactly_one_side_drops_the_result() {
        let word = active();
        assert_eq!(word.store_result(), ResultOwner::Other);
        assert_eq!(word.detach(), ResultOwner::Caller);
        let word = active();
        assert_eq!(word.detach(), ResultOwner::Other);
        assert_eq!(word.store_result(), ResultOwner::Caller);
    }

    #[test]
    fn a_free_object_ignores_stale_wakers() {
        let word = Lifecycle::free();
        assert!(!word.try_retain());
        assert_eq!(word.unpark(), Wake::Noted);
        assert_eq!(word.cancel(), Wake::Noted);
        assert!(!word.is_cancelled());
        let word = active();
        assert!(!word.release());
        let finished = word.finish();
        assert!(!finished.joining);
        assert!(!word.announce_joiner());
        assert!(word.release());
    }
}
