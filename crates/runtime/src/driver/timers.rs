//! How does a wait end at its deadline? Here are the deadlines; the wait itself is in `wait/mod.rs`.
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

use super::Driver;
use crate::collections::wheel::{Wheel, WheelEntry};
use crate::coroutine::{Outcome, Ready, Unparker, WaitCell};
use crate::loom::static_atomic::{AtomicU64, Ordering};
use crate::sys::Lock;
use std::ptr::NonNull;

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
pub(crate) struct TimerNode {
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

    /// Whether any deadline is pending; a hint that is exact for the processor's worker, unless a coroutine without a
    /// worker (`sched/late.rs`) arms one.
    #[inline(always)]
    pub(super) fn pending(&self) -> bool {
        // Relaxed: a hint.
        self.next_wake_ns.load(Ordering::Relaxed) != NONE
    }

    pub(super) fn next_wake_ns(&self) -> Option<u64> {
        // Relaxed: a sleeping worker reads what its own processor's coroutines have written, on this thread or on one
        // that has lost the worker since; the hand-off orders that. Changes by other threads are removals; or a late
        // coroutine has armed a deadline, and then wakes the driver.
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

impl TimerNode {
    /// A node for a wait on this cell. The cell outlives the node.
    pub(crate) fn new(cell: &WaitCell) -> Self {
        Self {
            entry: WheelEntry::new(),
            cell: NonNull::from(cell),
        }
    }
}

impl Driver {
    /// Arms a deadline in this driver's wheel. The caller is in a critical section, on the processor's worker; or it
    /// has lost that worker, and wakes the driver afterwards.
    ///
    /// # Safety
    /// The node stays where it is until the timer has settled its cell, or [`disarm`](Self::disarm) has returned (S8).
    #[inline]
    pub(crate) unsafe fn arm(&self, node: &TimerNode, deadline_ns: u64) {
        // SAFETY: S8: the caller promises: the node stays where it is until its cell is settled or it is disarmed.
        unsafe { self.timers.arm(node, deadline_ns) };
    }

    /// Takes a deadline back that has not settled its cell. The caller is in a critical section.
    #[inline]
    pub(crate) fn disarm(&self, node: &TimerNode) {
        self.timers.disarm(node);
    }
}
