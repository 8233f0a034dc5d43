//! Where do the settings of a runtime come from? Each setting comes from the program; if the program is silent, from
//! the environment; if that is silent too, from the machine or from a default.

#[forbid(unsafe_code)]
mod choices;

use super::environment::{
    A_NUMBER_OF_THREADS, A_SIZE, WORKERS_MAX, flag_from_environment, from_environment, parse_bytes, parse_threads,
    parse_time, report_from_environment, stack_report_from_environment,
};
use super::{Runtime, hooks};
use crate::coroutine::{GuardSize, measure_stacks};
use crate::driver::IoDriver;
use crate::sched::{self, Kinds, OverflowPolicy, Scheduler, SchedulerConfig};
use crate::sys;
use std::io;
use std::time::Duration;

/// Default stack size of a coroutine: what code needs that was written for threads. A regular expression with 200
/// nested groups takes more than 256 KiB to parse. The page tables cost 500 bytes more than with 256 KiB
/// (`silken_context::stack`). Frames of a debug build are several times as large, and no program runs a million of
/// them.
pub(crate) const STACK_BYTES_DEFAULT: usize = if cfg!(debug_assertions) {
    1024 * 1024
} else {
    512 * 1024
};

/// Default of [`RuntimeBuilder::grace`]: how long the end of `run`, and a runtime's drop, wait for cancelled
/// coroutines.
const GRACE_DEFAULT: Duration = Duration::from_secs(2);

/// The settings with which a [`Runtime`] starts; [`Runtime::builder`] makes one. A setting that the program does not
/// make comes from the environment; otherwise the default holds.
///
/// | method | variable | default |
/// |---|---|---|
/// | [`workers`](Self::workers) | `SILKEN_WORKERS` | as many as processors that this process may use, at any time: affinity mask and cgroup quota |
/// | [`pin_workers`](Self::pin_workers) | `SILKEN_PIN=1` | off |
/// | [`stack_size`](Self::stack_size) | `SILKEN_STACK_SIZE` (bytes, or with `k`, `m`, `g`) | 512 KiB of address space; 1 MiB in builds with debug assertions |
/// | [`light`](Self::light), `unsafe` | `SILKEN_LIGHT=1`, after [`allow_light`](crate::allow_light) | isolated |
/// | [`guard_size`](Self::guard_size) | `SILKEN_GUARD_SIZE` (bytes, or with `k`, `m`, `g`) | 768 KiB of address space, 1 MiB for stacks from 1 MiB |
/// | [`overflow`](Self::overflow) | `SILKEN_OVERFLOW=contain` or `abort` | contain |
/// | [`grace`](Self::grace) | `SILKEN_GRACE` (`0`, or with `ms` or `s`) | 2 s |
/// | [`preempt`](Self::preempt) | `SILKEN_PREEMPT=off`, or a time with `us`, `ms` or `s` | 10 ms |
/// | [`hand_off`](Self::hand_off) | `SILKEN_HANDOFF=off`, or a time with `us`, `ms` or `s` | 1 ms |
/// | [`spare_threads`](Self::spare_threads) | `SILKEN_SPARE_THREADS` | 256 |
/// | [`blocking_threads`](Self::blocking_threads) | `SILKEN_BLOCKING_THREADS` | 512 |
/// | [`driver`](Self::driver) | `SILKEN_DRIVER=epoll` or `io_uring` | io_uring for files, if the kernel has it |
/// | [`report`](Self::report) | `SILKEN_REPORT=1` | off |
/// | [`stack_report`](Self::stack_report) | `SILKEN_STACK_REPORT=1` | off |
///
/// # Examples
/// ```
/// let builder: silken::RuntimeBuilder = silken::Runtime::builder().workers(2).name("ingest");
/// let runtime = builder.build().unwrap();
/// let thread = runtime.run(|| silken::worker_id().is_some()).unwrap();
/// assert!(thread);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RuntimeBuilder {
    workers: Option<usize>,
    /// Set by tests only.
    workers_max: Option<usize>,
    stack_bytes: Option<usize>,
    guard_bytes: Option<usize>,
    light: bool,
    /// Where coroutines can only be light and no code has vouched for that, the runtime starts all the same, and the
    /// spawns fail.
    refuses_each_spawn: bool,
    name: Option<String>,
    overflow: Option<OverflowPolicy>,
    grace: Option<Duration>,
    preemption: Option<Option<Duration>>,
    hand_off: Option<Option<Duration>>,
    spare_threads: Option<usize>,
    pins_workers: Option<bool>,
    blocking_threads: Option<usize>,
    reports: Option<bool>,
    reports_stacks: Option<bool>,
    io_driver: Option<IoDriver>,
    requires_isolation: bool,
    requires_hooks: bool,
}

/// Refuses numbers and names of which no threads can be made.
fn check_size(workers: Option<usize>, blocking_threads: Option<usize>, name: Option<&str>) -> io::Result<()> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    for (count, what) in [(workers, "workers"), (blocking_threads, "blocking threads")] {
        if let Some(count) = count.filter(|count| *count > WORKERS_MAX) {
            return refuse(format!("{count} {what} are more than {WORKERS_MAX}"));
        }
    }
    if name.is_some_and(|name| name.contains('\0')) {
        return refuse("a NUL in the name of a runtime".to_string());
    }
    Ok(())
}

impl RuntimeBuilder {
    /// Sets the number of workers: at least one, at most 16,384. 0 counts as 1; more than 16,384 is an error of
    /// [`build`](Self::build). A number that was set, here or by `SILKEN_WORKERS`, stays.
    ///
    /// Without it, there are as many workers as processors that the process may use, and their number follows: within
    /// about a second after the affinity mask or the cgroup's quota has changed, while the process works,
    /// [`Runtime::workers`] changes too. What a worker that is not needed any more has queued, the others take over.
    /// Coroutines that are bound to it (light ones, [`Builder::worker`](crate::Builder::worker)) go on there.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets whether each worker runs on one processor core only: the worker of number n on the n-th core, in turn, of
    /// those on which the calling thread may run at [`build`](Self::build). The default is that the kernel chooses.
    ///
    /// It helps where caches matter more than balance, and no other process competes: a core that another program uses
    /// stays with its worker too. What a coroutine makes inherits the core: OS threads, and child processes.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).pin_workers(true).build().unwrap();
    /// let cores = runtime.run(|| std::thread::available_parallelism().unwrap().get()).unwrap();
    /// assert_eq!(cores, 1); // the worker's thread sees its one core
    /// ```
    #[must_use]
    pub fn pin_workers(mut self, pins: bool) -> Self {
        self.pins_workers = Some(pins);
        self
    }

    /// Sets the address space of each coroutine's stack, in bytes. It is rounded up to a power of two from 16 KiB to 1
    /// GiB; more is an error of [`build`](Self::build). Memory is used only where the stack is touched. The
    /// [guard](Self::guard_size) is added to it. If the program's thread-locals would take more than half of the stack,
    /// the stack is larger.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Sets the size of the guard: the bytes without access below each stack, from 16 KiB to 1 GiB, rounded up to
    /// pages. A guard costs address space, two bytes of page tables per KiB for each stack that was ever in use, and 5
    /// ns per KiB when a stack is used for the first time.
    ///
    /// A stack frame of up to this size cannot reach the memory of another coroutine without touching the guard. Rust's
    /// frames never can, whatever their size; the guard is for C without stack probes (`char buffer[300 * 1024]`).
    /// Programs that run no such code and have very many coroutines may ask for less.
    ///
    /// Fewer than 16 KiB count as 16 KiB. All runtimes of a process share the stacks, so the first runtime decides,
    /// also if it does not set the guard.
    ///
    /// # Errors
    /// [`build`](Self::build) fails with [`InvalidInput`](io::ErrorKind::InvalidInput) if `bytes` is more than 1 GiB,
    /// or if the process's stacks already have another guard (or the default).
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).guard_size(4 << 20).build().unwrap();
    /// runtime.run(|| ()).unwrap(); // what it runs may call C with frames of up to 4 MiB
    /// ```
    #[must_use]
    pub fn guard_size(mut self, bytes: usize) -> Self {
        self.guard_bytes = Some(bytes);
        self
    }

    /// Makes all coroutines of the runtime light: they share their worker's thread-locals, and stay on that worker once
    /// they have started.
    ///
    /// # Safety
    /// For all code that runs on these coroutines, the worker is the thread, and it is shared. The caller vouches for
    /// each runtime that this builder or a clone of it builds. The caller also vouches for everything that is spawned
    /// there, by any code in any crate. The caller vouches that no code
    ///
    /// - relies on being alone on its thread while it waits, or
    /// - relies on a thread-local, or on the thread's identity, being its own over a wait.
    ///
    /// The code may rely on this: the worker's thread, and the values in its thread-locals, outlive the coroutines that
    /// run there.
    ///
    /// Much safe code relies on one of the two points, and some of it is then unsound, not merely wrong. Known cases:
    ///
    /// | what | why |
    /// |---|---|
    /// | a lazy `thread_local!` whose initialiser waits | the second coroutine to come initialises it too, and drops the value that the first one borrows |
    /// | `scoped-tls`, and all that puts a reference in a thread-local and takes it back later | it takes back another coroutine's, whose frame is gone |
    /// | `parking_lot`, `crossbeam-channel`, std's `mpsc`, `thread::park` | the thread's one parking place stands in two queues at a time, or another coroutine takes the wake-up |
    /// | reentrant locks (`stdout().lock()`, `ReentrantMutex`, recursive pthread mutexes) held over a wait | a second coroutine enters: it is the owner |
    /// | `crossbeam-epoch`, and all pinning per thread, over a wait | another coroutine's guard unpins, or never unpins, the shared record |
    ///
    /// Silken's own [locks](crate::sync), [channels](crate::channel), [timers](crate::time), scopes and
    /// coroutine-locals rely on none of that, nor do std's `Mutex`, `RwLock`, `Condvar`, sockets and sleeps.
    ///
    /// # Examples
    /// ```
    /// // SAFETY: what runs there waits in silken's own types only, and uses no thread-local.
    /// let builder = unsafe { silken::Runtime::builder().workers(1).light() };
    /// let runtime = builder.build().unwrap();
    /// assert!(!runtime.is_isolated());
    /// ```
    ///
    /// It is not a safe call:
    /// ```compile_fail,E0133
    /// let builder = silken::Runtime::builder().light();
    /// ```
    #[must_use]
    pub unsafe fn light(mut self) -> Self {
        sched::prepare_for_light();
        self.light = true;
        self
    }

    /// Sets what happens when a coroutine runs out of stack. The policy holds for the whole process, from
    /// [`build`](Self::build) on. If several runtimes were built with a policy, the last one decides.
    #[must_use]
    pub fn overflow(mut self, policy: OverflowPolicy) -> Self {
        self.overflow = Some(policy);
        self
    }

    /// Sets how long the end of [`Runtime::run`] (and of `#[silken::main]`), and the drop of a runtime, wait for
    /// cancelled coroutines to end. Coroutines that have not ended by then are reported on standard error and left
    /// behind. [`Runtime::shutdown`] takes a duration of its own instead.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    /// let runtime = silken::Runtime::builder().workers(1).grace(Duration::ZERO).build().unwrap();
    /// let begun = Instant::now();
    /// runtime.run(|| drop(silken::spawn(|| silken::mask_cancel(|| silken::sleep(Duration::from_secs(1)))))).unwrap();
    /// assert!(begun.elapsed() < Duration::from_secs(1)); // it did not wait
    /// ```
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Notes which calls block workers, for [`Runtime::report`]: each time that a worker is given to
    /// [another thread](Self::hand_off), the call, what it was about, and the coroutine's place of spawn. It holds for
    /// the process, from [`build`](Self::build) on, and cannot be switched off again; `false` only hides the
    /// environment's `SILKEN_REPORT`. Each note takes a descriptor for a moment.
    ///
    /// With `SILKEN_REPORT=1` the report is printed to standard error when the runtime ends. (The default runtime does
    /// not end; [`blocked_calls`](crate::blocked_calls()) tells of its calls.)
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).report(true).build().unwrap();
    /// let time = libc::timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    /// // SAFETY: a live place for the time, and none for what is left of it.
    /// runtime.block_on(|| unsafe { libc::syscall(libc::SYS_nanosleep, &time, 0) });
    /// assert!(runtime.report().blocked.iter().any(|call| call.call == "nanosleep"));
    /// ```
    #[must_use]
    pub fn report(mut self, is_on: bool) -> Self {
        self.reports = Some(is_on);
        self
    }

    /// Measures how deep each coroutine goes on its stack, for [`stack_report`](crate::stack_report()). It holds for
    /// the process, from [`build`](Self::build) on, and cannot be switched off again; `false` only hides the
    /// environment's `SILKEN_STACK_REPORT`. Each coroutine then costs two system calls and some page faults more.
    ///
    /// With `SILKEN_STACK_REPORT=1` the report is printed to standard error when the runtime ends.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).stack_report(true).build().unwrap();
    /// runtime.run(|| silken::spawn(|| ()).join().unwrap()).unwrap();
    /// assert!(!silken::stack_report().sites.is_empty());
    /// ```
    #[must_use]
    pub fn stack_report(mut self, is_on: bool) -> Self {
        self.reports_stacks = Some(is_on);
        self
    }

    /// Sets how long a coroutine may run before it gives way to others that wait. `None`: it is not interrupted. Less
    /// than 20 µs counts as 20 µs.
    ///
    /// A coroutine that computes and calls nothing is interrupted by a signal (SIGURG) after that time, and goes behind
    /// all others; it continues where it was. It need not be written for that: its thread-locals, registers and errno
    /// are its own. This holds for isolated coroutines, in code of the executable itself. Code inside a shared library
    /// is not interrupted, except the C library's functions for memory and mathematics. Code inside
    /// [`no_preempt`](crate::no_preempt) and light coroutines are not interrupted either. Preemption never cancels: see
    /// [`check_cancelled`](crate::check_cancelled).
    ///
    /// # Examples
    /// One worker, and a loop that never yields:
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::time::Duration;
    /// static DONE: AtomicBool = AtomicBool::new(false);
    ///
    /// let runtime = silken::Runtime::builder().workers(1).preempt(Duration::from_millis(2)).build().unwrap();
    /// runtime.run(|| {
    ///     let computes = silken::spawn(|| while !DONE.load(Ordering::Relaxed) {});
    ///     silken::sleep(Duration::from_millis(1));
    ///     DONE.store(true, Ordering::Relaxed); // the loop was interrupted for this
    ///     computes.join().unwrap();
    /// }).unwrap();
    /// ```
    #[must_use]
    pub fn preempt(mut self, slice: impl Into<Option<Duration>>) -> Self {
        self.preemption = Some(slice.into());
        self
    }

    /// Sets how long a call may block a worker before another thread takes the worker over. `None`: as long as the call
    /// lasts. Less than 50 µs counts as 50 µs. Another worker that runs coroutines notices the blocked one after one to
    /// two times this time. An idle worker looks by turns that grow to 10 ms, and notices it after one or two of them.
    /// If no other worker can look, the monitor does: it needs two to four times this time, and five to ten times for
    /// the first such call after a while without any.
    ///
    /// Most calls that wait park the coroutine and block nobody. Some reach the kernel unseen: a lock of a C library, a
    /// slow disk, a library with system calls of its own. They block the OS thread. After this time a spare thread
    /// continues as the worker. When the call returns, its coroutine goes on, on the old thread, beside the workers,
    /// until it waits or yields, and then continues on some worker. Meanwhile [`worker_id`](crate::worker_id) is
    /// `None`. At most [`spare_threads`](Self::spare_threads) threads are made; one that was idle for ten seconds ends.
    ///
    /// A worker that has started a [light](Self::light) coroutine keeps its thread, since light coroutines cannot
    /// follow it to another one: then a call that blocks it blocks them too.
    ///
    /// # Examples
    /// One worker, and a call that silken does not see:
    /// ```
    /// use std::time::Duration;
    /// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    /// runtime.run(|| {
    ///     let time = libc::timespec { tv_sec: 0, tv_nsec: 300_000_000 };
    ///     // SAFETY: a live place for the time, and none for what is left of it.
    ///     let blocks = silken::spawn(move || unsafe { libc::syscall(libc::SYS_nanosleep, &time, 0) });
    ///     let begun = std::time::Instant::now();
    ///     silken::yield_now(); // the worker is blocked now
    ///     assert!(begun.elapsed() < Duration::from_millis(250));
    ///     blocks.join().unwrap();
    /// }).unwrap();
    /// ```
    #[must_use]
    pub fn hand_off(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.hand_off = Some(after.into());
        self
    }

    /// Sets how many threads the runtime may have beyond one per worker: for workers whose threads a call blocks, see
    /// [`hand_off`](Self::hand_off). With 0, or at the limit, such a call blocks its worker. 0 makes sure that there is
    /// never a thread more than the program has asked for.
    #[must_use]
    pub fn spare_threads(mut self, threads: usize) -> Self {
        self.spare_threads = Some(threads);
        self
    }

    /// Chooses the interface of the kernel by which the runtime waits. Descriptors that become ready come from epoll in
    /// each case. Calls on files that wait for a disk are made by the kernel beside the caller (io_uring), or by a
    /// thread of a pool each.
    ///
    /// By default the runtime uses io_uring where the kernel offers it (since 5.6; some containers forbid it), and the
    /// pool elsewhere. With [`IoDriver::IoUring`], [`build`](Self::build) fails where there is none; with
    /// [`IoDriver::Epoll`] this runtime uses none.
    ///
    /// # Examples
    /// ```
    /// use silken::IoDriver;
    ///
    /// let runtime = silken::Runtime::builder().driver(IoDriver::Epoll).build().unwrap();
    /// assert!(runtime.describe().ends_with("driver epoll"));
    /// ```
    #[must_use]
    pub fn driver(mut self, driver: IoDriver) -> Self {
        self.io_driver = Some(driver);
        self
    }

    /// Sets how many OS threads at most run work of [`blocking`](crate::blocking()) and
    /// [`spawn_blocking`](crate::spawn_blocking) at the same time: at least one, at most 16,384. Further work is
    /// queued. 0 counts as 1; more than 16,384 is an error of [`build`](Self::build). A thread is made when there is
    /// work for it, and ends after ten seconds without work.
    ///
    /// The number holds for the whole process, from [`build`](Self::build) on. If several runtimes were built with a
    /// number, the last one decides.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).blocking_threads(4).build().unwrap();
    /// let sum = runtime.run(|| {
    ///     let parts: Vec<_> = (0..100).map(|part| silken::spawn_blocking(move || part)).collect(); // four at once
    ///     parts.into_iter().map(|part| part.join().unwrap()).sum::<i32>()
    /// });
    /// assert_eq!(sum.unwrap(), 4950);
    /// ```
    #[must_use]
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = Some(threads);
        self
    }

    /// Makes [`build`](Self::build) fail where coroutines would be light, also in a program that has allowed that by
    /// [`allow_light`](crate::allow_light).
    #[must_use]
    pub fn require_isolation(mut self) -> Self {
        self.requires_isolation = true;
        self
    }

    /// Makes [`build`](Self::build) fail where the hooks do not serve the calls of std and of C: without the feature
    /// `interpose`, or in a library that a foreign program has loaded. Without this setting a line on standard error
    /// says so, once.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(1).require_isolation().require_hooks().build().unwrap();
    /// println!("{}", runtime.describe());
    /// ```
    #[must_use]
    pub fn require_hooks(mut self) -> Self {
        self.requires_hooks = true;
        self
    }

    /// Sets the prefix of the workers' thread names; the default is `silken`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Starts the workers, and returns the runtime.
    ///
    /// # Errors
    /// If a thread, a descriptor or the stacks' address space is not available: then the system's own error is the
    /// [source](std::error::Error::source). Otherwise:
    ///
    /// - [`Unsupported`](io::ErrorKind::Unsupported), with the reason and the remedy, if coroutines cannot have
    ///   thread-locals of their own in this process, or `SILKEN_LIGHT=1` is set, and no code has vouched for light
    ///   coroutines by [`light`](Self::light) or [`allow_light`](crate::allow_light). Also if a requirement of
    ///   [`require_isolation`](Self::require_isolation) or [`require_hooks`](Self::require_hooks) is not met, or if
    ///   `SILKEN_THREADS=1` asks for [adopted threads](Runtime::adopt_threads) where there can be none.
    /// - The kernel's own refusal, if io_uring was [asked for](Self::driver): ENOSYS, or EPERM where it is forbidden.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if a size is more than 1 GiB, there are too many workers, the
    ///   name has a NUL, a variable of the environment is not understood, or [`guard_size`](Self::guard_size) asks for
    ///   another guard than the process's stacks have.
    ///
    /// # Examples
    /// ```
    /// let error = silken::Runtime::builder().workers(1_000_000).build().unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// ```
    pub fn build(self) -> io::Result<Runtime> {
        let grace = match self.grace {
            Some(grace) => Some(grace),
            None => from_environment("SILKEN_GRACE", "a time, as in 500ms, 2s or 0", parse_time)?,
        };
        let prints_report = self.reports.is_none() && report_from_environment()?;
        let prints_stacks = self.reports_stacks.is_none() && stack_report_from_environment()?;
        let (requires_isolation, requires_hooks) = (self.requires_isolation, self.requires_hooks);
        let config = self.config()?;
        let refuse = |text: String| Err(io::Error::new(io::ErrorKind::Unsupported, text));
        if requires_isolation && config.kinds != Kinds::Isolated {
            let reason = sched::why_not_isolated().unwrap_or_else(|| "light ones were asked for".to_string());
            return refuse(format!("coroutines would be light: {reason}"));
        }
        if requires_hooks && let Some(reason) = hooks::why_unheard() {
            return refuse(format!("calls of std and of C would not be answered: {reason}"));
        }
        hooks::install_hooks();
        let scheduler = Scheduler::start(&config)?;
        hooks::adopt_threads_if_asked(scheduler)?;
        Ok(Runtime {
            scheduler,
            grace: grace.unwrap_or(GRACE_DEFAULT),
            prints_report,
            prints_stacks,
            stopped: false,
        })
    }

    /// Where coroutines can only be light, makes the runtime start all the same, and refuse the spawns.
    pub(super) fn refusing_each_spawn(mut self) -> Self {
        self.refuses_each_spawn = true;
        self
    }

    pub(super) fn config(self) -> io::Result<SchedulerConfig> {
        let kinds = self.kinds()?;
        let io_driver = self.io_driver()?;
        if self.reports_stacks.map_or_else(stack_report_from_environment, Ok)? {
            measure_stacks();
        }
        if self.reports.map_or_else(report_from_environment, Ok)? {
            sched::note_blocked_calls();
        }
        let workers = match self.workers {
            Some(workers) => Some(workers),
            None => from_environment("SILKEN_WORKERS", A_NUMBER_OF_THREADS, parse_threads)?,
        };
        let blocking_threads = match self.blocking_threads {
            Some(threads) => Some(threads),
            None => from_environment("SILKEN_BLOCKING_THREADS", A_NUMBER_OF_THREADS, parse_threads)?,
        };
        check_size(workers, blocking_threads, self.name.as_deref())?;
        let stack_bytes = match self.stack_bytes {
            Some(bytes) => Some(bytes),
            None => from_environment("SILKEN_STACK_SIZE", A_SIZE, parse_bytes)?,
        };
        let guard = match self.guard_bytes {
            Some(bytes) => Some(GuardSize { bytes, insists: true }),
            // The variable concerns the whole process, so it is no error if a builder has set another guard.
            None => from_environment("SILKEN_GUARD_SIZE", A_SIZE, parse_bytes)?
                .map(|bytes| GuardSize { bytes, insists: false }),
        };
        let overflow = match self.overflow {
            Some(policy) => Some(policy),
            None => from_environment("SILKEN_OVERFLOW", "contain or abort", |text| match text {
                "contain" => Some(OverflowPolicy::Contain),
                "abort" => Some(OverflowPolicy::Abort),
                _ => None,
            })?,
        };
        let (slice, hand_off_after) = self.slices()?;
        let pins_workers = match self.pins_workers {
            Some(pins) => pins,
            None => flag_from_environment("SILKEN_PIN")?.unwrap_or(false),
        };
        let spare_threads = match self.spare_threads {
            Some(threads) => Some(threads),
            None => from_environment("SILKEN_SPARE_THREADS", "a number", |text| text.parse().ok())?,
        };
        Ok(SchedulerConfig {
            io_driver,
            hand_off_after,
            spare_threads: spare_threads.unwrap_or(sched::SPARE_THREADS_DEFAULT),
            slice,
            overflow,
            blocking_threads,
            workers: workers.unwrap_or_else(sched::available_workers).max(1),
            // A number that the program has asked for stays.
            follows_machine: workers.is_none(),
            workers_max: workers.map_or_else(sys::topology::possible_cpus, |set| self.workers_max.unwrap_or(set)),
            pins_workers,
            stack_bytes: stack_bytes.unwrap_or(STACK_BYTES_DEFAULT),
            guard,
            kinds,
            name: self.name.unwrap_or_else(|| "silken".to_string()),
        })
    }
}
