//! Starting and ending a runtime.

pub mod attribute;
mod builder;
pub(crate) mod default;
mod hooks;
pub(crate) mod panic_hook;

pub use builder::RuntimeBuilder;
pub(crate) use builder::STACK_BYTES_DEFAULT;

use crate::api::handle::{Coroutine, JoinHandle};
use crate::coroutine::{JoinError, UNWINDS, WaitReason};
use crate::sched::{self, Scheduler, SpawnRequest};
use crate::sys;
use crate::wait::deadline_after;
use std::io;
use std::panic::Location;
use std::time::Duration;

/// Several OS threads that run coroutines. The first [`spawn`](crate::spawn) on an OS thread starts a default one that
/// lives as long as the process; [`Runtime::builder`] makes others.
///
/// # Examples
/// ```
/// let runtime = silken::Runtime::builder().workers(2).build().unwrap();
/// let sum = runtime.run(|| {
///     let parts: Vec<_> = (0..10).map(|i| silken::spawn(move || i * i)).collect();
///     parts.into_iter().map(|part| part.join().unwrap()).sum::<i32>()
/// });
/// assert_eq!(sum.unwrap(), 285);
/// ```
pub struct Runtime {
    scheduler: &'static Scheduler,
    grace: Duration,
    stopped: bool,
}

/// What a shutdown could not end.
#[derive(Debug)]
pub struct Shutdown {
    /// Coroutines that were still alive at the deadline.
    pub left: Vec<Coroutine>,
    reasons: Vec<WaitReason>,
}

impl Shutdown {
    /// Whether everything has ended.
    pub fn is_clean(&self) -> bool {
        self.left.is_empty()
    }

    fn report(&self) {
        const LINES_MAX: usize = 10;
        if !UNWINDS && !self.left.is_empty() {
            let count = self.left.len();
            eprintln!(
                "silken: {count} coroutines were left where they are: built with panic = \"abort\", they cannot be unwound"
            );
            return;
        }
        for (coroutine, reason) in self.left.iter().zip(&self.reasons).take(LINES_MAX) {
            let site = coroutine
                .location()
                .map_or_else(|| "?".to_string(), ToString::to_string);
            let name = match coroutine.name() {
                Some(name) => format!("'{name}'"),
                None => coroutine.id().to_string(),
            };
            eprintln!("silken: coroutine {name} (spawned at {site}) did not end: {reason}");
        }
        if self.left.len() > LINES_MAX {
            eprintln!("silken: and {} more did not end", self.left.len() - LINES_MAX);
        }
    }
}

impl Runtime {
    /// Begins to make a runtime.
    #[must_use]
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Runs `main` as the first coroutine and returns what comes of it. Then whatever is left is cancelled, runs its
    /// destructors, and the workers end; what would not end within the [grace](RuntimeBuilder::grace) is reported on
    /// standard error and left behind, as by [`shutdown`](Self::shutdown).
    ///
    /// # Blocking
    /// The calling OS thread (or coroutine of another runtime) waits for `main`.
    ///
    /// # Errors
    /// The payload when `main` panicked, as [`std::thread::Result`] has it. Cancellation gives a [`JoinError`] as
    /// payload.
    ///
    /// When `main` runs out of stack the process ends, as when a main thread does: `main` may borrow, so nobody could
    /// go on safely.
    ///
    /// # Panics
    /// When the first coroutine cannot be made.
    #[track_caller]
    pub fn run<T: Send, F: FnOnce() -> T + Send>(self, main: F) -> std::thread::Result<T> {
        let handle = self.spawn_main(main);
        let outcome = handle.wait_uncancelled();
        let grace = self.grace();
        let report = self.shutdown(grace);
        report.report();
        outcome.map_err(|error| error.into_panic().unwrap_or_else(|error| Box::new(error)))
    }

    /// Runs `f` as a coroutine of this runtime, waits for it, and returns its value. The runtime goes on, with whatever
    /// `f` has spawned; `f` may borrow.
    ///
    /// # Blocking
    /// The calling OS thread, or coroutine of any runtime.
    ///
    /// # Cancellation
    /// Does not interrupt it: `f` may borrow from the caller.
    ///
    /// # Panics
    /// With the panic of `f`; when it was cancelled; when the coroutine cannot be made.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    /// let mut sum = 0;
    /// runtime.block_on(|| sum += silken::spawn(|| 6).join().unwrap());
    /// runtime.block_on(|| sum += 1);
    /// assert_eq!(sum, 7);
    /// ```
    #[track_caller]
    pub fn block_on<T: Send, F: FnOnce() -> T + Send>(&self, f: F) -> T {
        let request = SpawnRequest {
            borrows: true,
            ..SpawnRequest::at(Location::caller())
        };
        match self.spawn_borrowing(request, f).wait_uncancelled() {
            Ok(value) => value,
            Err(JoinError::Panicked(payload)) => payload.resume(),
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn spawn_main<T: Send, F: FnOnce() -> T + Send>(&self, main: F) -> JoinHandle<T> {
        let thread = std::thread::current();
        let request = SpawnRequest {
            // In a test it is the test's.
            name: Some(thread.name().unwrap_or("main").into()),
            stack_bytes: self.scheduler.main_stack_bytes(),
            borrows: true,
            ..SpawnRequest::at(Location::caller())
        };
        self.spawn_borrowing(request, main)
    }

    /// The caller waits for the end, whatever happens, and takes the result.
    #[track_caller]
    fn spawn_borrowing<T: Send, F: FnOnce() -> T + Send>(&self, request: SpawnRequest, f: F) -> JoinHandle<T> {
        // SAFETY: S1: the callers, `run` and `block_on`, wait for the coroutine's end and take its result before they
        // return. S2: both are Send.
        let core = unsafe { sched::spawn(self.scheduler, request, f) };
        let core = core.unwrap_or_else(|error| panic!("failed to spawn a coroutine: {}", io::Error::from(error)));
        // SAFETY: S1: the body's result type is T.
        unsafe { JoinHandle::new(core) }
    }

    /// Makes a coroutine of this runtime, from anywhere.
    ///
    /// # Panics
    /// When it cannot be made: see [`Builder::spawn`](crate::Builder::spawn), which returns the error.
    #[track_caller]
    pub fn spawn<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, body: F) -> JoinHandle<T> {
        crate::api::spawn::expect_spawned(crate::api::spawn::spawn_on(
            self.scheduler,
            SpawnRequest::at(Location::caller()),
            body,
        ))
    }

    /// What it is, in words, for logs: its size, what its coroutines are, whether the calls of std and of C are
    /// answered.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    /// assert!(runtime.describe().contains("1 worker, isolated coroutines"));
    /// ```
    pub fn describe(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let workers = self.workers();
        let plural = if workers == 1 { "" } else { "s" };
        let kind = if self.is_isolated() { "isolated" } else { "light" };
        let stack_kib = self.scheduler.stack_bytes() >> 10;
        let hooks = match hooks::why_unheard() {
            None => "std's blocking calls park".to_string(),
            Some(reason) => format!("std's blocking calls block their worker ({reason})"),
        };
        format!(
            "silken {version}: {workers} worker{plural}, {kind} coroutines with stacks of {stack_kib} KiB; {hooks}; driver epoll"
        )
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.scheduler.worker_count()
    }

    /// Whether its coroutines are isolated by default: have thread-locals of their own and may continue on any worker.
    pub fn is_isolated(&self) -> bool {
        self.scheduler.isolates()
    }

    /// How often a coroutine has continued on another worker than the one it had stopped on.
    pub fn migrations(&self) -> u64 {
        self.scheduler.migrations()
    }

    /// Cancels all coroutines and waits until they have ended, at most for `deadline`. From then on spawns are refused.
    /// The workers stop when no coroutine is left.
    ///
    /// It waits no longer when all who are left are in waits that no cancellation ends: for a signal, or for output
    /// that nobody reads, or in the pauses of a loop that takes no notice of errors (`docs/guide/cancellation.md`).
    ///
    /// What has not ended by then is *left behind*: it goes on as a detached thread does, cancelled, on workers that
    /// end when it has ended. So it may still get the lock or the message that it waits for, and must give it on.
    ///
    /// # Blocking
    /// The calling OS thread, or the calling coroutine of another runtime. Not to be called on one of the runtime's own
    /// coroutines: it would be cancelled, wait for itself until `deadline`, and be in the list.
    ///
    /// In a child that `fork` made there is nothing to stop: it returns at once.
    ///
    /// # Cancellation
    /// Does not interrupt it.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    /// let sleeper = runtime.spawn(silken::park);
    /// assert!(runtime.shutdown(Duration::from_secs(2)).is_clean());
    /// assert!(sleeper.join().unwrap_err().is_cancelled());
    /// ```
    pub fn shutdown(mut self, deadline: Duration) -> Shutdown {
        self.stop(deadline)
    }

    /// Where nothing unwinds nobody is cancelled, and there is nothing to wait for.
    fn grace(&self) -> Duration {
        if UNWINDS { self.grace } else { Duration::ZERO }
    }

    fn stop(&mut self, patience: Duration) -> Shutdown {
        self.stopped = true;
        if sys::process::is_forked() {
            // The workers and the coroutines are the parent's, and the locks may be held for ever.
            return Shutdown {
                left: Vec::new(),
                reasons: Vec::new(),
            };
        }
        let left = self.scheduler.end(deadline_after(patience));
        let reasons = left.iter().map(|core| core.reason()).collect();
        Shutdown {
            left: left.into_iter().map(Coroutine::new).collect(),
            reasons,
        }
    }
}

impl Drop for Runtime {
    /// As [`shutdown`](Self::shutdown) with the [grace](RuntimeBuilder::grace); reports on standard error what did not
    /// end.
    fn drop(&mut self) {
        if !self.stopped {
            let grace = self.grace();
            self.stop(grace).report();
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("workers", &self.workers())
            .finish_non_exhaustive()
    }
}

impl<T> JoinHandle<T> {
    /// Waits for the end whatever happens to the caller: the coroutine may borrow from the caller's frames.
    pub(crate) fn wait_uncancelled(mut self) -> Result<T, JoinError> {
        self.wait_with(None, false);
        self.take()
    }
}
