//! How do user programs park and unpark, as with `std::thread`? This file holds the public functions;
//! `coroutine/park.rs` holds the runtime's own.

use crate::coroutine::{
    Core, Outcome, PreemptionOff, WaitReason, current_core, effective_deadline_ns, raise_if_cancelled,
    raise_if_core_cancelled,
};
use crate::loom::static_atomic::Ordering;
use crate::sched::yield_core;
use crate::sys::clock;
use crate::wait::{self, deadline_after};
use std::time::Duration;

/// Waits until other code [unparks](crate::Coroutine::unpark) this coroutine. Returns at once if that has happened
/// since the last park. May return for no reason, as [`std::thread::park`] may, so use it in a loop that checks a
/// condition.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Park`). On an OS thread it is [`std::thread::park`].
///
/// # Cancellation
/// Unwinds.
///
/// # Examples
/// ```
/// let sleeper = silken::spawn(silken::park);
/// sleeper.coroutine().unpark();
/// sleeper.join().unwrap();
/// ```
pub fn park() {
    let Some(core) = current_core() else {
        return park_thread(None);
    };
    while !take_token(core) {
        if core.is_in_cancel_scope() {
            return wait_for_token(core, None);
        }
        // There is no mask and no deadline. So this is the wait of `wait_for_token` without a cell, which no timer
        // would settle.
        raise_if_cancelled();
        crate::coroutine::park(WaitReason::Park);
    }
}

/// Does what [`park`] does, but waits for at most `timeout`. It does not tell which of the two ended the wait.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Park`). On an OS thread it is [`std::thread::park_timeout`].
///
/// # Cancellation
/// Unwinds.
///
/// # Examples
/// ```
/// silken::spawn(|| silken::park_timeout(std::time::Duration::from_millis(1))).join().unwrap();
/// ```
pub fn park_timeout(timeout: Duration) {
    let Some(core) = current_core() else {
        return park_thread(Some(timeout));
    };
    wait_for_token(core, Some(deadline_after(timeout)));
}

fn wait_for_token(core: &'static Core, deadline_ns: Option<u64>) {
    raise_if_cancelled();
    // While the caller unwinds its cancellation does not interrupt its destructors' waits.
    let cancellable = !std::thread::panicking();
    let outcome = wait::wait_until(core, || take_token(core), WaitReason::Park, deadline_ns, cancellable);
    if outcome == Outcome::Cancelled {
        raise_if_cancelled();
    }
}

/// The token of an OS thread is std's.
fn park_thread(timeout: Option<Duration>) {
    raise_if_cancelled();
    // A deadline that has passed and has not unwound the caller, because C frames are in the way, does not count.
    let left = effective_deadline_ns().and_then(|deadline_ns| deadline_ns.checked_sub(clock::now_ns()));
    let left = left.map(Duration::from_nanos);
    match timeout.into_iter().chain(left).min() {
        None => std::thread::park(),
        Some(timeout) => std::thread::park_timeout(timeout),
    }
    raise_if_cancelled();
}

fn take_token(core: &Core) -> bool {
    // Relaxed: a miss is followed by a park, which sees the wake that came with the token.
    // Acquire: pairs with the Release in `Coroutine::unpark`.
    core.token.load(Ordering::Relaxed) && core.token.swap(false, Ordering::Acquire)
}

/// Lets other coroutines run: the caller stays ready, and continues after those of its worker's run queue. On an OS
/// thread it is [`std::thread::yield_now`].
///
/// It is inlined down to the switch, so each call adds about 600 bytes of code. Where that matters, call it in a
/// function of your own that is not inlined. Then several places share the code, and the CPU mispredicts returns to
/// them after a switch (6 ns).
///
/// # Cancellation
/// Unwinds: a loop that yields can be cancelled.
///
/// # Examples
/// ```
/// silken::spawn(|| silken::yield_now()).join().unwrap();
/// ```
#[inline(always)]
pub fn yield_now() {
    match current_core() {
        Some(core) => raise_if_core_cancelled(yield_core(core)),
        None => yield_thread(),
    }
}

/// Calls `f`. Meanwhile the caller is not preempted: it gives way only where it waits or yields. (Coroutines that
/// compute for long are otherwise interrupted; see [`RuntimeBuilder::preempt`](crate::RuntimeBuilder::preempt).)
///
/// Use it around code that must not stop half-way for the sake of others: a spin lock that other coroutines also take,
/// a short exchange with a device. Keep it short, since nothing else runs on this worker meanwhile. Regions may be
/// nested. A wait inside parks as ever. On an OS thread the function only calls `f`.
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering::*};
/// static SPIN: AtomicBool = AtomicBool::new(false);
/// let sum = silken::no_preempt(|| {
///     while SPIN.swap(true, Acquire) {
///         std::hint::spin_loop();
///     }
///     let sum = (1..=10).sum::<u32>(); // a holder is not interrupted
///     SPIN.store(false, Release);
///     sum
/// });
/// assert_eq!(sum, 55);
/// ```
pub fn no_preempt<R>(f: impl FnOnce() -> R) -> R {
    let _unpreempted = PreemptionOff::enter();
    f()
}

/// Not inlined: otherwise the compiler computes in advance what only this path needs, and keeps it over the switch of
/// the other path.
#[cold]
#[inline(never)]
fn yield_thread() {
    crate::sys::yield_thread();
    raise_if_cancelled();
}
