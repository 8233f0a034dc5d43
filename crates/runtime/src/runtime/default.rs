//! The default runtime: the one that the first spawn on an OS thread starts, and the settings that it is started with.
//!
//! Each setting is a word of its own; 0 says that the program has not set it. Nothing is ordered by them: a program
//! that sets them on one thread while another starts the runtime has raced in any case.
//! [`Runtime::builder`](crate::Runtime::builder) and `#[silken::main]` have parameters of their own and do not look
//! here: two places that say the same thing would have to be told who wins.

use super::RuntimeBuilder;
use super::hooks::install_hooks;
use crate::loom::static_atomic::{AtomicUsize, Ordering};
use crate::sched::Scheduler;
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

/// The default runtime as the program wants it.
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

/// The scheduler of the caller's coroutine, else the default one, which is started now if need be.
///
/// # Errors
/// As [`RuntimeBuilder::build`].
pub(crate) fn current_or_default() -> io::Result<&'static Scheduler> {
    if let Some(scheduler) = Scheduler::current() {
        return Ok(scheduler);
    }
    static DEFAULT: OnceLock<Result<&'static Scheduler, (io::ErrorKind, String)>> = OnceLock::new();
    let start = || {
        // Light coroutines that somebody vouches for can be had in any case, so it starts in any case.
        let config = builder().refusing_each_spawn().config()?;
        install_hooks();
        Scheduler::start(&config)
    };
    DEFAULT
        .get_or_init(|| start().map_err(|error| (error.kind(), error.to_string())))
        .clone()
        .map_err(|(kind, text)| io::Error::new(kind, text))
}
