//! Where does a worker queue the ready coroutines that may run nowhere else? These are the started light ones, those
//! that were spawned for a worker, and all coroutines when the scheduler has one worker.
//!
//! The queue is first in, first out, and linked through the cores. Only the worker's own code touches it, so it needs
//! no atomic operation. One load of a link finds the coroutine to continue. A ring would need two loads, of a position
//! and of a slot, one waiting for the other, and when identities are switched no other work overlaps with them.
//!
//! A picked coroutine stays the first until it runs, and then removes itself: see [`Pick`](super::queues::Pick).

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
    /// Stale when the queue is empty. The link of the last core is stale as well: the end is recognised by this
    /// address. That saves a store per turn.
    tail: Cell<*mut Core>,
}

/// The contents of a queue that is set aside for a moment.
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

    /// The first coroutine. It stays in the queue until it removes itself with [`remove_first`](Self::remove_first).
    /// Before that, only `push` and `first` may be called.
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

    /// Removes the first coroutine, which continues.
    #[inline(always)]
    pub(super) fn remove_first(&self, core: &Core) {
        debug_assert!(ptr::eq(self.head.get(), core), "somebody else came first");
        self.head.set(self.after(core).unwrap_or(ptr::null_mut()));
    }

    /// Removes the first coroutine, which continues, and queues `yielder` behind all others.
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

    /// Empties the queue, and returns its contents. Coroutines that are pushed from now on come before those that are
    /// [`put back`](Self::put_back).
    pub(super) fn set_aside(&self) -> Aside {
        Aside {
            head: self.head.replace(ptr::null_mut()),
            tail: self.tail.get(),
        }
    }

    pub(super) fn put_back(&self, aside: Aside) {
        if aside.head.is_null() {
            return;
        }
        if self.head.get().is_null() {
            self.head.set(aside.head);
        } else {
            self.link_tail_to(aside.head);
        }
        self.tail.set(aside.tail);
    }

    /// Counts the queued coroutines, but no further than `limit`.
    pub(super) fn count_up_to(&self, limit: usize) -> usize {
        let head = NonNull::new(self.head.get()).map(NonNull::as_ptr);
        // SAFETY: S2: as in `first`.
        std::iter::successors(head, |core| self.after(unsafe { &**core }))
            .take(limit)
            .count()
    }

    /// The core that comes after this core of the queue.
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
