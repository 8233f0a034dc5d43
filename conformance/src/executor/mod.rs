//! What starts units: the seam between the cases and the runtimes.
//!
//! Protocol: a case gets `&dyn Executor` and starts units with [`Executor::spawn`], through the typed helpers on
//! `dyn Executor`. The case's body runs on a unit of the kind as well, so its own blocking calls are tested too.
//! Rejected: generic cases (`fn case<E: Executor>`): they compile once per kind, and the suite has five kinds.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

#[cfg(feature = "coroutines")]
pub mod coroutine;
pub mod threads;

/// An executor and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each unit is an OS thread: the oracle.
    Threads,
    /// Each unit is a coroutine with its own thread identity.
    Isolated {
        /// How many OS threads run the coroutines.
        workers: usize,
    },
    /// Each unit is a coroutine that shares its worker's thread-locals.
    Light {
        /// How many OS threads run the coroutines.
        workers: usize,
    },
    /// Units are OS threads and isolated coroutines in turn.
    Mixed {
        /// How many OS threads run the coroutines.
        workers: usize,
    },
}

/// The end of a unit.
pub trait Join: Send {
    /// Waits for the unit; its panic payload is the error.
    fn join(self: Box<Self>) -> thread::Result<()>;
}

/// Starts units.
pub trait Executor: Send + Sync {
    /// Which executor this is.
    fn kind(&self) -> Kind;

    /// Starts a unit that runs `f`.
    fn spawn(&self, f: Box<dyn FnOnce() + Send>) -> Box<dyn Join>;

    /// The same executor for a unit to keep.
    fn shared(&self) -> Arc<dyn Executor>;

    /// The worker that runs the calling unit; `None` on an OS thread of its own.
    fn worker_id(&self) -> Option<usize>;
}

/// A started unit and its result.
pub struct Unit<T> {
    join: Box<dyn Join>,
    result: Arc<Mutex<Option<T>>>,
}

impl<T> Unit<T> {
    /// Waits and returns the result; a panic of the unit continues here.
    pub fn join(self) -> T {
        self.try_join().unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Whether the unit has left its result.
    pub fn has_ended(&self) -> bool {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits and returns the result or the panic payload.
    pub fn try_join(self) -> thread::Result<T> {
        self.join.join()?;
        let value = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(value.expect("a unit that did not panic left a result"))
    }
}

impl dyn Executor + '_ {
    /// Starts a unit with a result.
    pub fn start<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Unit<T> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let join = self.spawn(Box::new(move || {
            let value = f();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        }));
        Unit { join, result }
    }

    /// Starts `count` units that run `f` with their number.
    pub fn start_each<T, F>(&self, count: usize, f: F) -> Vec<Unit<T>>
    where
        T: Send + 'static,
        F: Fn(usize) -> T + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        (0..count)
            .map(|number| {
                let f = Arc::clone(&f);
                self.start(move || f(number))
            })
            .collect()
    }

    /// `count` where units are coroutines, at most `threads_max` where some are OS threads.
    pub fn many(&self, count: usize, threads_max: usize) -> usize {
        match self.kind() {
            Kind::Threads | Kind::Mixed { .. } => count.min(threads_max),
            Kind::Isolated { .. } | Kind::Light { .. } => count,
        }
    }
}

/// Waits for all units, in order.
pub fn join_all<T>(units: Vec<Unit<T>>) -> Vec<T> {
    units.into_iter().map(Unit::join).collect()
}
