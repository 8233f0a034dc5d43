//! How does a program that was written for coio run on silken? It describes a [`Scheduler`], which runs one main
//! function and is then gone.
//!
//! It is a [`Runtime`](crate::Runtime) under another name, except for one promise of coio's on which programs rely: a
//! coroutine made by [`Scheduler::spawn`] *has begun* when the call returns. coio ran the child at once on the
//! spawner's thread. Here the spawner waits until some worker has entered the child. So, with one worker and with many,
//! what the child does before it first waits is done, or under way, when the spawner goes on. In particular, a main
//! function that ends (or panics) right after the call cancels a coroutine that has its locals, and not one that never
//! began. The wait is like that of a scope for its children, where the "child" is the time between the spawn and the
//! first instruction.
//!
//! Rejected: to start every pending coroutine before a runtime cancels it. A program that ends does not want to begin
//! anything.

use crate::api::handle::JoinHandle;
use crate::api::spawn::{Builder, expect_spawned};
use crate::channel::oneshot;
use crate::coroutine::mask;
use crate::runtime::{Runtime, RuntimeBuilder};

/// A runtime for one main function, in the manner of coio-rs.
///
/// # Examples
/// ```
/// use silken::Scheduler;
/// let answer = Scheduler::new().with_workers(2).run(|| {
///     let half = Scheduler::spawn(|| 21);
///     Scheduler::sched();
///     half.join().unwrap() * 2
/// });
/// assert_eq!(answer.unwrap(), 42);
/// ```
#[derive(Clone, Debug)]
#[must_use = "runs nothing until `run`"]
pub struct Scheduler {
    builder: RuntimeBuilder,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

impl Scheduler {
    /// Makes a scheduler with one worker, as coio does, and stacks of the default size. Nothing runs before
    /// [`run`](Self::run).
    pub fn new() -> Self {
        Self {
            builder: Runtime::builder().workers(1),
        }
    }

    /// Sets the number of workers, at least one.
    pub fn with_workers(mut self, workers: usize) -> Self {
        self.builder = self.builder.workers(workers);
        self
    }

    /// Sets the address space of each coroutine's stack, in bytes, rounded up to a power of two. Memory is used only
    /// where the stack is touched.
    pub fn default_stack_size(mut self, bytes: usize) -> Self {
        self.builder = self.builder.stack_size(bytes);
        self
    }

    /// Runs `main` as the first coroutine, and returns its value. When `main` has ended, by a return or by a panic, all
    /// coroutines that are left are cancelled and run their destructors; then this returns. Coroutines that do not end
    /// within the [grace](RuntimeBuilder::grace), by default two seconds, are reported on standard error and left
    /// behind.
    ///
    /// # Blocking
    /// Blocks the calling OS thread, or parks the calling coroutine of another runtime.
    ///
    /// # Cancellation
    /// Does not interrupt it: `main` may borrow from the caller.
    ///
    /// # Errors
    /// The panic payload if `main` panicked; a [`JoinError`](crate::JoinError) as payload if it was cancelled.
    ///
    /// # Panics
    /// If the runtime cannot be started: see [`RuntimeBuilder::build`].
    #[track_caller]
    pub fn run<F, T>(self, main: F) -> std::thread::Result<T>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        match self.builder.build() {
            Ok(runtime) => runtime.run(main),
            Err(error) => panic!("the scheduler does not start: {error}"),
        }
    }

    /// Spawns a coroutine, and waits until it has begun: when this returns, a worker runs it or has run it.
    /// [`spawn`](crate::spawn) does not wait for that.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread, until the new coroutine
    /// has begun.
    ///
    /// # Cancellation
    /// Does not interrupt this short wait.
    ///
    /// # Panics
    /// If the coroutine cannot be made.
    ///
    /// # Examples
    /// ```
    /// use silken::Scheduler;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// static BEGUN: AtomicBool = AtomicBool::new(false);
    /// let outcome = Scheduler::new().run(|| {
    ///     Scheduler::spawn(|| {
    ///         BEGUN.store(true, Ordering::Relaxed);
    ///         silken::park();
    ///     });
    /// }); // the child has begun, and is cancelled
    /// outcome.unwrap();
    /// assert!(BEGUN.load(Ordering::Relaxed));
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(body: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        begin(Builder::new(), body)
    }

    /// Does what [`Scheduler::spawn`] does, with a name or a stack of another size. Blocking and cancellation are those
    /// of [`Scheduler::spawn`].
    ///
    /// # Panics
    /// If the coroutine cannot be made.
    ///
    /// # Examples
    /// ```
    /// use silken::{Options, Scheduler};
    /// let name = || silken::current().name().map(String::from);
    /// let handle = Scheduler::spawn_opts(name, Options::new().name("reader"));
    /// assert_eq!(handle.join().unwrap().as_deref(), Some("reader"));
    /// ```
    #[track_caller]
    pub fn spawn_opts<F, T>(body: F, options: Options) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        begin(options.into(), body)
    }

    /// Lets other coroutines run: coio's name for [`yield_now`](crate::yield_now).
    pub fn sched() {
        crate::yield_now();
    }
}

/// The settings that coio's [`spawn_opts`] takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Address space of the stack, in bytes; 0: the runtime's default.
    pub stack_size: usize,
    /// The name, for reports and panic messages.
    pub name: Option<String>,
}

impl Options {
    /// Makes options in which nothing is set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the stack's address space, in bytes.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl From<Options> for Builder {
    fn from(options: Options) -> Self {
        let mut builder = Builder::new();
        if options.stack_size != 0 {
            builder = builder.stack_size(options.stack_size);
        }
        if let Some(name) = options.name {
            builder = builder.name(name);
        }
        builder
    }
}

#[track_caller]
fn begin<F, T>(builder: Builder, body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (not_begun, begun) = oneshot::channel::<()>();
    let handle = expect_spawned(builder.spawn(move || {
        // A body that never begins drops it, too.
        drop(not_begun);
        body()
    }));
    let _gone = mask(|| begun.recv());
    handle
}

/// Spawns a coroutine with a name or a stack of another size: [`spawn`](crate::spawn) with coio's [`Options`]. Does not
/// wait for it to begin.
///
/// # Panics
/// If the coroutine cannot be made.
///
/// # Examples
/// ```
/// use silken::Options;
/// let options = Options::new().name("small").stack_size(32 * 1024);
/// let handle = silken::spawn_opts(|| silken::current().stack_size(), options);
/// assert_eq!(handle.join().unwrap(), 32 * 1024);
/// ```
#[track_caller]
pub fn spawn_opts<F, T>(body: F, options: Options) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    expect_spawned(Builder::from(options).spawn(body))
}

/// Lets other coroutines run: coio's name for [`yield_now`](crate::yield_now).
pub fn sched() {
    crate::yield_now();
}
