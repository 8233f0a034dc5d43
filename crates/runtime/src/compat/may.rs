//! Settings of the default runtime, as may and its heirs have them: one global [`config()`], set before the first
//! spawn. They are kept in `runtime/default.rs`.

use crate::loom::static_atomic::{AtomicUsize, Ordering};
use crate::runtime::default::{STACK_BYTES, WORKERS};

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

impl Config {
    /// How many workers; 0 leaves it to the environment and the machine.
    pub fn set_workers(&self, workers: usize) -> &Self {
        WORKERS.set(workers);
        self
    }

    /// What [`set_workers`](Self::set_workers) has set, else what the machine offers.
    pub fn get_workers(&self) -> usize {
        WORKERS.get().unwrap_or_else(crate::sys::topology::available_workers)
    }

    /// Address space of each coroutine's stack in **bytes** (may counts words), rounded up to a power of two; 0 leaves
    /// it to the environment and the default.
    pub fn set_stack_size(&self, bytes: usize) -> &Self {
        STACK_BYTES.set(bytes);
        self
    }

    /// What [`set_stack_size`](Self::set_stack_size) has set, in bytes, else the default.
    pub fn get_stack_size(&self) -> usize {
        STACK_BYTES.get().unwrap_or(crate::runtime::STACK_BYTES_DEFAULT)
    }

    /// Has no effect. In may it is the number of idle coroutines that are kept; silken's pool keeps as many stacks as
    /// were in use at once, and needs no limit to be told. It is here so that programs that set it compile.
    pub fn set_pool_capacity(&self, capacity: usize) -> &Self {
        // Relaxed, here and below: it orders nothing.
        POOL_CAPACITY.store(capacity, Ordering::Relaxed);
        self
    }

    /// What [`set_pool_capacity`](Self::set_pool_capacity) was told, else 0.
    pub fn get_pool_capacity(&self) -> usize {
        POOL_CAPACITY.load(Ordering::Relaxed)
    }
}
