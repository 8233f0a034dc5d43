//! How do coroutines wait in a list that one lock or one thread guards? In a lane: first in, first out, linked through
//! the cores themselves. So a push allocates nothing, however many wait.
//!
//! Each coroutine in a lane is there by its `Ready`, the only one: the lane owns the core's link until it gives the
//! `Ready` back.

use crate::coroutine::{Core, Ready};
use crate::loom::static_atomic::Ordering;
use std::ptr::{self, NonNull};

/// See the head of the file.
pub(super) struct Lane {
    head: *mut Core,
    tail: *mut Core,
}

// SAFETY: S2: the cores in the lane belong to it; whoever gets the lane gets them.
unsafe impl Send for Lane {}

/// Coroutines that were removed from a lane at once. Not to be dropped before it is used up.
#[must_use = "the coroutines in it are lost"]
pub(super) struct Removed {
    next: *mut Core,
    count: usize,
}

impl Lane {
    pub(super) const fn empty() -> Self {
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    pub(super) fn push(&mut self, ready: Ready) {
        let core = ready.into_core().as_ptr();
        // SAFETY: S2: a Ready is the ownership of its core, and of the link in it.
        // Relaxed, here and below: the lane's guard orders everything in this file.
        unsafe { &*core }.next.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: S2: cores in the lane belong to it.
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.store(core, Ordering::Relaxed),
            None => self.head = core,
        }
        self.tail = core;
    }

    /// Removes the oldest.
    pub(super) fn pop(&mut self) -> Option<Ready> {
        self.split(1).next()
    }

    /// Removes up to `max` coroutines, the oldest ones.
    pub(super) fn split(&mut self, max: usize) -> Removed {
        let next = self.head;
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
        Removed { next, count }
    }
}

impl Removed {
    pub(super) fn len(&self) -> usize {
        self.count
    }
}

impl Iterator for Removed {
    type Item = Ready;

    fn next(&mut self) -> Option<Ready> {
        self.count = self.count.checked_sub(1)?;
        let core = NonNull::new(self.next).expect("counted in the lane");
        // SAFETY: S2: taken out of its lane: ours. Relaxed: as above.
        self.next = unsafe { core.as_ref() }.next.load(Ordering::Relaxed);
        // SAFETY: S1: taken out of its lane: active, not running, in no queue.
        Some(unsafe { Ready::from_core(core) })
    }
}
