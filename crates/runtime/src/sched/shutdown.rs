//! The end of a scheduler: cancel what is left, let it run its destructors, report what would not end, stop the workers.
//!
//! Coroutines are counted without a shared counter: each processor counts those it spawned and those it finished, OS threads' spawns
//! have a counter of their own. The sums are read finished-first: if they are equal then, nothing was alive at that moment, because a
//! coroutine is counted as spawned before it can finish.

use super::{Scheduler, processor};
use crate::coroutine::{CoreRef, Critical, Schedule, current_core, pools};
use crate::loom::static_atomic::{AtomicU64, Ordering};
use crate::sys::{clock, process};
use std::sync::Once;
use std::time::Duration;

/// How often the shutdown looks, and cancels again whoever was spawned or has swallowed it: there is no event for "the last one has ended" on the
/// hot path of a coroutine's end, and a shutdown is rare.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// Makes a forked child an ordinary one-threaded process: its spawns fail, and the coroutine that forked goes on as if it were the thread, in an
/// endless critical section, so that every hook passes straight through.
pub(super) fn prepare_for_forks() {
    extern "C" fn in_the_child() {
        process::set_forked();
        if current_core().is_some() {
            Critical::enter_to_leave();
        }
    }
    process::remember();
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: S7: the handler only sets a flag and a counter. The one error is ENOMEM; then a forked child has live hooks.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
    });
}

impl Scheduler {
    /// Coroutines that have been spawned and have not ended.
    pub(crate) fn alive(&self) -> u64 {
        // Acquire, all three: pairs with nothing stronger than program order on the other side; the shutdown asks again until the sums agree.
        let sum_of = |counter: fn(&processor::Shared) -> &AtomicU64| -> u64 {
            self.processors
                .iter()
                .map(|shared| counter(shared).load(Ordering::Acquire))
                .sum()
        };
        let finished = sum_of(|shared| &shared.finished);
        let inside = sum_of(|shared| &shared.spawned);
        // Acquire: pairs as above.
        let outside = self.spawned_outside.load(Ordering::Acquire);
        (inside + outside).saturating_sub(finished)
    }

    /// Whether workers are to end once nothing is alive.
    pub(super) fn is_stopping(&self) -> bool {
        // Relaxed: a flag; the wake-ups that follow it order it.
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn refuses_spawns(&self) -> bool {
        self.is_stopping() || process::is_forked()
    }

    /// Bookkeeping of a worker that ends.
    pub(super) fn idle_stop(&self, searching: bool) {
        if searching {
            self.idle.stop_searching();
        }
    }

    /// Calls `look` with every live coroutine of this scheduler.
    pub(crate) fn for_each(&self, mut look: impl FnMut(CoreRef)) {
        pools().for_each_core(|core| {
            let own = core.scheduler.get().is_some_and(|scheduler| {
                std::ptr::eq(
                    std::ptr::from_ref::<dyn Schedule>(scheduler).cast::<()>(),
                    std::ptr::from_ref(self).cast(),
                )
            });
            if own && !core.lifecycle.is_done() {
                look(core);
            }
        });
    }

    /// Cancels every coroutine and waits until they have ended or the deadline has come. Returns those that have not ended.
    /// On an OS thread that is none of this scheduler's workers.
    pub(crate) fn cancel_all(&self, deadline_ns: u64) -> Vec<CoreRef> {
        while self.alive() > 0 {
            self.for_each(|core| core.cancel());
            if self.alive() == 0 {
                break;
            }
            if clock::now_ns() >= deadline_ns {
                let mut left = Vec::new();
                self.for_each(|core| left.push(core));
                return left;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Vec::new()
    }

    /// Stops the workers that are idle, and waits for their threads; those that run a coroutine which never ends are left alone.
    pub(crate) fn stop_workers(&self) {
        // Relaxed: see `is_stopping`.
        self.stopping.store(true, Ordering::Relaxed);
        crate::sys::barrier::heavy();
        drop(self.idle.wake_all());
        for shared in &self.processors {
            shared.driver.wake();
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        // A worker that is stuck in a coroutine would block the caller for ever.
        let patience = clock::now_ns() + 1_000_000_000;
        for thread in threads {
            while !thread.is_finished() && clock::now_ns() < patience {
                std::thread::sleep(LOOK_EVERY);
            }
            if thread.is_finished() {
                // A worker's thread does not panic; if it did, the process would have aborted.
                let _ = thread.join();
            }
        }
    }
}
