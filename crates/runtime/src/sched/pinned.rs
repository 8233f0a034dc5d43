//! A worker's own queue of ready coroutines that may run nowhere else: light ones that have started, and all when the
//! scheduler has one worker.
//!
//! First in, first out, linked through the cores; touched by the worker's own code only, so it needs no atomic
//! operation. One link leads to whom to continue: a ring's position and slot would be two loads, one waiting for the
//! other, and when identities are switched nothing hides that.
//!
//! Who is picked stays the first until it runs, and takes itself out: see [`Pick`](super::worker::Pick).

use super::processor::prefetch_next;
use crate::coroutine::{Core, Ready};
use crate::loom::static_atomic::Ordering;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// See the head of the file.
#[repr(C)]
pub(super) struct Pinned {
    /// Null: the queue is empty.
    head: Cell<*mut Core>,
    /// Stale when the queue is empty. Its link is stale as well: the end is known by the address, and saves a store per
    /// turn.
    tail: Cell<*mut Core>,
}

/// The contents of a queue, for a moment.
#[must_use]
pub(super) struct Aside {
    head: *mut Core,
    tail: *mut Core,
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
        let core = ready.into_core().as_ptr();
        if self.head.get().is_null() {
            self.head.set(core);
        } else {
            self.link_tail_to(core);
        }
        self.tail.set(core);
    }

    /// Who comes first; stays in the queue until it takes itself out with [`remove_first`](Self::remove_first), before
    /// anything else is done with the queue but `push` and `first`.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<Ready> {
        let core = NonNull::new(self.head.get())?;
        // SAFETY: S2: cores are type-stable.
        if let Some(next) = self.after(unsafe { core.as_ref() }) {
            // SAFETY: S2: cores are type-stable.
            prefetch_next(unsafe { &*next }, self.after(unsafe { &*next }));
        }
        // SAFETY: S1: the queue held the one Ready of this core, and is owed its removal.
        Some(unsafe { Ready::from_core(core) })
    }

    /// The first goes on and leaves the queue.
    #[inline(always)]
    pub(super) fn remove_first(&self, core: &Core) {
        debug_assert!(ptr::eq(self.head.get(), core), "somebody else came first");
        self.head.set(self.after(core).unwrap_or(ptr::null_mut()));
    }

    /// The first goes on, leaves the queue, and makes way for one behind all others.
    #[inline(always)]
    pub(super) fn replace_first(&self, core: &Core, yielder: Ready) {
        debug_assert!(ptr::eq(self.head.get(), core), "somebody else came first");
        let yielder = yielder.into_core().as_ptr();
        match self.after(core) {
            None => self.head.set(yielder),
            Some(next) => {
                self.head.set(next);
                self.link_tail_to(yielder);
            }
        }
        self.tail.set(yielder);
    }

    /// Empties the queue: what is pushed from now on comes before what is [`put back`](Self::put_back).
    pub(super) fn set_aside(&self) -> Aside {
        Aside {
            head: self.head.replace(ptr::null_mut()),
            tail: self.tail.get(),
        }
    }

    pub(super) fn put_back(&self, cold_path: Aside) {
        if cold_path.head.is_null() {
            return;
        }
        if self.head.get().is_null() {
            self.head.set(cold_path.head);
        } else {
            self.link_tail_to(cold_path.head);
        }
        self.tail.set(cold_path.tail);
    }

    /// Counts what waits, but no further than `limit`.
    pub(super) fn count_up_to(&self, limit: usize) -> usize {
        let head = NonNull::new(self.head.get()).map(NonNull::as_ptr);
        // SAFETY: S2: as in `first`.
        std::iter::successors(head, |core| self.after(unsafe { &**core }))
            .take(limit)
            .count()
    }

    /// Who comes after a core of the queue.
    #[inline(always)]
    fn after(&self, core: &Core) -> Option<*mut Core> {
        // Relaxed: one thread.
        (!ptr::eq(self.tail.get(), core)).then(|| core.next.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn link_tail_to(&self, core: *mut Core) {
        // SAFETY: S2: cores are type-stable; the tail of a queue that is not empty is in it, and its link belongs to
        // the queue. Relaxed: one thread.
        unsafe { &*self.tail.get() }.next.store(core, Ordering::Relaxed);
    }
}
