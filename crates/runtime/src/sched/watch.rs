//! Which worker serves a processor whose own worker runs one coroutine for long? The watcher takes its LIFO slot, where
//! the coroutine lies that the running one has woken, and serves its events and deadlines. Idle workers steal from its
//! ring, as from any. If no worker is idle, busy ones do all of this in rounds.
//!
//! A processor *stands still* when its worker is awake but its count of picks does not change: a coroutine computes, or
//! a call blocks the worker. Two kinds of workers look for such processors:
//! * The *watcher* is an idle worker that sleeps by turns (`idle.rs` says which worker that is, and when). If a
//!   processor stood still in the last turn, its next deadline ends the watcher's turn, so that the deadline is served
//!   in time. An event of the kernel waits for the end of the turn.
//! * Every worker of a scheduler with several makes a *round* at an event interval, or when a coroutine on it is
//!   preempted, at most once in ten milliseconds. Where no worker is idle, these rounds are all there is. A watcher may
//!   have served the processor already; then the round finds nothing.
//!
//! Both also look for threads that a call has blocked, and tell the monitor (`nudge.rs`).
//!
//! Bound coroutines wait for the worker that stands still, since no other worker may continue them.

use super::blocked;
use super::idle::{Idle, SleeperRole};
use super::monitor;
use super::processor::SharedProcessor;
use super::worker::{Public, Round, Worker};
use crate::driver::Wait;
use crate::sys::clock;

/// A watcher's first turn takes `WATCH_FIRST_NS`. Each further one takes twice as long, up to `WATCH_LAST_NS`. So a
/// coroutine that computes for long delays what waits behind it by about as much as it has already run. The longest
/// turn is that of Go's monitor; its first is 20 µs.
const WATCH_FIRST_NS: u64 = 50_000;
const WATCH_LAST_NS: u64 = 10_000_000;

impl Worker {
    /// Sleeps until there is something to do, or another thread has removed the worker from the sleepers. Any other
    /// wake-up (the worker was appointed to watch, or the wake-up was spurious) leads to the next turn. Returns also
    /// when the worker becomes surplus, or is so no longer.
    pub(super) fn sleep_until_needed(&'static self, idle: &Idle) {
        let mut before = self.round.take();
        before.ticks.clear();
        self.sleep_by_turns(idle, &mut before);
        // The next round uses the counts that the watcher saw. If the round is due at once, it may mistake a processor
        // for one that stands still. That costs one look.
        self.round.replace(before);
    }

    fn sleep_by_turns(&'static self, idle: &Idle, round: &mut Round) {
        let mut turn_ns = WATCH_FIRST_NS;
        let mut had_long_turn = false;
        let was_surplus = self.is_surplus();
        while self.is_surplus() == was_surplus {
            match idle.role(self.link.id, had_long_turn) {
                SleeperRole::Leave => return,
                SleeperRole::Sleep => {
                    if self.poll(Wait::Forever) || self.work_is_visible() {
                        return;
                    }
                    (turn_ns, had_long_turn) = (WATCH_FIRST_NS, false);
                    round.ticks.clear();
                }
                SleeperRole::Watch => {
                    let end_ns = self.end_of_turn(clock::now_ns() + turn_ns, &round.ticks);
                    self.read_ticks(&mut round.ticks);
                    if self.poll(Wait::Until(end_ns)) || self.work_is_visible() || self.watch_busy(&round.ticks) {
                        return;
                    }
                    self.look_for_blocked(round, clock::now_ns());
                    had_long_turn = turn_ns == WATCH_LAST_NS;
                    turn_ns = (2 * turn_ns).min(WATCH_LAST_NS);
                }
            }
        }
    }

    /// The end of a watcher's turn. It comes earlier than `end_ns` if a processor that stood still in the turn before
    /// has an earlier deadline.
    fn end_of_turn(&self, end_ns: u64, before: &[u32]) -> u64 {
        let deadlines = self
            .stuck_processors(before)
            .filter_map(|victim| victim.driver.next_deadline_ns());
        // A deadline that has passed was served without effect in the last turn: `next_deadline_ns` is a copy of the
        // wheel's word and may be early.
        let now_ns = clock::now_ns();
        deadlines
            .filter(|deadline_ns| *deadline_ns > now_ns)
            .fold(end_ns, u64::min)
    }

    fn read_ticks(&self, ticks: &mut Vec<u32>) {
        ticks.clear();
        let started = self.scheduler.size.made_count();
        ticks.extend(self.scheduler.workers[..started].iter().map(Public::tick));
    }

    /// Polls the drivers of the processors that have stood still since `before`, and takes the coroutines from their
    /// LIFO slots.
    fn watch_busy(&'static self, before: &[u32]) -> bool {
        let mut batch = self.processor.batch.take();
        for victim in self.stuck_processors(before) {
            victim.driver.visit(self.processor.room(), &mut batch);
            batch.extend(self.processor.steal_lifo(victim));
        }
        let found = self.queue_batch(&mut batch);
        self.processor.batch.replace(batch);
        found
    }

    fn stuck_processors(&self, before: &[u32]) -> impl Iterator<Item = &'static SharedProcessor> {
        self.stuck(before).map(|index| self.scheduler.size.processor(index))
    }

    /// The other workers that are awake and have not picked a coroutine since `before`.
    fn stuck(&self, before: &[u32]) -> impl Iterator<Item = usize> {
        let size = &self.scheduler.size;
        let workers = &self.scheduler.workers;
        let stands_still = |index: &usize| before.get(*index).is_some_and(|tick| *tick == workers[*index].tick());
        (0..size.made_count())
            .filter(|index| *index != self.processor.index)
            .filter(stands_still)
            .filter(|index| !self.scheduler.idle.is_asleep(*index))
    }

    /// Looks whether a call blocks another worker's thread, if the time of `hand_off` has passed since the last look,
    /// and tells the monitor (`nudge.rs`).
    fn look_for_blocked(&self, round: &mut Round, now_ns: u64) {
        let Some(limit) = self.scheduler.hand_off_after else {
            return;
        };
        if u128::from(now_ns.saturating_sub(round.looked_ns)) < limit.as_nanos() {
            return;
        }
        let mut has_seen = false;
        for index in self.stuck(&round.looked_ticks) {
            let (tick, sighting) = (
                round.looked_ticks[index],
                &self.scheduler.size.processor(index).sighting,
            );
            let thread = self.scheduler.workers[index].thread();
            if sighting.begin(tick) && thread.and_then(blocked::is_blocked) == Some(true) {
                sighting.note_blocked(tick, round.looked_ns);
                has_seen = true;
            }
        }
        if has_seen {
            monitor::nudge();
        }
        round.looked_ns = now_ns;
        self.read_ticks(&mut round.looked_ticks);
    }

    /// Makes a round, if one is due. Where no worker is idle there is no watcher, so the workers that still pick serve
    /// the processors that stand still. They also steal one batch from the ring of such a processor, as thieves would.
    pub(super) fn watch_in_turn(&'static self) {
        let now_ns = clock::now_ns();
        let mut round = self.round.take();
        self.look_for_blocked(&mut round, now_ns);
        if now_ns >= round.next_ns {
            round.next_ns = now_ns + WATCH_LAST_NS;
            self.watch_busy(&round.ticks);
            for victim in self.stuck_processors(&round.ticks) {
                let stolen = self.processor.steal(victim).or_else(|| victim.levels.pop());
                if let Some(ready) = stolen {
                    self.queue(ready);
                }
            }
            self.read_ticks(&mut round.ticks);
        }
        self.round.replace(round);
    }
}
