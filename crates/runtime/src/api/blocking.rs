//! How does a coroutine run code that blocks its thread? [`blocking`] waits for the code in its place;
//! [`spawn_blocking`] returns a handle. Both run it on the threads of one bounded pool (`offload/work.rs`).
//!
//! They differ in what a cancellation does. The caller of [`blocking`] unwinds at once, and the code goes on by itself:
//! a `timeout` limits the wait. The coroutine of [`spawn_blocking`] ends when the code has ended: whoever joins it
//! knows that nothing goes on.

use crate::api::handle::JoinHandle;
use crate::api::spawn::{expect_spawned, spawn_on};
use crate::coroutine::{Outcome, WaitReason, current_core, raise_if_cancelled};
use crate::offload::work::Work;
use crate::runtime::default::current_or_default;
use crate::sched::SpawnRequest;
use crate::wait;
use std::panic::{Location, resume_unwind};

/// Runs `f` on an OS thread of a pool while the calling coroutine waits, and returns its value. For calls that would
/// block the worker: files on slow disks, C libraries that wait in ways of their own, long computations. On an OS
/// thread it just calls `f`.
///
/// `f` sees the thread-locals of the pool's thread, and no coroutine-locals. Its waits block that thread. What it
/// spawns by [`spawn`](crate::spawn()) belongs to the runtime of the running `#[silken::main]`, otherwise to the
/// default runtime.
///
/// Choose it for calls that are known to wait or to compute for long. It costs some microseconds, and blocks nobody; a
/// call that is made directly blocks its worker until the monitor has noticed
/// ([`hand_off`](crate::RuntimeBuilder::hand_off)). `f` may not borrow: lend what it needs by [`std::sync::Arc`], or
/// move it in and return it.
///
/// The pool belongs to the process. It has at most 512 threads, or as many as
/// [`RuntimeBuilder::blocking_threads`](crate::RuntimeBuilder::blocking_threads) says. Further work is queued, first
/// come first served. So if all threads run work that waits for queued work, all of it waits for ever. If no thread can
/// be made, the work waits for one of those that there are; without any, it runs on the caller's worker. The threads
/// serve nothing else: name look-ups, and the calls for which silken uses threads itself, do not wait behind `f`.
///
/// | | `blocking(f)` | [`spawn_blocking(f)`](spawn_blocking) |
/// |---|---|---|
/// | returns | the value, when `f` has ended | a handle, at once |
/// | a cancellation, or a `timeout` | unwinds the caller at once; `f` goes on by itself | the coroutine ends when `f` has ended |
/// | a panic of `f` | is the caller's | is the error of `join` |
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Offload`) until `f` has ended. Blocks an OS thread that calls it.
///
/// # Cancellation
/// Unwinds the caller at once. If `f` has not begun, it is dropped and never runs. If it has begun, it **goes on** on
/// its thread, since nothing can stop it; its value, or its panic, is dropped there. The end of the runtime waits for
/// it, for at most the [grace](crate::RuntimeBuilder::grace), and then [reports](crate::Shutdown::work) where it was
/// begun. The process ends without waiting for it any longer. In [`mask_cancel`](crate::mask_cancel), and while the
/// caller unwinds, nothing interrupts the wait. On an OS thread nothing interrupts `f`.
///
/// # Panics
/// With the panic of `f`. Its message is printed by the pool's thread.
///
/// # Examples
/// ```
/// let reads = silken::spawn(|| silken::blocking(|| std::fs::read_to_string("Cargo.toml")));
/// assert!(reads.join().unwrap().is_ok());
/// ```
///
/// A limit for the wait, not for the work:
/// ```
/// use std::time::Duration;
/// let slow = || std::thread::sleep(Duration::from_millis(50)); // of an OS thread
/// let outcome = silken::spawn(move || silken::timeout(Duration::from_millis(1), || silken::blocking(slow)));
/// assert!(outcome.join().unwrap().is_err());
/// ```
#[doc(alias = "block_in_place")]
#[doc(alias = "unblock")]
#[track_caller]
pub fn blocking<T, F>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    raise_if_cancelled();
    run(f, Location::caller(), !std::thread::panicking())
}

/// Runs `f` on an OS thread of a pool, and returns a handle: [`blocking`] on a coroutine of its own. Where the result
/// is needed at once, `blocking` is simpler.
///
/// The pool is that of [`blocking`]: at most 512 threads by default, further work is queued.
///
/// # Blocking
/// Does not block: the returned handle is joined as that of [`spawn`](crate::spawn()).
///
/// # Cancellation
/// Once the coroutine has begun to wait for `f`, the wait is not interrupted: `f` runs to its end, and its value is the
/// coroutine's. If the coroutine is cancelled before, `f` is dropped.
///
/// # Panics
/// If the coroutine cannot be made. A panic of `f` is the panic of the coroutine: [`JoinHandle::join`] returns it.
///
/// # Examples
/// ```
/// let name = silken::spawn_blocking(|| std::thread::current().name().map(String::from));
/// assert!(name.join().is_ok());
/// ```
#[track_caller]
pub fn spawn_blocking<T, F>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let site = Location::caller();
    let request = SpawnRequest::at(site);
    let body = move || run(f, site, false);
    expect_spawned(current_or_default().and_then(|scheduler| spawn_on(scheduler, request, body)))
}

/// Runs `f` on a thread of the pool, and waits for it. On an OS thread calls it.
fn run<T, F>(f: F, site: &'static Location<'static>, mut cancellable: bool) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (core, work) = match (current_core(), Work::begin(f, site)) {
        (Some(core), Ok(work)) => (core, work),
        (_, Err(f)) => return f(),
        (None, Ok(_)) => unreachable!("only a coroutine gives work away"),
    };
    // An unwinding that begins here drops the work, which abandons it.
    while wait::wait_until(core, || work.has_ended(), WaitReason::Offload, None, cancellable) == Outcome::Cancelled {
        raise_if_cancelled();
        // The caller cannot unwind everywhere: then the wait continues, and is not interrupted again.
        cancellable = false;
    }
    match work.take() {
        Ok(value) => value,
        Err(payload) => resume_unwind(payload),
    }
}
