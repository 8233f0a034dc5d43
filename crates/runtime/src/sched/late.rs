//! What becomes of a thread whose worker was given to another thread while a call blocked it, and of the coroutine that
//! made the call?
//!
//! # Vocabulary
//! A *worker* is the record of what runs coroutines: its processor, caches and link (`worker.rs`). A
//! *thread* runs as that worker. The monitor *seizes* a worker from a thread that the kernel has blocked, and a spare
//! thread takes it over (`spare.rs`). The blocked thread is *lost* to the worker. When its call returns, the coroutine
//! that made it runs *late*: it has no worker.
//!
//! # Protocol
//! Nobody announces the calls that block, so the monitor must take the worker from a thread that may return at any
//! moment. Code that touches what only the worker's thread may touch reads its worker in one place, the link in its own
//! identity, and inside a critical section. (What other threads may touch too, under locks, is found through
//! `core.link`, the last worker: the driver, the runtime's number.) So the monitor sets that link to null. A coroutine
//! that runs late then behaves like a caller from outside of the scheduler: what it wakes and spawns goes to the
//! injector, or to the inbox of the worker that it is bound to; it uses the shared pools. Only when it would leave its
//! stack does it need a worker's base to go to. There it looks for the [`LostThread`] that the monitor left for it
//! ([`come_back`]), and goes to the base of its own thread. That base settles it without a worker ([`settle_late`]),
//! and the thread becomes a spare one.
//!
//! # The race: the call returns while the worker is seized
//! | the coroutine | the monitor |
//! |---|---|
//! | enters a critical section: writes the depth | under the lock of the worker's lost threads: link := null |
//! | reads the link | a barrier on all threads (`sys::barrier`) |
//! | | reads the depth, the running coroutine and the count of picks |
//!
//! At the barrier the coroutine either has written the depth, and the monitor sees it and gives up; or it has left the
//! section again, and then its use is over, the monitor's read of the depth shows what it did (Acquire), and its next
//! section reads null; or it reads the link after the barrier, and sees null. So the coroutine never uses what belongs
//! to the worker's thread after another thread has taken the worker over. The count of picks tells that it is still the
//! same pick. Example: C parks, the worker runs D, and C is picked again, all between the monitor's two looks. The
//! running coroutine and the depth look as before; only the count differs, and the monitor gives up. If the monitor
//! gives up it puts the link back. The coroutine may have read null meanwhile. Then it either does without a worker for
//! once, or comes to [`come_back`], which takes the lock, finds no lost thread for it, and puts the link back itself.
//!
//! Example: coroutine C on worker W is blocked in a contended `pthread_mutex_lock`. The monitor sets C's link to null,
//! sees depth 0, notes the thread as lost and gives W to a spare thread. The call returns, and C spawns a coroutine:
//! its link is null, so the new one goes to the injector. Then C parks: `come_back` finds the note, C goes to its old
//! thread's base, is published as parked there, and the thread joins the spare ones. C is woken later, and continues on
//! some worker, which writes its own link into C's identity.
//!
//! A parked coroutine's identity still has the worker's link. The block of a coroutine that has ended has it too, and
//! may belong to another coroutine by now. So the monitor may write into the identity of a coroutine that does not run
//! there. It replaces only this worker's link, checks afterwards that this coroutine still runs, and puts the link back
//! if not. A worker that continues a coroutine of its own whose link is null finds out in `come_back`. A thread that is
//! blocked in its worker's own context runs no coroutine, so it is not seized. A preemption signal that reaches a lost
//! thread finds a null link, and does nothing.
//!
//! # Light coroutines
//! They share the thread-locals of the thread, so they cannot follow the worker to another one. A worker that has
//! started a light coroutine is never seized: a call that blocks it blocks them all, as on any runtime without threads
//! to spare. Idle workers still serve its events and take from its ring (`watch.rs`).
//!
//! # Rejected
//! *Moving the processor from one worker to another*: its parts are read through the worker on the hottest paths, and
//! the late thread would need a worker that has no processor. *Announcing each call*: the calls in question are those
//! that nobody sees. *Giving the worker back when the call returns*: threads are interchangeable where no light
//! coroutine is. *Waiting for a worker when the call returns*, as a goroutine waits for a processor: the coroutine has
//! a thread already.

use super::arrive::{arrive, carry, take_stack};
use super::handoff::{Outgoing, SwitchReason};
use super::lost::LostThread;
use super::worker::Worker;
use crate::coroutine::{
    Core, Published, Ready, ThreadLocals, c_thread, forget_worker, pools, release, set_worker, slots_in_block,
};
use crate::sys::barrier;
use silken_context::switch::{self, Handoff, Resumed};
use std::panic::Location;
use std::ptr;

/// What a coroutine finds that has no link to a worker.
pub(super) enum Back {
    /// The worker was not seized after all; the link is back.
    ToWorker(&'static Worker),
    /// The worker belongs to another thread now.
    ToThread(Box<LostThread>),
}

/// The coroutine from whose thread a worker was taken.
pub(super) struct Seized {
    /// Where it was spawned. Asked while it cannot end.
    pub(super) site: Option<&'static Location<'static>>,
}

/// Takes the worker from its thread if that is blocked by a call in this pick's coroutine. `None`: it was not taken.
/// Called by the monitor.
pub(super) fn seize(worker: &'static Worker, tick: u32) -> Option<Seized> {
    if worker.has_light() {
        return None;
    }
    let mut lost = worker.lost.lock();
    let core = worker.running()?;
    let slots = slots_of(core)?;
    if !slots.take_link(&worker.link) {
        return None;
    }
    barrier::heavy();
    let still_runs = worker.running().is_some_and(|running| ptr::eq(running, core));
    if !still_runs || worker.processor.tick() != tick || slots.is_critical() {
        slots.put_link_back(&worker.link);
        return None;
    }
    lost.push(LostThread::new(&worker.link.base, core));
    Some(Seized { site: core.site.get() })
}

/// The runtime's slots in the identity of an isolated coroutine that may be running or not.
fn slots_of(core: &'static Core) -> Option<&'static ThreadLocals> {
    // SAFETY: S3: the block of a coroutine that has started is in its stack's slot, which stays mapped for ever; a
    // light one's is its worker's. What is written there is one word, and only if it holds the expected link.
    (core.context.identity() != 0).then(|| unsafe { slots_in_block(core) })
}

/// What the running coroutine, which has no link and is in a critical section, has to do to leave its stack.
#[cold]
#[inline(never)]
pub(super) fn come_back(core: &'static Core) -> Back {
    let worker = Worker::of(core);
    let mut lost = worker.lost.lock();
    match lost.iter().position(|thread| thread.runs(core)) {
        Some(place) => Back::ToThread(Box::new(lost.swap_remove(place))),
        None => {
            set_worker(&worker.link);
            Back::ToWorker(worker)
        }
    }
}

/// Leaves the stack of a late coroutine. Returns when a worker continues it.
///
/// # Safety
/// `core` runs, in a critical section, on the thread that has lost its worker (S1).
#[inline(never)]
pub(super) unsafe fn leave(core: &'static Core, thread: Box<LostThread>, reason: SwitchReason) -> &'static Core {
    let message = handoff_without_worker(core, reason);
    let thread = Box::leak(thread);
    // SAFETY: S1: the thread's own context waits in `run_from_base`, and frees the record. S3: both identities are
    // complete.
    let arrival = unsafe { switch::switch_saving_all(&core.context, &thread.base, message) };
    // SAFETY: S1: this is the arrival, on a coroutine's context.
    unsafe { arrive(arrival) }
}

/// Leaves the stack of a late coroutine that has ended.
///
/// # Safety
/// As for [`leave`]; the coroutine has ended.
pub(super) unsafe fn leave_for_ever(core: &'static Core, thread: Box<LostThread>) -> ! {
    let message = handoff_without_worker(core, SwitchReason::Finished);
    // SAFETY: S1: as in `leave`.
    unsafe { switch::switch_final(&Box::leak(thread).base, message) }
}

fn handoff_without_worker(core: &'static Core, reason: SwitchReason) -> Handoff {
    // The worker that continues it binds it to itself, even if that is the worker which it has lost.
    core.link.set(ptr::null());
    Handoff {
        left: Outgoing::new(core, reason).into_word(),
        by: 0,
    }
}

/// Whether the context that has just continued is that of a thread which has lost its worker meanwhile.
#[inline(always)]
pub(super) fn is_late(worker: &Worker, arrival: &Resumed) -> bool {
    !ptr::eq(arrival.own, &raw const worker.link.base)
}

/// The late thread's own context: settles the coroutine that has left it, without a worker.
#[cold]
pub(super) fn settle_late(worker: &'static Worker, arrival: Resumed) {
    forget_worker();
    // SAFETY: S1: `is_late`: the context is the first field of a record that `leave` has leaked for us.
    let thread = unsafe { Box::from_raw(arrival.own.cast::<LostThread>().cast_mut()) };
    // SAFETY: S3: nothing was allocated since the switch.
    unsafe { carry(worker, arrival.predecessor_identity, thread.base.identity()) };
    let scheduler = worker.scheduler;
    let Some((left, reason)) = Outgoing::from_word(arrival.message.left).who() else {
        return;
    };
    // SAFETY: S2: cores are type-stable.
    let core = unsafe { left.as_ref() };
    match reason {
        // SAFETY: S1: it ran until just now, is in no queue, and its registers are saved.
        SwitchReason::Yield => scheduler.schedule_from_outside(unsafe { Ready::from_core(left) }),
        SwitchReason::Park => match core.lifecycle.publish_parked() {
            Published::Parked => {}
            // SAFETY: S1: the wake came before the publication, so the duty to queue it is ours.
            Published::Notified => scheduler.schedule_from_outside(unsafe { Ready::from_core(left) }),
        },
        SwitchReason::Finished => finish_late(worker, core),
        SwitchReason::Overflowed => super::fatal("a late coroutine has overflowed its stack"),
    }
}

/// Gives what the ended coroutine had to the shared pools.
fn finish_late(worker: &'static Worker, core: &Core) {
    let pooled = take_stack(worker, core);
    if core.is_c_thread() {
        c_thread::ended(core.context.identity(), core.class.get(), pooled);
    } else if let Some(pooled) = pooled {
        pools().give_stack(core.class.get(), pooled);
    }
    pools().unreserve(core.class.get(), 1);
    worker.scheduler.count_finished_outside();
    release(core);
}
