//! Stackful coroutines that behave like threads for the code that runs on them.
//!
//! Write plain blocking Rust, and run a million coroutines of it. `std::net`, `std::sync`, `thread::sleep`,
//! `thread_local!` and blocking crates, all unmodified, park the coroutine and not the OS thread. See the README for a
//! first program, and `docs/` for the guide.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! let listener = TcpListener::bind("127.0.0.1:0").unwrap();
//! let address = listener.local_addr().unwrap();
//! let server = silken::spawn(move || {
//!     let (mut stream, _) = listener.accept().unwrap();
//!     let mut line = [0; 5];
//!     stream.read_exact(&mut line).unwrap();
//!     stream.write_all(&line).unwrap();
//! });
//! let client = silken::spawn(move || {
//!     let mut stream = TcpStream::connect(address).unwrap();
//!     stream.write_all(b"hello").unwrap();
//!     let mut line = [0; 5];
//!     stream.read_exact(&mut line).unwrap();
//!     line
//! });
//! assert_eq!(&client.join().unwrap(), b"hello");
//! server.join().unwrap();
//! ```
// A model uses only a part of the crate; without hooks, the code that only they use is dead.
#![cfg_attr(any(loom, not(feature = "interpose")), allow(dead_code, unused_imports))]

#[forbid(unsafe_code)]
pub(crate) mod loom;
#[forbid(unsafe_code)]
mod names;

pub mod collections;
pub(crate) mod sys;

mod coroutine;

pub(crate) mod driver;
#[forbid(unsafe_code)]
pub(crate) mod offload;
pub(crate) mod wait;

pub mod channel;
#[forbid(unsafe_code)]
pub mod fs;
pub mod net;
pub(crate) mod sched;
pub mod sync;
pub mod time;

#[cfg(feature = "interpose")]
mod hook;
pub(crate) mod io;

mod api;
mod runtime;

#[forbid(unsafe_code)]
mod compat;
mod extras;

pub use crate::driver::IoDriver;
pub use crate::sched::{BlockedCall, OverflowPolicy, allow_light, blocked_calls};
pub use api::allocator::Unpreempted;
pub use api::blocking::{blocking, spawn_blocking};
pub use api::cancel::{
    Elapsed, check_cancelled, deadline, is_cancellation, is_cancelled, mask_cancel, panicking, time_left, timeout,
    timeout_at,
};
#[cfg(feature = "interpose")]
pub use api::cancel::{OnCancel, set_on_cancel};
pub use api::defer::Deferred;
pub use api::grow::{grow, maybe_grow, remaining_stack};
pub use api::handle::{
    Coroutine, CoroutineId, JoinHandle, JoinTimeout, TimeoutJoinError, current, is_coroutine, try_current,
};
pub use api::join_set::JoinSet;
pub use api::native::native;
pub use api::par_map::par_map;
pub use api::park::{no_preempt, park, park_timeout, yield_now};
pub use api::scope::{Scope, ScopedJoinHandle, scope};
pub use api::select::{JoinArm, Joinable, TickArm, join_any, join_any_timeout};
#[cfg(feature = "interpose")]
pub use api::select::{ReadyArm, readable, writable};
#[cfg(all(feature = "signal", not(loom)))]
pub use api::signal;
pub use api::spawn::{Builder, spawn, spawn_many};
pub use api::sync_arms::{AcquireArm, LockArm, NotifiedArm, ReadArm, WaitGroupArm, WriteArm};
pub use api::try_scope::{TryScope, try_scope, try_scope_limited};
pub use channel::{mpmc, mpsc, spsc};
pub use compat::coio::{Options, Scheduler, sched, spawn_opts};
pub use compat::may::{Config, config};
#[cfg(feature = "extras")]
pub use compat::queue;
pub use coroutine::{
    AccessError, JoinError, LocalKey, PanicPayload, ScopedKey, StackReport, StackSite, WaitReason, stack_high_water,
    stack_report,
};
pub use extras::cancel_token::CancelToken;
pub use extras::errors::Error;
pub use extras::pool::{Pool, PoolHandle, SubmitError};
pub use extras::promise::{Promise, PromiseError, Resolver};
pub use extras::{cqueue, errors};
pub use names::prelude;
pub use runtime::{Runtime, RuntimeBuilder, RuntimeReport, Shutdown};
pub use silken_macros::{main, test};
pub use time::{sleep, sleep_ms, sleep_until};

/// Returns the number of the worker that runs the caller, for tests and reports; `None` on an OS thread that is no
/// worker, and on a coroutine that has just come out of a call which had blocked its worker
/// ([`hand_off`](RuntimeBuilder::hand_off)). The number may change at each wait: an isolated coroutine may continue on
/// another worker.
///
/// # Examples
/// ```
/// assert_eq!(silken::worker_id(), None);
/// assert!(silken::spawn(silken::worker_id).join().unwrap().is_some());
/// ```
pub fn worker_id() -> Option<usize> {
    crate::sched::current_worker_id()
}

/// Not public: the names that the macros expand to.
#[doc(hidden)]
pub mod __macros {
    pub use crate::api::grow::RED_ZONE_BYTES;
    pub use crate::api::select::joined;
    pub use crate::api::spawn::{SpawnWith, task};
    pub use crate::api::try_scope::{FirstError, joined_or_not};
    pub use crate::runtime::attribute::{
        TestLimit, report_main, report_test, report_test_within, run_main, run_test, run_test_within,
    };
    pub use silken_macros::{at, select_error};
}

/// Declares keys whose values each coroutine has for itself, in the forms of [`thread_local!`]; see [`LocalKey`].
///
/// # Examples
/// ```
/// use std::cell::{Cell, RefCell};
/// silken::coroutine_local! {
///     static DEPTH: Cell<u32> = const { Cell::new(0) };
///     static LINES: RefCell<Vec<String>> = RefCell::default();
/// }
/// DEPTH.set(7);
/// LINES.with_borrow_mut(|lines| lines.push("mine".to_string()));
/// let other = silken::spawn(|| (DEPTH.get(), LINES.take().len())).join().unwrap();
/// assert_eq!(other, (0, 0));
/// assert_eq!((DEPTH.get(), LINES.take().len()), (7, 1));
/// ```
#[macro_export]
macro_rules! coroutine_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident : $type:ty = const $init:block $(; $($rest:tt)*)?) => {
        $(#[$attribute])*
        $visibility static $name: $crate::LocalKey<$type> = {
            fn init() -> $type {
                const { $init }
            }
            $crate::LocalKey::new(init)
        };
        $($crate::coroutine_local!($($rest)*);)?
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident : $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attribute])*
        $visibility static $name: $crate::LocalKey<$type> = {
            fn init() -> $type {
                $init
            }
            $crate::LocalKey::new(init)
        };
        $($crate::coroutine_local!($($rest)*);)?
    };
}

/// Declares keys whose values hold during a call, and are inherited by the coroutines that are spawned in that call;
/// see [`ScopedKey`].
///
/// # Examples
/// ```
/// silken::scoped_value! {
///     static USER: String;
/// }
/// let name = USER.set_in("ada".to_string(), || {
///     silken::spawn(|| USER.with(|user| user.clone())).join().unwrap()
/// });
/// assert_eq!(name, "ada");
/// assert!(!USER.is_set());
/// ```
#[macro_export]
macro_rules! scoped_value {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident : $type:ty $(; $($rest:tt)*)?) => {
        $(#[$attribute])*
        $visibility static $name: $crate::ScopedKey<$type> = $crate::ScopedKey::new();
        $($crate::scoped_value!($($rest)*);)?
    };
}

/// The user guide and the README: their examples are compiled and run with those of the documentation.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/guide/cancellation.md")]
    mod cancellation {}
    #[doc = include_str!("../../../docs/guide/channels.md")]
    mod channels {}
    #[doc = include_str!("../../../docs/guide/coming-from.md")]
    mod coming_from {}
    #[doc = include_str!("../../../docs/guide/configuration.md")]
    mod configuration {}
    #[doc = include_str!("../../../docs/guide/crates.md")]
    mod crates {}
    #[doc = include_str!("../../../docs/guide/everyday.md")]
    mod everyday {}
    #[doc = include_str!("../../../docs/guide/first-program.md")]
    mod first_program {}
    #[doc = include_str!("../../../docs/guide/light-and-isolated.md")]
    mod light_and_isolated {}
    #[doc = include_str!("../../../docs/guide/locks.md")]
    mod locks {}
    #[doc = include_str!("../../../docs/guide/memory.md")]
    mod memory {}
    #[doc = include_str!("../../../docs/guide/select.md")]
    mod select {}
    #[doc = include_str!("../../../docs/guide/time.md")]
    mod time {}
    #[doc = include_str!("../../../docs/guide/unmodified.md")]
    mod unmodified {}
    #[doc = include_str!("../../../docs/guide/what-blocks.md")]
    mod what_blocks {}
}
