//! A worker's own queue of ready coroutines that may run nowhere else: light ones that have started.
//!
//! First in, first out, linked through the cores; touched by the worker's own code only, so it needs no atomic operation, and a yield between
//! light coroutines executes none.

use crate::coroutine::{Core, Ready};
use crate::loom::static_atomic::Ordering;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// See the head of the file.
pub(super) struct Pinned {
    head: Cell<*mut Core>,
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
        // SAFETY: S2: as above.
        match unsafe { self.tail.get().as_ref() } {
            Some(tail) => tail.next.store(core.as_ptr(), Ordering::Relaxed),
            None => self.head.set(core.as_ptr()),
        }
        self.tail.set(core.as_ptr());
    }

    #[inline(always)]
    pub(super) fn pop(&self) -> Option<Ready> {
        let core = NonNull::new(self.head.get())?;
        // SAFETY: S2: as in `push`.
        let next = unsafe { core.as_ref() }.next.load(Ordering::Relaxed);
        self.head.set(next);
        if next.is_null() {
            self.tail.set(ptr::null_mut());
        }
        // SAFETY: S1: the queue held the one Ready of this core.
        Some(unsafe { Ready::from_core(core) })
    }
}
