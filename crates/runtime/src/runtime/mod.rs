//! How does a runtime start and end? This file holds [`Runtime`] and what its shutdown returns; `builder.rs` holds its
//! settings, `environment.rs` what the environment says of them, `default.rs` the default runtime.

#[forbid(unsafe_code)]
pub mod attribute;
mod builder;
#[forbid(unsafe_code)]
pub(crate) mod default;
#[forbid(unsafe_code)]
mod environment;
#[forbid(unsafe_code)]
mod hooks;
#[forbid(unsafe_code)]
mod limit;
#[forbid(unsafe_code)]
pub(crate) mod panic_hook;
#[forbid(unsafe_code)]
mod report;
#[cfg(all(test, not(loom)))]
#[forbid(unsafe_code)]
mod size_tests;

pub use builder::RuntimeBuilder;
pub(crate) use builder::STACK_BYTES_DEFAULT;
pub use report::RuntimeReport;

use crate::api::handle::{Coroutine, JoinHandle};
use crate::coroutine::{JoinError, UNWINDS, WaitCell, WaitReason, stack_report};
use crate::driver::{self, IoDriver};
use crate::offload::work;
use crate::sched::{self, Scheduler, SpawnRequest};
use crate::sys::{self, clock};
use crate::wait::{self, deadline_after};
use std::io::{self, Write};
use std::panic::Location;
use std::time::Duration;

/// A runtime: several workers, that is, OS threads that run coroutines. [`Runtime::builder`] makes one. The first
/// [`spawn`](crate::spawn) on an OS thread, while no `#[silken::main]` runs, starts the default runtime, which lives as
/// long as the process.
///
/// A dropped runtime shuts down as by [`shutdown`](Self::shutdown), with the [grace](RuntimeBuilder::grace) as its
/// duration, and reports on standard error which coroutines have not ended. So the drop blocks for at most the grace.
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
    /// Whether the environment asks for a report on what the runtime has done.
    prints_report: bool,
    /// Whether it asks for one on the use of stacks.
    prints_stacks: bool,
    stopped: bool,
}

/// The coroutines, and the work on other threads, that a [`Runtime::shutdown`] could not end.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
/// let (begun, begins) = silken::channel::bounded(1);
/// let stubborn = runtime.spawn(move || silken::mask_cancel(|| {
///     begun.send(()).unwrap();
///     silken::park();
/// }));
/// begins.recv().unwrap();
/// let shutdown: silken::Shutdown = runtime.shutdown(Duration::from_millis(1));
/// assert!(!shutdown.is_clean());
/// assert_eq!(shutdown.left[0].id(), stubborn.coroutine().id());
/// shutdown.left[0].unpark(); // it ends, and its worker after it
/// ```
#[derive(Debug)]
pub struct Shutdown {
    /// Coroutines that had not ended when the shutdown returned.
    pub left: Vec<Coroutine>,
    /// Where [`blocking`](crate::blocking()) was called for work whose caller was cancelled, and which had not ended
    /// when the shutdown returned. It goes on, on its thread.
    pub work: Vec<&'static Location<'static>>,
    reasons: Vec<WaitReason>,
}

/// How reports call a coroutine.
fn describe(coroutine: &Coroutine) -> String {
    let site = coroutine
        .location()
        .map_or_else(|| "?".to_string(), ToString::to_string);
    match coroutine.name() {
        Some(name) => format!("'{name}' (spawned at {site})"),
        None => format!("{} (spawned at {site})", coroutine.id()),
    }
}

/// Prints a line to standard error. That it cannot be written is nobody's concern; `eprintln!` would panic.
macro_rules! say {
    ($($text:tt)*) => {
        let _ = writeln!(io::stderr(), $($text)*);
    };
}

/// The most lines of a report about coroutines, and about work, that a runtime prints at its end.
const LINES_MAX: usize = 10;

impl Shutdown {
    /// Whether all coroutines have ended, and all [`work`](Self::work).
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.work.is_empty()
    }

    fn report(&self) {
        for site in self.work.iter().take(LINES_MAX) {
            say!(
                "silken: work that was begun at {site} by `blocking` did not end: its caller was cancelled, it goes on"
            );
        }
        if self.work.len() > LINES_MAX {
            say!(
                "silken: and {} more pieces of work did not end",
                self.work.len() - LINES_MAX
            );
        }
        if !UNWINDS && !self.left.is_empty() {
            let count = self.left.len();
            say!(
                "silken: {count} coroutines were left where they are: built with panic = \"abort\", they cannot be unwound"
            );
            return;
        }
        for (coroutine, reason) in self.left.iter().zip(&self.reasons).take(LINES_MAX) {
            say!("silken: coroutine {} did not end: {reason}", describe(coroutine));
        }
        if self.left.len() > LINES_MAX {
            say!("silken: and {} more did not end", self.left.len() - LINES_MAX);
        }
    }
}

impl Runtime {
    /// Returns a builder, with which a runtime is configured and started.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(2).stack_size(64 * 1024).build().unwrap();
    /// assert_eq!(runtime.workers(), 2);
    /// ```
    #[must_use]
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Runs `main` as the first coroutine of the runtime, shuts the runtime down, and returns the value of `main`.
    /// `main` may borrow.
    ///
    /// After `main` has ended, the coroutines that are left are cancelled and run their destructors, and the workers
    /// end. Coroutines and work of [`blocking`](crate::blocking()) that do not end within the
    /// [grace](RuntimeBuilder::grace) are reported on standard error and left behind, as by
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Blocking
    /// Blocks the calling OS thread, or parks the calling coroutine of another runtime, until `main` has ended and the
    /// shutdown is over.
    ///
    /// # Cancellation
    /// Does not interrupt it: `main` may borrow from the caller.
    ///
    /// # Stack overflow
    /// If `main` runs out of stack, the process ends, as when the main thread does: `main` may borrow, so no code could
    /// go on safely.
    ///
    /// # Errors
    /// The panic payload if `main` panicked, as in [`std::thread::Result`]. If `main` was cancelled, the payload is a
    /// [`JoinError`].
    ///
    /// # Panics
    /// If the first coroutine cannot be made.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    /// let payload = runtime.run(|| panic!("no value")).unwrap_err();
    /// assert_eq!(payload.downcast_ref::<&str>(), Some(&"no value"));
    /// ```
    #[track_caller]
    pub fn run<T: Send, F: FnOnce() -> T + Send>(self, main: F) -> std::thread::Result<T> {
        let handle = self.spawn_main(main);
        let outcome = handle.wait_uncancelled();
        self.end_with(outcome)
    }

    /// Ends the runtime after its first coroutine has ended so.
    fn end_with<T>(self, outcome: Result<T, JoinError>) -> std::thread::Result<T> {
        let grace = self.grace();
        self.shutdown(grace).report();
        outcome.map_err(|error| error.into_panic().unwrap_or_else(|error| Box::new(error)))
    }

    /// Runs `f` as a coroutine of this runtime, waits for it, and returns its value. The runtime goes on, with the
    /// coroutines that `f` has spawned. `f` may borrow.
    ///
    /// # Blocking
    /// Blocks the calling OS thread, or parks the calling coroutine of any runtime, until `f` has ended.
    ///
    /// # Cancellation
    /// Does not interrupt it: `f` may borrow from the caller.
    ///
    /// # Stack overflow
    /// If `f` runs out of stack, the process ends: `f` may borrow.
    ///
    /// # Panics
    /// With the panic of `f`. Also if the coroutine was cancelled, or cannot be made.
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
        let request = SpawnRequest {
            borrows: true,
            ..self.request_of_main()
        };
        self.spawn_borrowing(request, main)
    }

    #[track_caller]
    fn request_of_main(&self) -> SpawnRequest {
        let thread = std::thread::current();
        SpawnRequest {
            // In a test this is the test's name.
            name: Some(thread.name().unwrap_or("main").into()),
            stack_bytes: self.scheduler.main_stack_bytes(),
            ..SpawnRequest::at(Location::caller())
        }
    }

    /// The caller must wait for the end, whatever happens, and take the result.
    #[track_caller]
    fn spawn_borrowing<T: Send, F: FnOnce() -> T + Send>(&self, request: SpawnRequest, f: F) -> JoinHandle<T> {
        // SAFETY: S1: the callers, `run` and `block_on`, wait for the coroutine's end and take its result before they
        // return. S2: both are Send.
        let core = unsafe { sched::spawn(self.scheduler, request, f) };
        let core = core.unwrap_or_else(|error| panic!("failed to spawn a coroutine: {}", io::Error::from(error)));
        // SAFETY: S1: the body's result type is T.
        unsafe { JoinHandle::new(core) }
    }

    /// Spawns a coroutine of this runtime. The caller may be any thread, or a coroutine of any runtime. Does not wait
    /// for `body` to begin.
    ///
    /// # Panics
    /// If the coroutine cannot be made: see [`Builder::spawn`](crate::Builder::spawn), which returns the error instead.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    /// assert_eq!(runtime.spawn(|| 6 * 7).join().unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn spawn<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, body: F) -> JoinHandle<T> {
        crate::api::spawn::expect_spawned(crate::api::spawn::spawn_on(
            self.scheduler,
            SpawnRequest::at(Location::caller()),
            body,
        ))
    }

    /// From now on, threads that this program makes are coroutines of this runtime: those of
    /// [`std::thread::spawn`], of [`std::thread::scope`], and of every library that calls `pthread_create`. Nothing has
    /// to be changed for that. `SILKEN_THREADS=1` asks for it at the start.
    ///
    /// Such a thread is an isolated coroutine with the stack that was asked for. Joins, `detach`, `pthread_exit`,
    /// names, thread-locals and their destructors work as on a thread. It belongs to the runtime of the coroutine that
    /// makes it, or to this one. These stay threads of the system: what is made inside of [`native`](crate::native),
    /// with attributes that only the system can honour (a stack of the caller's or of more than a gibibyte, a
    /// scheduling policy, CPUs), by C11's
    /// `thrd_create`, and everything once the runtime ends.
    ///
    /// It is never cancelled, as a thread is not: [`shutdown`](Self::shutdown) leaves one that does not end by itself
    /// to go on, like a detached thread. The last runtime for which this was called adopts.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported), with the reason, where calls of the C library are not answered, or
    /// the runtime's coroutines are light.
    ///
    /// # Examples
    /// A thousand threads, and two workers:
    /// ```
    /// # #[cfg(feature = "interpose")] {
    /// let runtime = silken::Runtime::builder().workers(2).build().unwrap();
    /// runtime.adopt_threads().unwrap();
    /// let threads: Vec<_> = (0..1000)
    ///     .map(|_| std::thread::spawn(|| (silken::is_coroutine(), std::thread::current().id())))
    ///     .collect();
    /// let ids: std::collections::HashSet<_> = threads
    ///     .into_iter()
    ///     .map(|thread| {
    ///         let (is_coroutine, id) = thread.join().unwrap();
    ///         assert!(is_coroutine);
    ///         id
    ///     })
    ///     .collect();
    /// assert_eq!(ids.len(), 1000);
    /// assert!(!silken::native(|| std::thread::spawn(silken::is_coroutine)).join().unwrap());
    /// # }
    /// ```
    pub fn adopt_threads(&self) -> io::Result<()> {
        hooks::adopt_threads(self.scheduler)
    }

    /// Describes the runtime in words, for logs: its size, the kind of its coroutines, whether they are preempted,
    /// whether a blocked worker is continued by another thread, and whether the hooks serve the calls of std and of C.
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
        let follows = if self.scheduler.follows_machine() {
            " (as the machine has processors)"
        } else {
            ""
        };
        let kind = if self.is_isolated() { "isolated" } else { "light" };
        let stack_kib = self.scheduler.stack_bytes() >> 10;
        let hooks = match hooks::why_unheard() {
            None => "std's blocking calls park".to_string(),
            Some(reason) => format!("std's blocking calls block their worker ({reason})"),
        };
        let preemption = match self.scheduler.slice() {
            Some(slice) => format!("preempted after {slice:?}"),
            None => match sched::why_not_preempted() {
                Some(reason) => format!("not preempted ({reason})"),
                None => "not preempted".to_string(),
            },
        };
        let hand_off = match self.scheduler.hand_off_after() {
            Some(after) => format!("a blocked worker gets another thread after {after:?}"),
            None => "a blocked worker stays blocked".to_string(),
        };
        let files = match self.scheduler.io_driver() {
            IoDriver::IoUring if driver::ring::why_none().is_none() => ", io_uring for files",
            _ => "",
        };
        format!(
            "silken {version}: {workers} worker{plural}{follows}, {kind} coroutines with stacks of {stack_kib} KiB, {preemption}; {hand_off}; {hooks}; driver epoll{files}"
        )
    }

    /// Number of workers. It changes while the program runs, unless the program [has set
    /// it](RuntimeBuilder::workers).
    pub fn workers(&self) -> usize {
        self.scheduler.worker_count()
    }

    /// Whether the runtime's coroutines are isolated by default, that is, have thread-locals of their own and may
    /// continue on any worker.
    pub fn is_isolated(&self) -> bool {
        self.scheduler.isolates()
    }

    /// Number of times that a coroutine has continued on another worker than the one on which it had stopped.
    pub fn migrations(&self) -> u64 {
        self.scheduler.migrations()
    }

    /// Ends the runtime: cancels all coroutines, and waits until they have ended, for at most `timeout`. From then on
    /// spawns fail. The workers stop when no coroutine is left.
    ///
    /// It returns earlier if all coroutines that are left are in waits that no cancellation ends: for a signal, for
    /// output that nobody reads, or in the pauses of a loop that ignores errors (`docs/guide/cancellation.md`).
    ///
    /// A coroutine that has not ended by then is *left behind*: it goes on as a detached thread does, cancelled, on
    /// workers that end after it. So it may still get the lock or the message that it waits for, and must pass it on.
    ///
    /// The work of [`blocking`](crate::blocking()) whose callers were cancelled is waited for as well, until `timeout`
    /// is over. It cannot be cancelled; what has not ended goes on, on its thread.
    ///
    /// In a child process that `fork` made there is nothing to stop: it returns at once.
    ///
    /// # Blocking
    /// Blocks the calling OS thread, or parks the calling coroutine of another runtime. Do not call it on one of the
    /// runtime's own coroutines: that coroutine would be cancelled, wait for itself until `timeout` is over, and be in
    /// the list.
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
    pub fn shutdown(mut self, timeout: Duration) -> Shutdown {
        self.stop(timeout)
    }

    /// Where panics do not unwind, no coroutine can be cancelled, and there is nothing to wait for.
    fn grace(&self) -> Duration {
        if UNWINDS { self.grace } else { Duration::ZERO }
    }

    fn stop(&mut self, patience: Duration) -> Shutdown {
        self.stopped = true;
        if sys::process::is_forked() {
            // The workers and the coroutines are the parent's, and the locks may be held for ever.
            return Shutdown {
                left: Vec::new(),
                work: Vec::new(),
                reasons: Vec::new(),
            };
        }
        let deadline_ns = deadline_after(patience);
        let left = self.scheduler.end(deadline_ns);
        if self.prints_report {
            say!(
                "silken: report (SILKEN_REPORT):\n{}",
                self.report().to_string().trim_end()
            );
        }
        if self.prints_stacks {
            say!(
                "silken: the use of stacks (SILKEN_STACK_REPORT):\n{}",
                stack_report().to_string().trim_end()
            );
        }
        let reasons = left.iter().map(|core| core.reason()).collect();
        Shutdown {
            left: left.into_iter().map(Coroutine::new).collect(),
            work: work_left(self.scheduler.number(), deadline_ns),
            reasons,
        }
    }
}

/// Waits until the deadline for the work that coroutines of this runtime have abandoned. Returns where that was begun
/// which has not ended.
fn work_left(runtime: usize, deadline_ns: u64) -> Vec<&'static Location<'static>> {
    const LOOK_EVERY: Duration = Duration::from_millis(1);
    loop {
        let left = work::abandoned(runtime);
        if left.is_empty() || clock::now_ns() >= deadline_ns {
            return left;
        }
        let pause_ns = deadline_after(LOOK_EVERY).min(deadline_ns);
        wait::wait(&WaitCell::new(), WaitReason::Sleep, Some(pause_ns), false);
    }
}

impl Drop for Runtime {
    /// Does what [`shutdown`](Self::shutdown) does, with the [grace](RuntimeBuilder::grace) as the duration. Reports on
    /// standard error which coroutines have not ended.
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
    /// Waits for the end, whatever happens to the caller: the coroutine may borrow from the caller's frames.
    pub(crate) fn wait_uncancelled(mut self) -> Result<T, JoinError> {
        self.wait_with(None, false);
        self.take()
    }
}
