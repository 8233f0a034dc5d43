//! Who looks after those who run one coroutine for long: what it has woken, its processor's events and deadlines, and
//! (for those who are never idle) what waits in its ring.
//!
//! A processor *stands still* when its worker is awake but its count of picks does not change: a coroutine computes, or
//! a call blocks the worker. Two kinds of workers look for that:
//! * the *watcher*, an idle worker that sleeps by turns (`idle.rs` says who that is, and when). A deadline on a
//!   processor that stood still in the last turn ends the turn, so that it is served in time; an event of the kernel
//!   waits for the end of the turn;
//! * where nobody is idle, each worker that picks makes a *round* every ten milliseconds.
//!
//! What only the standing worker may continue (started light coroutines) waits for it.

use super::idle::{Idle, SleeperRole};
use super::processor::SharedProcessor;
use super::worker::Worker;
use crate::driver::Wait;
use crate::sys::clock;

/// A watcher's first look comes after this, each further one after twice as long, up to the last: a coroutine that
/// computes for long delays what waits behind it by about as much as it has already run. The limits are those of Go's
/// monitor.
const WATCH_FIRST_NS: u64 = 50_000;
const WATCH_LAST_NS: u64 = 10_000_000;

impl Worker {
    /// Ends when there is something to do, or somebody has taken the worker out of the sleepers. Any other wake-up (it
    /// was appointed to watch, or for nothing) leads to the next turn.
    pub(super) fn sleep_until_needed(&'static self, idle: &Idle) {
        let mut before = self.round.take();
        before.ticks.clear();
        self.sleep_by_turns(idle, &mut before.ticks);
        // What a watcher saw is as good for a round, which will not come soon.
        self.round.replace(before);
    }

    fn sleep_by_turns(&'static self, idle: &Idle, before: &mut Vec<u32>) {
        let mut turn_ns = WATCH_FIRST_NS;
        let mut had_long_turn = false;
        loop {
            match idle.role(self.link.id, had_long_turn) {
                SleeperRole::Leave => return,
                SleeperRole::Sleep => {
                    if self.poll(Wait::Forever) || self.work_is_visible() {
                        return;
                    }
                    (turn_ns, had_long_turn) = (WATCH_FIRST_NS, false);
                    before.clear();
                }
                SleeperRole::Watch => {
                    let end_ns = self.end_of_turn(clock::now_ns() + turn_ns, before);
                    self.read_ticks(before);
                    if self.poll(Wait::Until(end_ns)) || self.work_is_visible() || self.watch_busy(before) {
                        return;
                    }
                    had_long_turn = turn_ns == WATCH_LAST_NS;
                    turn_ns = (2 * turn_ns).min(WATCH_LAST_NS);
                }
            }
        }
    }

    /// A watcher's turn ends earlier when a deadline comes first on the processor of somebody who stood still in the
    /// turn before.
    fn end_of_turn(&self, end_ns: u64, before: &[u32]) -> u64 {
        let deadlines = self.stuck(before).filter_map(|victim| victim.driver.next_deadline_ns());
        // One that has passed was visited in vain: a copy of what the wheel said, it may be early.
        let now_ns = clock::now_ns();
        deadlines
            .filter(|deadline_ns| *deadline_ns > now_ns)
            .fold(end_ns, u64::min)
    }

    fn read_ticks(&self, ticks: &mut Vec<u32>) {
        ticks.clear();
        ticks.extend(self.scheduler.processors.iter().map(SharedProcessor::tick));
    }

    /// Polls the drivers of those who have run one coroutine since `before`, and takes what that one woke.
    fn watch_busy(&'static self, before: &[u32]) -> bool {
        let mut batch = self.processor.batch.take();
        for victim in self.stuck(before) {
            victim.driver.visit(self.processor.room(), &mut batch);
            batch.extend(self.processor.steal_lifo(victim));
        }
        let found = self.queue_batch(&mut batch);
        self.processor.batch.replace(batch);
        found
    }

    /// The processors of those who are awake and have not picked anybody since `before`.
    fn stuck(&self, before: &[u32]) -> impl Iterator<Item = &'static SharedProcessor> {
        let all = &self.scheduler.processors;
        let stands_still = |index: &usize| before.get(*index).is_some_and(|tick| *tick == all[*index].tick());
        (0..all.len())
            .filter(|index| *index != self.processor.index)
            .filter(stands_still)
            .filter(|index| !self.scheduler.idle.is_asleep(*index))
            .map(|index| &all[index])
    }

    /// Where nobody is idle nobody watches: then those who are busy, but with many, look after those who are busy with
    /// one. Also at what such a one has in its ring, which thieves would take.
    pub(super) fn watch_in_turn(&'static self) {
        let now_ns = clock::now_ns();
        let mut round = self.round.take();
        if now_ns >= round.next_ns {
            round.next_ns = now_ns + WATCH_LAST_NS;
            self.watch_busy(&round.ticks);
            for victim in self.stuck(&round.ticks) {
                if let Some(ready) = self.processor.steal(victim) {
                    self.queue_tail(ready);
                }
            }
            self.read_ticks(&mut round.ticks);
        }
        self.round.replace(round);
    }
}
