//! Settings of the default runtime, as may and its heirs have them: one global [`config()`], set before the first
//! spawn.
//!
//! Each setting is a word of its own; 0 says that the program has not set it. Nothing is ordered by them: a program
//! that sets them on one thread while another starts the runtime has raced in any case.
//! [`Runtime::builder`](crate::Runtime::builder) and `#[silken::main]` have parameters of their own and do not look
//! here: two places that say the same thing would have to be told who wins.

use crate::loom::static_atomic::{AtomicUsize, Ordering};
use crate::runtime::RuntimeBuilder;

static WORKERS: AtomicUsize = AtomicUsize::new(0);
static STACK_BYTES: AtomicUsize = AtomicUsize::new(0);
static POOL_CAPACITY: AtomicUsize = AtomicUsize::new(0);

/// The settings of the default runtime: the one that the first spawn on an OS thread starts. See [`config()`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    _private: (),
}

/// The settings of the default runtime.
///
/// They take effect when it starts, which the first [`spawn`](crate::spawn) on an OS thread causes; afterwards setting
/// them changes nothing that runs. What is set here goes before the environment (`SILKEN_WORKERS`,
/// `SILKEN_STACK_SIZE`). The default runtime has its guards, its kind of coroutines and its overflow policy from the
/// environment only (`SILKEN_GUARD_SIZE`, `SILKEN_LIGHT`, `SILKEN_OVERFLOW`). Other runtimes have
/// [`Runtime::builder`](crate::Runtime::builder).
///
/// # Examples
/// ```
/// silken::config().set_workers(2).set_stack_size(64 * 1024);
/// let bytes = silken::spawn(|| silken::current().stack_size()).join().unwrap();
/// assert_eq!(bytes, 64 * 1024);
/// ```
pub fn config() -> Config {
    Config { _private: () }
}

/// A setting, if the program has made it.
fn get(setting: &AtomicUsize) -> Option<usize> {
    // Relaxed, here and in `set`: see the head of the file.
    Some(setting.load(Ordering::Relaxed)).filter(|value| *value != 0)
}

fn set(setting: &AtomicUsize, value: usize) {
    setting.store(value, Ordering::Relaxed);
}

impl Config {
    /// How many workers; 0 leaves it to the environment and the machine.
    pub fn set_workers(&self, workers: usize) -> &Self {
        set(&WORKERS, workers);
        self
    }

    /// What [`set_workers`](Self::set_workers) has set, else what the machine offers.
    pub fn get_workers(&self) -> usize {
        get(&WORKERS).unwrap_or_else(crate::sys::topology::available_workers)
    }

    /// Address space of each coroutine's stack in **bytes** (may counts words), rounded up to a power of two; 0 leaves
    /// it to the environment and the default.
    pub fn set_stack_size(&self, bytes: usize) -> &Self {
        set(&STACK_BYTES, bytes);
        self
    }

    /// What [`set_stack_size`](Self::set_stack_size) has set, in bytes, else the default.
    pub fn get_stack_size(&self) -> usize {
        get(&STACK_BYTES).unwrap_or(crate::runtime::STACK_BYTES_DEFAULT)
    }

    /// How many idle coroutines may says it keeps. Has no effect: silken's pool keeps as many stacks as were in use at
    /// once, and needs no limit to be told. It is here so that programs that set it compile.
    pub fn set_pool_capacity(&self, capacity: usize) -> &Self {
        set(&POOL_CAPACITY, capacity);
        self
    }

    /// What [`set_pool_capacity`](Self::set_pool_capacity) was told, else 0.
    pub fn get_pool_capacity(&self) -> usize {
        get(&POOL_CAPACITY).unwrap_or(0)
    }
}

/// The default runtime as the program wants it.
pub(crate) fn default_runtime() -> RuntimeBuilder {
    let mut builder = RuntimeBuilder::default();
    if let Some(workers) = get(&WORKERS) {
        builder = builder.workers(workers);
    }
    if let Some(bytes) = get(&STACK_BYTES) {
        builder = builder.stack_size(bytes);
    }
    builder
}
