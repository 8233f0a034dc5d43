//! What can a coroutine ask and set about its own cancellation and its own deadline? This file holds [`mask_cancel`],
//! [`check_cancelled`], [`timeout`] and their relatives.
//!
//! `coroutine/cancel.rs` says how an interrupted wait unwinds, and which frame catches the unwinding. The table of
//! `docs/guide/cancellation.md` says what each blocking point does.

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

/// The error of [`timeout`]: the time was up before the closure returned.
///
/// It converts into a [`std::io::Error`] of the kind [`TimedOut`](std::io::ErrorKind::TimedOut).
///
/// # Examples
/// ```
/// use silken::Elapsed;
/// let error = std::io::Error::from(Elapsed);
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// ```
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

/// Calls `f`, whose waits must end within `duration`. When the time is up, the present or next wait in `f` ends: a wait
/// of silken's unwinds `f`, which runs its destructors, and `timeout` returns [`Elapsed`].
///
/// Timeouts nest: a wait ends at the earliest deadline around it, and the `timeout` that set this deadline returns
/// [`Elapsed`]. Children of a [`scope`](crate::scope()) inherit the deadline that held where the scope was opened, and
/// are cancelled by it.
///
/// # Blocking
/// Blocks where `f` blocks. A computation is not ended by the deadline: call [`check_cancelled`] in it. What happens to
/// other waits once the time is up:
///
/// - Hooked I/O fails with [`TimedOut`](std::io::ErrorKind::TimedOut). So `timeout(d, || stream.read(buffer))` returns
///   `Ok(Err(error))`.
/// - std's sleeps return early.
/// - std's locks and channels (all futex waits) are waited for to their end. The next wait of silken's then unwinds.
/// - silken's waits in a function that C has called are waited for to their end, if `timeout` was called outside that
///   function. The next wait of silken's then unwinds.
///
/// If `f` returns all the same, `timeout` returns its value, however late.
///
/// On an OS thread silken's own waits keep to the deadline. The hooks serve coroutines only, so hooked calls do not.
///
/// # Cancellation
/// That of `f`. Inside [`mask_cancel`] a timeout from outside does not count.
///
/// # Errors
/// [`Elapsed`] if the deadline unwound `f`.
///
/// # Panics
/// With the panic of `f`.
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

/// Does what [`timeout`] does, with the moment at which the time is up. If `deadline` is in the past, the first wait of
/// `f` that can be interrupted ends at once.
///
/// # Blocking and cancellation
/// Those of [`timeout`].
///
/// # Errors
/// [`Elapsed`] if the deadline unwound `f`.
///
/// # Panics
/// With the panic of `f`.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let deadline = Instant::now() + Duration::from_millis(2);
/// let first = silken::timeout_at(deadline, || silken::sleep_ms(60_000));
/// let second = silken::timeout_at(deadline, || silken::sleep_ms(60_000)); // no time is left
/// assert_eq!((first, second), (Err(silken::Elapsed), Err(silken::Elapsed)));
/// ```
pub fn timeout_at<T>(deadline: Instant, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    timeout(deadline.saturating_duration_since(Instant::now()), f)
}

/// Returns how much time is left until the caller's deadline: zero if the time is up, `None` if there is no deadline.
/// Does not block.
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

/// Returns the moment at which the caller's time is up: the earliest deadline of the [`timeout`]s around the caller.
/// The deadline that a scope's child inherits from its parent counts. Deadlines outside a [`mask_cancel`] do not count.
/// `None`: there is no deadline.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// assert_eq!(silken::deadline(), None);
/// silken::timeout(Duration::from_secs(60), || {
///     assert!(silken::deadline().unwrap() > Instant::now());
/// }).unwrap();
/// ```
pub fn deadline() -> Option<Instant> {
    let deadline_ns = effective_deadline_ns()?;
    let (now, now_ns) = (Instant::now(), clock::now_ns());
    match deadline_ns.checked_sub(now_ns) {
        Some(left_ns) => now.checked_add(Duration::from_nanos(left_ns)),
        None => now.checked_sub(Duration::from_nanos(now_ns - deadline_ns)),
    }
}

/// Calls `f`, and masks cancellation in it: the caller's cancellation, or a [`timeout`] outside, cuts no wait in `f`
/// short, neither of silken's nor hooked. What was requested meanwhile takes effect at the first blocking point
/// afterwards. Masks nest. A timeout *inside* `f` counts as usual.
///
/// Children of a scope that is opened inside are not cancelled with the caller until the mask has ended.
///
/// No code cancels an OS thread, so there the mask concerns timeouts only.
///
/// # Blocking
/// Blocks where `f` blocks.
///
/// # Panics
/// With the panic of `f`.
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

/// What a cancellation, or a [`timeout`] that is up, does to a hooked call that waits for a descriptor: see
/// [`set_on_cancel`].
#[cfg(feature = "interpose")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCancel {
    /// What the [guide](https://docs.rs/silken) says of descriptors of this kind: connections, listeners and terminals
    /// fail; standard output and standard error, eventfds and pipes complete.
    #[default]
    ByKind,
    /// The call fails, with `ECANCELED` for a cancellation or [`TimedOut`](std::io::ErrorKind::TimedOut) for a timeout.
    Fail,
    /// The call goes on to its end, as inside [`mask_cancel`]. A runtime that ends does not wait for a coroutine that
    /// waits in this way, and reports it.
    Complete,
}

/// Sets what a cancellation, or a [`timeout`] that is up, does to reads, writes and accepts that wait for a descriptor.
/// This holds for the descriptor's number and for later copies of it, until it is closed. Connections that a listener
/// accepts do not inherit it. Does not block.
///
/// # Errors
/// [`Unsupported`](std::io::ErrorKind::Unsupported) if the number is so high (2^20 or more) that calls on it block
/// their worker.
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

/// A blocking point that does not block, for loops that compute. It unwinds the caller if the caller was cancelled, or
/// if the time of a [`timeout`] around it is up.
///
/// Does nothing inside [`mask_cancel`], or while the caller already unwinds. Does nothing where a C function, or an
/// `extern "C"` one, lies between the caller and the frame that would catch the unwinding.
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

/// Whether the caller's cancellation was requested, [masked](mask_cancel) or not. `false` on an OS thread. A
/// [`timeout`] that is up does not count: see [`time_left`].
///
/// # Examples
/// ```
/// let handle = silken::spawn(|| {
///     silken::mask_cancel(|| {
///         silken::current().cancel();
///         silken::yield_now(); // masked
///         silken::is_cancelled()
///     })
/// });
/// assert!(handle.join().unwrap());
/// ```
#[inline]
pub fn is_cancelled() -> bool {
    current_core().is_some_and(|core| core.lifecycle.is_cancelled())
}

/// Whether an error of std's I/O says that the caller was cancelled while the call waited (`ECANCELED`). If a
/// [`timeout`] was up instead, the kind of the error is [`TimedOut`](std::io::ErrorKind::TimedOut).
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

/// Whether the caller unwinds because of a panic. Destructors that poison or roll back ask this instead of
/// [`std::thread::panicking`]: the unwinding of a cancellation, or of a [`timeout`] that is up, is no panic, since
/// nothing went wrong.
///
/// After code has caught such an unwinding and dropped the payload, a panic counts again.
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
