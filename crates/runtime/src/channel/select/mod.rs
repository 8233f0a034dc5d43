//! Waiting for one of several operations, of which exactly one happens.
//!
//! # Vocabulary
//! An *arm* is one of the operations, a value on the selecting frame ([`Arm`]). To *commit* an arm is to carry its
//! operation out, wholly. The *ticket* is the select's wait; all arms share it.
//!
//! # Protocol
//! 1. *Try*: each arm in turn, beginning with a random one (a biased select: with the first). The first that can be
//!    carried out at once is committed. The select is listed nowhere, so nobody can choose for it.
//! 2. *Enlist*: each arm puts its node into its own wait list (of a channel, of a coroutine's joiners), with the ticket
//!    and its index. An arm that finds itself ready now does not commit: another may have been claimed already. It
//!    stops the enlisting, and the select goes to 4.
//! 3. *Wait* on the ticket's cell, until the earliest deadline: the select's own, or an arm's (`after`, `tick`).
//! 4. *Withdraw* every enlisted arm, each under its list's lock; but not the winner if it settled the cell, for then
//!    its node is out.
//! 5. If the ticket names a winner, its operation is complete. Else again from 1.
//!
//! # Commit
//! A waker that comes across a select's node claims the ticket for it (one compare-and-swap, under the list's lock)
//! and, if it is the first, moves the message at once into the node, or out of it: what an arm sends lies in the arm,
//! evaluated before the select began, as in Go. So a commit is complete when the lock is released; there is no second
//! step in which a partner could die or be cancelled, and no message is ever between two places. Rejected: crossbeam's
//! dynamic form, where the value to send is given *after* the operation was selected. There the partner has to be kept
//! waiting for a packet.
//!
//! # The race: two selects, two channels, crosswise
//! Each could claim the other while it is claimed itself; committing both takes two words at once. Here a select never
//! claims while it is listed: it claims others in step 1 only, and in step 2 a ready arm sends it back there. Two
//! selects that each enlist one arm and then see the other's send each other back; that they do so for ever takes the
//! same random order each time on both sides (a biased one has the scheduler against it). A select does not meet
//! itself: nodes with its own ticket do not make its arm ready (`core.rs`).
//!
//! # The race: claim against timeout and cancellation
//! These settle the cell and do not claim. Step 4 takes the locks, and step 5 looks at the ticket: a message that was
//! handed over wins over the time that is up and over the cancellation. It is returned; the next blocking point
//! unwinds.
//!
//! # Fairness
//! By the random start: of arms that are always ready each is chosen, though an arm behind ones that are not ready is
//! chosen more often.

mod arms;
mod dynamic;
mod macros;
mod wrong;

#[cfg(all(test, loom))]
mod loom_tests;

pub use arms::{RecvArm, SendArm};
pub use dynamic::{Select, SelectTimeoutError, SelectedOperation, TrySelectError};
#[doc(hidden)]
pub use wrong::{Selectable, Wrong};

#[doc(hidden)]
pub use super::waiter::Ticket;

use super::core::is_past;
use super::timed::earlier;
use crate::coroutine::{Outcome, WaitReason, raise_if_cancelled};
use crate::driver::timers;
use crate::loom::static_atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One of the operations of a select. Not for users: what the crate's own arms agree on.
///
/// # Safety
/// Between an [`enlist`](Self::enlist) that returned true and the end of [`withdraw`](Self::withdraw) (or the cell's
/// settling by whoever claimed this very arm) others may use the node; after it nobody does. Who claims the ticket for
/// this arm carries the operation out, wholly, under the list's lock, and settles the cell as the last touch.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no arm of a select!",
    label = "no arm",
    note = "`on(…)` takes `handle.join_arm()`, `ticker.tick_arm()`, `silken::readable(&fd)`, the `recv_arm()` of a oneshot, a broadcast or a watch, and the arms of `sync`: `lock_arm()`, `acquire_arm()` and more",
    note = "a channel is received from by `recv(receiver)`, and sent to by `send(sender, message)`"
)]
#[doc(hidden)]
pub unsafe trait Arm {
    /// Carries the operation out if that is possible at once.
    fn try_now(&self) -> bool;

    /// Makes the arm reachable for wakers; `false`, and does not, if `try_now` may succeed. Runs no code of the user's:
    /// others are listed already, and an unwinding would leave them so.
    ///
    /// # Safety
    /// The arm and the ticket stay in place, and no other method is called, until the cell is settled by whoever
    /// claimed this arm, or `withdraw` has returned (S8).
    unsafe fn enlist(&self, ticket: &Ticket, index: u32) -> bool;

    /// Makes the arm unreachable. An arm that was claimed is left as it is.
    fn withdraw(&self);

    /// When `try_now` is worth another attempt although nobody woke the select.
    fn deadline_ns(&self) -> Option<u64> {
        None
    }

    /// Forgets what came of the operation, so that the arm may be used again.
    fn discard(&self) {}
}

/// An arm with a result. Not for users.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no arm of a select!",
    label = "no arm",
    note = "`on(…)` takes `handle.join_arm()`, `ticker.tick_arm()`, `silken::readable(&fd)`, the `recv_arm()` of a oneshot, a broadcast or a watch, and the arms of `sync`: `lock_arm()`, `acquire_arm()` and more",
    note = "a channel is received from by `recv(receiver)`, and sent to by `send(sender, message)`"
)]
#[doc(hidden)]
pub trait Operation: Arm {
    /// The result.
    type Output;

    /// What came of the operation that was carried out.
    fn finish(self) -> Self::Output;
}

/// Which arm is tried first.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A random one.
    Fair,
    /// The first.
    Biased,
}

/// How long a select waits.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Not at all.
    Try,
    /// Until then, or for ever.
    Until(Option<u64>),
}

impl Limit {
    /// For that long.
    pub fn within(timeout: Duration) -> Self {
        Limit::Until(super::deadline_after(timeout))
    }

    fn is_over(self) -> bool {
        match self {
            Limit::Try => true,
            Limit::Until(deadline_ns) => is_past(deadline_ns),
        }
    }

    fn deadline_ns(self) -> Option<u64> {
        match self {
            Limit::Try => None,
            Limit::Until(deadline_ns) => deadline_ns,
        }
    }
}

/// Selects among the arms; `None` when the limit came first. Not for users. An arm that is given several times counts
/// where it stands first: it has one node, which can be in one list once.
#[doc(hidden)]
pub fn run(arms: &[&dyn Arm], order: Order, limit: Limit) -> Option<usize> {
    if has_repeats(arms) {
        let arm = |index: usize| (!arms[..index].iter().any(|arm| is_same(*arm, arms[index]))).then_some(arms[index]);
        return run_with(arms.len(), arm, order, limit);
    }
    run_with(arms.len(), |index| Some(arms[index]), order, limit)
}

fn is_same(one: &dyn Arm, other: &dyn Arm) -> bool {
    std::ptr::addr_eq(one, other)
}

/// Whether an arm is given more than once.
fn has_repeats(arms: &[&dyn Arm]) -> bool {
    /// So many are compared each with each.
    const FEW: usize = 8;
    if arms.len() <= FEW {
        return (1..arms.len()).any(|index| arms[..index].iter().any(|arm| is_same(*arm, arms[index])));
    }
    let mut addresses: Vec<_> = arms.iter().map(|arm| std::ptr::from_ref(*arm).addr()).collect();
    addresses.sort_unstable();
    addresses.windows(2).any(|pair| pair[0] == pair[1])
}

/// As [`run`], over the arms that `arm` gives for the numbers below `count`; some may be missing.
fn run_with<'a>(count: usize, arm: impl Fn(usize) -> Option<&'a dyn Arm>, order: Order, limit: Limit) -> Option<usize> {
    loop {
        let start = match order {
            Order::Fair if count > 1 => random_below(count),
            _ => 0,
        };
        let arms = || {
            (start..count)
                .chain(0..start)
                .filter_map(|index| arm(index).map(|arm| (index, arm)))
        };
        for (index, arm) in arms() {
            if arm.try_now() {
                return Some(index);
            }
        }
        if limit.is_over() {
            return None;
        }
        raise_if_cancelled();
        // What a former operation left behind is dropped here, where no arm is listed: a destructor is user code, which
        // may unwind, wait, or select.
        arms().for_each(|(_, arm)| arm.discard());
        let (outcome, winner) = wait(arms, limit);
        if let Some(winner) = winner {
            return Some(winner as usize);
        }
        if outcome == Some(Outcome::Cancelled) {
            raise_if_cancelled();
        }
    }
}

/// Steps 2 to 4. How the wait ended, if there was one, and which arm won. No code of the user's runs here.
fn wait<'a, I>(arms: impl Fn() -> I, limit: Limit) -> (Option<Outcome>, Option<u32>)
where
    I: Iterator<Item = (usize, &'a dyn Arm)>,
{
    let ticket = Ticket::new();
    let mut deadline_ns = limit.deadline_ns();
    let mut enlisted = 0;
    let mut all_wait = true;
    for (index, arm) in arms() {
        // SAFETY: S8: withdrawn below, all that were enlisted, before this frame or the arms' ends.
        if !unsafe { arm.enlist(&ticket, index as u32) } {
            all_wait = false;
            break;
        }
        enlisted += 1;
        deadline_ns = earlier(deadline_ns, arm.deadline_ns());
    }
    let outcome = all_wait.then(|| {
        // While the caller unwinds its cancellation does not interrupt its destructors' waits.
        timers::wait(
            ticket.cell(),
            WaitReason::Select,
            deadline_ns,
            !std::thread::panicking(),
        )
    });
    let settled_by = ticket.winner().filter(|_| outcome == Some(Outcome::Woken));
    for (index, arm) in arms().take(enlisted) {
        if settled_by != Some(index as u32) {
            arm.withdraw();
        }
    }
    (outcome, ticket.winner())
}

/// Good enough to be fair, and cheap.
fn random_below(count: usize) -> usize {
    static SEED: AtomicU32 = AtomicU32::new(0);
    // Relaxed, and no read-modify-write: two who meet here get the same number, which harms nobody.
    let seed = SEED.load(Ordering::Relaxed).wrapping_add(0x9E37_79B9);
    SEED.store(seed, Ordering::Relaxed);
    let mixed = (seed ^ seed >> 16).wrapping_mul(0x85EB_CA6B);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xC2B2_AE35);
    ((u64::from(mixed ^ mixed >> 16) * count as u64) >> 32) as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_as_likely_as_another() {
        for count in [2, 3, 8] {
            let mut seen = vec![0; count];
            for _ in 0..1000 * count {
                seen[random_below(count)] += 1;
            }
            assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        }
    }
}
