//! How much a coroutine does before it gives way to others, if nothing makes it wait.
//!
//! A wait lets others run. A coroutine whose socket always has data, whose channel is never empty, or that asks again
//! and again whether it is, never waits, and keeps its worker from everybody else who is queued there, timers and
//! descriptors included. So calls that could have waited are *counted*, also when they find nothing (`try_recv`, a
//! `select!` with a default, a read with O_NONBLOCK), and who has spent [`BUDGET`] of them yields.
//!
//! The count is in the slots of the identity that runs, beside the depth of critical sections: one addition to a word
//! whose address is known, no load of the control block. It is not set back when the coroutine parks, so one that parks
//! often yields now and then as well: one more turn among 128. Light coroutines of a worker share its slots, and with
//! them the count.
//!
//! Silken's `RwLock`, `Semaphore` and `try_lock` count too, free or not: a loop that takes and drops one would keep its
//! worker like any other. A free `Mutex` does not: the count would be a sixth of its 6 ns. Those of std and parking_lot
//! that are free make no call that could be counted.
//!
//! The number is tokio's (<https://tokio.rs/blog/2020-04-preemption>), for its reason: a smaller budget costs
//! throughput, a larger one latency. 128 system calls are some 100 µs.
//!
//! Who spends: the hooks of calls that move data, accept, connect, poll and wait for processes (`hook/io/mod.rs`,
//! `hooks!`); sends and receives of channels (`channel/core.rs`); the locks named above (`sync`). A yield in a signal
//! handler on another stack would leave that stack, so there is none.
//!
//! Rejected: *a deadline for each turn* costs a look at the clock per call. *A monitor that asks* has to interrupt
//! whoever computes, which is needed for those who make no calls at all; who makes calls can ask himself.

use super::core::Schedule;
use super::current::{count_spent, current_core};
use super::{Core, Critical};

/// Calls between two turns of the others.
const BUDGET: u32 = 128;

/// Counts a call that could have waited; yields if the budget is used up. Does nothing on OS threads and in critical
/// sections.
#[inline(always)]
pub(crate) fn spend() {
    if count_spent(BUDGET) {
        give_way();
    }
}

#[cold]
#[inline(never)]
fn give_way() {
    if let Some((core, scheduler)) = yielder() {
        scheduler.give_way(core);
    }
}

/// Before a connect. A listener's queue is short, commonly 128, and what does not fit is dropped and comes again after
/// a second. The connects of one burst are not one coroutine's but many's, each of which does one and then waits, and
/// all of them may be queued before the acceptor. So a worker makes a few of them, and the others give way until it has
/// looked for those who were woken.
pub(crate) fn before_connect() {
    if let Some((core, scheduler)) = yielder() {
        scheduler.admit_connect(core);
    }
}

/// The running coroutine and its scheduler, if it may yield: not in a critical section, and not in a signal handler on
/// the worker's alternate stack, where the next signal would write over it.
fn yielder() -> Option<(&'static Core, &'static dyn Schedule)> {
    let core = current_core().filter(|core| !Critical::is_entered() && core.is_on_own_stack())?;
    let scheduler = core.scheduler.get().expect("a running coroutine has a scheduler");
    Some((core, scheduler))
}
