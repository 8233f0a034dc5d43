//! Which code does what a coroutine still owes when it has overflowed its stack? Its successor does; a new coroutine
//! does the part that may wait.
//!
//! The coroutine's frames are never unwound, so its destructors do not run. Joiners learn of the loss by the outcome of
//! the join. Other code that relies on the coroutine (a promise that it was to fulfil, a pool whose slot it holds) has
//! left a function in the core (`coroutine/local.rs`, `on_lost`). That function may run user code and wait, which is
//! forbidden in a worker's own context. So it runs on a new coroutine. In a runtime that ends, that coroutine may be
//! cancelled before it begins. A destructor calls the function, so it runs in that case too. If the runtime refuses the
//! spawn, the function is not called.

use super::SpawnRequest;
use super::life::{complete, discard_result, recycle};
use super::worker::Worker;
use crate::coroutine::{Core, Critical, JoinError, OnLost, ResultOwner, stacks_are_measured};

/// Finishes a coroutine that ran into its guard: its stack is lost, and its joiners learn why.
#[cold]
pub(super) fn finish_overflowed(worker: &'static Worker, core: &Core) {
    core.body.fail(JoinError::StackOverflow);
    // No other code drops the result: if the handle was dropped first, it left that to the coroutine.
    if core.lifecycle.store_result() == ResultOwner::Caller {
        discard_result(core);
    }
    // SAFETY: S1: nobody runs as it, and nobody will.
    unsafe { core.leak_segments() };
    // SAFETY: S1: nobody runs on the stack, and nobody will.
    if let Some(pooled) = unsafe { &mut *core.stack.get() }.take() {
        if stacks_are_measured() {
            pooled.note_use(core);
        }
        pooled.stack.leak();
    }
    // SAFETY: S1: it is never continued. Its values lie on in the heap, unreachable, as its frames do.
    if let Some(on_lost) = unsafe { core.lose_locals() } {
        tell_of_loss(worker, on_lost);
    }
    core.forget_frames();
    core.panics.set(0);
    complete(core);
    recycle(worker, core);
}

/// Calls the function that a lost coroutine has left for that case. It runs on a coroutine of its own, since it may
/// wait.
fn tell_of_loss(worker: &'static Worker, on_lost: OnLost) {
    /// Calls the function even if its coroutine is cancelled before it begins, as all coroutines are in a runtime that
    /// ends.
    struct Tell(Option<OnLost>);

    impl Drop for Tell {
        fn drop(&mut self) {
            let Some(on_lost) = self.0.take() else { return };
            if Critical::is_entered() {
                // The spawn below was refused. No user code may run here. What waits for the lost coroutine ends with
                // the runtime.
                std::mem::forget(on_lost);
            } else {
                on_lost();
            }
        }
    }

    let _critical = Critical::enter();
    let tell = Tell(Some(on_lost));
    // SAFETY: S1: nothing is borrowed for less than 'static. S2: the function is Send.
    let spawned = unsafe { super::spawn(worker.scheduler, SpawnRequest::default(), move || drop(tell)) };
    if let Ok(core) = spawned
        && core.lifecycle.detach() == ResultOwner::Caller
    {
        core.body.clear();
    }
}
