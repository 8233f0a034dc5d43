//! A worker's own queue of ready coroutines that may run nowhere else: light ones that have started, and all when the scheduler has one worker.
//!
//! First in, first out, linked through the cores; touched by the worker's own code only, so it needs no atomic operation. One link leads to whom to
//! continue: a ring's position and slot would be two loads, one waiting for the other, and when identities are switched nothing hides that.
//!
//! Who is picked stays the first until it runs, and takes itself out: see [`Pick`](super::worker::Pick).

use super::processor::warm_up;
use crate::coroutine::{Core, Ready};
use crate::loom::static_atomic::Ordering;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// See the head of the file.
pub(super) struct Pinned {
    /// Null: the queue is empty.
    head: Cell<*mut Core>,
    /// Stale when the queue is empty.
    tail: Cell<*mut Core>,
}

impl Pinned {
    pub(super) fn new() -> Self {
        Self {
            head: Cell::new(ptr::null_mut()),
            tail: Cell::new(ptr::null_mut()),
        }
    }

    #[inline(always)]
    pub(super) fn push(&self, ready: Ready) {
        let core = ready.into_core();
        // SAFETY: S2: cores are type-stable, and a queued one's link belongs to the queue.
        // Relaxed, here and below: one thread.
        unsafe { core.as_ref() }.next.store(ptr::null_mut(), Ordering::Relaxed);
        if self.head.get().is_null() {
            self.head.set(core.as_ptr());
        } else {
            // SAFETY: S2: as above; the tail of a queue that is not empty is in it.
            unsafe { &*self.tail.get() }
                .next
                .store(core.as_ptr(), Ordering::Relaxed);
        }
        self.tail.set(core.as_ptr());
    }

    /// Who comes first; stays in the queue until it takes itself out with [`remove_first`](Self::remove_first), before anything else is done
    /// with the queue but `push` and `first`.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<Ready> {
        let core = NonNull::new(self.head.get())?;
        // SAFETY: S2: as in `push`.
        warm_up(unsafe { core.as_ref() }.next.load(Ordering::Relaxed));
        // SAFETY: S1: the queue held the one Ready of this core, and is owed its removal.
        Some(unsafe { Ready::from_core(core) })
    }

    /// The first goes on and leaves the queue.
    #[inline(always)]
    pub(super) fn remove_first(&self, core: &Core) {
        debug_assert!(ptr::eq(self.head.get(), core), "somebody else came first");
        self.head.set(core.next.load(Ordering::Relaxed));
    }

    /// The first goes on, leaves the queue, and makes way for one behind all others.
    #[inline(always)]
    pub(super) fn replace_first(&self, core: &Core, yielder: Ready) {
        debug_assert!(ptr::eq(self.head.get(), core), "somebody else came first");
        let yielder = yielder.into_core();
        // SAFETY: S2: as in `push`.
        unsafe { yielder.as_ref() }
            .next
            .store(ptr::null_mut(), Ordering::Relaxed);
        let next = core.next.load(Ordering::Relaxed);
        if next.is_null() {
            self.head.set(yielder.as_ptr());
        } else {
            self.head.set(next);
            // SAFETY: S2: as in `push`.
            unsafe { &*self.tail.get() }
                .next
                .store(yielder.as_ptr(), Ordering::Relaxed);
        }
        self.tail.set(yielder.as_ptr());
    }

    /// Counts what waits, but no further than `limit`.
    pub(super) fn count_up_to(&self, limit: usize) -> usize {
        let mut count = 0;
        let mut next = self.head.get();
        // SAFETY: S2: as in `push`.
        while count < limit
            && let Some(core) = unsafe { next.as_ref() }
        {
            count += 1;
            next = core.next.load(Ordering::Relaxed);
        }
        count
    }
}
