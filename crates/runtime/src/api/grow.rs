//! How does code with a deep recursion get more stack? This file holds [`maybe_grow`](maybe_grow()) with its macro,
//! [`grow`] and [`remaining_stack`].
//!
//! `coroutine/segment.rs` says where the stack comes from and what becomes of it.

use crate::coroutine::{self, current_core};
use crate::sched;
use std::io;

/// The red zone of [`maybe_grow!`](crate::maybe_grow!) without one: room for the frames between two calls of it, and
/// for a panic with its backtrace.
pub const RED_ZONE_BYTES: usize = if cfg!(debug_assertions) { 64 * 1024 } else { 32 * 1024 };

/// Calls `f`, on this stack if it has at least `red_zone` bytes left, otherwise on a fresh stack of at least
/// `stack_size` bytes, a *segment*. Returns the value of `f`.
///
/// For recursion whose depth depends on the input: call it where the recursion goes one level deeper. `red_zone` is
/// what the code needs from one such call to the next one: the frames in between, and what the functions that it calls
/// take (formatting some KiB, a panic with its backtrace some 20 KiB). Where the room is not known ([`remaining_stack`]
/// is `None`), it grows. It has the order of arguments of `stacker::maybe_grow`. The macro
/// [`maybe_grow!`](crate::maybe_grow!) has defaults for both sizes.
///
/// It works on coroutines of both kinds and on OS threads. Inside `f` everything is as outside: thread-locals, `errno`,
/// [`current`](crate::current), cancellation. `f` may wait, and an isolated coroutine may continue on another worker.
/// Panics and backtraces pass. Code that asks for the bounds of its stack (`pthread_getattr_np`, conservative
/// collectors) is told those of the first one. An overflow of a segment does what an overflow of the coroutine's own
/// stack does: the coroutine ends with [`JoinError::StackOverflow`](crate::JoinError::StackOverflow), or the process
/// ends.
///
/// # Recursion in code that you cannot change
/// A segment does not grow by itself. For a recursion inside another crate (a parser) make one call of [`grow`] around
/// all of it, with a stack that is large enough for the deepest input that you accept. `stack_size` is address space.
/// Only the pages that are touched take memory. They are given back afterwards, but for 16 KiB; each worker keeps up to
/// four segments of the usual size whole.
///
/// ```
/// fn depth(text: &str) -> usize { // somebody else's recursion
///     text.strip_prefix('[').map_or(0, |rest| 1 + depth(rest))
/// }
/// let text = "[".repeat(100_000);
/// assert_eq!(silken::grow(512 << 20, || depth(&text)).unwrap(), 100_000);
/// ```
///
/// # Sizes
/// Both are in bytes. A segment has at least 512 KiB (1 MiB with debug assertions), and at least `red_zone` and a
/// little more, so that `f` has that much. Sizes are rounded up to a power of two; more than 1 GiB is an error. Below
/// each segment lies a guard, as below each stack.
///
/// # Blocking
/// Blocks where `f` blocks. To get a segment takes some tens of nanoseconds if the worker has one in its cache,
/// otherwise a few microseconds. Do not call it in a signal handler.
///
/// # Errors
/// If there is no segment: no address space or no guard ([`OutOfMemory`](io::ErrorKind::OutOfMemory), the text names
/// the limit), or a size above 1 GiB ([`InvalidInput`](io::ErrorKind::InvalidInput)). `f` is then dropped without a
/// call, with all that it owns: where you want to go on without a segment, let it borrow. The first segment on an OS
/// thread installs silken's handler for overflows (SIGSEGV), which passes all other faults on.
///
/// # Panics
/// With the panic of `f`.
///
/// # Examples
/// ```
/// struct List(u64, Option<Box<List>>);
///
/// fn sum(list: &List) -> u64 {
///     let rest = list.1.as_ref().map_or(0, |next| {
///         silken::maybe_grow(64 << 10, 1 << 20, || sum(next)).expect("address space for a stack")
///     });
///     list.0 + rest
/// }
///
/// let mut list = List(0, None);
/// for number in 1..=100_000 {
///     list = List(number, Some(Box::new(list)));
/// }
/// assert_eq!(silken::scope(|scope| scope.spawn(|| sum(&list)).join().unwrap()), 5_000_050_000);
/// # while let Some(next) = list.1.take() { list = *next; }
/// ```
#[inline]
pub fn maybe_grow<R, F: FnOnce() -> R>(red_zone: usize, stack_size: usize, f: F) -> io::Result<R> {
    if remaining_stack().is_some_and(|room| room >= red_zone) {
        return Ok(f());
    }
    grow(stack_size.max(red_zone.saturating_add(OVERHEAD_BYTES)), f)
}

/// What the way from a caller to its closure on a segment takes of the segment, and what is not usable at its top.
const OVERHEAD_BYTES: usize = 4096;

/// Calls `f` on a fresh stack of at least `stack_size` bytes, however much is left of this one. Otherwise as
/// [`maybe_grow`](maybe_grow()).
///
/// # Errors
/// As for [`maybe_grow`](maybe_grow()).
///
/// # Panics
/// With the panic of `f`.
///
/// # Examples
/// ```
/// let room = silken::grow(16 << 20, || silken::remaining_stack().unwrap()).unwrap();
/// assert!(room > 15 << 20);
/// ```
pub fn grow<R, F: FnOnce() -> R>(stack_size: usize, f: F) -> io::Result<R> {
    if current_core().is_none() {
        sched::expect_overflows_on_threads();
    }
    coroutine::grow(stack_size, f)
}

/// Returns how many bytes are left of the stack that the caller runs on: of its segment, of its coroutine's stack, or
/// of its thread's.
///
/// `None` where that is not known: on a signal handler's alternate stack, or on a stack that another library has made.
/// It takes a few nanoseconds. The first call on an OS thread asks the C library, which for the main thread reads
/// a file.
///
/// # Examples
/// ```
/// let left = silken::spawn(|| silken::remaining_stack().unwrap()).join().unwrap();
/// assert!(left > 100 << 10);
/// ```
#[inline]
pub fn remaining_stack() -> Option<usize> {
    coroutine::room()
}

/// Calls a closure, on a fresh stack if little is left of this one: [`maybe_grow`](maybe_grow()) with defaults.
///
/// - `maybe_grow!(f)`
/// - `maybe_grow!(stack_size, f)`
/// - `maybe_grow!(red_zone, stack_size, f)`
///
/// The default red zone is 32 KiB, the default size of a segment 512 KiB; 64 KiB and 1 MiB with debug assertions, where
/// frames are larger. It returns an [`io::Result`](std::io::Result), as open-coroutine's macro does.
///
/// # Examples
/// ```
/// fn ackermann(m: u64, n: u64) -> u64 {
///     silken::maybe_grow!(|| match (m, n) {
///         (0, n) => n + 1,
///         (m, 0) => ackermann(m - 1, 1),
///         (m, n) => ackermann(m - 1, ackermann(m, n - 1)),
///     })
///     .expect("address space for a stack")
/// }
/// assert_eq!(silken::spawn(|| ackermann(2, 300)).join().unwrap(), 603);
/// assert_eq!(silken::maybe_grow!(1 << 20, || 7).unwrap(), 7);
/// assert_eq!(silken::maybe_grow!(64 << 10, 1 << 20, || 7).unwrap(), 7);
/// ```
#[macro_export]
macro_rules! maybe_grow {
    ($red_zone:expr, $stack_size:expr, $f:expr $(,)?) => {
        $crate::maybe_grow($red_zone, $stack_size, $f)
    };
    ($stack_size:expr, $f:expr $(,)?) => {
        $crate::maybe_grow($crate::__macros::RED_ZONE_BYTES, $stack_size, $f)
    };
    ($f:expr $(,)?) => {
        $crate::maybe_grow($crate::__macros::RED_ZONE_BYTES, 0, $f)
    };
}
