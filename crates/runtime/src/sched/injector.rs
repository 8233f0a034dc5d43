//! The injector: where coroutines queue that no worker has yet: spawned or woken by OS threads, overflowed from a full run queue.
//!
//! A list linked through the cores themselves, under one short lock: pushing allocates nothing and a batch costs one acquisition. Its length
//! is kept beside it, so that workers can look without the lock. Cold by design: work that workers make stays in their own queues.

use crate::coroutine::{Core, Ready};
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::sys::Lock;
use std::ptr::{self, NonNull};

struct Queue {
    head: *mut Core,
    tail: *mut Core,
}

// SAFETY: S2: the cores in the queue belong to it; the lock hands them over.
unsafe impl Send for Queue {}

/// See the head of the file.
pub(super) struct Injector {
    queue: Lock<Queue>,
    length: AtomicUsize,
}

impl Injector {
    pub(super) fn new() -> Self {
        Self {
            queue: Lock::new(Queue { head: ptr::null_mut(), tail: ptr::null_mut() }),
            length: AtomicUsize::new(0),
        }
    }

    /// How many wait here; a hint.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        // Relaxed: whoever must not miss an entry looks after the barrier of the idle protocol.
        self.length.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, ready: Ready) {
        self.push_all(std::iter::once(ready));
    }

    pub(super) fn push_all(&self, all: impl Iterator<Item = Ready>) {
        let mut queue = self.queue.lock();
        let mut count = 0;
        for ready in all {
            let core = ready.into_core().as_ptr();
            // SAFETY: S2: a Ready is the ownership of its core, and of the link in it.
            // Relaxed: the lock orders everything here.
            unsafe { &*core }.next.store(ptr::null_mut(), Ordering::Relaxed);
            // SAFETY: S2: cores in the queue belong to it.
            match unsafe { queue.tail.as_ref() } {
                Some(tail) => tail.next.store(core, Ordering::Relaxed),
                None => queue.head = core,
            }
            queue.tail = core;
            count += 1;
        }
        self.length.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes up to `max`, oldest first.
    pub(super) fn pop_batch(&self, max: usize, mut take: impl FnMut(Ready)) -> usize {
        if self.len() == 0 {
            return 0;
        }
        let mut queue = self.queue.lock();
        let mut count = 0;
        let mut taken: *mut Core = queue.head;
        let mut at = taken;
        // SAFETY: S2: cores in the queue belong to it.
        while let Some(core) = (count < max).then_some(()).and(unsafe { at.as_ref() }) {
            at = core.next.load(Ordering::Relaxed);
            count += 1;
        }
        queue.head = at;
        if at.is_null() {
            queue.tail = ptr::null_mut();
        }
        self.length.fetch_sub(count, Ordering::Relaxed);
        drop(queue);
        for _ in 0..count {
            let core = NonNull::new(taken).expect("counted under the lock");
            // SAFETY: S2: taken out above: ours.
            taken = unsafe { core.as_ref() }.next.load(Ordering::Relaxed);
            // SAFETY: S1: taken out of the queue: active, not running, in no queue.
            take(unsafe { Ready::from_core(core) });
        }
        count
    }
}
