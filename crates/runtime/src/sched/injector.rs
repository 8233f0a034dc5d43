//! Where do coroutines queue that no worker of their scheduler has made ready? OS threads, coroutines of other runtimes
//! and late coroutines (`late.rs`) have spawned or woken them; or they did not fit into a full ring; or a surplus
//! worker has given them away (`size.rs`).
//!
//! The injector has two lanes, each first in, first out: one for coroutines that have *started* and one for those that
//! have not. The started ones go first. A deadline, a peer or a lock waits for them, and their stacks become free when
//! they end, whereas a burst of ten thousand spawns may take tens of milliseconds to start. Every fourth batch takes
//! from the other lane first, so that no coroutine waits for ever. Coroutines of another priority than 0 have levels of
//! their own (`levels.rs`), which go before or after the lanes.
//!
//! The lanes are lists that are linked through the cores themselves, under one lock that is held briefly. So a push
//! allocates nothing, and a batch costs one acquisition. The total length is kept beside the lanes, so that workers can
//! read it without the lock. The injector is cold by design: work that workers make stays in their own queues.

use super::lane::Lane;
use super::levels::Levels;
use crate::coroutine::Ready;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::sys::Lock;

/// One batch in so many prefers the coroutines that have not started, and takes one of another priority out of order.
const FAIR_BATCH_EVERY: usize = 4;

struct Lanes {
    started: Lane,
    new: Lane,
    /// Coroutines of another priority than 0.
    levels: Levels,
    batches: usize,
}

/// See the head of the file.
pub(super) struct Injector {
    lanes: Lock<Lanes>,
    length: AtomicUsize,
}

impl Injector {
    pub(super) fn new() -> Self {
        let lanes = Lanes {
            started: Lane::empty(),
            new: Lane::empty(),
            levels: Levels::new(),
            batches: 0,
        };
        Self {
            lanes: Lock::new(lanes),
            length: AtomicUsize::new(0),
        }
    }

    /// How many coroutines wait here; a hint.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        // Relaxed: a worker that must not miss an entry looks after the barrier of the idle protocol.
        self.length.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, ready: Ready) {
        self.push_all(std::iter::once(ready));
    }

    pub(super) fn push_all(&self, all: impl Iterator<Item = Ready>) {
        let mut lanes = self.lanes.lock();
        let mut count = 0;
        for ready in all {
            if ready.core().priority.get() != 0 {
                lanes.levels.push(ready);
            } else if ready.core().started.get() {
                lanes.started.push(ready);
            } else {
                lanes.new.push(ready);
            }
            count += 1;
        }
        // Relaxed: see `len`.
        self.length.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes up to `max` coroutines: urgent ones first (at most half of them, but one at least, if others wait), then
    /// the oldest of the preferred lane, then those of the other, then background ones. Returns how many.
    pub(super) fn pop_batch(&self, max: usize, mut take: impl FnMut(Ready)) -> usize {
        if max == 0 || self.len() == 0 {
            return 0;
        }
        let mut lanes = self.lanes.lock();
        lanes.batches = lanes.batches.wrapping_add(1);
        let is_fair = lanes.batches.is_multiple_of(FAIR_BATCH_EVERY);
        let Lanes {
            started, new, levels, ..
        } = &mut *lanes;
        let mut urgent = Lane::empty();
        let mut count = 0;
        let add = |lane: &mut Lane, ready: Option<Ready>| ready.map(|ready| lane.push(ready)).is_some();
        if is_fair {
            count += usize::from(add(&mut urgent, levels.pop_fair()));
        }
        // Half of a batch at most, as long as others wait: a batch may be small, and urgent ones may never end.
        let has_others = !started.is_empty() || !new.is_empty();
        let urgent_max = if has_others { (max / 2).max(1) } else { max };
        while count < urgent_max && add(&mut urgent, levels.pop_urgent()) {
            count += 1;
        }
        let (first, second) = if is_fair { (new, started) } else { (started, new) };
        let preferred = first.split(max - count);
        count += preferred.len();
        let others = second.split(max - count);
        count += others.len();
        let mut background = Lane::empty();
        while count < max && add(&mut background, levels.pop()) {
            count += 1;
        }
        // Relaxed: see `len`.
        self.length.fetch_sub(count, Ordering::Relaxed);
        drop(lanes);
        // Plain loops: adapters of iterators are deep on the stack of a coroutine in a debug build.
        for removed in [urgent.split(max), preferred, others, background.split(max)] {
            for ready in removed {
                take(ready);
            }
        }
        count
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::Core;

    fn priorities_of(injector: &Injector, max: usize) -> Vec<i16> {
        let mut taken = Vec::new();
        injector.pop_batch(max, |ready| taken.push(ready.core().priority.get()));
        taken
    }

    /// Urgent ones that never end leave the others a part of each batch, however small it is.
    #[test]
    fn urgent_ones_do_not_take_whole_batches() {
        let cores: Vec<Core> = std::iter::repeat_with(Core::free).take(40).collect();
        cores.iter().skip(8).for_each(|core| core.priority.set(-1));
        let injector = Injector::new();
        for core in &cores {
            core.lifecycle.begin(2);
            let _ = core.lifecycle.publish_parked();
            injector.push(core.make_ready().expect("it is parked"));
        }
        for _ in 0..4 {
            let taken = priorities_of(&injector, 4);
            assert_eq!(taken.len(), 4);
            assert!(
                taken.is_sorted() && taken.contains(&0) && taken.contains(&-1),
                "{taken:?}"
            );
        }
        assert_eq!(priorities_of(&injector, 100).len(), 24);
        assert_eq!(injector.len(), 0);
    }
}
