//! How does a select wait for several operations so that at most one of them happens, and exactly one if it returns an
//! arm?
//!
//! # Vocabulary
//! An *arm* is one of the operations; it is a value on the stack frame of the select ([`Arm`]). To *commit* an arm is
//! to carry out its operation completely. The *ticket* is the one wait of the select; all its arms share it. A waker
//! *claims* the ticket for one arm, by one compare-and-swap. That arm is the *winner*.
//!
//! # Protocol
//! 1. *Try*: the select tries each arm in turn, beginning with a random one (a biased select begins with the first). It
//!    commits the first arm that can be carried out at once. The select is in no wait list during this step, so no
//!    waker can choose an arm for it. If no arm can be carried out and the limit has passed, the select returns none.
//!    Otherwise a cancelled caller unwinds here, and the results of earlier operations are dropped: both run user code,
//!    and no arm is enlisted.
//! 2. *Enlist*: each arm puts its node into its own wait list (of a channel, of a coroutine's joiners). The node
//!    carries the ticket and the index of the arm. An arm that finds itself ready now does not commit, because a waker
//!    may have claimed another arm already. It stops the enlisting, and the select continues with step 4.
//! 3. *Wait*: the select waits on the ticket's wait cell until the earliest deadline. That is the deadline of the
//!    select or that of an arm (`after`, `tick`).
//! 4. *Withdraw*: every enlisted arm removes its node, each under the lock of its list. If the waker that claimed
//!    settled the wait cell, its arm is left out, for the winner's node is out of its list already. The select knows
//!    who settled the cell only if all wakers claim (see "The race: claim against a waker that does not claim").
//! 5. *Finish*: if the ticket names a winner, the operation of that arm is complete. Otherwise the select unwinds if it
//!    is cancelled, and else starts again with step 1. If that finds no arm and the select's own deadline has passed,
//!    the select returns none.
//!
//! Once an arm is chosen, or none will be, the other arms let go of what they hold (a lock that was granted too late),
//! before any code of the user runs ([`Arm::let_go`]).
//!
//! # Commit
//! A waker of a channel that finds the node of a select claims the ticket for that node, by one compare-and-swap under
//! the lock of the list. If it is the first to claim, it moves the message at once into the node or out of it. The
//! message of a sending arm lies in the arm; it is evaluated before the select begins, as in Go. So a commit is
//! complete when the lock is released. There is no second step in which a partner could die or be cancelled, and no
//! message is ever between two places. Rejected: the dynamic form of crossbeam, where the value to send is given
//! *after* the operation was selected. There the partner has to wait for a packet.
//!
//! # The race: two selects, two channels, crosswise
//! If selects claimed while they are listed, each could claim the other at the same time; to commit both would take two
//! words at once. Here a select never claims while it is in a wait list: it claims others in step 1 only, and a ready
//! arm in step 2 sends it back to step 1. Example: two selects each enlist one arm and then see the other's node in the
//! list of the next; each withdraws and starts again at step 1. To repeat this for ever, both would have to draw, each
//! time, an order in which each enlists before the other looks, and step 1 would have to miss the other's node each
//! time too. (For biased selects, the scheduler would have to repeat the same interleaving each time.) A select does
//! not meet itself: nodes with its own ticket do not make its arm ready (`core.rs`).
//!
//! # The race: claim against a waker that does not claim
//! The wakers of some arms (locks, notifications, joins, descriptors) settle the wait cell without a claim. Example: a
//! sender claims the receiving arm and is about to move its message; a lock is granted to another arm and settles the
//! cell; the select wakes. The ticket names a winner, but the waker that claimed still writes to the node. So a select
//! with such an arm withdraws every arm, the winner's included: it takes the list's lock, which that waker holds until
//! its last touch. A select whose wakers all claim is woken by the one that claimed, after that touch.
//!
//! # The race: claim against timeout and cancellation
//! A timeout or a cancellation settles the wait cell and does not claim the ticket. Step 4 takes the locks, and step 5
//! looks at the ticket. So a message that was handed over wins over an expired deadline and over a cancellation. The
//! select returns the message; the next blocking point unwinds.
//!
//! # Fairness
//! The random start starves no arm: of several arms that are always ready, each one is chosen. The shares are not even:
//! an arm that follows arms which are not ready is chosen more often.

mod arms;
mod dynamic;
#[forbid(unsafe_code)]
mod macros;
mod optional;
#[forbid(unsafe_code)]
mod wrong;

#[cfg(all(test, loom))]
mod loom_tests;

pub use arms::{RecvArm, SendArm};
pub use dynamic::{Select, SelectTimeoutError, SelectedOperation, TrySelectError};
#[doc(hidden)]
pub use wrong::{Selectable, Wrong, is_arm};

#[doc(hidden)]
pub use super::waiter::Ticket;

use super::core::is_past;
use super::timed::earlier;
use crate::coroutine::{Outcome, WaitReason, raise_if_cancelled};
use crate::loom::static_atomic::{AtomicU32, Ordering};
use crate::wait;
use std::time::Duration;

/// One of the operations of a select. Not for users: this is the protocol between the crate's own arms.
///
/// # Safety
/// Wakers may use the node from an [`enlist`](Self::enlist) that returned true until [`withdraw`](Self::withdraw) has
/// returned, or until the waker that claimed this very arm has settled the wait cell. After that no waker uses the
/// node. A waker that claims the ticket for this arm carries the operation out completely, under the lock of the list,
/// and settles the wait cell as its last access.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no arm of a select!",
    label = "no arm",
    note = "`on(…)` takes `handle.join_arm()`, `ticker.tick_arm()`, `silken::readable(&fd)`, the `recv_arm()` of a oneshot or a broadcast, the `changed_arm()` of a watch, the arms of `sync`: `lock_arm()`, `acquire_arm()` and more, and an `Option` of one, of which `None` is never ready",
    note = "a channel is received from by `recv(receiver)`, and sent to by `send(sender, message)`; a token that is cancelled is `recv(token.done())`, a time that is up `recv(silken::channel::after(duration))`"
)]
#[doc(hidden)]
pub unsafe trait Arm {
    /// Carries out the operation if that is possible at once, and says whether it did.
    fn try_now(&self) -> bool;

    /// Puts the arm where wakers find it. If `try_now` may succeed, it does not do so and returns `false`. It runs no
    /// user code: other arms are enlisted already, and an unwinding would leave their nodes in the lists.
    ///
    /// # Safety
    /// The arm and the ticket stay in place, and no other method is called, until the wait cell is settled by the waker
    /// that claimed this arm, or `withdraw` has returned (S8).
    unsafe fn enlist(&self, ticket: &Ticket, index: u32) -> bool;

    /// Removes the arm from where wakers find it. An arm that was claimed stays as it is.
    fn withdraw(&self);

    /// Gives back what the arm was granted while it was enlisted, a lock for example: the select has chosen another
    /// arm, or none.
    fn let_go(&self) {}

    /// Whether only a waker that has claimed the ticket for this arm settles the ticket's cell. Other arms have wakers
    /// that settle it without a claim.
    fn wakers_claim(&self) -> bool {
        false
    }

    /// The time at which `try_now` is worth another attempt although no waker has settled the wait cell.
    fn deadline_ns(&self) -> Option<u64> {
        None
    }

    /// Drops the result of the operation, so that the arm can be used again.
    fn discard(&self) {}
}

/// An arm with a result. Not for users.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no arm of a select!",
    label = "no arm",
    note = "`on(…)` takes `handle.join_arm()`, `ticker.tick_arm()`, `silken::readable(&fd)`, the `recv_arm()` of a oneshot or a broadcast, the `changed_arm()` of a watch, the arms of `sync`: `lock_arm()`, `acquire_arm()` and more, and an `Option` of one, of which `None` is never ready",
    note = "a channel is received from by `recv(receiver)`, and sent to by `send(sender, message)`; a token that is cancelled is `recv(token.done())`, a time that is up `recv(silken::channel::after(duration))`"
)]
#[doc(hidden)]
pub trait Operation: Arm {
    /// The result.
    type Output;

    /// The result of the operation that was carried out.
    fn finish(self) -> Self::Output;
}

/// Which arm a select tries first.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A random arm.
    Fair,
    /// The first arm.
    Biased,
}

/// How long a select waits.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It does not wait.
    Try,
    /// Until this monotonic time in nanoseconds; `None`: without a limit.
    Until(Option<u64>),
}

impl Limit {
    /// Waits for at most `timeout` from now.
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

/// Selects among the arms; returns `None` when the limit came first. Not for users. If an arm is given several times,
/// only its first position counts: the arm has one node, which can be in one list once.
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
    /// Up to this number of arms, each is compared with each.
    const FEW: usize = 8;
    if arms.len() <= FEW {
        return (1..arms.len()).any(|index| arms[..index].iter().any(|arm| is_same(*arm, arms[index])));
    }
    let mut addresses: Vec<_> = arms.iter().map(|arm| std::ptr::from_ref(*arm).addr()).collect();
    addresses.sort_unstable();
    addresses.windows(2).any(|pair| pair[0] == pair[1])
}

/// Does what [`run`] does, over the arms that `arm` returns for the indices below `count`. An index may have no arm.
fn run_with<'a>(count: usize, arm: impl Fn(usize) -> Option<&'a dyn Arm>, order: Order, limit: Limit) -> Option<usize> {
    // An arm may have been granted something only in a wait.
    let mut waited = false;
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
        // No destructor of the user's may run while an arm that is not chosen holds a lock.
        let let_go_but = |chosen: Option<usize>| {
            let others = arms().filter(|(index, _)| Some(*index) != chosen);
            others.for_each(|(_, arm)| arm.let_go());
        };
        for (index, arm) in arms() {
            if arm.try_now() {
                if waited {
                    let_go_but(Some(index));
                }
                return Some(index);
            }
        }
        if limit.is_over() {
            return None;
        }
        raise_if_cancelled();
        // The result of an earlier operation is dropped here, where no arm is enlisted: a destructor is user code,
        // which may unwind, wait, or select.
        arms().for_each(|(_, arm)| arm.discard());
        let (outcome, winner) = wait(arms, limit);
        waited = true;
        if let Some(winner) = winner {
            let_go_but(Some(winner as usize));
            return Some(winner as usize);
        }
        if outcome == Some(Outcome::Cancelled) {
            let_go_but(None);
            raise_if_cancelled();
        }
    }
}

/// Steps 2 to 4. Returns how the wait ended, if there was a wait, and which arm won. No user code runs here.
fn wait<'a, I>(arms: impl Fn() -> I, limit: Limit) -> (Option<Outcome>, Option<u32>)
where
    I: Iterator<Item = (usize, &'a dyn Arm)>,
{
    let ticket = Ticket::new();
    let mut deadline_ns = limit.deadline_ns();
    let mut enlisted = 0;
    let mut all_wait = true;
    // If this stays true, only the winner wakes the select, and has let go of node and ticket by then.
    let mut all_claim = true;
    for (index, arm) in arms() {
        // SAFETY: S8: withdrawn below, all that were enlisted, before this frame or the arms' ends.
        if !unsafe { arm.enlist(&ticket, index as u32) } {
            all_wait = false;
            break;
        }
        enlisted += 1;
        all_claim &= arm.wakers_claim();
        deadline_ns = earlier(deadline_ns, arm.deadline_ns());
    }
    let outcome = all_wait.then(|| {
        // While the caller unwinds, its cancellation does not interrupt the waits of its destructors.
        wait::wait(
            ticket.cell(),
            WaitReason::Select,
            deadline_ns,
            !std::thread::panicking(),
        )
    });
    let settled_by = ticket.winner().filter(|_| all_claim && outcome == Some(Outcome::Woken));
    for (index, arm) in arms().take(enlisted) {
        if settled_by != Some(index as u32) {
            arm.withdraw();
        }
    }
    (outcome, ticket.winner())
}

/// A cheap random number below `count`, good enough for fairness.
fn random_below(count: usize) -> usize {
    static SEED: AtomicU32 = AtomicU32::new(0);
    // Relaxed, and no read-modify-write: two callers that load the same seed get the same number, which does no harm.
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
