//! Who runs the jobs? Threads or coroutines, behind one small surface.
//!
//! [`Engine`] is what the demonstration needs of either: spawn, join, park, unpark. [`Threads`] is `std::thread`,
//! [`Coroutines`] is silken, one call for one call; the program under comparison sees neither, only [`Spawn`].
//!
//! *Threads get small stacks*, 64 KiB, because it is the number of threads that is compared, not std's default of
//! 2 MiB of address space; with the default the thread rows would only look worse.

use crate::store::Spawn;
use std::io;
use std::sync::Arc;
use std::thread;

/// Stack of a thread of the comparison.
const THREAD_STACK_BYTES: usize = 64 * 1024;

/// Runs closures beside each other.
pub trait Engine: 'static {
    /// The right to wait for a spawned closure.
    type Handle: Send;
    /// Wakes one parked closure.
    type Unparker: Send + Sync + 'static;

    /// Starts a closure that runs beside its caller.
    fn spawn(body: impl FnOnce() -> u64 + Send + 'static) -> io::Result<Self::Handle>;
    /// Waits for the closure's result; the error says how it ended instead.
    fn join(handle: Self::Handle) -> Result<u64, String>;
    /// The unparker of the closure that calls.
    fn current() -> Self::Unparker;
    /// Sleeps until unparked; may return early.
    fn park();
    /// Wakes the closure, or makes its next `park` return at once.
    fn unpark(unparker: &Self::Unparker);
}

/// The engine as the argument that `std`-only code takes.
pub fn spawner<E: Engine>() -> Spawn {
    Arc::new(|job| {
        let body = || {
            job();
            0
        };
        E::spawn(body).map(drop)
    })
}

/// One operating-system thread per closure.
pub struct Threads;

impl Engine for Threads {
    type Handle = thread::JoinHandle<u64>;
    type Unparker = thread::Thread;

    fn spawn(body: impl FnOnce() -> u64 + Send + 'static) -> io::Result<Self::Handle> {
        thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(body)
    }

    fn join(handle: Self::Handle) -> Result<u64, String> {
        handle.join().map_err(|_| "panicked".to_owned())
    }

    fn current() -> Self::Unparker {
        thread::current()
    }

    fn park() {
        thread::park();
    }

    fn unpark(unparker: &Self::Unparker) {
        unparker.unpark();
    }
}

/// One silken coroutine per closure.
pub struct Coroutines;

impl Engine for Coroutines {
    type Handle = silken::JoinHandle<u64>;
    type Unparker = silken::Coroutine;

    fn spawn(body: impl FnOnce() -> u64 + Send + 'static) -> io::Result<Self::Handle> {
        Ok(silken::spawn(body))
    }

    fn join(handle: Self::Handle) -> Result<u64, String> {
        handle.join().map_err(|error| error.to_string())
    }

    fn current() -> Self::Unparker {
        silken::current()
    }

    fn park() {
        silken::park();
    }

    fn unpark(unparker: &Self::Unparker) {
        unparker.unpark();
    }
}
