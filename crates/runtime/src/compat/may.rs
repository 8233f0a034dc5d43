//! How are the settings of the default runtime made in the manner of may and its heirs? There is one global
//! [`config()`], set before the first spawn. `runtime/default.rs` stores the settings.

use crate::loom::static_atomic::{AtomicUsize, Ordering};
use crate::runtime::default::{STACK_BYTES, WORKERS};

static POOL_CAPACITY: AtomicUsize = AtomicUsize::new(0);

/// The settings of the default runtime, which the first spawn on an OS thread starts while no `#[silken::main]` runs:
/// see [`config()`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    _private: (),
}

/// Returns the settings of the default runtime.
///
/// They take effect when it starts, at the first [`spawn`](crate::spawn) on an OS thread while no `#[silken::main]`
/// runs. Later changes have no effect. They win over the environment (`SILKEN_WORKERS`, `SILKEN_STACK_SIZE`). The
/// default runtime has its guards, its kind of coroutines and its overflow policy from the environment only
/// (`SILKEN_GUARD_SIZE`, `SILKEN_LIGHT`, `SILKEN_OVERFLOW`). For other runtimes see
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
    /// Sets the number of workers; 0 leaves it to the environment and the machine.
    pub fn set_workers(&self, workers: usize) -> &Self {
        WORKERS.set(workers);
        self
    }

    /// Returns what [`set_workers`](Self::set_workers) has set; otherwise the number that the machine offers.
    pub fn get_workers(&self) -> usize {
        WORKERS.get().unwrap_or_else(crate::sched::available_workers)
    }

    /// Sets the address space of each coroutine's stack, in **bytes** (may counts words). It is rounded up to a power
    /// of two; 0 leaves it to the environment and the default.
    pub fn set_stack_size(&self, bytes: usize) -> &Self {
        STACK_BYTES.set(bytes);
        self
    }

    /// Returns what [`set_stack_size`](Self::set_stack_size) has set, in bytes; otherwise the default.
    pub fn get_stack_size(&self) -> usize {
        STACK_BYTES.get().unwrap_or(crate::runtime::STACK_BYTES_DEFAULT)
    }

    /// Has no effect; it exists so that programs that call it compile. In may it sets how many idle coroutines are
    /// kept. silken's pool keeps as many stacks as were in use at once, and needs no limit.
    pub fn set_pool_capacity(&self, capacity: usize) -> &Self {
        // Relaxed, here and below: it orders nothing.
        POOL_CAPACITY.store(capacity, Ordering::Relaxed);
        self
    }

    /// Returns what [`set_pool_capacity`](Self::set_pool_capacity) was given; otherwise 0.
    pub fn get_pool_capacity(&self) -> usize {
        POOL_CAPACITY.load(Ordering::Relaxed)
    }
}
