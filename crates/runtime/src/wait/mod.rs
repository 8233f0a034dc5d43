//! How does a caller wait? Every blocking call comes to [`wait`], on a wait cell, with a reason and a deadline. Two
//! have no cell: the plain parking that programs ask for (`api/park.rs`), and scopes on OS threads (`api/scope.rs`).
//! Calls that a pool (`offload`) or the kernel (`ring`) makes in a coroutine's stead park on a cell of their own, and
//! nothing interrupts them.
//!
//! # The files
//! | file | what |
//! |---|---|
//! | `mod` | the one function that blocks, with deadlines and interruption |
//! | `list` | a list of waiters beside the state they wait on, and the batches in which they are woken |
//! | `monitor` | a state behind a lock, for whose changes callers wait |
//! | `descriptor` | waits for events of descriptors |
//! | `ring` | waits for asynchronous calls of the kernel's |
//!
//! The cell itself, and parking, are what a coroutine is made of: `coroutine/park.rs`. The deadlines are the driver's
//! (`driver/timers.rs`).
//!
//! # Interruption
//! Two things may interrupt a wait: the caller's cancellation, and a deadline that the caller inherited. Both belong to
//! the caller's cancel scopes (`coroutine/cancel.rs`). Neither settles the wait: it wakes the waiter, and the waiter
//! finds out whether it may be interrupted at this point. Only then does the waiter settle its own cell as `Cancelled`.
//! So if a wait must not be interrupted, since C is below it on the stack, its cell stays unsettled, its wakers can
//! still complete it, and it continues.
//!
//! A wait has one timer at a time, for the earlier deadline. If that is its own deadline, the timer settles the wait's
//! cell. If the deadline is inherited, the timer settles a cell beside it, the *alarm*. After an alarm that does not
//! interrupt, the wait arms its own deadline and continues. On an OS thread there is no timer: the deadline is that of
//! the futex on which the thread sleeps. Example: a waker settles the cell while the alarm goes off. The waiter looks
//! at its cell first, finds it woken, and disarms the alarm unread.

#[forbid(unsafe_code)]
pub(crate) mod descriptor;
pub(crate) mod list;
pub(crate) mod monitor;
pub(crate) mod ring;

use crate::coroutine::{
    Core, Critical, Joiner, Limits, OnInterrupt, Outcome, WaitCell, WaitReason, current_core, current_link, park,
    park_thread_until, park_to_stay,
};
use crate::driver::{Driver, TimerNode};
use crate::sys::clock;
use std::time::{Duration, Instant};

/// Waits until the cell is settled: by a waker, by the deadline (ns of the monotonic clock), or, if `cancellable`, by
/// the caller's own interruption. A caller that gets `Cancelled` unwinds, and can unwind. Every blocker's sleep ends
/// here. The caller has made the cell reachable for wakers, and unlists it unless a waker settled it.
pub(crate) fn wait(cell: &WaitCell, reason: WaitReason, deadline_ns: Option<u64>, cancellable: bool) -> Outcome {
    wait_by(cell, reason, deadline_ns, cancellable, OnInterrupt::Unwinds)
}

/// Like [`wait`], for callers that answer C: a caller that gets `Cancelled` fails with an error number.
pub(crate) fn wait_or_fail(cell: &WaitCell, reason: WaitReason, deadline_ns: Option<u64>) -> Outcome {
    wait_by(cell, reason, deadline_ns, true, OnInterrupt::Fails)
}

/// Like [`wait`], for a caller that was interrupted and waits to the end of what it waits for. A shutdown waits for
/// such a caller only if the wait has a deadline.
pub(crate) fn wait_to_stay(cell: &WaitCell, reason: WaitReason, deadline_ns: Option<u64>) -> Outcome {
    match deadline_ns {
        None => wait_by(cell, reason, None, false, OnInterrupt::Stays),
        // The wait ends by itself, and a shutdown waits for that.
        Some(_) => wait_by(cell, reason, deadline_ns, false, OnInterrupt::Fails),
    }
}

#[inline(always)]
fn wait_by(
    cell: &WaitCell,
    reason: WaitReason,
    deadline_ns: Option<u64>,
    cancellable: bool,
    interrupted: OnInterrupt,
) -> Outcome {
    let core = current_core();
    let limits = Limits::of_wait(core, deadline_ns, cancellable, interrupted);
    match core {
        None => wait_on_thread(cell, reason, limits),
        Some(core) => wait_within(core, cell, reason, limits, || ()),
    }
}

/// Does a coroutine's wait. `look` may settle the cell; it is called before each park.
#[inline]
fn wait_within(
    core: &'static Core,
    cell: &WaitCell,
    reason: WaitReason,
    mut limits: Limits,
    mut look: impl FnMut(),
) -> Outcome {
    if let Some(inherited_ns) = limits.inherited_ns() {
        let alarm = WaitCell::new();
        let ended = with_timer(core, &alarm, inherited_ns, || {
            park_until_settled(core, cell, reason, &mut limits, &mut look, Some(&alarm))
        });
        if let Some(outcome) = ended {
            return outcome;
        }
    }
    let own_ns = limits.own_ns();
    let mut wait = || park_until_settled(core, cell, reason, &mut limits, &mut look, None);
    let ended = match own_ns {
        None => wait(),
        Some(deadline_ns) => with_timer(core, cell, deadline_ns, wait),
    };
    ended.expect("without an alarm it ends when it is settled")
}

/// Parks until the cell is settled, and returns how. `None`: the alarm has gone off, and does not interrupt the wait.
#[inline(always)]
fn park_until_settled(
    core: &Core,
    cell: &WaitCell,
    reason: WaitReason,
    limits: &mut Limits,
    look: &mut impl FnMut(),
    alarm: Option<&WaitCell>,
) -> Option<Outcome> {
    loop {
        look();
        if let Some(outcome) = cell.outcome() {
            return Some(outcome);
        }
        let alarm_went_off = alarm.is_some_and(|alarm| alarm.outcome().is_some());
        if alarm_went_off && !limits.deadline_ends_wait() {
            return None;
        }
        let gives_up = alarm_went_off || core.lifecycle.is_cancelled() && limits.is_given_up(core);
        if gives_up && cell.settle(Outcome::Cancelled) {
            return Some(Outcome::Cancelled);
        }
        if !gives_up {
            if limits.stays() {
                park_to_stay(reason);
            } else {
                park(reason);
            }
        }
    }
}

/// Runs a wait with an armed timer that settles the cell at the deadline.
#[inline]
fn with_timer<R>(core: &'static Core, cell: &WaitCell, deadline_ns: u64, wait: impl FnOnce() -> R) -> R {
    let node = TimerNode::new(cell);
    let driver = {
        let _critical = Critical::enter();
        // SAFETY: S2: a running coroutine has had a worker.
        let link = unsafe { &*core.link.get() };
        let driver = Driver::of(link).expect("a worker has a driver");
        // SAFETY: S8: this frame stays until the cell is settled by the timer or, below, the node is out of the wheel.
        unsafe { driver.arm(&node, deadline_ns) };
        if current_link().is_none() {
            // Another thread has taken the worker over, and may sleep until a later deadline.
            driver.wake();
        }
        driver
    };
    let result = wait();
    if cell.outcome() != Some(Outcome::TimedOut) {
        let _critical = Critical::enter();
        driver.disarm(&node);
    }
    result
}

fn wait_on_thread(cell: &WaitCell, reason: WaitReason, mut limits: Limits) -> Outcome {
    loop {
        if let Some(outcome) = cell.outcome() {
            return outcome;
        }
        let inherited_ns = limits.inherited_ns();
        match inherited_ns.or(limits.own_ns()) {
            None => park(reason),
            Some(deadline_ns) if clock::now_ns() < deadline_ns => park_thread_until(deadline_ns),
            Some(_) if inherited_ns.is_some() && !limits.deadline_ends_wait() => {}
            Some(_) => {
                let outcome = if inherited_ns.is_some() {
                    Outcome::Cancelled
                } else {
                    Outcome::TimedOut
                };
                if cell.settle(outcome) {
                    return outcome;
                }
            }
        }
    }
}

/// Like [`wait`], for a condition that its waker announces by a plain unpark: waits until `ready` returns true, or the
/// wait ends in one of the other ways. For coroutines only.
pub(crate) fn wait_until(
    core: &'static Core,
    mut ready: impl FnMut() -> bool,
    reason: WaitReason,
    deadline_ns: Option<u64>,
    cancellable: bool,
) -> Outcome {
    let cell = WaitCell::new();
    let limits = Limits::of_wait(Some(core), deadline_ns, cancellable, OnInterrupt::Unwinds);
    wait_within(core, &cell, reason, limits, || {
        if ready() {
            // A deadline that comes after this finds the cell settled.
            let _ = cell.settle(Outcome::Woken);
        }
    })
}

/// Waits for a coroutine's end. Any outcome but `TimedOut` and `Cancelled` means that it has ended.
pub(crate) fn wait_for_end(core: &Core, deadline_ns: Option<u64>, cancellable: bool) -> Outcome {
    let joiner = Joiner::new();
    // SAFETY: S8: this frame stays until the cell is settled by the coroutine's end, or the node is delisted below.
    if !unsafe { core.enlist(&joiner) } {
        return Outcome::Woken;
    }
    let outcome = wait(&joiner.cell, WaitReason::Join, deadline_ns, cancellable);
    if matches!(outcome, Outcome::TimedOut | Outcome::Cancelled) {
        core.delist(&joiner);
    }
    outcome
}

/// Sleeps until the monotonic clock shows `deadline_ns`, or the caller is interrupted. An interrupted caller reports
/// the interruption to C.
pub(crate) fn sleep_until(deadline_ns: u64, reason: WaitReason) -> Outcome {
    wait_or_fail(&WaitCell::new(), reason, Some(deadline_ns))
}

/// Like [`sleep_until`], but is not interrupted, and a shutdown does not wait for it: see [`wait_to_stay`].
pub(crate) fn sleep_to_stay(deadline_ns: u64, reason: WaitReason) {
    wait_by(&WaitCell::new(), reason, Some(deadline_ns), false, OnInterrupt::Stays);
}

/// Like [`sleep_until`], but always sleeps to the end.
pub(crate) fn sleep_out(deadline_ns: u64, reason: WaitReason) {
    let _ = wait_by(&WaitCell::new(), reason, Some(deadline_ns), false, OnInterrupt::Fails);
}

/// The monotonic time in ns that is `timeout` from now; saturates.
pub(crate) fn deadline_after(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos())
        .unwrap_or(u64::MAX)
        .saturating_add(clock::now_ns())
}

/// The monotonic time in ns of `instant`, or the present for an instant that is past.
pub(crate) fn deadline_at(instant: Instant) -> u64 {
    // The instant's clock is read before the runtime's clock, so the difference is never too short.
    deadline_after(instant.saturating_duration_since(Instant::now()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn moments_agree_and_eternity_saturates() {
        let now_ns = clock::now_ns();
        assert_eq!(deadline_after(Duration::MAX), u64::MAX);
        assert!(deadline_at(Instant::now() + Duration::from_secs(1)).abs_diff(now_ns + 1_000_000_000) < 500_000_000);
        assert!(deadline_at(Instant::now() - Duration::from_millis(1)) >= now_ns);
    }
}
