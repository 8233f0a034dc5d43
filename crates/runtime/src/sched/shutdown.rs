//! The end of a scheduler: cancel what is left, let it run its destructors, report what would not end. The workers stop
//! when the last coroutine has ended.
//!
//! # Protocol
//! A shutdown first *cancels*, again and again, until nothing is alive or its deadline has come; then it *stops* the
//! scheduler: spawns are refused from here on. It looks once more, for an OS thread may have spawned in between. A
//! stopped scheduler is *over* when no coroutine of it is alive. Only then do its workers end. A worker that finds
//! nothing to do checks whether the scheduler is over; if so it wakes the others and ends. The last worker gives the
//! drivers back.
//!
//! So a coroutine that is left behind at the deadline goes on as a detached thread does: it stays cancelled, and it
//! takes part in what it waits for. It cannot be left without a worker: it is listed at futex words, channels and
//! descriptors that the living use, whose wakes and messages it would swallow; and a light one's thread-locals, which
//! others may borrow, would end with the thread.
//!
//! # Those who stay
//! A cancelled coroutine may be in a wait that no cancellation ends, and that says so (`hook/interruption.rs`): for a
//! signal, for output that nobody reads, in the pauses of a loop that takes no notice of errors. When all who are left
//! have been seen in such waits for a while, nobody is left who could end them, and the shutdown waits for them no
//! longer.
//!
//! # The counts
//! Coroutines are counted without a shared counter: each processor counts those it spawned and those it finished, OS
//! threads' spawns have a counter of their own. A coroutine is counted as spawned before it is queued. The sums are
//! read finished-first. Let T be a moment between the two readings. What was finished by T is at least the first sum,
//! what was spawned by T at most the second: their difference is at least what was alive at T. If it is zero, nothing
//! was alive at T. That needs the reader to see the spawn of each coroutine whose end it sees: the end is counted with
//! Release, behind the queues that carried the coroutine from its spawner.
//!
//! # The race: a spawn against the stop
//! Who spawns counts first and looks for the stop afterwards. Who sums up has stopped the scheduler first, or seen it
//! stopped. So one of the two sees the other: either the spawner sees the stop and takes its count back, or the sum has
//! the count.
//! - An OS thread and a worker that looks whether the scheduler is over: all four accesses are in one order
//!   (sequentially consistent). An OS thread that takes its count back wakes the workers, for they may have seen it.
//! - A coroutine's spawn needs no such order against a worker: the spawner is alive itself, so its scheduler is not
//!   over. Against the shutdown, which lists who is left, an asymmetric barrier gives the order: its heavy half is in
//!   `wake_all`, after the stop.
//!
//! # The list of those who are left
//! The shutdown sums up, walks over all cores, and compares. After the stop everybody who will ever live is in the sum
//! already, so who is in the list is in the sum. The walk meets a core once, so nobody is in the list twice. Therefore
//! a list as long as the sum has everybody. A shorter one misses somebody who was being made, or has ended since: the
//! shutdown looks again. To sum up after the walk would be wrong: A ends, B is made behind the walk, and the numbers
//! agree without B.

use super::{Scheduler, processor};
use crate::coroutine::{CoreRef, Critical, UNWINDS, WaitCell, WaitReason, current_core, pools};
use crate::loom::static_atomic::{AtomicU64, Ordering};
use crate::sys::{barrier, clock, process};
use crate::wait;
use std::sync::Once;
use std::time::Duration;

/// Cancels one of those who are left. Where nothing unwinds they can only end by themselves; an error in the midst of
/// their I/O would end the process.
fn cancel(core: &CoreRef) {
    // A scope's child is its parent's to cancel: the parent may mask that, or be in a destructor.
    if UNWINDS && !core.has_parent() {
        core.cancel();
    }
}

/// How often the shutdown looks, and cancels again whoever was spawned or has swallowed it: there is no event for "the
/// last one has ended" on the hot path of a coroutine's end, and a shutdown is rare.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// How long all who are left must have been seen in waits that no cancellation ends, before a shutdown waits for them
/// no longer: one of them may be about to be woken by what another has left behind, or by an OS thread.
const STAYING_FOR_NS: u64 = 100_000_000;

/// Makes a forked child an ordinary one-threaded process: its spawns fail, and the coroutine that forked goes on as if
/// it were the thread, in an endless critical section, so that every hook passes straight through.
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
        // SAFETY: S7: the handler only sets a flag and a counter. The one error is ENOMEM; then a forked child has live
        // hooks.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
    });
}

/// Until a point in time and not for a time, since a thread that signals interrupt again and again would sleep for
/// ever.
fn pause() {
    let end_ns = wait::deadline_after(LOOK_EVERY);
    let _ = wait::wait(&WaitCell::new(), WaitReason::Sleep, Some(end_ns), false);
}

impl Scheduler {
    /// Coroutines that have been spawned and have not ended. Zero is exact, for a moment during the call: see the head
    /// of the file.
    pub(crate) fn alive(&self) -> u64 {
        // Acquire: pairs with the Release in `SharedProcessor::count`.
        let sum_of = |counter: fn(&processor::SharedProcessor) -> &AtomicU64| -> u64 {
            self.processors
                .iter()
                .map(|shared| counter(shared).load(Ordering::Acquire))
                .sum()
        };
        let finished = sum_of(|shared| &shared.finished);
        let inside = sum_of(|shared| &shared.spawned);
        // SeqCst: pairs with `count_spawn_from_outside`.
        let outside = self.spawned_outside.load(Ordering::SeqCst);
        (inside + outside).saturating_sub(finished)
    }

    pub(super) fn is_stopping(&self) -> bool {
        // SeqCst: pairs with the store in `stop`; see the race in the head of the file.
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether the workers are to end: it was stopped, and nothing is alive.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopping() && self.alive() == 0
    }

    pub(super) fn refuses_spawns(&self) -> bool {
        self.is_stopping() || process::is_forked()
    }

    /// Counts a coroutine that one of this scheduler's is about to make; `false`, and takes it back, when spawns are
    /// refused.
    #[inline(always)]
    pub(super) fn count_spawn_from_inside(&self, spawned: &AtomicU64) -> bool {
        processor::SharedProcessor::count(spawned);
        barrier::light();
        if !self.refuses_spawns() {
            return true;
        }
        processor::SharedProcessor::uncount(spawned);
        false
    }

    /// Counts a coroutine that an OS thread is about to make; `false`, and takes it back, when spawns are refused.
    pub(super) fn count_spawn_from_outside(&self) -> bool {
        // In a child of a fork the locks that taking back needs may be held for ever.
        if process::is_forked() {
            return false;
        }
        // SeqCst: pairs with the loads in `is_over`.
        self.spawned_outside.fetch_add(1, Ordering::SeqCst);
        if !self.is_stopping() {
            return true;
        }
        self.uncount_spawn_from_outside();
        false
    }

    /// It was not made after all.
    #[cold]
    pub(super) fn uncount_spawn_from_outside(&self) {
        // SeqCst: pairs with the loads in `is_over`: who saw the count is woken to see that it has gone.
        self.spawned_outside.fetch_sub(1, Ordering::SeqCst);
        if self.is_over() {
            self.wake_all();
        }
    }

    /// A worker leaves, since the scheduler is over; so must the others.
    pub(super) fn leave(&self, searching: bool) {
        if searching {
            // Nobody is busy any more, so nobody is to be watched.
            let _ = self.idle.stop_searching();
        }
        self.wake_all();
    }

    /// A worker's thread has ended, or could not be made. After the last one nobody polls the drivers.
    pub(super) fn count_end_of_worker(&self) {
        // Release: pairs with the Acquire of the last one, which sees what the others did with the drivers.
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.processors.iter().for_each(|shared| shared.driver.retire());
        }
    }

    fn wake_all(&self) {
        barrier::heavy();
        drop(self.idle.wake_all());
        for shared in &self.processors {
            shared.driver.wake();
        }
    }

    /// Calls `look` with every live coroutine of this scheduler.
    pub(crate) fn for_each(&self, mut look: impl FnMut(CoreRef)) {
        pools().for_each_core(|core| {
            if core.belongs_to(self) && !core.lifecycle.is_done() {
                look(core);
            }
        });
    }

    /// Cancels every coroutine, waits until they have ended or the deadline has come, and stops. Returns those that
    /// have not ended. Not on one of this scheduler's coroutines.
    pub(crate) fn end(&self, deadline_ns: u64) -> Vec<CoreRef> {
        // Relaxed: whoever is cancelled sees it.
        self.ending.store(true, Ordering::Relaxed);
        self.cancel_until_none(deadline_ns);
        self.stop();
        // Somebody may have been spawned between the last look and the stop. Who is counted from here on takes that
        // back.
        self.cancel_until_none(deadline_ns);
        let left = self.left();
        self.join_workers();
        left
    }

    /// Cancels until nobody is alive but those who stay, or the deadline has come.
    fn cancel_until_none(&self, deadline_ns: u64) {
        let mut staying_since_ns = None;
        loop {
            let alive = self.alive();
            if alive == 0 {
                return;
            }
            let mut staying = 0;
            self.for_each(|core| {
                staying += u64::from(core.stays());
                cancel(&core);
            });
            let now_ns = clock::now_ns();
            staying_since_ns = (staying >= alive).then(|| staying_since_ns.unwrap_or(now_ns));
            let only_staying = staying_since_ns.is_some_and(|since_ns| now_ns - since_ns >= STAYING_FOR_NS);
            if only_staying || self.alive() == 0 || now_ns >= deadline_ns {
                return;
            }
            pause();
        }
    }

    /// Those who are alive, all of them, once the scheduler has been stopped; each has been cancelled.
    fn left(&self) -> Vec<CoreRef> {
        let mut left = Vec::new();
        loop {
            let alive = self.alive();
            self.for_each(|core| {
                cancel(&core);
                left.push(core);
            });
            if left.len() as u64 >= alive {
                return left;
            }
            // One was counted that is not in the list: it is being made, or has ended meanwhile, which is soon done.
            left.clear();
            pause();
        }
    }

    /// Refuses spawns from now on, and ends the workers as soon as nothing is alive.
    pub(super) fn stop(&self) {
        // SeqCst: pairs with the load in `is_stopping`.
        self.stopping.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Waits for the workers' threads, if they end: nothing is alive. Else they are left to themselves.
    pub(super) fn join_workers(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        if !self.is_over() {
            return;
        }
        for thread in threads {
            // A worker's thread does not panic; if it did, the process would have aborted.
            let _ = thread.join();
        }
    }
}
