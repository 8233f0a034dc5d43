//! What has a runtime done so far, and what has blocked its workers?

use super::Runtime;
use crate::sched::{self, BlockedCall};
use crate::sys;
use std::fmt;

/// What a runtime has done so far; made by [`Runtime::report`]. It prints as a few lines of text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeReport {
    /// The number of workers now.
    pub workers: usize,
    /// The most threads that the runtime has had at one time beyond one per worker: see
    /// [`spare_threads`](crate::RuntimeBuilder::spare_threads).
    pub spare_threads_max: usize,
    /// How many coroutines were spawned.
    pub spawned: u64,
    /// How many of them have ended. A coroutine's last steps come after its joiner was woken.
    pub ended: u64,
    /// How many times a worker has picked a coroutine to run.
    pub switches: u64,
    /// How many times a coroutine has continued on another worker than the one on which it had stopped.
    pub migrations: u64,
    /// How many times a coroutine that computed was interrupted.
    pub preemptions: u64,
    /// How many times a worker was given to another thread, since a call blocked its own.
    pub hand_offs: u64,
    /// The process's memory in bytes, as far as it is in use (its resident set).
    pub resident_bytes: usize,
    /// The most that it was.
    pub resident_bytes_max: usize,
    /// The calls that have blocked workers of the process, the most frequent kind first. Empty unless they are noted:
    /// see [`RuntimeBuilder::report`](crate::RuntimeBuilder::report).
    pub blocked: Vec<BlockedCall>,
}

impl Runtime {
    /// Says what the runtime has done so far. The counts are taken while it goes on, so they may be some steps apart. A
    /// file of `/proc` is opened for a moment. Not for the child of a fork, whose runtime is the parent's.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    /// runtime.block_on(|| silken::spawn(silken::yield_now).join().unwrap());
    /// let report = runtime.report();
    /// assert_eq!(report.spawned, 2);
    /// assert!(report.switches >= 2 && report.to_string().contains("2 coroutines"));
    /// ```
    pub fn report(&self) -> RuntimeReport {
        let counts = self.scheduler.counts();
        let (resident_bytes, resident_bytes_max) = sys::process::resident_bytes();
        RuntimeReport {
            workers: self.workers(),
            spare_threads_max: counts.spare_threads_max,
            spawned: counts.spawned,
            ended: counts.ended,
            switches: counts.switches,
            migrations: self.migrations(),
            preemptions: counts.preemptions,
            hand_offs: counts.hand_offs,
            resident_bytes,
            // The kernel counts the two by different means.
            resident_bytes_max: resident_bytes_max.max(resident_bytes),
            blocked: sched::blocked_calls(),
        }
    }
}

impl fmt::Display for RuntimeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: usize = 1 << 20;
        writeln!(
            f,
            "{} workers, at most {} threads beside them; {} coroutines, {} have ended",
            self.workers, self.spare_threads_max, self.spawned, self.ended
        )?;
        writeln!(
            f,
            "{} switches, {} migrations, {} preemptions, {} hand-offs",
            self.switches, self.migrations, self.preemptions, self.hand_offs
        )?;
        let (now, most) = (self.resident_bytes / MIB, self.resident_bytes_max / MIB);
        writeln!(f, "{now} MiB of memory, at most {most} MiB")?;
        if !self.blocked.is_empty() {
            writeln!(f, "calls that blocked a worker:")?;
        }
        self.blocked.iter().try_for_each(|call| writeln!(f, "{call}"))
    }
}
