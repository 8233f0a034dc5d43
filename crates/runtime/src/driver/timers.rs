//! How a wait ends at its deadline: the deadlines, and the wait that every blocker ends in.
//!
//! A blocked coroutine's deadline is a node on the coroutine's own stack, linked into the wheel of the processor on
//! which it blocked. Expired nodes settle their wait's cell as timed out and come back as ready coroutines, with the
//! events of the same poll. There is no timer thread, and no user code runs here.
//!
//! # The race
//! A timer fires while something else settles the wait, or while the coroutine, woken for another reason, takes its
//! node away. Both sides hold the wheel's lock when they touch the node: `expire` unlinks the node, copies the unparker
//! and settles the cell under the lock. The coroutine disarms under the lock as well, unless the cell says `TimedOut`:
//! then the node is already unlinked, and settling was the last touch.
//!
//! # Interruption
//! Two more things end a wait: the caller's cancellation, and a deadline that the caller inherited. Both belong to the
//! caller's cancel scopes (`coroutine/cancel.rs`). Neither settles the wait: it wakes the waiter, and the waiter finds
//! out whether it may be interrupted at this point. Only then does the waiter settle its own cell as `Cancelled`. So a
//! wait that must not be interrupted, since C is below it on the stack, remains the wait that its wakers know, and
//! continues.
//!
//! A wait has one timer at a time, for the earlier deadline. If that is its own deadline, the timer settles the wait's
//! cell. If the deadline is inherited, the timer settles a cell beside it, the *alarm*. After an alarm that does not
//! interrupt, the wait arms its own deadline and continues.

use super::Driver;
use crate::collections::wheel::{Wheel, WheelEntry};
use crate::coroutine::{
    Core, Critical, Interrupted, Limits, Outcome, Ready, Unparker, WaitCell, WaitReason, current_core, park,
    park_thread_until, park_to_stay,
};
use crate::loom::static_atomic::{AtomicU64, Ordering};
use crate::sys::{Lock, clock};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

const NONE: u64 = u64::MAX;

/// The deadlines of one processor's coroutines.
pub(super) struct Timers {
    wheel: Lock<Wheel>,
    /// The time in ns from which `expire` is worth calling. A copy of what the wheel says, so that a check whether
    /// anything is due does not need the lock.
    next_wake_ns: AtomicU64,
}

/// A deadline on the waiter's stack. The entry comes first, so that its address is the node's.
#[repr(C)]
struct TimerNode {
    entry: WheelEntry,
    cell: NonNull<WaitCell>,
}

impl Timers {
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            wheel: Lock::new(Wheel::new(now_ns)),
            next_wake_ns: AtomicU64::new(NONE),
        }
    }

    /// Retires the timers: the runtime has ended, and with it all coroutines that had nodes here.
    pub(super) fn retire(&self) {
        let wheel = self.wheel.lock();
        debug_assert_eq!(wheel.len(), 0, "a deadline outlives its coroutine");
        self.publish(&wheel);
    }

    /// Whether any deadline is pending; a hint that is exact for the worker that holds the processor.
    #[inline(always)]
    pub(super) fn pending(&self) -> bool {
        // Relaxed: a hint.
        self.next_wake_ns.load(Ordering::Relaxed) != NONE
    }

    pub(super) fn next_wake_ns(&self) -> Option<u64> {
        // Relaxed: a sleeping worker reads what its own processor's coroutines have written on this very thread;
        // changes by other threads are removals.
        Some(self.next_wake_ns.load(Ordering::Relaxed)).filter(|next| *next != NONE)
    }

    fn publish(&self, wheel: &Wheel) {
        // Relaxed: as in `next_wake_ns`.
        self.next_wake_ns
            .store(wheel.next_wake_ns().unwrap_or(NONE), Ordering::Relaxed);
    }

    /// # Safety
    /// The node stays where it is until it is disarmed or has timed out (S8).
    unsafe fn arm(&self, node: &TimerNode, deadline_ns: u64) {
        let mut wheel = self.wheel.lock();
        // SAFETY: S8: the caller promises: the node stays where it is until it is disarmed or has timed out.
        unsafe { wheel.insert(NonNull::from(&node.entry), deadline_ns) };
        // Relaxed: a copy for readers of the hint.
        if deadline_ns < self.next_wake_ns.load(Ordering::Relaxed) {
            self.publish(&wheel);
        }
    }

    fn disarm(&self, node: &TimerNode) {
        let mut wheel = self.wheel.lock();
        // SAFETY: S8: the node was armed in this wheel and is where it was.
        unsafe { wheel.remove(NonNull::from(&node.entry)) };
        // The hint may now be too early; the poll that it causes finds nothing and corrects it.
        if wheel.len() == 0 {
            self.publish(&wheel);
        }
    }

    /// Settles the waits whose deadline has come.
    pub(super) fn expire(&self, now_ns: u64, out: &mut Vec<Ready>) {
        // Relaxed: a hint.
        if self.next_wake_ns.load(Ordering::Relaxed) > now_ns {
            return;
        }
        let mut wheel = self.wheel.lock();
        while let Some(entry) = wheel.expire(now_ns) {
            let node = entry.cast::<TimerNode>();
            // SAFETY: S8: unlinked under the lock just now; the waiter's frame stays until the cell is settled or the
            // lock is free.
            let cell = unsafe { node.as_ref() }.cell;
            // SAFETY: S8: unlinked under the lock just now.
            let cell = unsafe { cell.as_ref() };
            let unparker = cell.unparker();
            if cell.settle(Outcome::TimedOut) {
                match unparker {
                    // SAFETY: S2: cores are type-stable.
                    Unparker::Coroutine(core) => out.extend(unsafe { core.as_ref() }.make_ready()),
                    Unparker::Thread(_) => unparker.unpark(),
                }
            }
        }
        self.publish(&wheel);
    }
}

/// Waits until the cell is settled: by a waker, by the deadline (ns of the monotonic clock), or, if `cancellable`, by
/// the caller's own interruption. A caller that gets `Cancelled` unwinds, and can unwind. Every blocker's sleep ends
/// here. The caller has made the cell reachable for wakers, and unlists it unless a waker settled it.
pub(crate) fn wait(cell: &WaitCell, reason: WaitReason, deadline_ns: Option<u64>, cancellable: bool) -> Outcome {
    wait_by(cell, reason, deadline_ns, cancellable, Interrupted::Unwinds)
}

/// Like [`wait`], for callers that answer C: a caller that gets `Cancelled` fails with an error number.
pub(crate) fn wait_or_fail(cell: &WaitCell, reason: WaitReason, deadline_ns: Option<u64>) -> Outcome {
    wait_by(cell, reason, deadline_ns, true, Interrupted::Fails)
}

/// Like [`wait`], for a caller that was interrupted and waits to the end of what it waits for. A shutdown does not wait
/// for such a caller.
pub(crate) fn wait_to_stay(cell: &WaitCell, reason: WaitReason, deadline_ns: Option<u64>) -> Outcome {
    match deadline_ns {
        None => wait_by(cell, reason, None, false, Interrupted::Stays),
        // The wait ends by itself, and a shutdown waits for that.
        Some(_) => wait_by(cell, reason, deadline_ns, false, Interrupted::Fails),
    }
}

#[inline(always)]
fn wait_by(
    cell: &WaitCell,
    reason: WaitReason,
    deadline_ns: Option<u64>,
    cancellable: bool,
    interrupted: Interrupted,
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
        let is_late = alarm.is_some_and(|alarm| alarm.outcome().is_some());
        if is_late && !limits.is_out_of_time() {
            return None;
        }
        let gives_up = is_late || core.lifecycle.is_cancelled() && limits.is_given_up(core);
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
    let node = TimerNode {
        entry: WheelEntry::new(),
        cell: NonNull::from(cell),
    };
    let driver = {
        let _critical = Critical::enter();
        // SAFETY: S2: a running coroutine has a worker.
        let link = unsafe { &*core.link.get() };
        let driver = Driver::of(link).expect("a worker that runs coroutines holds a processor");
        // SAFETY: S8: this frame stays until the cell is settled by the timer or, below, the node is out of the wheel.
        unsafe { driver.timers.arm(&node, deadline_ns) };
        driver
    };
    let result = wait();
    if cell.outcome() != Some(Outcome::TimedOut) {
        let _critical = Critical::enter();
        driver.timers.disarm(&node);
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
            Some(_) if inherited_ns.is_some() && !limits.is_out_of_time() => {}
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
    let limits = Limits::of_wait(Some(core), deadline_ns, cancellable, Interrupted::Unwinds);
    wait_within(core, &cell, reason, limits, || {
        if ready() {
            // A deadline that comes after this finds the cell settled.
            let _ = cell.settle(Outcome::Woken);
        }
    })
}

/// Sleeps until the monotonic clock shows `deadline_ns`, or the caller is interrupted. An interrupted caller reports
/// the interruption to C.
pub(crate) fn sleep_until(deadline_ns: u64, reason: WaitReason) -> Outcome {
    wait_or_fail(&WaitCell::new(), reason, Some(deadline_ns))
}

/// Like [`sleep_until`], but is not interrupted, and a shutdown does not wait for it: see [`wait_to_stay`].
#[cfg(feature = "interpose")]
pub(crate) fn sleep_to_stay(deadline_ns: u64, reason: WaitReason) {
    wait_by(&WaitCell::new(), reason, Some(deadline_ns), false, Interrupted::Stays);
}

/// Like [`sleep_until`], but always sleeps to the end.
#[cfg(feature = "interpose")]
pub(crate) fn sleep_out(deadline_ns: u64, reason: WaitReason) {
    let _ = wait_by(&WaitCell::new(), reason, Some(deadline_ns), false, Interrupted::Fails);
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
