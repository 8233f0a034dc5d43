//! What a coroutine can say about its own cancellation and its own time: [`mask_cancel`], [`check_cancelled`],
//! [`timeout`] and their like.
//!
//! How an interrupted wait unwinds, and who gets it, is in `coroutine/cancel.rs`; what each blocking point does is the
//! table of `docs/guide/cancellation.md`.

use crate::coroutine::{self, current_core, effective_deadline_ns, raise_if_cancelled};
#[cfg(feature = "interpose")]
use crate::driver::fd_table::{self, OnInterruption};
use crate::sys::clock;
use crate::wait::deadline_after;
#[cfg(feature = "interpose")]
use std::io;
#[cfg(feature = "interpose")]
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// The error of [`timeout`]: the time was up first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time is up")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Calls `f` and gives it `duration` for whatever it waits for. When the time is up, its present or next wait ends: a
/// wait of silken's unwinds `f`, running its destructors, and the answer is [`Elapsed`].
///
/// Timeouts nest: a wait ends at the earliest deadline outside it, and the one that set it gets [`Elapsed`]. Children
/// of a [`scope`](crate::scope()) inherit the deadline that held where the scope was opened, and are cancelled by it.
///
/// # Blocking
/// As `f` does. Nothing interrupts a computation: call [`check_cancelled`] in it. Hooked I/O fails with
/// [`TimedOut`](std::io::ErrorKind::TimedOut) once the time is up, so `timeout(d, || stream.read(buffer))` answers
/// `Ok(Err(error))`; std's sleeps return early; std's locks and channels (all futex waits) are waited for to their end;
/// so are silken's waits in a function that C has called, if `timeout` was called outside it. The next wait of silken's
/// then unwinds. When `f` returns all the same, its value is the answer, however late.
///
/// On an OS thread silken's own waits keep to it; the hooks, which answer coroutines only, do not.
///
/// # Cancellation
/// As `f`. Inside [`mask_cancel`] a timeout from outside does not count.
///
/// # Errors
/// [`Elapsed`] when the deadline unwound `f`.
///
/// # Panics
/// With `f`'s panic.
///
/// # Examples
/// ```
/// use silken::Elapsed;
/// use std::time::Duration;
///
/// let late = silken::timeout(Duration::from_millis(5), || silken::sleep(Duration::from_secs(60)));
/// assert_eq!(late, Err(Elapsed));
/// let soon = silken::timeout(Duration::from_secs(60), || 6 * 7);
/// assert_eq!(soon, Ok(42));
/// ```
pub fn timeout<T>(duration: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    coroutine::until(deadline_after(duration), f).ok_or(Elapsed)
}

/// As [`timeout`], with the moment at which the time is up.
///
/// # Errors
/// As [`timeout`].
pub fn timeout_at<T>(deadline: Instant, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    timeout(deadline.saturating_duration_since(Instant::now()), f)
}

/// What is left of the caller's time; zero when it is up, `None` when there is no deadline.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// assert_eq!(silken::time_left(), None);
/// silken::timeout(Duration::from_secs(60), || {
///     assert!(silken::time_left().unwrap() <= Duration::from_secs(60));
/// }).unwrap();
/// ```
pub fn time_left() -> Option<Duration> {
    effective_deadline_ns().map(|deadline_ns| Duration::from_nanos(deadline_ns.saturating_sub(clock::now_ns())))
}

/// When the caller's time is up: the earliest deadline of the [`timeout`]s around it, its scope's parent's included.
/// `None`: never.
pub fn deadline() -> Option<Instant> {
    let deadline_ns = effective_deadline_ns()?;
    let (now, now_ns) = (Instant::now(), clock::now_ns());
    match deadline_ns.checked_sub(now_ns) {
        Some(left_ns) => now.checked_add(Duration::from_nanos(left_ns)),
        None => now.checked_sub(Duration::from_nanos(now_ns - deadline_ns)),
    }
}

/// Calls `f` undisturbed: no wait in it, of silken's or hooked, is cut short by the caller's cancellation or by a
/// [`timeout`] outside. What was asked for meanwhile acts at the first blocking point afterwards. Masks nest. A timeout
/// *inside* counts as ever.
///
/// Children of a scope that is opened inside are not cancelled with the caller until the mask has ended.
///
/// On an OS thread, which nobody cancels, it masks timeouts.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let handle = silken::spawn(|| {
///     silken::current().cancel();
///     silken::mask_cancel(|| silken::sleep(Duration::from_millis(1))); // sleeps to the end
///     silken::yield_now(); // unwinds
/// });
/// assert!(handle.join().unwrap_err().is_cancelled());
/// ```
pub fn mask_cancel<R>(f: impl FnOnce() -> R) -> R {
    coroutine::mask(f)
}

/// What a cancellation, or a [`timeout`] that is up, does to a hooked call that waits for a descriptor.
#[cfg(feature = "interpose")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCancel {
    /// As the [guide](https://docs.rs/silken) says of descriptors of its kind: connections, listeners and terminals
    /// fail; standard output and standard error, eventfds and pipes complete.
    #[default]
    ByKind,
    /// It fails, with `ECANCELED` or [`TimedOut`](std::io::ErrorKind::TimedOut).
    Fail,
    /// It goes on to its end, as inside [`mask_cancel`]. A runtime that ends does not wait for a coroutine that waits
    /// so; it reports it.
    Complete,
}

/// Sets what a cancellation does to reads, writes and accepts that wait for a descriptor, under this number and later
/// copies of it, until it is closed. Connections that a listener accepts do not inherit it.
///
/// # Errors
/// [`Unsupported`](std::io::ErrorKind::Unsupported) for a number so high (2^20 or more) that calls on it block their
/// worker.
///
/// # Examples
/// ```
/// use silken::OnCancel;
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// // A pair of sockets may be a connection. This one wakes a library that takes errors for impossible.
/// let (mut wakes, mut waker) = UnixStream::pair()?;
/// silken::set_on_cancel(&wakes, OnCancel::Complete)?;
/// let waiter = silken::spawn(move || wakes.read(&mut [0]).unwrap());
/// waiter.cancel();
/// waker.write_all(b"!")?;
/// waiter.join().unwrap_or_default();
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg(feature = "interpose")]
pub fn set_on_cancel(fd: &impl AsFd, what: OnCancel) -> io::Result<()> {
    let entry = fd_table::entry(fd.as_fd().as_raw_fd()).ok_or(io::ErrorKind::Unsupported)?;
    entry.set_on_interruption(match what {
        OnCancel::ByKind => OnInterruption::ByKind,
        OnCancel::Fail => OnInterruption::Fails,
        OnCancel::Complete => OnInterruption::Stays,
    });
    Ok(())
}

/// A blocking point that does not block: unwinds the caller if it was cancelled, or if the time is up that a
/// [`timeout`] gave it. For loops that compute.
///
/// Does nothing inside [`mask_cancel`], while the caller unwinds already, and where a C function or an `extern "C"` one
/// lies between it and the frame that is to catch.
///
/// # Examples
/// ```
/// let handle = silken::spawn(|| {
///     silken::current().cancel();
///     silken::check_cancelled();
///     unreachable!();
/// });
/// assert!(handle.join().unwrap_err().is_cancelled());
/// ```
#[inline]
pub fn check_cancelled() {
    raise_if_cancelled();
}

/// Whether the caller's cancellation was asked for, [masked](mask_cancel) or not. `false` on an OS thread.
#[inline]
pub fn is_cancelled() -> bool {
    current_core().is_some_and(|core| core.lifecycle.is_cancelled())
}

/// Whether an error of std's I/O says that the caller was cancelled while the call waited (`ECANCELED`). When it was a
/// [`timeout`] that is up, the error's kind is [`TimedOut`](std::io::ErrorKind::TimedOut).
///
/// # Examples
/// ```
/// let accepts = silken::spawn(|| std::net::TcpListener::bind("127.0.0.1:0")?.accept());
/// silken::sleep(std::time::Duration::from_millis(1));
/// accepts.cancel();
/// if let Ok(Err(error)) = accepts.join() {
///     assert!(silken::is_cancellation(&error));
/// }
/// ```
pub fn is_cancellation(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

/// Whether the caller unwinds because of a panic: [`std::thread::panicking`] for destructors that poison or roll back.
/// The unwinding of a cancellation, or of a [`timeout`] that is up, is no panic: nothing went wrong.
///
/// After somebody has caught such an unwinding and dropped what he caught, a panic counts again.
///
/// # Examples
/// ```
/// struct Guard;
/// impl Drop for Guard {
///     fn drop(&mut self) {
///         assert!(std::thread::panicking() && !silken::panicking());
///     }
/// }
/// let handle = silken::spawn(|| {
///     let _guard = Guard;
///     silken::current().cancel();
///     silken::check_cancelled();
/// });
/// assert!(handle.join().unwrap_err().is_cancelled());
/// ```
#[inline]
pub fn panicking() -> bool {
    coroutine::is_panicking()
}
