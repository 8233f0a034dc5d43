//! What does the context that continues do for the coroutine that has left? It moves malloc's words (`mod.rs`), and
//! settles the outgoing coroutine: queues it, publishes it as parked, or ends it. The protocol is at the head of
//! `switch.rs`.

use super::handoff::{Outgoing, SwitchReason};
use super::life::recycle;
use super::worker::Worker;
use crate::coroutine::{Core, PooledStack, Published, Ready, c_thread, stacks_are_measured};
use silken_context::switch::{Handoff, Resumed};
use std::ptr::{self, NonNull};

/// The first act of a coroutine that is continued. All that it needs comes in registers. Returns the coroutine.
///
/// # Safety
/// Called at once after the switch, with what it returned, on the context of a coroutine (S1).
#[inline(always)]
pub(super) unsafe fn arrive(arrival: Resumed) -> &'static Core {
    let worker = Worker::of_handoff(arrival.message);
    // SAFETY: S2: the caller promises: called at once after the switch, with what it returned, on the context of a
    // coroutine.
    let core = unsafe { Core::of_context(arrival.own) };
    let left = Outgoing::from_word(arrival.message.left);
    // Before the outgoing coroutine is published: after that its identity may run on another worker.
    // SAFETY: S3: nothing was allocated since the switch.
    unsafe { carry(worker, arrival.predecessor_identity, core.context.identity()) };
    worker.processor().count_pick();
    worker.note_running(core, arrival.predecessor_identity);
    if left.successor_is_from_pinned() {
        worker.pinned.remove_first(core);
    }
    settle(worker, left);
    core
}

/// Moves malloc's words from the outgoing identity to the one that runs now.
///
/// # Safety
/// The contract of `TlsLayout::carry_allocator` (S3).
#[inline(always)]
pub(super) unsafe fn carry(worker: &Worker, from: usize, to: usize) {
    // SAFETY: S3: the caller promises what `TlsLayout::carry_allocator` asks.
    if from == to || unsafe { worker.link.allocator_words.carry(from, to) } {
        return;
    }
    if let Some(facts) = worker.link.caches.facts() {
        // SAFETY: S3: nothing was allocated since the switch.
        unsafe { facts.carry_allocator(from, to) };
    }
}

/// Settles the outgoing coroutine: queues it, publishes it as parked, or ends it.
#[inline(always)]
pub(super) fn settle(worker: &'static Worker, left: Outgoing) {
    if let Some((left, leaving)) = left.who() {
        if leaving == SwitchReason::Yield {
            // SAFETY: S1: it ran until just now, is in no queue, and its registers are saved.
            worker.queue(unsafe { Ready::from_core(left) });
        } else {
            settle_slow(worker, left, leaving);
        }
    }
}

/// Not inlined: the compiler would merge this `match` and the test above into one jump table, and the CPU mispredicts
/// that jump.
#[inline(never)]
fn settle_slow(worker: &'static Worker, left: NonNull<Core>, leaving: SwitchReason) {
    // SAFETY: S2: cores are type-stable.
    let core = unsafe { left.as_ref() };
    match leaving {
        SwitchReason::Park => match core.lifecycle.publish_parked() {
            Published::Parked => {}
            // SAFETY: S1: the wake came before the publication, so the duty to queue it is ours.
            Published::Notified => worker.queue(unsafe { Ready::from_core(left) }),
        },
        SwitchReason::Finished => finish(worker, core),
        SwitchReason::Overflowed => super::loss::finish_overflowed(worker, core),
        SwitchReason::Yield => super::fatal("a yield was not settled by its successor"),
    }
}

/// Gives the stack of a coroutine that has ended to the pool.
fn finish(worker: &'static Worker, core: &Core) {
    let pooled = take_stack(worker, core);
    if core.is_c_thread() {
        c_thread::ended(core.context.identity(), core.class.get(), pooled);
    } else if let Some(pooled) = pooled {
        worker.link.caches.give_stack(core.class.get(), pooled);
    }
    recycle(worker, core);
}

/// Takes the stack of a coroutine that has ended, with an identity block as new. `None`: the stack cannot be used
/// again, and was leaked.
#[inline(always)]
pub(super) fn take_stack(worker: &Worker, core: &Core) -> Option<PooledStack> {
    // SAFETY: S1: the coroutine has ended: its stack is the caller's, who has settled it.
    let pooled = unsafe { &mut *core.stack.get() }.take().expect("it ran on one");
    if stacks_are_measured() {
        pooled.note_use(core);
    }
    if renew(worker, &pooled, true) {
        Some(pooled)
    } else {
        pooled.stack.leak();
        None
    }
}

/// Makes the identity block as new. `false` means that the stack cannot be used again now: the block's table of modules
/// is damaged and must be rebuilt, but the C library has no memory for that, or the caller may not rebuild
/// (`may_rebuild`).
pub(super) fn renew(worker: &Worker, pooled: &PooledStack, may_rebuild: bool) -> bool {
    let (Some(identity), Some(facts)) = (pooled.identity, worker.link.caches.facts()) else {
        return true;
    };
    // SAFETY: S3: destructors have run, the coroutine that owned the block has ended.
    if unsafe { identity.reset(facts) } {
        return true;
    }
    // SAFETY: S3: asked for only when nobody runs under the block.
    may_rebuild && unsafe { identity.rebuild(facts) }.is_some()
}

impl Worker {
    /// The handoff of a switch that this worker carries out.
    #[inline(always)]
    pub(super) fn message(&'static self, left: Outgoing) -> Handoff {
        Handoff {
            left: left.into_word(),
            by: ptr::from_ref(self).expose_provenance(),
        }
    }

    /// The worker that carried out the switch.
    #[inline(always)]
    pub(super) fn of_handoff(message: Handoff) -> &'static Worker {
        // SAFETY: S2: `message` put it there; workers live for ever.
        unsafe { &*ptr::with_exposed_provenance::<Worker>(message.by) }
    }
}
