//! Who must queue a coroutine? The code that holds its [`Ready`]. A wake-up makes one, and a scheduler consumes it.

use super::Core;
use crate::coroutine::state::Wake;
use std::ptr::NonNull;

/// The duty to queue a coroutine. The holder passes it on; if it drops it, the coroutine is lost.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ready(NonNull<Core>);

// SAFETY: S2: a Ready is the ownership of a core that is not running.
unsafe impl Send for Ready {}

impl Ready {
    /// Passes the coroutine to its own scheduler, which queues it.
    pub(crate) fn queue_at_own_scheduler(self) {
        let scheduler = self.core().scheduler.get();
        scheduler
            .expect("a coroutine that was parked has a scheduler")
            .schedule(self);
    }

    /// # Safety
    /// The core is active, in no queue and not running, and the caller is the one who may queue it (S1).
    #[inline(always)]
    pub(crate) unsafe fn from_core(core: NonNull<Core>) -> Self {
        Self(core)
    }

    /// Gives up the type's protection. The caller queues or runs the core.
    #[inline(always)]
    pub(crate) fn into_core(self) -> NonNull<Core> {
        self.0
    }

    #[inline(always)]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: S2: cores are type-stable, and a ready one is alive.
        unsafe { self.0.as_ref() }
    }
}

impl Core {
    /// Wakes the coroutine, whatever it waits for. The wait looks at its own condition again.
    #[inline]
    pub(crate) fn unpark(&self) {
        if let Some(ready) = self.make_ready() {
            self.queue(ready);
        }
    }

    /// The first half of [`unpark`](Self::unpark), for code that returns ready coroutines instead of queueing them.
    #[inline]
    pub(crate) fn make_ready(&self) -> Option<Ready> {
        match self.lifecycle.unpark() {
            Wake::Schedule => Some(Ready(NonNull::from(self))),
            Wake::Noted => None,
        }
    }

    /// Asks for cancellation.
    pub(crate) fn cancel(&self) {
        if self.lifecycle.cancel() == Wake::Schedule {
            self.queue(Ready(NonNull::from(self)));
        }
    }

    fn queue(&self, ready: Ready) {
        // A core that was parked has been run, and so has a scheduler.
        let Some(scheduler) = self.scheduler.get() else { return };
        scheduler.schedule(ready);
    }
}
