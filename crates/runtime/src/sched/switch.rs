//! Leaving a coroutine's stack and continuing another: the pick, the switch, and what the successor owes the one who
//! left.
//!
//! # Protocol
//! The coroutine that leaves picks its successor on its own stack and switches. The switch hands over, in registers,
//! who leaves and why ([`Outgoing`]), and on which worker. The successor's first act is to [`arrive`]: it moves
//! malloc's words to its own identity, takes itself out of the queue, and does for the one who left what can be done
//! only now that its registers are saved: queue it, publish it as parked, or take its stack away. So nobody can
//! continue a coroutine before it has stopped.
//!
//! Whatever can be done on either side of the switch is done behind it: the instruction that changes the identity waits
//! for the stores before it, and not for those behind it (`silken_context::switch`).
//!
//! Everything here runs in a critical section: it begins before the pick, in the one who leaves, and ends after the
//! settling, in the one who goes on. Its counter belongs to the coroutine, so each ends its own.
//!
//! # A finished coroutine
//! [`main`] is the first frame of every coroutine. When the body has ended and the next coroutine in the queue has not
//! started, and wants the same kind of stack, the ended one's stack is handed over on the spot: no switch, no identity
//! change, the block is made as new in place. A batch of short coroutines thus runs on one stack that stays in the
//! cache.
//!
//! # Rejected
//! Returning to the worker's context for each pick: two switches and three mispredicted returns per hop. Publishing
//! before the switch and making wakers wait for it: a spin on a word that the leaving coroutine writes at every switch.

use super::life::{complete, end, recycle, run_body};
use super::processor::SharedProcessor;
use super::worker::{Pick, Worker};
use super::{cold_path, fatal, is_bound};
use crate::coroutine::{
    Core, Critical, Kind, Outgoing, PooledStack, Published, Ready, SwitchReason, ThreadLocals, WaitReason,
    current_core, slots_offset,
};
use crate::sys::process;
use silken_context::identity::Identity;
use silken_context::switch::{self, Context, Handoff, Resumed};
use std::ptr::{self, NonNull};

/// Lets others run; returns at once when nobody is ready. On an OS thread, yields the thread.
pub(crate) fn yield_now() {
    match current_core() {
        Some(core) => {
            yield_core(core);
        }
        None => crate::sys::yield_thread(),
    }
}

/// As [`yield_now`], for the running coroutine, which it returns: what is kept over a switch is stored before it.
///
/// Inlined as far as the straight way goes: the scheduler's one worker continues somebody in its queue who has run
/// before, and whoever leaves when this one goes on does the same. So the compiler saves what is live in the caller and
/// nothing else, and no return is mispredicted.
#[inline(always)]
pub(crate) fn yield_core(core: &'static Core) -> &'static Core {
    Critical::enter_to_leave();
    let worker = Worker::current();
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
    worker.processor().count_pick_alone();
    // SAFETY: S1: it ran until just now, is in no queue, and its registers are saved.
    worker.pinned.replace_first(core, unsafe { Ready::from_core(yielder) });
    // Last, for the stores above wait for what comes before them. Whoever left is not published: nobody else takes from
    // the queue.
    // SAFETY: S3: nothing was allocated since the switch.
    unsafe { carry(worker, arrival.predecessor_identity, core.context.identity()) };
    leave_critical(core)
}

/// A yield with all that may be in its way.
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

/// The end of a yield whose predecessor did not just change places with it.
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

/// Ends the section that the coroutine entered before a switch: the guard stayed behind, since nothing is kept over the
/// switch.
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
pub(super) unsafe fn park(core: &Core) {
    let worker = Worker::current();
    match worker.pick() {
        // SAFETY: S1: the caller's contract; `next` came from the queue.
        Some(next) => unsafe { switch_to(worker, core, next, SwitchReason::Park) },
        // SAFETY: S1: the caller promises: `core` is the running coroutine, in a critical section.
        None => unsafe { switch_to_base(worker, core, SwitchReason::Park) },
    };
}

/// Continues `next`; returns when `core` is continued, on whatever worker that is, and returns `core`.
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

/// Continues the worker's own context; otherwise as [`switch_to`].
///
/// # Safety
/// As for [`switch_to`].
#[inline(always)]
unsafe fn switch_to_base(worker: &'static Worker, core: &Core, leaving: SwitchReason) -> &'static Core {
    let message = worker.message(Outgoing::new(core, leaving));
    // SAFETY: S1: the base waits in `run_from_base`; the rest as in `switch_to`.
    let arrival = unsafe { switch::switch_saving_all(&core.context, &worker.link.base, message) };
    // SAFETY: S1: as in `switch_to`.
    unsafe { arrive(arrival) }
}

/// The worker's own context continues a coroutine, and comes back when a coroutine leaves and finds nobody to succeed
/// it.
pub(super) fn run_from_base(worker: &'static Worker, next: Pick) {
    let from_pinned = next.from_pinned;
    let next = worker.make_runnable(next.ready);
    let message = worker.message(Outgoing::nobody().for_successor(from_pinned));
    // SAFETY: S1: `next` is suspended and ours. S3: the worker's own identity and the coroutine's.
    let arrival = unsafe { switch::switch(&worker.link.base, &next.context, message) };
    worker.name_nobody();
    // SAFETY: S3: nothing was allocated since the switch.
    unsafe { carry(worker, arrival.predecessor_identity, worker.link.base.identity()) };
    settle(worker, Outgoing::from_word(arrival.message.left));
}

/// The first act of a coroutine that goes on. Everything it needs has come in registers; returns the coroutine.
///
/// # Safety
/// Called at once after the switch, with what it returned, on the context of a coroutine (S1).
#[inline(always)]
unsafe fn arrive(arrival: Resumed) -> &'static Core {
    let worker = Worker::of_handoff(arrival.message);
    // SAFETY: S2: the caller promises: called at once after the switch, with what it returned, on the context of a
    // coroutine.
    let core = unsafe { Core::of_context(arrival.own) };
    let left = Outgoing::from_word(arrival.message.left);
    // Before whoever left is published: after that its identity may run elsewhere.
    // SAFETY: S3: nothing was allocated since the switch.
    unsafe { carry(worker, arrival.predecessor_identity, core.context.identity()) };
    worker.processor().count_pick();
    if left.successor_is_from_pinned() {
        worker.pinned.remove_first(core);
    }
    settle(worker, left);
    core
}

/// Moves malloc's words from the identity that ran to the one that runs.
///
/// # Safety
/// As for `TlsLayout::carry_allocator` (S3).
#[inline(always)]
unsafe fn carry(worker: &Worker, from: usize, to: usize) {
    // SAFETY: S3: the caller promises what `TlsLayout::carry_allocator` asks.
    if from == to || unsafe { worker.link.allocator_words.carry(from, to) } {
        return;
    }
    if let Some(facts) = worker.link.caches.facts() {
        // SAFETY: S3: nothing was allocated since the switch.
        unsafe { facts.carry_allocator(from, to) };
    }
}

/// Does what the one who left is owed.
#[inline(always)]
fn settle(worker: &'static Worker, left: Outgoing) {
    if let Some((left, leaving)) = left.who() {
        if leaving == SwitchReason::Yield {
            // SAFETY: S1: it ran until just now, is in no queue, and its registers are saved.
            worker.queue_yielded(unsafe { Ready::from_core(left) });
        } else {
            settle_slow(worker, left, leaving);
        }
    }
}

/// Not inlined: the compiler would make one table of jumps of it and the test above, and the processor mispredicts that
/// jump.
#[inline(never)]
fn settle_slow(worker: &'static Worker, left: NonNull<Core>, leaving: SwitchReason) {
    // SAFETY: S2: cores are type-stable.
    let core = unsafe { left.as_ref() };
    match leaving {
        SwitchReason::Park => match core.lifecycle.publish_parked() {
            Published::Parked => {}
            // SAFETY: S1: the wake came before the publication, so the duty to queue it is ours.
            Published::Notified => worker.queue_yielded(unsafe { Ready::from_core(left) }),
        },
        SwitchReason::Finished => finish(worker, core),
        SwitchReason::Yield | SwitchReason::Overflowed => super::loss::finish_overflowed(worker, core),
    }
}

/// Takes the stack of a coroutine that has ended.
fn finish(worker: &'static Worker, core: &Core) {
    // SAFETY: S1: the coroutine has ended: its stack is the worker's.
    let pooled = unsafe { &mut *core.stack.get() }.take().expect("it ran on one");
    if renew(worker, &pooled, true) {
        worker.link.caches.give_stack(core.class.get(), pooled);
    } else {
        pooled.stack.leak();
    }
    recycle(worker, core);
}

/// Makes the identity block as new. `false`: its table of modules is not as it should be, and it must be rebuilt, for
/// which the C library has no memory, or which the caller cannot do.
fn renew(worker: &Worker, pooled: &PooledStack, may_rebuild: bool) -> bool {
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

/// Leaves a coroutine that has overflowed; called on the worker's own stack, under the coroutine's identity
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

/// Lays out the first frame of a coroutine that starts.
///
/// # Safety
/// `pooled` is a stack that nobody uses, and `core` has not started (S1).
pub(super) unsafe fn prepare(core: &Core, pooled: &PooledStack) {
    // SAFETY: S1: the caller promises: `pooled` is a stack that nobody uses, and `core` has not started.
    unsafe { switch::prepare(&core.context, pooled.frame_top, main) };
}

/// What the runtime keeps in the coroutine's own identity block.
///
/// # Safety
/// The coroutine is isolated and has a block, which is the caller's to write (S3).
unsafe fn slots_in_own_block(core: &Core) -> &ThreadLocals {
    let offset = slots_offset().expect("checked at the start");
    let slots = core.context.identity().wrapping_add_signed(offset) as *const ThreadLocals;
    // SAFETY: S3: the caller promises: the coroutine is isolated and has a block, which is the caller's to write.
    unsafe { &*slots }
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
            // The child's only thread has come to its end, so the child ends, as it does where `fork` was called on a
            // thread. The others here are copies: they run in the parent.
            process::exit();
        }
        core = succeed(core);
    }
}

/// The ended coroutine finds a successor: hands it the stack and returns it, or switches away for ever.
fn succeed(core: &'static Core) -> &'static Core {
    Critical::enter_to_leave();
    let worker = Worker::current();
    complete(core);
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
    // SAFETY: S1: `next` is suspended and ours; the successor buries this stack. S3: both identities are complete.
    unsafe { switch::switch_final(&next.context, worker.message(left)) }
}

fn may_inherit(core: &Core, next: &Core) -> bool {
    !next.started.get() && next.kind.get() == core.kind.get() && next.class.get() == core.class.get()
}

/// `next` goes on with the stack of `core`, which has ended, in the same frame.
fn inherit(worker: &'static Worker, core: &'static Core, next: Pick) -> &'static Core {
    // SAFETY: S1: the coroutine has ended; its stack goes on under another name.
    let pooled = unsafe { &mut *core.stack.get() }.take().expect("it runs on one");
    if !renew(worker, &pooled, false) {
        // The block must be rebuilt, and nobody can do that while running under it.
        // SAFETY: S1: put back where it was.
        *unsafe { &mut *core.stack.get() } = Some(pooled);
        // SAFETY: S1: `next` came from the queue.
        unsafe { leave_for_ever(worker, core, next) }
    }
    let from_pinned = next.from_pinned;
    // SAFETY: S2: cores are type-stable; the Ready is the right to run this one.
    let next: &'static Core = unsafe { next.ready.into_core().as_ref() };
    worker.processor().count_pick();
    if from_pinned {
        worker.pinned.remove_first(next);
    }
    worker.start(next, pooled);
    recycle(worker, core);
    next
}

impl Worker {
    /// What a successor is told by the switch that this worker carries out.
    #[inline(always)]
    fn message(&'static self, left: Outgoing) -> Handoff {
        Handoff {
            left: left.into_word(),
            by: ptr::from_ref(self).expose_provenance(),
        }
    }

    /// The worker that carried out the switch.
    #[inline(always)]
    fn of_handoff(message: Handoff) -> &'static Worker {
        // SAFETY: S2: `message` put it there; workers live for ever.
        unsafe { &*ptr::with_exposed_provenance::<Worker>(message.by) }
    }

    /// The worker on which the coroutine runs.
    #[inline(always)]
    pub(super) fn of(core: &Core) -> &'static Worker {
        // SAFETY: S2: set before the coroutine was continued; workers live for ever.
        let link = unsafe { &*core.link.get() };
        Worker::from_link(link)
    }

    /// Whether the coroutine has started and ran here when it ran last: [`announce`](Self::announce) is all it takes to
    /// switch to it.
    #[inline(always)]
    pub(super) fn has_run(&self, core: &Core) -> bool {
        ptr::eq(core.link.get(), &raw const self.link)
    }

    /// The coroutine of a Ready, to be switched to at once; a light one is named in the identity that it shares.
    #[inline(always)]
    fn announce(&self, ready: Ready) -> &'static Core {
        // SAFETY: S2: cores are type-stable; the Ready is the right to run this one.
        let core: &'static Core = unsafe { ready.into_core().as_ref() };
        if core.kind.get() == Kind::Light {
            self.name_light(core);
        }
        core
    }

    /// Makes the coroutine of a Ready one that can be switched to: bound to this worker, named, with a stack.
    #[inline(always)]
    pub(super) fn make_runnable(&'static self, ready: Ready) -> &'static Core {
        if !self.has_run(ready.core()) {
            self.make_runnable_here(ready.core());
        }
        self.announce(ready)
    }

    #[cold]
    #[inline(never)]
    fn make_runnable_here(&'static self, core: &Core) {
        // SAFETY: S2: cores are type-stable; the caller has the right to run this one.
        let core: &'static Core = unsafe { NonNull::from(core).as_ref() };
        if core.started.get() {
            self.adopt(core);
        } else {
            self.start_on_new_stack(core);
        }
    }

    /// An isolated coroutine has come from another worker.
    fn adopt(&'static self, core: &Core) {
        core.link.set(&raw const self.link);
        // SAFETY: S3: only isolated ones come from elsewhere, and nobody runs this one.
        unsafe { slots_in_own_block(core) }.link.set(&raw const self.link);
        SharedProcessor::count(&self.processor().shared.migrations);
    }

    fn start_on_new_stack(&'static self, core: &'static Core) {
        let pooled = match self.link.caches.take_stack(core.class.get(), core.kind.get()) {
            Ok(pooled) => pooled,
            Err(error) => self.no_stack(core, &error),
        };
        // SAFETY: S1: fresh from the pool.
        unsafe { prepare(core, &pooled) };
        self.start(core, pooled);
    }

    /// The address space was reserved at the spawn, so it is memory for page tables or the map count that is missing.
    #[cold]
    fn no_stack(&self, core: &Core, error: &std::io::Error) -> ! {
        let reason = error.to_string();
        let name = core.name().map_or("unnamed", |name| name);
        fatal_start(name, &reason)
    }

    /// Binds a stack to a coroutine that starts.
    fn start(&'static self, core: &'static Core, pooled: PooledStack) {
        let own = pooled.identity.map(Identity::base);
        core.context
            .set_identity(own.unwrap_or_else(|| self.link.base.identity()));
        // SAFETY: S1: the caller owns the core.
        *unsafe { &mut *core.stack.get() } = Some(pooled);
        core.link.set(&raw const self.link);
        core.started.set(true);
        core.set_reason(WaitReason::None);
        match core.kind.get() {
            Kind::Light => {
                self.find_panic_count();
                self.name_light(core);
            }
            Kind::Isolated => {
                // SAFETY: S3: only isolated ones come from elsewhere, and nobody runs this one.
                let slots = unsafe { slots_in_own_block(core) };
                slots.core.set(core);
                slots.link.set(&raw const self.link);
                // Ended by `main` once the predecessor is settled.
                slots.critical.set(1);
            }
        }
        debug_assert!(core.kind.get() == Kind::Isolated || is_bound(core));
    }
}

fn fatal_start(name: &str, reason: &str) -> ! {
    crate::sys::report(&["silken: coroutine '", name, "' gets no stack: ", reason, "\n"]);
    fatal("a coroutine cannot start")
}
