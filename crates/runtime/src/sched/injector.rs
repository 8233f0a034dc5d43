//! Where do coroutines queue that have no worker yet? These are coroutines that OS threads have spawned or woken, and
//! those that did not fit into a full run queue.
//!
//! The injector has two lanes, each first in, first out: one for coroutines that have *started* and one for those that
//! have not. The started ones go first. A deadline, a peer or a lock waits for them, and their stacks become free when
//! they end, whereas a burst of ten thousand spawns may take tens of milliseconds to start. Every fourth batch takes
//! from the other lane first, so that no coroutine waits for ever.
//!
//! The lanes are lists that are linked through the cores themselves, under one lock that is held briefly. So a push
//! allocates nothing, and a batch costs one acquisition. The total length is kept beside the lanes, so that workers can
//! read it without the lock. The injector is cold by design: work that workers make stays in their own queues.

use crate::coroutine::{Core, Ready};
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::sys::Lock;
use std::ptr::{self, NonNull};

/// One batch in so many prefers the coroutines that have not started.
const NEW_FIRST_EVERY: usize = 4;

struct Lane {
    head: *mut Core,
    tail: *mut Core,
}

struct Lanes {
    started: Lane,
    new: Lane,
    batches: usize,
}

// SAFETY: S2: the cores in the lanes belong to them; the lock hands them over.
unsafe impl Send for Lanes {}

/// See the head of the file.
pub(super) struct Injector {
    lanes: Lock<Lanes>,
    length: AtomicUsize,
}

impl Lane {
    const fn empty() -> Self {
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
        }
    }

    fn push(&mut self, ready: Ready) {
        let core = ready.into_core().as_ptr();
        // SAFETY: S2: a Ready is the ownership of its core, and of the link in it.
        // Relaxed, here and below: the lock orders everything in this file but the length.
        unsafe { &*core }.next.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: S2: cores in the lane belong to it.
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.store(core, Ordering::Relaxed),
            None => self.head = core,
        }
        self.tail = core;
    }

    /// Removes up to `max` coroutines. Returns the first of the chain, and the length.
    fn split(&mut self, max: usize) -> (*mut Core, usize) {
        let first = self.head;
        let mut count = 0;
        while count < max {
            // SAFETY: S2: cores in the lane belong to it.
            let Some(core) = (unsafe { self.head.as_ref() }) else {
                break;
            };
            self.head = core.next.load(Ordering::Relaxed);
            count += 1;
        }
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        (first, count)
    }
}

/// Passes the coroutines of a removed chain to `take`, one by one.
fn unchain((mut at, count): (*mut Core, usize), take: &mut impl FnMut(Ready)) {
    for _ in 0..count {
        let core = NonNull::new(at).expect("counted under the lock");
        // SAFETY: S2: taken out of its lane: ours.
        at = unsafe { core.as_ref() }.next.load(Ordering::Relaxed);
        // SAFETY: S1: taken out of its lane: active, not running, in no queue.
        take(unsafe { Ready::from_core(core) });
    }
}

impl Injector {
    pub(super) fn new() -> Self {
        let lanes = Lanes {
            started: Lane::empty(),
            new: Lane::empty(),
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
            if ready.core().started.get() {
                lanes.started.push(ready)
            } else {
                lanes.new.push(ready)
            }
            count += 1;
        }
        // Relaxed: see `len`.
        self.length.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes up to `max` coroutines: the oldest of the preferred lane first, then those of the other. Returns how many.
    pub(super) fn pop_batch(&self, max: usize, mut take: impl FnMut(Ready)) -> usize {
        if max == 0 || self.len() == 0 {
            return 0;
        }
        let mut lanes = self.lanes.lock();
        lanes.batches = lanes.batches.wrapping_add(1);
        let new_first = lanes.batches.is_multiple_of(NEW_FIRST_EVERY);
        let Lanes { started, new, .. } = &mut *lanes;
        let (first, second) = if new_first { (new, started) } else { (started, new) };
        let preferred = first.split(max);
        let others = second.split(max - preferred.1);
        let count = preferred.1 + others.1;
        // Relaxed: see `len`.
        self.length.fetch_sub(count, Ordering::Relaxed);
        drop(lanes);
        unchain(preferred, &mut take);
        unchain(others, &mut take);
        count
    }
}
