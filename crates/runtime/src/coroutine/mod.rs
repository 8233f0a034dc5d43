//! What is a coroutine? This folder has its identity, lifecycle, park and unpark, result and locals. `sched` decides
//! which worker runs it, and when.
//!
//! # Vocabulary
//! | word | meaning |
//! |---|---|
//! | [`Core`] | the coroutine's control block: type-stable memory from a pool, never given back to the system |
//! | [`Ready`] | the duty to queue a coroutine; exactly one exists while it is queued or about to be |
//! | [`CoreRef`] | a counted reference: keeps the control block from being recycled |
//! | [`Unparker`] | an uncounted address that may only wake; a stale one is harmless, because the memory is type-stable |
//! | *isolated* | a coroutine with an identity block of its own: may continue on any worker |
//! | *light* | a coroutine that shares its worker's thread-locals: bound to that worker once started. The program has vouched for it (`sched/light.rs`) |
//!
//! # States, as reports print them
//! | state | word (`state.rs`) | where the coroutine is |
//! |---|---|---|
//! | ready | active | in a run queue, a level, the injector or an inbox, or held as a `Ready` by the code that woke it |
//! | running | active | on a worker, or late on a thread without one (`sched/late.rs`) |
//! | parked | `PARKED` | in no queue; its wait reason says what for |
//! | done | `DONE` | in no queue and on no stack; its result waits to be taken |
//! | free | no references | in the pool |
//!
//! # Field rules of `Core`
//! There are four sorts of fields. *Constant for a life*: `name`, `site`, `kind`, `class`, `priority` and `scheduler`
//! are plain cells that the spawner writes before the life begins; whoever has a counted reference may read them.
//! *Owned*: all other plain cells have one owner at a time. It is the spawner until the core is queued, then the code
//! that holds the `Ready`, then the coroutine itself, and its successor on the worker while it leaves. The
//! Release/Acquire pairs of the queue and of the lifecycle word pass the ownership on. *Atomic*: other threads may read
//! `lifecycle`, `reason`, `tie`, `id`, `token`, `next` and the identity's address in `context` at any time. *Locked*:
//! `joiners` lies behind a lock.

mod body;
#[forbid(unsafe_code)]
pub(crate) mod budget;
#[forbid(unsafe_code)]
pub(crate) mod c_thread;
mod cancel;
mod core;
mod current;
mod group;
#[forbid(unsafe_code)]
mod inherited;
mod join;
mod local;
mod park;
mod pool;
mod refs;
mod segment;
mod stack_report;
#[forbid(unsafe_code)]
mod state;
mod std_thread;

#[cfg(all(test, loom))]
mod loom_tests;

pub(crate) use cancel::{
    Limits, OnInterrupt, Payload, UNWINDS, caught, contained, discard, effective_deadline_ns, is_deadline_due,
    is_interrupted, is_panicking, lost, mask, raise_if_cancelled, raise_if_core_cancelled, resume, until,
};
pub(crate) use core::{Core, Kind, NO_HOME, Ready, Schedule, ThreadLocals, Tie, WorkerLink};
pub(crate) use current::{
    Critical, PreemptionOff, attach_worker_thread, current_core, current_link, forget_worker, is_allocator_marked,
    is_preemptible, last_link, mark_allocator, own_slots, set_worker, slots_in_block, slots_offset,
};
pub(crate) use group::{Group, OpenScope};
pub use inherited::ScopedKey;
pub(crate) use inherited::pass_values_on;
pub(crate) use join::Joiner;
pub use join::error::{JoinError, PanicPayload};
pub(crate) use local::map::OnLost;
pub use local::{AccessError, LocalKey};
pub(crate) use local::{count_refusal, on_lost, refusals};
pub use park::reason::WaitReason;
pub(crate) use park::{Outcome, Unparker, WaitCell, park, park_thread_until, park_to_stay};
pub(crate) use pool::stack::PooledStack;
pub(crate) use pool::{Caches, GuardSize, Pools, pools};
pub(crate) use refs::{CoreRef, for_each_core, release};
pub(crate) use segment::record::StackBounds;
pub(crate) use segment::{grow, room, segments_of_thread};
pub use stack_report::{StackReport, StackSite, stack_high_water, stack_report};
pub(crate) use stack_report::{measure_stacks, stacks_are_measured};
pub(crate) use state::{Finished, Published, ResultOwner};
pub(crate) use std_thread::{StdThread, inherit_always, inherits_always, is_beginning, is_kept, keep, note_hooks};
