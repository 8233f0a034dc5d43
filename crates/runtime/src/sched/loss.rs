//! A coroutine that overflowed its stack: what it owes, done by its successor, and by a coroutine of its own where it
//! is code that may wait.
//!
//! Its frames are never unwound, so what it would have done in destructors is not done. Joiners are told by its
//! outcome. Who counts on it otherwise (a promise that it was to fill, a pool whose slot it holds) left a function in
//! the core (`coroutine/local.rs`, `on_lost`). That function may run user code and wait, which is forbidden in a
//! worker's own context. So it runs on a fresh coroutine. In a runtime that ends, that coroutine may be cancelled
//! before it begins. A destructor calls the function, so it runs in that case too.

use super::SpawnRequest;
use super::life::{complete, discard_result, recycle};
use super::worker::Worker;
use crate::coroutine::{Core, Critical, JoinError, OnLost, ResultOwner};

/// A coroutine that ran into its guard: its stack is lost, its joiners learn why.
#[cold]
pub(super) fn finish_overflowed(worker: &'static Worker, core: &Core) {
    core.body.fail(JoinError::StackOverflow);
    // Nobody else drops it: the handle's drop, if it came first, left it to the coroutine.
    if core.lifecycle.store_result() == ResultOwner::Caller {
        discard_result(core);
    }
    // SAFETY: S1: nobody runs on the stack, and nobody will.
    if let Some(pooled) = unsafe { &mut *core.stack.get() }.take() {
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

/// Calls, on a coroutine of its own, what a lost one has left for that case: it is code that may wait.
fn tell_of_loss(worker: &'static Worker, on_lost: OnLost) {
    /// Calls the function even if its coroutine is cancelled before it begins, as all are in a runtime that ends.
    struct Tell(Option<OnLost>);

    impl Drop for Tell {
        fn drop(&mut self) {
            let Some(on_lost) = self.0.take() else { return };
            if Critical::is_entered() {
                // The spawn below was refused. Nothing of the user's runs here: what waits for the lost one ends with
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
