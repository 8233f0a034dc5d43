//! Which runtime serves a spawn on an OS thread, and with which settings does it start? While the body of a
//! `#[silken::main]` runs, it is that runtime. Otherwise the first such spawn starts the default runtime.
//!
//! The runtime of `main` ends its coroutines when the body has returned. From that moment on, spawns of threads go to
//! the default runtime. A `#[silken::test]` does not stand in for it, since tests run side by side.
//!
//! Each setting is a word of its own; 0 means that the program has not set it. The settings order nothing: a program
//! that sets them on one thread while another thread starts the runtime has a race in any case.
//! [`Runtime::builder`](crate::Runtime::builder) and `#[silken::main]` have parameters of their own and do not look
//! here. Otherwise two places would say the same thing, and a rule would have to say which one wins.

use super::RuntimeBuilder;
use super::hooks::install_hooks;
use crate::coroutine::Critical;
use crate::loom::static_atomic::{AtomicUsize, Ordering};
use crate::sched::Scheduler;
use crate::sys::StaticLock;
use std::io;
use std::sync::OnceLock;

/// A word that the program may set before the default runtime starts.
pub(crate) struct Setting(AtomicUsize);

pub(crate) static WORKERS: Setting = Setting(AtomicUsize::new(0));
pub(crate) static STACK_BYTES: Setting = Setting(AtomicUsize::new(0));

impl Setting {
    /// The value, if the program has set one.
    pub(crate) fn get(&self) -> Option<usize> {
        // Relaxed, here and in `set`: see the head of the file.
        Some(self.0.load(Ordering::Relaxed)).filter(|value| *value != 0)
    }

    pub(crate) fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A builder with the program's settings of the default runtime.
fn builder() -> RuntimeBuilder {
    let mut builder = RuntimeBuilder::default();
    if let Some(workers) = WORKERS.get() {
        builder = builder.workers(workers);
    }
    if let Some(bytes) = STACK_BYTES.get() {
        builder = builder.stack_size(bytes);
    }
    builder
}

/// The scheduler of the `main` whose body runs, if one does. Behind a lock: a spawn on an OS thread takes that of the
/// injector anyway.
static MAIN: StaticLock<Option<&'static Scheduler>> = StaticLock::new(None);

/// Serves spawns on OS threads, until it is dropped.
pub(super) struct ServesThreads(());

impl ServesThreads {
    /// Until the value is dropped, spawns on OS threads go to this scheduler.
    pub(super) fn begin(scheduler: &'static Scheduler) -> Self {
        with_main(|main| *main = Some(scheduler));
        Self(())
    }
}

impl Drop for ServesThreads {
    fn drop(&mut self) {
        with_main(|main| *main = None);
    }
}

fn with_main<R>(f: impl FnOnce(&mut Option<&'static Scheduler>) -> R) -> R {
    let _critical = Critical::enter();
    f(&mut MAIN.lock())
}

/// Returns the scheduler of the caller's coroutine. On an OS thread it is that of the running `main`, or the default
/// one, which is started if necessary.
///
/// # Errors
/// Those of [`RuntimeBuilder::build`].
pub(crate) fn current_or_default() -> io::Result<&'static Scheduler> {
    if let Some(scheduler) = Scheduler::current() {
        return Ok(scheduler);
    }
    if let Some(scheduler) = with_main(|main| *main) {
        return Ok(scheduler);
    }
    static DEFAULT: OnceLock<Result<&'static Scheduler, (io::ErrorKind, String)>> = OnceLock::new();
    let start = || {
        // Light coroutines that a caller vouches for can be made in any case, so the runtime starts in any case.
        let config = builder().refusing_each_spawn().config()?;
        install_hooks();
        let scheduler = Scheduler::start(&config)?;
        super::hooks::adopt_threads_if_asked(scheduler)?;
        Ok(scheduler)
    };
    DEFAULT
        .get_or_init(|| start().map_err(|error: io::Error| (error.kind(), error.to_string())))
        .clone()
        .map_err(|(kind, text)| io::Error::new(kind, text))
}
