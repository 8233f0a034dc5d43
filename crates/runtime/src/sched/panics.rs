//! How does each light coroutine get a panic count of its own, although light coroutines share their worker's
//! thread-locals?
//!
//! std counts a thread's panics in a thread-local word. Suppose that nothing is done, and a light coroutine waits in a
//! destructor while it unwinds. Then all other light coroutines of its worker believe that they unwind too: guards
//! poison, destructors think that they must not panic, waits are not cancelled.
//!
//! # Protocol
//! The count in the worker's identity belongs to the coroutine that the worker's slot names. Code that names another
//! coroutine there ([`name_light`](Worker::name_light)) stores the count in the core of the former and loads that of
//! the latter. Code that clears the slot stores the count too. Both counts are 0 as a rule, and a switch checks only
//! that. When a light coroutine is followed by an isolated one, it stays named, since its count stays in the worker's
//! identity.
//!
//! *Why the former may be written.* Only a count that is not 0 is stored. Its coroutine is unwinding, so it has not
//! ended; and it is light and has started, so it is bound to this worker. A coroutine that has ended leaves 0 behind.
//! Its core, which may belong to another coroutine by now, is not touched. An overflow never leaves a count: it ends
//! the process if its coroutine panics (`overflow.rs`).
//!
//! std does not say where the word lies. It is observed (`silken_context::identity`) when a program first vouches for
//! light coroutines. If that fails, no counts are exchanged.
//!
//! # What is not carried
//! *The flag beside the count*, "a panic hook runs": no observation short of replacing the program's hook shows it. If
//! a hook waits on a light coroutine while another one of the same worker panics, the process ends, with std's message.
//! *std's handle of the current thread* (`thread::current()`, `thread::park`): it is a counted pointer whose type is
//! std's own. A coroutine's handle would have to be dropped at the coroutine's end, which only the thread's exit can
//! do. The thread's number, which reentrant locks compare, lies elsewhere, and std assumes that it never changes.
//!
//! # Rejected
//! *To store at each leave and load at each arrival*: two more stores per switch, for a value that is nearly always 0.

use super::worker::{Worker, no_panic_count};
use crate::coroutine::Core;
use silken_context::identity;
use std::cell::Cell;
use std::ptr;

impl Worker {
    /// Names the light coroutine that runs next in the identity that it shares, and installs its panic count there as
    /// std's.
    #[inline(always)]
    pub(super) fn name_light(&self, core: &Core) {
        let slot = self.own_slot();
        // SAFETY: S12: the observed word in the identity of this worker, whose thread it is; or a static one.
        let count = unsafe { &*self.link.panic_count.get() };
        if count.get() | usize::from(core.panics.get()) != 0 {
            exchange_panics(slot.get(), count, core);
        }
        slot.set(core);
    }

    /// The worker's own context runs: the slot names no coroutine.
    #[inline(always)]
    pub(super) fn name_nobody(&self) {
        let former = self.own_slot().replace(ptr::null());
        // SAFETY: S12: as in `name_light`.
        let count = unsafe { &*self.link.panic_count.get() };
        if count.get() != 0 {
            exchange_panics(former, count, ptr::null());
        }
    }

    /// Called at the first light coroutine of a worker. By then the place of std's count is known, or will never be
    /// known.
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

/// Stores the count in the coroutine that was named last, and loads that of the one that is named now, if any.
#[cold]
#[inline(never)]
fn exchange_panics(former: *const Core, count: &Cell<usize>, now: *const Core) {
    let left = count.get();
    // A coroutine that has ended left 0 behind, and its core may belong to another by now.
    if left != 0
        // SAFETY: S2: cores are type-stable; this one's coroutine is bound to this worker, and has not ended while it
        // unwinds.
        && let Some(former) = unsafe { former.as_ref() }
    {
        former.panics.set(u16::try_from(left).unwrap_or(u16::MAX));
    }
    // Loaded after the store: if only isolated coroutines ran in between, `former` and `now` are the same coroutine.
    // SAFETY: S2: the coroutine that this worker is about to run, or null.
    let now = unsafe { now.as_ref() };
    count.set(now.map_or(0, |now| usize::from(now.panics.replace(0))));
}
