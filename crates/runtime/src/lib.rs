//! Stackful coroutines that are threads to the code that runs on them.
//!
//! Write plain blocking Rust and run a million of it: `std::net`, `std::sync`, `thread::sleep`, `thread_local!` and blocking crates, unmodified,
//! park the coroutine and not the OS thread. See the README for a first program, `docs/` for the guide.
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
#![cfg_attr(loom, allow(dead_code, unused_imports))]

pub(crate) mod loom;

pub(crate) mod collections;
pub(crate) mod sys;

mod coroutine;

pub(crate) mod driver;
pub(crate) mod offload;

pub(crate) mod sched;
pub mod sync;
mod time;

#[cfg(feature = "interpose")]
mod hook;

mod handle;
mod park;
mod runtime;
mod scope;
mod spawn;

pub use coroutine::{AccessError, JoinError, LocalKey, WaitReason};
pub use handle::{Coroutine, CoroutineId, JoinHandle, JoinTimeout, current, is_coroutine, try_current};
pub use park::{park, park_timeout, yield_now};
pub use runtime::{Runtime, RuntimeBuilder, Shutdown};
pub use sched::OverflowPolicy;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use silken_macros::{main, test};
pub use spawn::{Builder, spawn};
pub use time::{sleep, sleep_until};

/// Number of the worker that runs the caller, if one does; for tests and reports.
pub fn worker_id() -> Option<usize> {
    sched::current_worker_id()
}

/// Not public: what the macros expand to.
#[doc(hidden)]
pub mod __macros {
    pub use crate::coroutine::LocalKey;
    pub use crate::runtime::macros::{run_main, run_test};
    pub use crate::spawn::go;
}

/// Declares values that each coroutine has of its own, in the form of [`thread_local!`]; see [`LocalKey`].
///
/// # Examples
/// ```
/// use std::cell::Cell;
/// silken::coroutine_local! {
///     static DEPTH: Cell<u32> = Cell::new(0);
/// }
/// DEPTH.set(7);
/// let other = silken::spawn(|| DEPTH.get()).join().unwrap();
/// assert_eq!((DEPTH.get(), other), (7, 0));
/// ```
#[macro_export]
macro_rules! coroutine_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident : $type:ty = $init:expr; $($rest:tt)*) => {
        $crate::coroutine_local!($(#[$attribute])* $visibility static $name: $type = $init);
        $crate::coroutine_local!($($rest)*);
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident : $type:ty = $init:expr) => {
        $(#[$attribute])*
        $visibility static $name: $crate::LocalKey<$type> = {
            fn init() -> $type {
                $init
            }
            $crate::__macros::LocalKey::new(init)
        };
    };
}

/// Puts the runtime's answers into the table of interposed symbols.
fn install_hooks() {
    #[cfg(feature = "interpose")]
    hook::install();
}
