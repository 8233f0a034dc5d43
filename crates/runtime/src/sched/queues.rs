//! Which coroutine does a worker pick next from its own queues, and where is a ready coroutine queued? The order of a
//! pick is in `mod.rs` ("Policy"); this file carries it out.
//!
//! # One route
//! A ready coroutine goes where it may run. [`Worker::queue`] decides that for code on a worker, and
//! `Scheduler::schedule_from_outside` for all other code:
//!
//! | coroutine | queued by a worker | queued from outside |
//! |---|---|---|
//! | bound to a worker (light and started, or spawned for it), and this is that worker | its pinned queue | – |
//! | bound to another worker | the inbox of that worker | the inbox of its worker |
//! | any other | the ring; if it is full, half of the ring goes to the injector | the injector |
//!
//! A coroutine that code on the worker wakes goes into the LIFO slot instead, unless it is bound and the scheduler has
//! several workers. A coroutine of another priority than 0 goes into a level instead of the pinned queue, the ring and
//! the LIFO slot (`priority.rs`).
//!
//! # The policy of an only worker
//! The only worker of a scheduler (`Processor::is_alone`) has no thieves. Its pinned queue is then the one queue, for
//! all kinds of coroutines, and its LIFO slot is a plain cell: neither needs an atomic operation, and the ring stays
//! empty. So [`Worker::queue`], [`Worker::pick_own`] and what they call ask for the policy first. It is given up at
//! most once (`size.rs`), so the branch is always predicted.

// In builds with debug assertions some of these functions are not inlined into a yield. Its frame would grow by some
// KiB, and coroutines may have stacks of 16 KiB.

use super::Scheduler;
use super::worker::{INJECTOR_BATCH_MAX, Worker};
use crate::coroutine::{Core, NO_HOME, Ready};

/// Whether the coroutine may continue on one worker only.
#[inline(always)]
pub(super) fn is_bound(core: &Core) -> bool {
    core.home.get() != NO_HOME
}

/// The coroutine that runs next.
pub(super) struct Pick {
    pub(super) ready: Ready,
    /// The coroutine is still the first of the pinned queue, and removes itself when it continues. That saves a store
    /// before the write of the identity, which waits for all stores.
    pub(super) from_pinned: bool,
}

impl Pick {
    #[inline(always)]
    pub(super) fn taken(ready: Ready) -> Self {
        Self {
            ready,
            from_pinned: false,
        }
    }

    #[inline(always)]
    fn first_pinned(ready: Ready) -> Self {
        Self {
            ready,
            from_pinned: true,
        }
    }
}

impl Worker {
    /// Picks the next coroutine from the worker's own queues. Runs on the stack of the outgoing coroutine. At each
    /// event interval, looks at events, the inbox and the injector first.
    #[inline(always)]
    pub(super) fn pick(&'static self) -> Option<Pick> {
        if self.processor.is_event_tick() {
            // Counted here, so that the events are looked at once, even if this pick finds no coroutine.
            self.processor.count_pick();
            self.run_events();
        }
        self.pick_own()
    }

    #[inline(always)]
    pub(super) fn pick_own(&'static self) -> Option<Pick> {
        if self.processor.picks_specially() {
            return self.pick_by_priority();
        }
        self.pick_ordinary()
    }

    /// Picks among the coroutines of priority 0.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn pick_ordinary(&self) -> Option<Pick> {
        if self.processor.has_lifo() {
            return self.pick_lifo();
        }
        self.pick_queued()
    }

    /// The first coroutine of the pinned queue, for the fast way of a yield. `None` unless this worker is the only one
    /// of its scheduler, nothing else comes first (the event interval, the LIFO slot, levels), and the coroutine has
    /// run on this worker before. The coroutine stays in the queue. This function calls nothing and stores nothing.
    #[inline(always)]
    pub(super) fn next_local(&self) -> Option<Ready> {
        if !self.processor.is_in_order() || self.processor.is_event_tick() || self.processor.has_own_lifo() {
            return None;
        }
        self.pinned.first().filter(|first| self.has_run(first.core()))
    }

    /// Picks from the pinned queue and from the ring alternately, so that neither starves the other.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn pick_queued(&self) -> Option<Pick> {
        let pinned_last = self.pinned_last.replace(false);
        if !pinned_last && let Some(first) = self.pinned.first() {
            // The ring of an only worker is always empty.
            self.pinned_last.set(!self.processor.is_alone());
            return Some(Pick::first_pinned(first));
        }
        match self.processor.pop_ring() {
            Some(ready) => Some(Pick::taken(ready)),
            None => self.pinned.first().map(Pick::first_pinned),
        }
    }

    /// Takes from the LIFO slot; after `LIFO_BUDGET` picks from it the queues go first once, if they are not empty.
    #[inline]
    fn pick_lifo(&self) -> Option<Pick> {
        let Some(ready) = self.processor.take_lifo() else {
            return self.pick_queued();
        };
        if self.processor.spend_lifo_budget() {
            return Some(Pick::taken(ready));
        }
        let Some(next) = self.pick_queued() else {
            return Some(Pick::taken(ready));
        };
        self.queue(ready);
        Some(next)
    }

    /// Queues behind all others, where the coroutine may run.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn queue(&self, ready: Ready) {
        if ready.core().priority.get() != 0 {
            return self.queue_by_priority(ready);
        }
        if self.processor.is_alone() {
            return self.pinned.push(ready);
        }
        if is_bound(ready.core()) {
            return self.queue_bound(ready);
        }
        let injector = &self.scheduler.injector;
        self.processor.push(ready, |half| injector.push_all(half.into_iter()));
    }

    #[inline(always)]
    fn queue_bound(&self, ready: Ready) {
        if self.is_home_of(ready.core()) {
            self.pinned.push(ready);
        } else {
            self.scheduler.send_to_its_worker(ready);
        }
    }

    /// Whether a bound coroutine is bound to this worker.
    #[inline(always)]
    pub(super) fn is_home_of(&self, core: &Core) -> bool {
        usize::from(core.home.get()) == self.link.id
    }

    /// Queues what a driver has returned, other runtimes' coroutines at their own schedulers. Returns whether there
    /// were any.
    pub(super) fn queue_batch(&self, batch: &mut Vec<Ready>) -> bool {
        let count = batch.len();
        for ready in batch.drain(..) {
            // A descriptor may be registered in the drivers of several runtimes. Its event wakes the waiters of all of
            // them.
            if ready.core().belongs_to(self.scheduler) {
                self.queue(ready);
            } else {
                ready.queue_at_own_scheduler();
            }
        }
        if count > 1 {
            self.scheduler.notify();
        }
        count > 0
    }

    /// Queues a coroutine that code on this worker woke, so that it runs next.
    pub(super) fn queue_woken(&self, ready: Ready) {
        if ready.core().priority.get() != 0 {
            self.queue_by_priority(ready);
            return self.scheduler.notify();
        }
        // An only worker has no thieves, from whom a bound coroutine would have to be kept.
        if !self.processor.is_alone() && is_bound(ready.core()) {
            return self.queue(ready);
        }
        if let Some(displaced) = self.processor.push_next(ready) {
            self.queue(displaced);
            self.scheduler.notify();
        }
    }

    /// Queues a new coroutine behind all others. Wakes an idle worker, which may take it.
    #[inline(always)]
    pub(super) fn queue_spawned(&self, ready: Ready) {
        self.queue(ready);
        self.scheduler.notify();
    }

    /// Queues several new coroutines, with one wake-up for all.
    pub(super) fn queue_spawned_batch(&self, batch: Vec<Ready>) {
        for ready in batch {
            self.queue(ready);
        }
        self.scheduler.notify();
    }

    /// How many coroutines are queued here. The count is bounded: it only decides how many more to take from the
    /// injector.
    pub(super) fn queued(&self) -> usize {
        if self.processor.is_alone() {
            self.pinned.count_up_to(INJECTOR_BATCH_MAX)
        } else {
            self.processor.queued()
        }
    }
}

impl Scheduler {
    /// Queues a coroutine from an OS thread, another runtime's worker, or a late coroutine.
    pub(super) fn schedule_from_outside(&self, ready: Ready) {
        debug_assert!(ready.core().belongs_to(self), "queued by another's scheduler");
        if is_bound(ready.core()) {
            self.send_to_its_worker(ready);
        } else {
            self.injector.push(ready);
            self.notify();
        }
    }

    /// Puts a bound coroutine into the inbox of its worker, the only one that may run it.
    pub(super) fn send_to_its_worker(&self, ready: Ready) {
        let id = usize::from(ready.core().home.get());
        let public = &self.workers[id];
        // SAFETY: S8: a ready core is in no other queue, and the inbox owns it from here.
        unsafe { public.inbox.push(ready.into_core()) };
        if self.idle.wake_this(id) {
            self.wake_worker(id);
        }
    }
}
