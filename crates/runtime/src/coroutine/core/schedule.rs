//! What does a coroutine ask of its scheduler? `sched` implements it, so that this floor need not import it.

use super::{Core, Ready};
use std::ptr;

/// The interface from a coroutine to its scheduler. It has one implementation, in `sched`.
pub(crate) trait Schedule: Sync {
    /// Queues a coroutine that has become ready. May be called from everywhere except from signal handlers.
    fn schedule(&self, ready: Ready);

    /// Leaves the running coroutine's stack. Returns when the coroutine is continued.
    ///
    /// # Safety
    /// `core` is the running coroutine, inside a critical section (S1).
    unsafe fn suspend(&self, core: &'static Core);

    /// Queues the running coroutine behind all others and lets these run.
    fn give_way(&self, core: &'static Core);

    /// Lets other coroutines run first if there were many connects from this worker: see `budget.rs`.
    fn admit_connect(&self, core: &'static Core);

    /// Whether it cancels all of its coroutines, including those that are spawned later.
    fn is_ending(&self) -> bool;

    /// How many workers it has. With one, a coroutine that spins keeps others from running until it is preempted.
    fn worker_count(&self) -> usize;
}

impl Core {
    /// Whether this scheduler queues the coroutine. No other one may (S10).
    #[inline(always)]
    pub(crate) fn belongs_to<S: Schedule>(&self, scheduler: &S) -> bool {
        let own = self.scheduler.get().map(|own| ptr::from_ref(own).cast::<()>());
        own == Some(ptr::from_ref(scheduler).cast())
    }
}
