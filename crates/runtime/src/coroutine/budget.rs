//! How much does a coroutine do before it yields to others, if nothing makes it wait?
//!
//! A wait lets other coroutines run. But some coroutines never wait: one whose socket always has data, one whose
//! channel is never empty, or one that asks again and again whether it is. Such a coroutine keeps its worker from
//! everything else that is queued there, timers and descriptors included. So calls that could have waited are
//! *counted*, also when they find nothing (`try_recv`, a `select!` with a default, a read with O_NONBLOCK). A coroutine
//! that has spent [`BUDGET`] of them yields.
//!
//! The count is in the slots of the identity that runs, beside the depth of critical sections. So it costs one addition
//! to a word whose address is known, and no load of the control block. It begins anew when the coroutine parks, since a
//! coroutine that parks has let others run. Light coroutines of one worker share its slots, and with them the count.
//!
//! Silken's `RwLock`, `Semaphore` and `try_lock` count too, whether they are free or not: a loop that takes and drops
//! one would keep its worker like any other. A free `Mutex` does not count: the count would be a sixth of its 6 ns.
//! Locks of std and parking_lot that are free make no call that could be counted.
//!
//! The number is tokio's (<https://tokio.rs/blog/2020-04-preemption>), for the same reason: a smaller budget costs
//! throughput, a larger one latency. 128 system calls take some 100 µs.
//!
//! These calls spend the budget: hooked calls that move data, accept, connect, poll (`select` and `epoll_wait` too),
//! wait for processes, signals, semaphores or message queues, read files or write them back (`hook/call.rs`, `hooks!`);
//! the calls of silken's sockets (`io/sockets.rs`); sends and receives of channels (`channel/core.rs`); the locks named
//! above (`sync`). In a signal handler on another stack no call yields, since the yield would leave that stack.
//!
//! Rejected: *a deadline for each turn* costs a read of the clock per call. *Leaving it to the monitor*: it would have
//! to interrupt the coroutine (`sched/preempt.rs`), after a slice; a coroutine that makes calls can count them itself.

use super::core::Schedule;
use super::current::{count_spent, current_core};
use super::{Core, Critical};

/// How many counted calls a coroutine makes before it yields.
const BUDGET: u32 = 128;

/// Counts a call that could have waited. If the budget is used up, begins a new one, and yields if the caller is a
/// coroutine outside of critical sections.
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

/// Called before a connect; yields if there were many. A listener's queue is short, commonly 128. A connect that does
/// not fit is dropped and comes again after a second. The connects of one burst come from many coroutines, each of
/// which makes one and then waits, and all of these may be queued before the acceptor. So a worker makes a few of them,
/// and the other coroutines yield until the worker has looked for those that were woken.
pub(crate) fn before_connect() {
    if let Some((core, scheduler)) = yielder() {
        scheduler.admit_connect(core);
    }
}

/// The running coroutine and its scheduler, if it may yield: not in a critical section, and not in a signal handler on
/// the worker's alternate stack: the next signal would overwrite a frame that is suspended there.
fn yielder() -> Option<(&'static Core, &'static dyn Schedule)> {
    let core = current_core().filter(|core| !Critical::is_entered() && core.is_on_own_stack())?;
    let scheduler = core.scheduler.get().expect("a running coroutine has a scheduler");
    Some((core, scheduler))
}
