//! What does a coroutine run, and what does it do itself when it ends? It runs its closure, then its destructors, and
//! wakes its joiners.
//!
//! The order is that of a thread: the result is stored, values are destroyed, then joiners may continue. All of it runs
//! on the coroutine's own stack, under its identity. What its successor does afterwards is in `arrive.rs`.

use super::processor::SharedProcessor;
use super::worker::Worker;
use crate::coroutine::{Core, Finished, Kind, ResultOwner, release};
use crate::loom::static_atomic::{AtomicPtr, Ordering};
use silken_context::identity::TlsLayout;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// The function that runs the destructors of C libraries' keys. The hooks set it, since they know the keys.
static KEY_DESTRUCTORS: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Registers the function that runs one round of the destructors of pthread keys when an isolated coroutine ends. Its
/// argument is the number of the round, from 0. It returns whether a destructor ran, and must return `false` at last.
pub(crate) fn set_key_destructors(run: fn(usize) -> bool) {
    // Release: pairs with the Acquire in `run_key_destructors`.
    KEY_DESTRUCTORS.store(run as *mut (), Ordering::Release);
}

fn run_key_destructors(round: usize) -> bool {
    // Acquire: pairs with the Release in `set_key_destructors`.
    let run = KEY_DESTRUCTORS.load(Ordering::Acquire);
    if run.is_null() {
        return false;
    }
    // SAFETY: S7: only `set_key_destructors` writes the word.
    let run = unsafe { std::mem::transmute::<*mut (), fn(usize) -> bool>(run) };
    run(round)
}

/// The coroutine's last act as itself, or its successor's act for one that has overflowed: its joiners and its scope
/// may continue.
#[inline(always)]
pub(super) fn complete(core: &Core) {
    let group = core.group();
    core.set_group(ptr::null());
    let Finished { joining } = core.lifecycle.finish();
    if joining {
        core.wake_joiners();
    }
    // SAFETY: S8: the scope's frame stays until this child has left the group.
    if let Some(group) = unsafe { group.as_ref() } {
        group.leave();
    }
}

/// Runs the closure. If a scope waits for the coroutine, runs it as a member of that scope.
#[inline(always)]
pub(super) fn run_body(core: &'static Core) {
    if core.has_values()
        && let Some(thread) = core.take_std_thread()
    {
        thread.become_current();
    }
    // SAFETY: S8: as in `complete`.
    let Some(group) = (unsafe { core.group().as_ref() }) else {
        // A thread of C runs in any case: its maker waits for what it does.
        core.body.run(core.lifecycle.is_cancelled() && !core.is_c_thread());
        return;
    };
    if group.during(core, |cancelled| core.body.run(cancelled)) {
        group.on_panic();
    }
}

/// Drops a result that will not be taken. The panic hook has reported a panic of its destructor. The panic goes no
/// further: there is no code to which it could go, and the coroutine's end must not be cut short.
pub(super) fn discard_result(core: &Core) {
    let dropped = catch_unwind(AssertUnwindSafe(|| core.body.clear()));
    // SAFETY: S8: as in `complete`.
    if let Some(group) = unsafe { core.group().as_ref() }
        && *dropped.as_ref().unwrap_or(&true)
    {
        group.note_panic();
    }
    // The drop of its payload may panic, too.
    std::mem::forget(dropped);
}

/// Destroys the values of the coroutine, in the order of a thread's end. [`complete`] then lets joiners continue.
/// Destructors are not cut short.
pub(super) fn end(core: &'static Core) {
    core.mask_end();
    end_masked(core);
    core.unmask_end();
}

/// Runs the destructors. Their waits are not interrupted: an unwinding would end the process, or skip what joiners wait
/// for.
#[inline(always)]
fn end_masked(core: &'static Core) {
    if core.lifecycle.store_result() == ResultOwner::Caller {
        discard_result(core);
    }
    match silken_context::identity::known_facts() {
        Some(facts) if core.kind.get() == Kind::Isolated => destroy_values(core, facts),
        _ => while core.destroy_locals() {},
    }
    core.forget_locals();
}

/// Destroys the values of an isolated coroutine until none is left (S11). A destructor of each kind may make values of
/// the other kinds. Destructors of keys run in a bounded number of rounds, as POSIX specifies, so all of it ends where
/// a thread's end would.
fn destroy_values(core: &Core, facts: &TlsLayout) {
    let mut round = 0;
    loop {
        while core.destroy_locals() | facts.run_destructors() {}
        if !run_key_destructors(round) {
            break;
        }
        round += 1;
    }
    facts.end_life();
}

/// Gives up the reference and the reservation of a stack of a coroutine that has ended, and counts it as finished. The
/// caller is its successor.
#[inline(always)]
pub(super) fn recycle(worker: &'static Worker, core: &Core) {
    worker.link.caches.unreserve(core.class.get());
    SharedProcessor::count(&worker.processor().shared.finished);
    release(core);
}
