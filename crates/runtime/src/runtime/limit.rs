//! What happens to a test that takes longer than its limit? Its thread reports what the test waits for, cancels it, and
//! fails.
//!
//! # Vocabulary
//! The *limit* is the `timeout` of `#[silken::test]`. A test whose body has not ended by then is *overdue*. A *look* is
//! a walk over the live coroutines of the test's runtime, which notes what each waits for.
//!
//! # Protocol
//! The body runs on a coroutine, and the thread of the test waits for it, with a deadline. That thread runs nothing of
//! the test's, so no wait and no computation of the body keeps it from waking up. It looks several times before the
//! deadline. At the deadline it looks once more and writes down what it sees. Only then it cancels all coroutines of
//! the runtime, since a cancelled one waits for something else. It waits for the grace of the runtime, as every end of
//! a runtime does, and adds which coroutines are left. Then the test fails by a panic on its own thread, which the test
//! harness expects there; the other tests go on.
//!
//! A coroutine that is left behind may wait for a lock of std for ever, or compute. It goes on, and its workers with it
//! (`sched/shutdown.rs`). The body owns all that it uses, for a test takes no arguments, so it may outlive the test.
//!
//! # For how long
//! A park notes no time: to read a clock would make each wait longer, in all programs. Instead two looks in a row that
//! find a coroutine in the same kind of wait count as one wait. That may be wrong for a coroutine that was woken in
//! between and waits again, so the report says "seen so for".
//!
//! # A test that has to panic
//! Under `#[should_panic]` a panic would be a success. So such a test prints the report and returns, and the harness
//! finds that it did not panic.
//!
//! # Rejected
//! *A timeout inside the body* (`silken::timeout`): it does not end a wait for a lock of std, nor a computation, and it
//! destroys what the report needs to show. *Ending the process*: the results of the other tests would be lost.

use super::{Runtime, Shutdown, describe};
use crate::api::handle::Coroutine;
use crate::api::spawn::{expect_spawned, spawn_on};
use crate::coroutine::WaitReason;
use crate::sched::Scheduler;
use crate::sys::clock;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

/// How often the coroutines are looked at within the limit: the time for which each was seen in its wait is exact to
/// that part of the limit.
const LOOKS: u64 = 16;

/// The most coroutines that have a line of their own. The others are counted by spawn site and wait reason.
const LINES_MAX: usize = 64;

/// What `#[silken::test]` knows of a test's limit.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct TestLimit {
    /// The test's path.
    pub name: &'static str,
    /// How long the body may take.
    pub duration: Duration,
    /// The test has `#[should_panic]`.
    pub is_to_panic: bool,
}

/// Since when a coroutine has been seen in its present wait.
struct LastLook {
    reason: WaitReason,
    since_ns: u64,
}

/// What the looks have found, by the coroutines' numbers.
#[derive(Default)]
struct Looks(HashMap<u64, LastLook>);

/// A line of the report.
struct LiveLine {
    coroutine: Coroutine,
    reason: WaitReason,
    seen_for: Duration,
}

impl Runtime {
    /// Does what [`run`](Self::run) does, within the limit of a test. The error is the report of an overdue test, whose
    /// coroutines may live on.
    #[track_caller]
    pub(super) fn run_within<T, F>(self, limit: &TestLimit, main: F) -> Result<std::thread::Result<T>, String>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let begun_ns = clock::now_ns();
        let handle = expect_spawned(spawn_on(self.scheduler, self.request_of_main(), main));
        let limit_ns = u64::try_from(limit.duration.as_nanos()).unwrap_or(u64::MAX);
        let mut looks = Looks::default();
        for number in 1..=LOOKS {
            let passed_ns = if number == LOOKS {
                limit_ns
            } else {
                limit_ns / LOOKS * number
            };
            if handle.wait_with(Some(begun_ns.saturating_add(passed_ns)), false) {
                let outcome = handle.wait_uncancelled();
                return Ok(self.end_with(outcome));
            }
            looks.look(self.scheduler);
        }
        let found = looks.found(self.scheduler);
        let grace = self.grace();
        let shutdown = self.shutdown(grace);
        Err(report(limit, &found, &shutdown, grace))
    }
}

impl Looks {
    fn look(&mut self, scheduler: &Scheduler) {
        let now_ns = clock::now_ns();
        let before = std::mem::take(&mut self.0);
        scheduler.for_each(|core| {
            let reason = core.reason();
            let since_ns = match before.get(&core.id()) {
                Some(seen) if seen.reason == reason => seen.since_ns,
                _ => now_ns,
            };
            self.0.insert(core.id(), LastLook { reason, since_ns });
        });
    }

    /// The live coroutines as the last look has seen them, in the order of their spawns.
    fn found(&self, scheduler: &Scheduler) -> Vec<LiveLine> {
        let now_ns = clock::now_ns();
        let mut found = Vec::new();
        scheduler.for_each(|core| {
            let Some(seen) = self.0.get(&core.id()) else { return };
            found.push(LiveLine {
                coroutine: Coroutine::new(core),
                reason: seen.reason,
                seen_for: Duration::from_nanos(now_ns - seen.since_ns),
            });
        });
        found.sort_by_key(|line| line.coroutine.id());
        found
    }
}

fn report(limit: &TestLimit, found: &[LiveLine], shutdown: &Shutdown, grace: Duration) -> String {
    let (name, duration) = (limit.name, limit.duration);
    let mut text = format!("the test {name} has taken longer than its limit of {duration:?}");
    let _ = match found.len() {
        0 => write!(text, "; its coroutines have ended meanwhile"),
        1 => write!(text, ". One coroutine of its runtime had not ended:"),
        count => write!(text, ". {count} coroutines of its runtime had not ended:"),
    };
    for line in found.iter().take(LINES_MAX) {
        let (who, reason) = (describe(&line.coroutine), explain(line.reason));
        let _ = write!(text, "\n  coroutine {who}: {reason}");
        if line.seen_for >= limit.duration / LOOKS as u32 / 2 {
            let _ = write!(text, ", seen so for {:.1?}", line.seen_for);
        }
    }
    let further = found.get(LINES_MAX..).unwrap_or_default();
    add_counts(&mut text, further);
    add_left(&mut text, found, shutdown, grace);
    text
}

/// What the coroutine waits for, and whether a deadline could have ended that.
fn explain(reason: WaitReason) -> String {
    match reason {
        WaitReason::Futex => format!("{reason}; a deadline cannot end that"),
        reason => reason.to_string(),
    }
}

/// Adds coroutines that have no line of their own.
fn add_counts(text: &mut String, further: &[LiveLine]) {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in further {
        let site = line.coroutine.location().map_or_else(String::new, ToString::to_string);
        *counts.entry((site, explain(line.reason))).or_default() += 1;
    }
    for ((site, reason), count) in counts {
        let _ = write!(text, "\n  and {count} more, spawned at {site}: {reason}");
    }
}

/// Adds what has become of the coroutines since.
fn add_left(text: &mut String, found: &[LiveLine], shutdown: &Shutdown, grace: Duration) {
    if shutdown.left.is_empty() {
        if !found.is_empty() {
            text.push_str("\nAll were cancelled now, and have ended.");
        }
    } else {
        let count = shutdown.left.len();
        let _ = write!(
            text,
            "\nAll were cancelled now. These did not end, and go on until the process ends (the grace is {grace:?}):"
        );
        for (coroutine, reason) in shutdown.left.iter().zip(&shutdown.reasons).take(LINES_MAX) {
            let why = match reason {
                WaitReason::None => "; nothing ends code that does not wait",
                _ => "",
            };
            let _ = write!(text, "\n  coroutine {}: {}{why}", describe(coroutine), explain(*reason));
        }
        if count > LINES_MAX {
            let _ = write!(text, "\n  and {} more", count - LINES_MAX);
        }
    }
    for site in &shutdown.work {
        let _ = write!(text, "\nWork that was begun at {site} by `blocking` goes on.");
    }
}
