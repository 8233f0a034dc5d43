//! When do the coroutines run that have a priority other than 0?
//!
//! # Vocabulary
//! A *level* has the ready coroutines of one priority, first in, first out. Levels below 0 are *urgent*, those above 0
//! are *background*. Coroutines of priority 0 are *ordinary*. They are never in a level: they use the LIFO slot, the
//! ring and the pinned queue, and pay nothing for priorities but one test in a pick.
//!
//! # Where
//! Each processor has two sets of levels, as it has two queues: a shared one, under a lock, from which thieves take,
//! and its own, for coroutines that may run on this worker only (all of them, if it is the only worker). The injector
//! has a third one, for coroutines that were made ready outside of the workers.
//!
//! # Order
//! A worker picks from its urgent levels first, the most urgent of them first; then ordinary coroutines from its own
//! queues; then what waits in the injector and on other workers; then from its background levels. A thief takes urgent
//! coroutines first, then ordinary ones, then background ones. So the order holds on each worker, and for what a thief
//! finds. It is not an order over all workers: each one runs the first of its own.
//!
//! # Nobody starves
//! Every [`FAIR_INTERVAL`]th pick of a worker that has levels is *fair*. Fair picks go to the shared levels, the own
//! levels and the ordinary coroutines in turn, as far as some wait there, and among levels to the one that was served
//! longest ago. One pick in 64 is fair, and three sources take turns, so each source gets one of 192 picks. The n
//! levels of a source take turns in it. So each of them gets at least one of `192 n` picks, and ordinary coroutines get
//! at least one of 192. Where a coroutine may be preempted (`preempt.rs`), such a pick takes about a slice.

use super::Scheduler;
use super::queues::{Pick, is_bound};
use super::worker::Worker;
use crate::coroutine::Ready;
use crate::loom::static_atomic::Ordering;

/// One pick in so many is fair.
const FAIR_INTERVAL: u32 = 64;

/// Where a fair pick may take a coroutine from: the shared levels, the own levels, the ordinary queues.
const SOURCES: usize = 3;

impl Worker {
    /// Queues a coroutine of another priority than 0, where it may run.
    #[cold]
    pub(super) fn queue_by_priority(&self, ready: Ready) {
        let is_bound = is_bound(ready.core());
        if is_bound && !self.is_home_of(ready.core()) {
            return self.scheduler.send_to_its_worker(ready);
        }
        self.processor.set_picks_specially(true);
        if is_bound || self.processor.is_alone() {
            self.processor.own_levels.push(ready);
        } else {
            self.processor.shared.levels.push(ready);
        }
    }

    /// Picks while there are levels, while the running coroutine belongs to one, or while the worker is surplus.
    #[cold]
    #[inline(never)]
    pub(super) fn pick_by_priority(&'static self) -> Option<Pick> {
        let is_surplus = self.is_surplus();
        if is_surplus {
            self.give_work_away();
        }
        let is_fair = self.processor.own_levels.count_pick().is_multiple_of(FAIR_INTERVAL);
        let fair = is_fair.then(|| self.pick_fair()).flatten();
        let pick = fair
            .or_else(|| self.pop_level(|priority| priority < 0))
            .or_else(|| self.pick_ordinary())
            .or_else(|| (!is_surplus).then(|| self.pick_from_elsewhere()).flatten())
            .or_else(|| self.pop_level(|_| true));
        let waiting = self.processor.own_levels.has_work() || self.processor.shared.levels.has_work();
        self.note_levels(is_surplus || waiting, pick.as_ref());
        pick
    }

    /// Notes whether the next pick must look at levels.
    fn note_levels(&self, waiting: bool, pick: Option<&Pick>) {
        let has_priority = pick.is_some_and(|pick| pick.ready.core().priority.get() != 0);
        self.processor.set_picks_specially(waiting || has_priority);
    }

    /// Takes from the more urgent of the worker's two sets of levels, if its first priority is `wanted`.
    fn pop_level(&self, wanted: impl Fn(i16) -> bool) -> Option<Pick> {
        let (own, shared) = (&self.processor.own_levels, &self.processor.shared.levels);
        let of_own = own.first().filter(|priority| wanted(*priority));
        let of_shared = shared.first().filter(|priority| wanted(*priority));
        let own_first = match (of_own, of_shared) {
            (None, None) => return None,
            (Some(own), Some(shared)) => own <= shared,
            (own, _) => own.is_some(),
        };
        let ready = if own_first { own.pop() } else { shared.pop() };
        ready.map(Pick::taken)
    }

    /// Picks out of order.
    fn pick_fair(&'static self) -> Option<Pick> {
        let own = &self.processor.own_levels;
        let first = own.next_source.get();
        let sources = (0..SOURCES).map(|offset| (first + offset) % SOURCES);
        let (source, pick) = sources
            .map(|source| (source, self.pick_from(source)))
            .find(|(_, pick)| pick.is_some())?;
        own.next_source.set((source + 1) % SOURCES);
        pick
    }

    fn pick_from(&'static self, source: usize) -> Option<Pick> {
        match source {
            0 => self.processor.shared.levels.pop_fair().map(Pick::taken),
            1 => self.processor.own_levels.pop_fair().map(Pick::taken),
            _ => self.pick_ordinary(),
        }
    }

    /// Picks what waits outside of this worker, before it turns to its background levels.
    fn pick_from_elsewhere(&'static self) -> Option<Pick> {
        if self.take_injected() {
            let pick = self.pop_level(|priority| priority < 0).or_else(|| self.pick_ordinary());
            if pick.is_some() {
                return pick;
            }
        }
        self.steal_unless_background()
    }

    fn steal_unless_background(&'static self) -> Option<Pick> {
        let urgent = self.victims().find_map(|victim| victim.levels.pop_urgent());
        urgent
            .or_else(|| self.victims().find_map(|victim| self.processor.steal(victim)))
            .map(Pick::taken)
    }

    /// Steals in the order of priorities.
    #[cold]
    pub(super) fn steal_by_priority(&'static self) -> Option<Pick> {
        let background = || self.victims().find_map(|victim| victim.levels.pop()).map(Pick::taken);
        let pick = self.steal_unless_background().or_else(background);
        self.note_levels(self.processor.picks_specially(), pick.as_ref());
        pick
    }
}

impl Scheduler {
    /// Whether a coroutine of another priority than 0 was ever spawned here.
    pub(super) fn has_had_priorities(&self) -> bool {
        // Relaxed: set before such a coroutine is queued; a thief that misses it looks again, as it does for all work.
        self.has_priorities.load(Ordering::Relaxed)
    }

    /// A coroutine of this priority is spawned.
    #[inline(always)]
    pub(super) fn note_priority(&self, priority: i16) {
        if priority != 0 {
            // Relaxed: as in `has_had_priorities`.
            self.has_priorities.store(true, Ordering::Relaxed);
        }
    }
}
