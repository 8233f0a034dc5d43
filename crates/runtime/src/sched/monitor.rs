//! Who notices that a coroutine has run for too long, or that a call blocks a worker? One thread for the process, the
//! monitor.
//!
//! # Protocol
//! The monitor looks at each processor of each runtime by *turns*. A processor *stands still* when its worker does not
//! sleep and its count of picks has not changed since the turn before. A worker is *busy* when it neither sleeps nor
//! searches. All workers of a runtime count as busy when one is, and none sleeps but surplus ones. With several
//! runtimes, the shortest of their turns counts. The monitor acts by the time for which a processor has stood still:
//!
//! - After the time that `RuntimeBuilder::hand_off` sets (a millisecond): if the kernel has blocked the worker's
//!   thread, another thread gets the worker (`late.rs`).
//! - After a whole *slice*: if the thread is not blocked, the coroutine is asked to give way (`preempt.rs`). A request
//!   is repeated at the next turn if it is still open: the code was where it may not be preempted. If the coroutine
//!   gave way and no other was ready, it has another slice.
//!
//! Whether a thread is blocked is its state in `/proc/self/task/N/stat` (`blocked.rs`). Its CPU clock
//! alone does not tell: on a busy machine a thread that computes may get no time. The clock, which is cheaper, saves
//! the question for the hand-off when the thread has used three quarters of the time since the last look. It also
//! answers where `/proc` cannot be read: a thread that has used no time is blocked.
//!
//! | what the last turn saw | length of the next turn |
//! |---|---|
//! | a request that is open | a tenth of the slice, at most the time of `hand_off` |
//! | all workers of some runtime are busy, and a processor stands still | a fifth of the slice, at most the time of `hand_off` |
//! | all workers of some runtime are busy | a fifth of the slice, at most twice the time of `hand_off` |
//! | the same, and no processor has stood still for 32 turns | half of the slice, at most five times the time of `hand_off` |
//! | some worker is busy, and each runtime has an idle one | the slice, at most 10 ms: the idle worker looks after the other (`watch.rs`) |
//! | no worker is busy | 10 ms |
//! | the same, twice in a row | until a worker becomes busy |
//!
//! # The race: sleep and work
//! The monitor sleeps when all workers do, so that an idle process makes no wake-ups. It announces its sleep, and then
//! looks once more whether a worker is busy. A worker that becomes busy looks whether the monitor sleeps. The lock of
//! the scheduler's idle workers (`idle.rs`) orders the two. Example: worker W is woken while the monitor goes to sleep.
//! W registers as busy under the lock, and looks at the sleep word after that. The monitor writes the word before it
//! takes the lock for its second look. If W takes the lock first, the second look sees W busy. If the monitor takes it
//! first, W sees the word that was written before, and wakes the monitor. There is no third order.
//!
//! # The cost
//! A turn takes the lock of the idle workers once per runtime, and once more for each processor whose count has not
//! changed; it reads one word per processor, and for each that stands still a clock and perhaps the state of its thread
//! (`blocked.rs`). With the default times and all workers busy there are 500 turns a second, 200 after 32 turns in
//! which no processor stood still, and 1,000 while one does. 500 turns cost one to two percent of a CPU, most of it the
//! thread's own wake-up. So a process in which nothing has been blocked for long looks less often. A worker that picks
//! sees a blocked thread after one to two milliseconds, and nudges the monitor (`nudge.rs`). A watcher needs one to two
//! of its turns, which grow to 10 ms while the other worker runs on. Where none does, since the runtime has one worker
//! or all are stuck, the first blocked call is noticed after 5 to 10 ms, and those that follow after 2 to 4.
//!
//! # Rejected
//! *A thread per runtime*: programs that start many runtimes (tests) would have as many. *Turns of fixed length*: most
//! processes have an idle worker, which looks already. *Workers that look after each other only* (`watch.rs`): they do
//! not, when all of them compute.

#[cfg(not(loom))]
mod turns;

use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::const_unless_loom;
use std::time::Duration;

/// How long a coroutine may run while others wait, unless the program says otherwise: Go's value.
pub(crate) const SLICE_DEFAULT: Duration = Duration::from_millis(10);

/// The shortest slice. A shorter one would spend most of the time in signals.
pub(crate) const SLICE_MIN: Duration = Duration::from_micros(20);

/// How long a call may block a worker, unless the program says otherwise.
pub(crate) const HAND_OFF_AFTER_DEFAULT: Duration = Duration::from_millis(1);

/// The shortest such time. Nearly every call takes a part of it.
pub(crate) const HAND_OFF_AFTER_MIN: Duration = Duration::from_micros(50);

/// The most threads that a runtime has beyond one per worker, unless the program says otherwise.
pub(crate) const SPARE_THREADS_DEFAULT: usize = 256;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// Whether the monitor sleeps: see "The race".
#[derive(Debug)]
pub(super) struct SleepWord(AtomicU32);

impl SleepWord {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self(AtomicU32::new(AWAKE))
        }
    }

    /// The monitor is about to sleep, and looks at the workers once more afterwards.
    pub(super) fn announce(&self) {
        // Relaxed: the lock of the idle workers orders it, as the head of the file says.
        self.0.store(ASLEEP, Ordering::Relaxed);
    }

    /// The monitor does not sleep after all, or has slept.
    pub(super) fn end(&self) {
        // Relaxed: a worker that still sees the announcement makes one wake-up too many.
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// A worker has become busy. Returns whether the caller must wake the monitor.
    #[inline]
    pub(super) fn must_wake(&self) -> bool {
        // Relaxed, both: the lock of the idle workers has ordered the announcement before this; the swap decides among
        // several workers.
        self.0.load(Ordering::Relaxed) == ASLEEP && self.0.swap(AWAKE, Ordering::Relaxed) == ASLEEP
    }
}

#[cfg(not(loom))]
pub(super) use turns::{note_busy, nudge, watch};

/// Loom's models have no monitor; its sleep is a model of its own.
#[cfg(loom)]
pub(super) fn note_busy() {}

#[cfg(loom)]
pub(super) fn nudge() {}

#[cfg(loom)]
pub(super) fn watch(_: &'static super::Scheduler) -> std::io::Result<()> {
    Ok(())
}
