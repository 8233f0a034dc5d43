//! How does a worker leave one coroutine's stack and continue another, and who finishes the work that the outgoing
//! coroutine can no longer do itself?
//!
//! # Vocabulary
//! The *outgoing* coroutine leaves its stack; the *successor* is the coroutine (or the worker's own context, the
//! *base*) that continues. The outgoing context passes a *handoff* in registers. The successor finds it in the
//! [`Resumed`] that the switch returns, and acts on it once the outgoing registers are saved.
//!
//! # Protocol
//! The outgoing coroutine picks its successor on its own stack and switches. If there is none to pick, a yield returns
//! at once, and any other caller switches to the base. The handoff says which coroutine leaves, why it leaves
//! ([`Outgoing`], a core and a [`SwitchReason`]), and which worker carries out the switch. The first act of the
//! successor is to [`arrive`]. It moves malloc's words (`mod.rs`) to its own identity. It takes itself out of the
//! pinned queue, if it was picked from there. It then settles the outgoing coroutine: it queues it, publishes it as
//! parked, or takes its stack away. This work must wait until the outgoing registers are saved. So no worker can
//! continue a coroutine before that coroutine has stopped.
//!
//! Work that could be done on either side of the switch is done after it. The instruction that changes the identity
//! waits for the stores before it, and does not wait for the stores after it (`silken_context::switch`).
//!
//! Everything here runs in critical sections. The outgoing coroutine enters one before the pick. The successor ends its
//! own one after it has settled the outgoing coroutine. The counter of critical sections belongs to the identity, so
//! each coroutine ends the section that it entered itself; light coroutines of one worker share a counter.
//!
//! # The stacks, before and after
//! Coroutine A parks, and B, which parked earlier, continues. High addresses are at the top; the stacks grow downwards.
//! `rsp` marks the stack in use, `A.sp` and `B.sp` are the words `Context::stack_pointer`.
//! ```text
//!           before the switch                              after the switch
//!   A's stack            B's stack                A's stack            B's stack
//!  ┌──────────────┐     ┌──────────────┐         ┌──────────────┐     ┌──────────────┐
//!  │ 0, 0         │     │ 0, 0         │         │ 0, 0         │     │ 0, 0         │
//!  │ trampoline   │     │ trampoline   │         │ trampoline   │     │ trampoline   │
//!  │ main         │     │ main         │         │ main         │     │ main         │
//!  │ A's own code │     │ B's own code │         │ A's own code │     │ B's own code │
//!  │ park         │<rsp │ park         │         │ park         │     │ park         │<rsp
//!  └──────────────┘     │ rbp          │         │ rbp          │     └──────────────┘
//!                       │ rbx          │         │ rbx          │
//!                       │ r12          │         │ r12          │
//!                       │ r13          │         │ r13          │
//!                       │ r14          │         │ r14          │
//!                       │ r15          │         │ r15          │
//!                       │ continuation │<B.sp    │ continuation │<A.sp
//!                       └──────────────┘         └──────────────┘
//! ```
//! The switch is inlined into the last function in the picture: here [`park`], else whatever leaves the stack (a yield,
//! a preemption, a late coroutine), or the caller of [`yield_core`]. It writes B's FS base first, if the identities
//! differ. It pushes rbp, rbx, r12 to r15 and the address at which A will continue, and stores `rsp` in `A.sp`. It
//! loads `rsp` from `B.sp`, pops B's continuation address, and jumps there. B's half of the switch pops the other six
//! registers in the reverse order. The fast way of
//! [`yield_core`] and [`run_from_base`] use [`switch::switch`], which pushes only rbp, rbx and the address. There the
//! compiler saves what is live. In both cases the handoff stays in registers: rdi is the address of B's own context,
//! rsi the outgoing coroutine with its reason, rdx the worker, rcx the identity under which A ran.
//!
//! A coroutine that has not started has four words at its `sp` instead, from low to high: the trampoline's address, the
//! address of [`main`], and two zeros. The trampoline pops [`main`]'s address and calls it; the four registers are its
//! arguments. A coroutine that has ended leaves by [`switch::switch_final`], which pushes the same three words, but no
//! context ever continues there.
//!
//! # The race: a wake during the switch
//! Example: A decides to park on worker 1. Before A's registers are saved, code on worker 2 wakes A. A is not published
//! as parked yet, so that wake only leaves a notification in A's lifecycle word, and worker 2 gets no right to continue
//! A. The successor of A on worker 1 runs after the registers are saved. It tries to publish A as parked, finds the
//! notification, and queues A. If the wake comes after the publication instead, the waker finds A parked and queues it.
//! One compare-and-swap of the word decides (`coroutine/state.rs`), so A is queued exactly once, and never before it
//! has stopped.
//!
//! # A finished coroutine
//! [`main`] is the first frame of every coroutine. When a body has ended, the coroutine picks a successor. If that one
//! has not started and wants the same kind and size class of stack, it inherits the stack of the ended coroutine on the
//! spot. There is then no switch and no change of identity; the identity block is made as new in place. A batch of
//! short coroutines thus runs on one stack, which stays in the cache.
//!
//! # Rejected
//! *Returning to the worker's context for each pick*: two switches and three mispredicted returns per hop. *Publishing
//! before the switch and making wakers wait for it*: wakers would spin on a word that the outgoing coroutine writes at
//! every switch.

use super::arrive::{arrive, carry, renew, settle};
use super::handoff::{Outgoing, SwitchReason};
use super::late::{self, Back};
use super::life::{complete, end, recycle, run_body};
use super::queues::Pick;
use super::worker::Worker;
use super::{cold_path, fatal};
use crate::coroutine::{Core, Critical, JoinError, PooledStack, Ready, current_core, stacks_are_measured};
use crate::sys::process;
use silken_context::switch::{self, Context, Handoff, Resumed};

/// Lets other ready coroutines run; returns at once when none is ready. On an OS thread, yields the thread.
pub(crate) fn yield_now() {
    match current_core() {
        Some(core) => {
            yield_core(core);
        }
        None => crate::sys::yield_thread(),
    }
}

/// Yields as [`yield_now`] does, for the running coroutine `core`, and returns it. The caller uses the returned
/// reference, since a value that it kept over the switch would have to be stored before it.
///
/// The fast way is inlined. It needs one worker, and a next coroutine in its queue that has run on it before. The
/// coroutine that later switches back to this one yields in the same way. So the compiler saves what is live in the
/// caller and nothing else, and no return is mispredicted.
#[inline(always)]
pub(crate) fn yield_core(core: &'static Core) -> &'static Core {
    Critical::enter_to_leave();
    let Some(worker) = Worker::current() else {
        cold_path();
        return yield_late(core);
    };
    let Some(next) = worker.next_local() else {
        cold_path();
        return yield_slowly(worker, core);
    };
    let next = worker.announce(next);
    let message = worker.message(Outgoing::in_turn(core));
    // SAFETY: S1: `next` is suspended and ours; the successor publishes `core` after its registers are saved. S3: both
    // identities are complete.
    let arrival = unsafe { switch::switch(&core.context, &next.context, message) };
    let worker = Worker::of_handoff(arrival.message);
    // SAFETY: S2: this is a coroutine's context.
    let core = unsafe { Core::of_context(arrival.own) };
    let Some(yielder) = Outgoing::from_word(arrival.message.left).who_in_turn() else {
        cold_path();
        return arrive_slowly(
            arrival.own,
            arrival.message.left,
            arrival.message.by,
            arrival.predecessor_identity,
        );
    };
    worker.processor().count_pick();
    worker.note_running(core, arrival.predecessor_identity);
    // SAFETY: S1: it ran until just now, is in no queue, and its registers are saved.
    worker.pinned.replace_first(core, unsafe { Ready::from_core(yielder) });
    // Last, since stores that follow it would wait for it. The outgoing coroutine is in the queue already, but no
    // other worker takes from that queue, so its identity cannot run elsewhere.
    // SAFETY: S3: nothing was allocated since the switch.
    unsafe { carry(worker, arrival.predecessor_identity, core.context.identity()) };
    leave_critical(core)
}

/// The yield of a coroutine that has no worker.
#[cold]
#[inline(never)]
fn yield_late(core: &'static Core) -> &'static Core {
    match late::come_back(core) {
        Back::ToWorker(worker) => yield_slowly(worker, core),
        // SAFETY: S1: `core` runs, in a critical section, on the thread that has lost its worker.
        Back::ToThread(thread) => leave_critical(unsafe { late::leave(core, thread, SwitchReason::Yield) }),
    }
}

/// The slow way of a yield: it runs the regular pick, and handles the case that no coroutine is ready.
#[inline(never)]
fn yield_slowly(worker: &'static Worker, core: &'static Core) -> &'static Core {
    let Some(next) = worker.pick() else {
        let tells_the_kernel = worker.processor().count_fruitless_yield();
        let core = leave_critical(core);
        if tells_the_kernel {
            crate::sys::yield_thread();
        }
        return core;
    };
    // SAFETY: S1: `core` runs, in a critical section; `next` came from the queue.
    leave_critical(unsafe { switch_to(worker, core, next, SwitchReason::Yield) })
}

/// Yields for the running coroutine, which was preempted: polls, puts what events have made ready before what is
/// queued, and queues the coroutine behind all others. It is in a critical section, which this ends.
pub(super) fn yield_to_events(worker: &'static Worker, core: &'static Core) {
    worker.run_overdue_events();
    match worker.pick_own() {
        None => leave_critical(core),
        // SAFETY: S1: `core` runs, in a critical section; `next` came from the queue.
        Some(next) => leave_critical(unsafe { switch_to(worker, core, next, SwitchReason::Yield) }),
    };
}

/// The end of a yield, when the outgoing coroutine did not take the fast way of [`yield_core`].
#[inline(never)]
fn arrive_slowly(own: *const Context, left: usize, by: usize, predecessor_identity: usize) -> &'static Core {
    let arrival = Resumed {
        own,
        message: Handoff { left, by },
        predecessor_identity,
    };
    // SAFETY: S1: nothing was done since the switch.
    leave_critical(unsafe { arrive(arrival) })
}

/// Ends the critical section that the coroutine entered before its switch. There is no guard for it, since nothing is
/// kept over the switch.
#[inline(always)]
fn leave_critical(core: &'static Core) -> &'static Core {
    Critical::leave();
    core
}

/// Parks the running coroutine.
///
/// # Safety
/// `core` is the running coroutine, in a critical section (S1).
#[inline(never)]
pub(super) unsafe fn park(core: &'static Core) {
    let worker = match Worker::current() {
        Some(worker) => worker,
        None => match late::come_back(core) {
            Back::ToWorker(worker) => worker,
            Back::ToThread(thread) => {
                // SAFETY: S1: `core` runs, in a critical section, on the thread that has lost its worker.
                unsafe { late::leave(core, thread, SwitchReason::Park) };
                return;
            }
        },
    };
    match worker.pick() {
        // SAFETY: S1: the caller's contract; `next` came from the queue.
        Some(next) => unsafe { switch_to(worker, core, next, SwitchReason::Park) },
        // SAFETY: S1: the caller promises: `core` is the running coroutine, in a critical section.
        None => unsafe { switch_to_base(worker, core, SwitchReason::Park) },
    };
}

/// Continues `next`. Returns `core` when `core` is continued, possibly on another worker.
///
/// # Safety
/// `core` runs on `worker`, in a critical section; the caller holds `next`'s Ready (S1).
#[inline(always)]
unsafe fn switch_to(worker: &'static Worker, core: &Core, next: Pick, leaving: SwitchReason) -> &'static Core {
    let from_pinned = next.from_pinned;
    let next = worker.make_runnable(next.ready);
    let left = Outgoing::new(core, leaving).for_successor(from_pinned);
    debug_assert_eq!(Critical::depth(), 1, "a coroutine leaves in a nested section");
    // SAFETY: S1: `next` is suspended and ours; the successor publishes `core` after its registers are saved. S3: both
    // identities are complete.
    let arrival = unsafe { switch::switch_saving_all(&core.context, &next.context, worker.message(left)) };
    // SAFETY: S1: this is the arrival, on a coroutine's context.
    unsafe { arrive(arrival) }
}

/// Continues the worker's own context. Returns `core` when `core` is continued, as [`switch_to`] does.
///
/// # Safety
/// `core` runs on `worker`, in a critical section (S1).
#[inline(always)]
unsafe fn switch_to_base(worker: &'static Worker, core: &Core, leaving: SwitchReason) -> &'static Core {
    let message = worker.message(Outgoing::new(core, leaving));
    // SAFETY: S1: the base waits in `run_from_base`; the rest as in `switch_to`.
    let arrival = unsafe { switch::switch_saving_all(&core.context, &worker.link.base, message) };
    // SAFETY: S1: as in `switch_to`.
    unsafe { arrive(arrival) }
}

/// The worker's own context continues `next`. Returns when a coroutine leaves and finds no successor.
/// `false`: the thread has lost the worker meanwhile.
pub(super) fn run_from_base(worker: &'static Worker, next: Pick) -> bool {
    let from_pinned = next.from_pinned;
    let next = worker.make_runnable(next.ready);
    let message = worker.message(Outgoing::nobody().for_successor(from_pinned));
    // SAFETY: S1: `next` is suspended and ours. S3: the worker's own identity and the coroutine's.
    let arrival = unsafe { switch::switch(&worker.link.base, &next.context, message) };
    if late::is_late(worker, &arrival) {
        late::settle_late(worker, arrival);
        return false;
    }
    worker.set_running(None);
    worker.name_nobody();
    // SAFETY: S3: nothing was allocated since the switch.
    unsafe { carry(worker, arrival.predecessor_identity, worker.link.base.identity()) };
    settle(worker, Outgoing::from_word(arrival.message.left));
    true
}

/// Leaves a coroutine that has overflowed its stack. Called on the worker's own stack, under the coroutine's identity
/// (`overflow.rs`).
///
/// # Safety
/// The caller's frame lies below the worker's suspended context on the same stack; `core` ran on `worker`, in its own
/// code and not in a critical section, and is never continued (S1).
pub(super) unsafe fn leak(worker: &'static Worker, core: &Core) -> ! {
    let message = worker.message(Outgoing::new(core, SwitchReason::Overflowed));
    // SAFETY: S1: the base waits in `run_from_base`. S3: the overflow was not inside malloc.
    unsafe { switch::switch_final(&worker.link.base, message) }
}

/// The first frame of every coroutine. It never returns: the last act is a switch.
unsafe extern "C" fn main(own: *const Context, left: usize, by: usize, predecessor_identity: usize) -> ! {
    let arrival = Resumed {
        own,
        message: Handoff { left, by },
        predecessor_identity,
    };
    // SAFETY: S1: the parts of the arrival, at once.
    let mut core = unsafe { arrive(arrival) };
    loop {
        leave_critical(core);
        run_body(core);
        end(core);
        if process::is_forked() {
            // The child's only thread has ended, so the child ends, as it does where `fork` was called on a thread. The
            // other coroutines here are copies; the originals run in the parent.
            process::exit();
        }
        core = succeed(core);
    }
}

/// Ends the running coroutine here, in the middle of its frames, which are not unwound. It is a thread of C, has stored
/// its value, and is on its own stack.
///
/// # Safety
/// No frame of the coroutine that is left behind owns what others wait for (S1).
#[cold]
pub(crate) unsafe fn end_thread(core: &'static Core) -> ! {
    core.body.fail(JoinError::Cancelled);
    end(core);
    if process::is_forked() {
        process::exit();
    }
    // The stack of a thread of C is not inherited.
    let _ = succeed(core);
    fatal("a thread of C has ended, and goes on")
}

/// Finds a successor for the ended coroutine. It either hands its stack over and returns the successor, or switches
/// away for ever.
fn succeed(core: &'static Core) -> &'static Core {
    Critical::enter_to_leave();
    complete(core);
    let worker = match Worker::current() {
        Some(worker) => worker,
        None => match late::come_back(core) {
            Back::ToWorker(worker) => worker,
            // SAFETY: S1: `core` has ended, in a critical section, on the thread that has lost its worker.
            Back::ToThread(thread) => unsafe { late::leave_for_ever(core, thread) },
        },
    };
    match worker.pick() {
        Some(next) if may_inherit(core, next.ready.core()) => inherit(worker, core, next),
        // SAFETY: S1: `next` came from the queue.
        Some(next) => unsafe { leave_for_ever(worker, core, next) },
        // SAFETY: S1: the base waits.
        None => unsafe {
            switch::switch_final(
                &worker.link.base,
                worker.message(Outgoing::new(core, SwitchReason::Finished)),
            )
        },
    }
}

/// # Safety
/// `core` has ended, on `worker`; the caller holds `next`'s Ready (S1).
unsafe fn leave_for_ever(worker: &'static Worker, core: &Core, next: Pick) -> ! {
    let from_pinned = next.from_pinned;
    let next = worker.make_runnable(next.ready);
    let left = Outgoing::new(core, SwitchReason::Finished).for_successor(from_pinned);
    // SAFETY: S1: `next` is suspended and ours; the successor recycles this stack. S3: both identities are complete.
    unsafe { switch::switch_final(&next.context, worker.message(left)) }
}

fn may_inherit(core: &Core, next: &Core) -> bool {
    !next.started.get()
        && next.kind.get() == core.kind.get()
        && next.class.get() == core.class.get()
        && !stacks_are_measured()
        // The stack of one is kept, that of the other was chosen at its spawn.
        && !core.is_c_thread()
        && !next.is_c_thread()
}

/// `next` starts on the stack of `core`, which has ended, in the same frame.
fn inherit(worker: &'static Worker, core: &'static Core, next: Pick) -> &'static Core {
    // SAFETY: S1: the coroutine has ended; its stack goes on under another name.
    let pooled = unsafe { &mut *core.stack.get() }.take().expect("it runs on one");
    if !renew(worker, &pooled, false) {
        // The block must be rebuilt, and code that runs under a block cannot rebuild it.
        // SAFETY: S1: put back where it was.
        *unsafe { &mut *core.stack.get() } = Some(pooled);
        // SAFETY: S1: `next` came from the queue.
        unsafe { leave_for_ever(worker, core, next) }
    }
    let from_pinned = next.from_pinned;
    // SAFETY: S2: cores are type-stable; the Ready is the right to run this one.
    let next: &'static Core = unsafe { next.ready.into_core().as_ref() };
    worker.processor().count_pick();
    worker.set_running(Some(next));
    if from_pinned {
        worker.pinned.remove_first(next);
    }
    worker.start(next, pooled);
    recycle(worker, core);
    next
}

/// Lays out the first frame of a coroutine that starts.
///
/// # Safety
/// `pooled` is a stack that nobody uses, and `core` has not started (S1).
pub(super) unsafe fn prepare(core: &Core, pooled: &PooledStack) {
    // SAFETY: S1: the caller promises: `pooled` is a stack that nobody uses, and `core` has not started.
    unsafe { switch::prepare(&core.context, pooled.frame_top, main) };
}
