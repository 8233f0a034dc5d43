//! What does a cancellation, or a `timeout` that has passed, do to a hooked call that waits?
//!
//! # The rule
//! A call *fails*, with ECANCELED or ETIMEDOUT, where its caller can be expected to look at errors: on connections,
//! files and children. A call *stays*, that is, it waits to its end, where std or crates take an error for impossible
//! and panic:
//!
//! | call | what it does | reason |
//! |---|---|---|
//! | a write to descriptor 1 or 2 | stays | `println!` panics, and in a destructor that ends the process |
//! | a read or write of an eventfd | stays | it wakes an event loop |
//! | a read or write of a pipe without a name; a `poll` of such pipes and eventfds alone | stays | it wakes a loop too, or is a child's: `Command::output` and `spawn` panic |
//! | a read or write of one of a pair of sockets whose other end this process has | fails; stays when the runtime ends | it may be a connection, or a self-pipe |
//! | a read or write of one of a pair of message sockets | stays | over one std's `Command::spawn` hears of its child, and panics |
//! | a read or write of a FIFO (a pipe with a name) | fails | |
//! | `waitpid` (a wait on a pidfd) | fails if it lasts 100 ms longer, or 10 s for a child that has not executed a program yet | `Command::spawn` waits for a child that could not execute, which takes no time, and panics |
//! | `epoll_wait` | returns EINTR if it is the first, else stays | event loops take every other error for a bug |
//! | a futex | returns as if woken if it is the first, else stays | behind it is a lock, or a loop that looks again |
//! | any other, also a `select` or `poll` of no descriptors | fails | |
//!
//! *The first* is the first hooked call of any kind that was interrupted within one cancellation or one `timeout`.
//!
//! A program may choose otherwise for a descriptor ([`OnCancel`](crate::OnCancel)). The choice is looked up when a wait
//! has been interrupted, so a wait that is not interrupted pays nothing. A call that stays begins another wait, which
//! cannot be interrupted, and is marked (`coroutine/park.rs`): a shutdown does not wait for coroutines that will not
//! end.
//!
//! # Refusals in a row
//! A loop that takes no notice of errors (`for stream in listener.incoming().flatten()`) no longer waits, and never
//! ends. So a refused call first lets others run. After [`FREE_REFUSALS`] of them, within one cancellation or one
//! `timeout`, each further one first sleeps, twice as long as the one before, up to [`PAUSE_LONGEST_NS`]. That sleep
//! stays too. A sleep that is refused so often lasts as long, but no longer than the caller asked for. A loop that does
//! end does not come so far, for example one that has many connections to say goodbye to. Rejected: parking the
//! coroutine for good. It may hold what others need, and it comes to its end after all.

use crate::coroutine::{Outcome, WaitReason, count_refusal, current_core, is_deadline_due, refusals};
use crate::driver::fd_table::{self, FdEntry, FdKind, OnInterruption};
use crate::driver::readiness::{Direction, PollSlot};
use crate::sched::yield_now;
use crate::sys::raw::Errno;
use crate::sys::{clock, file};
use crate::wait::{self, descriptor};
use libc::c_int;

const FREE_REFUSALS: u32 = 100;
const PAUSE_FIRST_NS: u64 = 1_000_000;
const PAUSE_LONGEST_NS: u64 = 1_000_000_000;

/// The error for an interrupted caller. First lets others run, or pauses.
#[cold]
pub(crate) fn refused() -> Errno {
    match pause_ns() {
        None => yield_now(),
        Some(pause_ns) => wait::sleep_to_stay(clock::now_ns() + pause_ns, WaitReason::Sleep),
    }
    if is_deadline_due() {
        Errno(libc::ETIMEDOUT)
    } else {
        Errno(libc::ECANCELED)
    }
}

/// Counts a refusal. Returns how long it must pause, or `None` if it is free. The first pause is not zero and the
/// number of doublings is bounded, so the shift loses no bits.
fn pause_ns() -> Option<u64> {
    let further = count_refusal().checked_sub(FREE_REFUSALS)?;
    let doublings = further.min(PAUSE_LONGEST_NS.ilog2());
    Some((PAUSE_FIRST_NS << doublings).min(PAUSE_LONGEST_NS))
}

/// Ends the sleep until `deadline_ns` of an interrupted caller: at once, as a rule. If it is one of many, it lasts as
/// long as a refusal would, and never longer than the caller asked for. So code that sleeps a little in each of a
/// thousand steps is no slower than before.
#[cold]
pub(crate) fn cut_short(deadline_ns: u64) {
    match pause_ns() {
        None => yield_now(),
        Some(pause_ns) => wait::sleep_out(deadline_ns.min(clock::now_ns() + pause_ns), WaitReason::Sleep),
    }
}

/// Whether a hooked call was refused within this cancellation or `timeout`.
#[inline]
pub(crate) fn was_refused() -> bool {
    refusals() > 0
}

/// Counts an interruption that the call answers in its own way. Returns whether it is the first refusal within one
/// cancellation or one `timeout`.
#[cold]
pub(crate) fn count_first() -> bool {
    count_refusal() == 0
}

/// Whether an interrupted wait for a descriptor goes on.
#[cold]
pub(crate) fn stays(fd: c_int, entry: &FdEntry, direction: Direction) -> bool {
    match entry.on_interruption() {
        OnInterruption::Fails => return false,
        OnInterruption::Stays => return true,
        OnInterruption::ByKind => {}
    }
    if direction == Direction::Write && matches!(fd, libc::STDOUT_FILENO | libc::STDERR_FILENO) {
        return true;
    }
    if entry.kind(fd) == FdKind::Message && fd_table::was_pair(fd) {
        return true;
    }
    if entry.kind(fd).is_socket() {
        let is_ending = || current_core().is_some_and(|core| core.is_ending_with_runtime());
        return fd_table::other_end(fd).is_some() && is_ending();
    }
    entry.kind(fd) == FdKind::Pollable && file::is_pipe_or_eventfd(fd)
}

/// Waits for any of several descriptors. An interrupted wait goes on if there are some, and the wait for none of them
/// alone would fail.
pub(crate) fn wait_any(slots: &[Option<PollSlot>], deadline_ns: Option<u64>) -> Result<Outcome, Errno> {
    match descriptor::wait_any(slots, deadline_ns) {
        Ok(Outcome::Cancelled) if all_stay(slots) => descriptor::wait_any_to_stay(slots, deadline_ns),
        outcome => outcome,
    }
}

/// Whether there is a wait for a descriptor, and each would go on. A `select` or `poll` of none is a sleep, and fails.
#[cold]
fn all_stay(slots: &[Option<PollSlot>]) -> bool {
    let mut slots = slots.iter().flatten().peekable();
    slots.peek().is_some()
        && slots.all(|slot| {
            let entry = fd_table::entry(slot.fd);
            entry.is_some_and(|entry| stays(slot.fd, entry, slot.direction))
        })
}
