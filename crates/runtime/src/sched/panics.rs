//! Each light coroutine has a panic count of its own, though they share a thread's.
//!
//! std counts a thread's panics in a thread-local word. With nothing done, a light coroutine that waits in a destructor
//! while it unwinds makes all others of its worker believe that they unwind too: guards poison, destructors think that
//! they must not panic, waits are not cancelled.
//!
//! # Protocol
//! The count in the worker's identity belongs to the coroutine that the worker's slot names. Whoever names another one
//! there ([`name_light`](Worker::name_light)) stores it in the core of the former and loads that of the latter; whoever
//! clears the slot stores it too. Both are 0 as a rule, which is all that a switch looks at. A light coroutine that was
//! left for an isolated one stays named, since its count stays in the worker's identity.
//!
//! *Why the former may be written.* Only a count that is not 0 is stored. Its coroutine is unwinding, so it has not
//! ended, and it is light and has started, so it is bound to this worker. One that has ended leaves 0 behind: its core,
//! which may be another coroutine's by now, is not touched. An overflow never leaves a count: it ends the process while
//! its coroutine panics (`overflow.rs`).
//!
//! std does not tell where the word lies. It is observed (`silken_context::identity`) when a program first vouches for
//! light coroutines; where that fails nothing is exchanged.
//!
//! # What is not carried
//! *The flag beside the count*, "a panic hook runs": no observation short of replacing the program's hook shows it. A
//! hook that waits on a light coroutine while another one of the worker panics ends the process, with std's message.
//! *std's handle of the current thread* (`thread::current()`, `thread::park`): it is a counted pointer whose type is
//! std's own. A coroutine's would have to be dropped at the coroutine's end, which only the thread's exit can do; and
//! the thread's number, which reentrant locks compare, lies elsewhere, and is constant for std.
//!
//! # Rejected
//! To store at each leave and load at each arrival: two stores more per switch, for what is 0 nearly always.

use super::worker::{Worker, no_panic_count};
use crate::coroutine::Core;
use silken_context::identity;
use std::cell::Cell;
use std::ptr;

impl Worker {
    /// Names the light coroutine that runs next in the identity that it shares, and makes std's count of panics there
    /// its own.
    #[inline(always)]
    pub(super) fn name_light(&self, core: &Core) {
        let slot = self.own_slot();
        // SAFETY: S12: the observed word in the identity of this worker, whose thread it is; or a static one.
        let count = unsafe { &*self.link.panic_count.get() };
        if count.get() | core.panics.get() as usize != 0 {
            exchange_panics(slot.get(), count, core);
        }
        slot.set(core);
    }

    /// The worker's own context runs: nobody is named.
    #[inline(always)]
    pub(super) fn name_nobody(&self) {
        let former = self.own_slot().replace(ptr::null());
        // SAFETY: S12: as in `name_light`.
        let count = unsafe { &*self.link.panic_count.get() };
        if count.get() != 0 {
            exchange_panics(former, count, ptr::null());
        }
    }

    /// The first light coroutine of a worker: by now it is known where std counts, or never will be.
    #[inline(always)]
    pub(super) fn find_panic_count(&self) {
        if ptr::eq(self.link.panic_count.get(), no_panic_count())
            && let Some(offset) = identity::panic_count_offset()
        {
            let word = self.link.base.identity().wrapping_add_signed(offset);
            self.link.panic_count.set(ptr::with_exposed_provenance(word));
        }
    }
}

/// The count belongs to the coroutine that was named last; then to the one who is named now, if any.
#[cold]
#[inline(never)]
fn exchange_panics(former: *const Core, count: &Cell<usize>, now: *const Core) {
    let left = count.get();
    // A coroutine that has ended left 0 behind, and its core may be another's by now.
    if left != 0
        // SAFETY: S2: cores are type-stable; this one's coroutine is bound to this worker, and has not ended while it
        // unwinds.
        && let Some(former) = unsafe { former.as_ref() }
    {
        former.panics.set(left as u32);
    }
    // After the store: a coroutine that was left for an isolated one is its own successor.
    // SAFETY: S2: the coroutine that this worker is about to run, or null.
    let now = unsafe { now.as_ref() };
    count.set(now.map_or(0, |now| now.panics.replace(0) as usize));
}
