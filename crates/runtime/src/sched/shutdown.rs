//! How does a scheduler end? It cancels the coroutines that are left (scopes' children are cancelled by their parents;
//! none is if panics abort), lets them run their destructors, and reports those that do not end. Its workers stop when
//! the last coroutine has ended.
//!
//! # Protocol
//! A shutdown first *cancels* all coroutines, again and again, until none is alive or its deadline has come. Then it
//! *stops* the scheduler, which refuses spawns from then on. It cancels once more, since an OS thread may have spawned
//! in between. A stopped scheduler is *over* when none of its coroutines is alive. Only then do its workers end. A
//! worker that finds nothing to do checks whether the scheduler is over. If so it wakes the others and ends. The last
//! worker gives the drivers back.
//!
//! So a coroutine that is left behind at the deadline continues as a detached thread does: it stays cancelled, and it
//! takes part in what it waits for. It cannot be left without a worker, for two reasons. It is listed at futex words,
//! channels and descriptors that live coroutines use, and would swallow their wakes and messages. And the thread-locals
//! of a light one, which others may borrow, would end with the thread.
//!
//! # Coroutines that stay
//! A cancelled coroutine may be in a wait that no cancellation ends, and that is marked so (`io/interruption.rs`):
//! for a signal, for output that is not read, in the pauses of a loop that ignores errors. When all coroutines that are
//! left have been seen in such waits for a while, none is left that could end them. Then the shutdown stops waiting for
//! them.
//!
//! # The counts
//! Coroutines are counted without a shared counter. Each processor counts the coroutines that it spawned and those that
//! it finished. What happens outside of the workers has two counters of its own: spawns by OS threads, other runtimes
//! and late coroutines, and ends of late coroutines. A coroutine is counted as spawned before it is queued. The sums
//! are read finished-first. Let T be a moment between the two readings. The number finished by T is at least the first
//! sum, and the number spawned by T is at most the second. So the difference of the sums is at least the number alive
//! at T. If it is zero, nothing was alive at T. This needs the reader to see the spawn of each coroutine whose end it
//! sees. It does: the end is counted with Release, after the queues that carried the coroutine from its spawner.
//!
//! # The race: a spawn against the stop
//! A spawner counts the coroutine first and looks for the stop afterwards. A thread that sums up has stopped the
//! scheduler before, or has seen it stopped. So one of the two sees the other: either the spawner sees the stop and
//! takes its count back, or the sum contains the count.
//! - An OS thread against a worker that checks whether the scheduler is over: all four accesses are in one order
//!   (sequentially consistent). An OS thread that takes its count back wakes the workers, since they may have seen the
//!   count.
//! - A coroutine's spawn needs no such order against a worker: the spawner itself is alive, so its scheduler is not
//!   over. Against the shutdown, which lists the coroutines that are left, an asymmetric barrier gives the order. Its
//!   heavy half is in `wake_all`, after the stop.
//!
//! Example: an OS thread spawns while the last coroutine ends and the shutdown stops the scheduler. If the thread adds
//! its count before a worker reads it, the worker sees one coroutine alive and does not end. If the thread adds it
//! later, it finds the stop, takes the count back, and the spawn fails.
//!
//! # The list of the coroutines that are left
//! The shutdown sums up, walks over all cores, and compares the two numbers. After the stop, every coroutine that will
//! ever live is in the sum already, so each one in the list is also in the sum. The walk meets a core once, so no
//! coroutine is in the list twice. Therefore a list as long as the sum contains them all. A shorter list misses a
//! coroutine that was being made, or that has ended since; then the shutdown looks again. It would be wrong to sum up
//! after the walk: A ends, B is made behind the walk, and the numbers agree without B.

use super::{Scheduler, processor};
use crate::coroutine::{CoreRef, Critical, Kind, UNWINDS, WaitCell, WaitReason, current_core, for_each_core};
use crate::loom::static_atomic::{AtomicU64, Ordering};
use crate::sys::{barrier, clock, process, set_id};
use crate::wait;
use std::cell::Cell;
use std::sync::Once;
use std::time::Duration;

/// Cancels one of the coroutines that are left. In a program that cannot unwind they can only end by themselves; an
/// error in the middle of their I/O would end the process.
fn cancel(core: &CoreRef) {
    // Only its parent cancels a scope's child: the parent may mask its own cancellation, or be in a destructor.
    if UNWINDS && !core.has_parent() {
        core.cancel();
    }
}

/// How often the shutdown looks and cancels again. It also reaches coroutines that were spawned since, or that have
/// swallowed their cancellation. It polls, since an event for "the last coroutine has ended" would lie on the hot path
/// of every coroutine's end, and a shutdown is rare.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// How long all coroutines that are left must have been seen in waits that no cancellation ends, before a shutdown
/// stops waiting for them. One of them may be about to be woken by what an ended coroutine has left behind, or by an OS
/// thread.
const STAYING_FOR_NS: u64 = 100_000_000;

thread_local! {
    /// The restartable sequences that the kernel knows of the worker's thread on which the caller forks; 0: none.
    static RSEQ_AREA: Cell<usize> = const { Cell::new(0) };
}

/// Makes a forked child an ordinary process with one thread: its spawns fail. The coroutine that forked continues as if
/// it were the thread, in a critical section that does not end, so that every hook passes straight through.
///
/// In the child the C library takes the coroutine's block for the thread's, and the worker's block for that of a thread
/// that is gone: it gives the worker's stack away, in which the kernel would write at the next restartable sequence.
/// So the kernel is told to forget that area. (`_Fork`, and forks by system call, give no stacks away.)
pub(super) fn prepare_for_forks() {
    extern "C" fn in_the_parent() {
        let is_isolated = current_core().is_some_and(|core| core.kind.get() == Kind::Isolated);
        let base = is_isolated.then(set_id::own_base).flatten();
        let area = |base| silken_context::identity::known_facts()?.rseq_area(base);
        RSEQ_AREA.set(base.and_then(area).unwrap_or(0));
    }
    extern "C" fn in_the_child() {
        process::set_forked();
        match RSEQ_AREA.take() {
            0 => {}
            area => process::forget_rseq(area),
        }
        if current_core().is_some() {
            Critical::enter_to_leave();
        }
    }
    process::remember();
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: S7: the handlers only set flags and a counter, and ask the kernel. The one error is ENOMEM; then a
        // forked child has live hooks.
        let _ = unsafe { libc::pthread_atfork(Some(in_the_parent), None, Some(in_the_child)) };
    });
}

/// Sleeps until a point in time and not for a duration. A thread that is interrupted by signals again and again would
/// otherwise sleep for ever.
fn pause() {
    let end_ns = wait::deadline_after(LOOK_EVERY);
    let _ = wait::wait(&WaitCell::new(), WaitReason::Sleep, Some(end_ns), false);
}

impl Scheduler {
    /// The number of coroutines that have been spawned and have not ended. Zero is exact, for a moment during the call:
    /// see the head of the file.
    pub(crate) fn alive(&self) -> u64 {
        let finished = self.ended();
        self.spawned().saturating_sub(finished)
    }

    /// The number of coroutines that have been spawned.
    pub(super) fn spawned(&self) -> u64 {
        // Acquire: pairs with the Release in `SharedProcessor::count`.
        let inside = self.size.made().map(|shared| shared.spawned.load(Ordering::Acquire));
        // SeqCst: pairs with `count_spawn_from_outside` and `uncount_spawn_from_outside`.
        inside.sum::<u64>() + self.spawned_outside.load(Ordering::SeqCst)
    }

    /// The number of coroutines that have ended.
    pub(super) fn ended(&self) -> u64 {
        // Acquire: pairs with the Release in `SharedProcessor::count`.
        let inside = self.size.made().map(|shared| shared.finished.load(Ordering::Acquire));
        // Acquire: pairs with the Release in `count_finished_outside`.
        inside.sum::<u64>() + self.finished_outside.load(Ordering::Acquire)
    }

    /// A coroutine has ended on a thread that had lost its worker.
    pub(super) fn count_finished_outside(&self) {
        // Release: pairs with the Acquire in `alive`: a reader that sees the end sees the spawn.
        self.finished_outside.fetch_add(1, Ordering::Release);
        if self.is_over() {
            // No worker has seen this end.
            self.wake_all();
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        // SeqCst: pairs with the store in `stop`; see the race in the head of the file.
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether the workers are to end: the scheduler was stopped, and none of its coroutines is alive.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopping() && self.alive() == 0
    }

    pub(super) fn refuses_spawns(&self) -> bool {
        self.is_stopping() || process::is_forked()
    }

    /// Counts a coroutine that one of this scheduler's coroutines is about to make. If spawns are refused, takes the
    /// count back and returns `false`.
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

    /// Counts a coroutine that an OS thread is about to make. If spawns are refused, takes the count back and returns
    /// `false`.
    pub(super) fn count_spawn_from_outside(&self) -> bool {
        // In the child of a fork, the locks that are needed to take the count back may be held for ever.
        if process::is_forked() {
            return false;
        }
        // SeqCst: pairs with the loads in `alive` and `is_stopping`.
        self.spawned_outside.fetch_add(1, Ordering::SeqCst);
        if !self.is_stopping() {
            return true;
        }
        self.uncount_spawn_from_outside();
        false
    }

    /// Takes back the count of a coroutine that was not made.
    #[cold]
    pub(super) fn uncount_spawn_from_outside(&self) {
        // SeqCst: pairs with the loads in `alive` and `is_stopping`: a worker that saw the count is woken to see that
        // it has gone.
        self.spawned_outside.fetch_sub(1, Ordering::SeqCst);
        if self.is_over() {
            self.wake_all();
        }
    }

    /// A worker ends, since the scheduler is over. It wakes the others, which must end too.
    pub(super) fn leave(&self, searching: bool) {
        if searching {
            // No worker is busy any more, so none must be watched.
            let _ = self.idle.stop_searching();
        }
        self.wake_all();
    }

    /// A worker's thread has ended, or could not be made. After the last one no thread polls the drivers.
    pub(super) fn count_end_of_worker(&self) {
        // Release: pairs with the Acquire of the last one, which sees what the others did with the drivers.
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.size.retire();
        }
    }

    /// One more worker is about to get a thread. `false`: all have ended already.
    pub(super) fn count_start_of_worker(&self) -> bool {
        // Relaxed, both: only the count matters; a thread that is made sees all that its maker saw.
        let add_one = |running| (running > 0).then_some(running + 1);
        self.running
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add_one)
            .is_ok()
    }

    fn wake_all(&self) {
        // A coroutine of another runtime may end this one.
        let _critical = Critical::enter();
        barrier::heavy();
        drop(self.idle.wake_all());
        for shared in self.size.made() {
            shared.driver.wake();
        }
        self.spares.wake_all();
    }

    /// Calls `look` with every live coroutine of this scheduler.
    pub(crate) fn for_each(&self, mut look: impl FnMut(CoreRef)) {
        for_each_core(|core| {
            if core.belongs_to(self) && !core.lifecycle.is_done() {
                look(core);
            }
        });
    }

    /// Cancels every coroutine, waits until they have ended or the deadline has come, and stops the scheduler. Returns
    /// the coroutines that have not ended. Not to be called on one of this scheduler's coroutines.
    pub(crate) fn end(&self, deadline_ns: u64) -> Vec<CoreRef> {
        // Relaxed: a cancelled coroutine sees it.
        self.ending.store(true, Ordering::Relaxed);
        self.cancel_until_none(deadline_ns);
        self.stop();
        // A coroutine may have been spawned between the last look and the stop. A spawner that counts from here on
        // takes its count back.
        self.cancel_until_none(deadline_ns);
        let left = self.left();
        self.join_workers();
        left
    }

    /// Cancels until no coroutine is alive but those that stay, or the deadline has come.
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

    /// All coroutines that are alive after the scheduler has been stopped. Those that `cancel` reaches have been
    /// cancelled.
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
            // A coroutine was counted that is not in the list: it is being made, or has ended meanwhile. Both take only
            // a moment.
            left.clear();
            pause();
        }
    }

    /// Refuses spawns from now on, and ends the workers as soon as no coroutine is alive.
    pub(super) fn stop(&self) {
        // SeqCst: pairs with the load in `is_stopping`.
        self.stopping.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Keeps a thread, to be joined at the end.
    pub(super) fn keep_thread(&self, thread: std::thread::JoinHandle<()>) {
        let _critical = Critical::enter();
        self.threads.lock().push(thread);
    }

    /// Waits for the workers' threads if they end, that is, if no coroutine is alive. Otherwise detaches them.
    pub(super) fn join_workers(&self) {
        let threads = {
            let _critical = Critical::enter();
            std::mem::take(&mut *self.threads.lock())
        };
        if !self.is_over() {
            return;
        }
        for thread in threads {
            // A worker's thread does not panic; if it did, the process would have aborted.
            let _ = thread.join();
        }
    }
}
