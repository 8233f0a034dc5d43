//! What is the order among the ready coroutines of one worker that have a priority other than 0?
//!
//! They wait in *levels*: one for each priority, first in, first out. The levels of a processor are in two sets: a
//! shared one, under a lock, from which thieves take, and its own. What a worker does with them, and why, is at the
//! head of `priority.rs`.
//!
//! # Rejected
//! *A ring for each of a few classes*: numbers beyond the classes would lose their order. *One queue for the
//! scheduler*: each pick of a program with priorities would need one lock for all workers. *A heap*: it keeps no order
//! among equals, and does not tell which priority has waited longest.

use super::lane::Lane;
use crate::coroutine::Ready;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::sys::Lock;
use std::cell::{Cell, RefCell};

/// So many levels are kept when they are empty, so that a level that fills and empties by turns allocates nothing.
const EMPTY_LEVELS_MAX: usize = 16;

struct Level {
    priority: i16,
    lane: Lane,
    /// The count of pops when the level was served last, or began to wait.
    served: u64,
}

/// Levels under one guard: a lock, or the one thread that uses them.
pub(super) struct Levels {
    /// By priority, the most urgent one first.
    levels: Vec<Level>,
    len: usize,
    pops: u64,
}

impl Levels {
    pub(super) const fn new() -> Self {
        Self {
            levels: Vec::new(),
            len: 0,
            pops: 0,
        }
    }

    /// Queues at the end of its level.
    pub(super) fn push(&mut self, ready: Ready) {
        let priority = ready.core().priority.get();
        let served = self.pops;
        let place = match self.levels.binary_search_by_key(&priority, |level| level.priority) {
            Ok(place) => place,
            Err(place) => {
                let lane = Lane::empty();
                self.levels.insert(place, Level { priority, lane, served });
                place
            }
        };
        let level = &mut self.levels[place];
        if level.lane.is_empty() {
            level.served = served;
        }
        level.lane.push(ready);
        self.len += 1;
    }

    /// The most urgent priority that waits.
    fn first(&self) -> Option<i16> {
        self.waiting().next().map(|(_, level)| level.priority)
    }

    /// Takes the oldest of the most urgent level.
    pub(super) fn pop(&mut self) -> Option<Ready> {
        let (place, _) = self.waiting().next()?;
        self.pop_at(place)
    }

    /// Takes the oldest of the most urgent level, if that is an urgent one.
    pub(super) fn pop_urgent(&mut self) -> Option<Ready> {
        self.first().filter(|priority| *priority < 0).and_then(|_| self.pop())
    }

    /// Takes the oldest of the level that was served longest ago.
    pub(super) fn pop_fair(&mut self) -> Option<Ready> {
        let (place, _) = self.waiting().min_by_key(|(_, level)| level.served)?;
        self.pop_at(place)
    }

    fn waiting(&self) -> impl Iterator<Item = (usize, &Level)> {
        let all = self.levels.iter().enumerate();
        all.filter(|(_, level)| !level.lane.is_empty())
    }

    fn pop_at(&mut self, place: usize) -> Option<Ready> {
        self.pops += 1;
        let level = &mut self.levels[place];
        level.served = self.pops;
        let ready = level.lane.pop();
        if level.lane.is_empty() && self.levels.len() > EMPTY_LEVELS_MAX {
            self.levels.remove(place);
        }
        self.len -= usize::from(ready.is_some());
        ready
    }
}

/// The levels of a processor from which thieves take.
pub(super) struct SharedLevels {
    levels: Lock<Levels>,
    /// How many coroutines wait there. It spares those who find none the lock.
    len: AtomicUsize,
}

impl SharedLevels {
    pub(super) fn new() -> Self {
        Self {
            levels: Lock::new(Levels::new()),
            len: AtomicUsize::new(0),
        }
    }

    /// Whether there may be a coroutine here.
    pub(super) fn has_work(&self) -> bool {
        // Relaxed: a worker that must not miss an entry looks after the barrier of the idle protocol.
        self.len.load(Ordering::Relaxed) != 0
    }

    pub(super) fn push(&self, ready: Ready) {
        self.change(|levels| levels.push(ready));
    }

    pub(super) fn pop(&self) -> Option<Ready> {
        self.take(Levels::pop)
    }

    pub(super) fn pop_urgent(&self) -> Option<Ready> {
        self.take(Levels::pop_urgent)
    }

    pub(super) fn pop_fair(&self) -> Option<Ready> {
        self.take(Levels::pop_fair)
    }

    pub(super) fn first(&self) -> Option<i16> {
        self.has_work().then(|| self.levels.lock().first()).flatten()
    }

    fn take(&self, take: impl FnOnce(&mut Levels) -> Option<Ready>) -> Option<Ready> {
        self.has_work().then(|| self.change(take)).flatten()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Levels) -> R) -> R {
        let mut levels = self.levels.lock();
        let result = change(&mut levels);
        // Relaxed: a hint, written under the lock.
        self.len.store(levels.len, Ordering::Relaxed);
        result
    }
}

/// The levels of a processor that only its owner uses, and how it picks from all.
pub(super) struct OwnLevels {
    levels: RefCell<Levels>,
    /// Counts the picks that looked at levels.
    picks: Cell<u32>,
    /// Which source the next fair pick asks first.
    pub(super) next_source: Cell<usize>,
}

impl OwnLevels {
    pub(super) fn new() -> Self {
        Self {
            levels: RefCell::new(Levels::new()),
            picks: Cell::new(0),
            next_source: Cell::new(0),
        }
    }

    /// Counts a pick, and returns the count.
    pub(super) fn count_pick(&self) -> u32 {
        let picks = self.picks.get().wrapping_add(1);
        self.picks.set(picks);
        picks
    }

    pub(super) fn has_work(&self) -> bool {
        self.levels.borrow().len != 0
    }

    pub(super) fn push(&self, ready: Ready) {
        self.levels.borrow_mut().push(ready);
    }

    pub(super) fn first(&self) -> Option<i16> {
        self.levels.borrow().first()
    }

    pub(super) fn pop(&self) -> Option<Ready> {
        self.levels.borrow_mut().pop()
    }

    pub(super) fn pop_fair(&self) -> Option<Ready> {
        self.levels.borrow_mut().pop_fair()
    }
}
