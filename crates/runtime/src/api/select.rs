//! How can a [`select!`](crate::select) wait for things that are not channels: the end of a coroutine, a tick, a
//! descriptor? This file holds these arms, and the wait for the first of several coroutines.
//!
//! # Protocol
//! Wakers do not claim these arms (`channel/select`): what such an arm waits for is a state, which a waker cannot take
//! on behalf of the select. A waker settles the select's cell, and the select looks at all arms again. So
//! [`try_now`](Arm::try_now) alone decides. Each arm enlists its node under the lock of its list, and takes it out
//! under that lock, whether it was woken or not. After that no other code refers to the node or the cell (S8).
//!
//! | arm | ready when | looks at it under |
//! |---|---|---|
//! | [`JoinArm`] | the coroutine has ended | the lifecycle word (`coroutine/join.rs`) |
//! | [`TickArm`] | a tick is due; the arm that is chosen takes it | the ticker's monitor; its time is the select's deadline |
//! | [`ReadyArm`] | the kernel says so | the descriptor's word, looked at before the kernel is asked (`driver/readiness.rs`) |
//!
//! On an OS thread there is no driver in which a descriptor could be registered. There the select looks again every
//! millisecond.

use crate::api::handle::JoinHandle;
use crate::api::scope::ScopedJoinHandle;
use crate::channel::select::{Arm, Limit, Operation, Order, Ticket, Wrong, run};
use crate::coroutine::{Critical, JoinError, Joiner};
#[cfg(feature = "interpose")]
use crate::driver::fd_table;
#[cfg(feature = "interpose")]
use crate::driver::readiness::{Direction, Enlisted, PollSlot};
use crate::time::Ticker;
#[cfg(feature = "interpose")]
use crate::wait::deadline_after;
use crate::wait::monitor::MonitorWaiter;
use std::cell::Cell;
use std::fmt;
#[cfg(feature = "interpose")]
use std::io;
#[cfg(feature = "interpose")]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// An arm of a [`select!`](crate::select) that is ready when a coroutine has ended: see [`JoinHandle::join_arm`].
pub struct JoinArm<'a, T> {
    handle: &'a JoinHandle<T>,
    joiner: Joiner,
}

impl<T> JoinHandle<T> {
    /// Returns an arm of a [`select!`](crate::select) that is ready when the coroutine has ended; the form `on(…)`
    /// takes it. The arm does not take the result: after it was chosen, a [`join`](Self::join) does not wait. Several
    /// arms may wait for one coroutine.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::after;
    /// use std::time::Duration;
    /// let handle = silken::spawn(|| 6 * 7);
    /// let answer = silken::select! {
    ///     on(handle.join_arm()) -> () => handle.join().ok(),
    ///     recv(after(Duration::from_secs(60))) -> _ => None,
    /// };
    /// assert_eq!(answer, Some(42));
    /// ```
    pub fn join_arm(&self) -> JoinArm<'_, T> {
        JoinArm {
            handle: self,
            joiner: Joiner::new(),
        }
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Returns an arm of a [`select!`](crate::select) that is ready when the child has ended: see
    /// [`JoinHandle::join_arm`].
    ///
    /// # Examples
    /// ```
    /// silken::scope(|s| {
    ///     let child = s.spawn(|| 7);
    ///     silken::select! {
    ///         on(child.join_arm()) -> () => assert_eq!(child.join().unwrap(), 7),
    ///     }
    /// });
    /// ```
    pub fn join_arm(&self) -> JoinArm<'_, T> {
        self.handle.join_arm()
    }
}

// SAFETY: S8: the coroutine's list holds the node from `enlist` to `withdraw`, and is locked in both.
unsafe impl<T> Arm for JoinArm<'_, T> {
    fn try_now(&self) -> bool {
        self.handle.is_finished()
    }

    unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
        let _critical = Critical::enter();
        self.joiner.share(ticket.cell());
        // SAFETY: S8: the select keeps this arm and its ticket in place until `withdraw` has returned.
        unsafe { self.handle.core().enlist(&self.joiner) }
    }

    fn withdraw(&self) {
        let _critical = Critical::enter();
        self.handle.core().delist(&self.joiner);
    }
}

impl<T> Operation for JoinArm<'_, T> {
    type Output = ();

    fn finish(self) {
        self.handle.raise_if_lost();
    }
}

/// An arm of a [`select!`](crate::select) that is ready when a tick is due: see [`Ticker::tick_arm`].
pub struct TickArm<'a> {
    ticker: &'a Ticker,
    waiter: MonitorWaiter,
    due: Cell<Option<Instant>>,
}

impl Ticker {
    /// Returns an arm of a [`select!`](crate::select) that takes the next tick; the form `on(…)` takes it. Its result
    /// is that of [`tick`](Self::tick). A tick whose arm is not chosen stays due.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let worker = silken::spawn(|| silken::sleep(Duration::from_millis(5)));
    /// let ticker = silken::time::interval(Duration::from_millis(1));
    /// let mut ticks = 0;
    /// silken::loop_select! {
    ///     biased;
    ///     on(worker.join_arm()) -> () => break,
    ///     on(ticker.tick_arm()) -> _due => ticks += 1,
    /// }
    /// assert!(ticks > 0);
    /// ```
    pub fn tick_arm(&self) -> TickArm<'_> {
        TickArm {
            ticker: self,
            waiter: MonitorWaiter::new(),
            due: Cell::new(None),
        }
    }
}

// SAFETY: S8: the ticker's list holds the node from `enlist` to `withdraw`, and is locked in both.
unsafe impl Arm for TickArm<'_> {
    fn try_now(&self) -> bool {
        self.due.set(self.ticker.try_tick());
        // `Cell::get` copies the value out.
        self.due.get().is_some()
    }

    unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
        // SAFETY: S8: the select keeps this arm and its ticket in place until `withdraw` has returned.
        unsafe { self.ticker.watch(&self.waiter, ticket.cell()) }
    }

    fn withdraw(&self) {
        self.ticker.withdraw(&self.waiter);
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.ticker.next_due_ns()
    }
}

impl Operation for TickArm<'_> {
    type Output = Instant;

    fn finish(self) -> Instant {
        self.due.get().expect("a chosen arm has its tick")
    }
}

/// An arm of a [`select!`](crate::select) that is ready when a descriptor is: see [`readable`] and [`writable`].
#[cfg(feature = "interpose")]
pub struct ReadyArm<'a> {
    fd: BorrowedFd<'a>,
    direction: Direction,
    /// The state before the kernel was asked; `None` if the descriptor cannot be waited for.
    slot: Cell<Option<PollSlot>>,
    listed: Cell<bool>,
}

/// Returns an arm of a [`select!`](crate::select) that is ready when a read from the descriptor, or an accept, would
/// not wait; the form `on(…)` takes it.
///
/// The arm does not read: another coroutine may read first, and then a read waits again. An end of file and an error
/// count as readable. On an OS thread the select looks at the descriptor every millisecond.
///
/// # Examples
/// ```
/// use silken::channel::after;
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
/// let (mut one, mut other) = UnixStream::pair().unwrap();
/// silken::spawn(move || one.write_all(b"!").unwrap());
/// let mut byte = [0];
/// silken::select! {
///     on(silken::readable(&other)) -> () => other.read_exact(&mut byte).unwrap(),
///     recv(after(Duration::from_secs(60))) -> _ => panic!("nothing came"),
/// }
/// assert_eq!(&byte, b"!");
/// ```
#[cfg(feature = "interpose")]
pub fn readable(fd: &impl AsFd) -> ReadyArm<'_> {
    ReadyArm::new(fd.as_fd(), Direction::Read)
}

/// Returns an arm of a [`select!`](crate::select) that is ready when a write to the descriptor would not wait, or when
/// its connect has ended. See [`readable`].
///
/// # Examples
/// ```
/// let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
/// silken::select! {
///     on(silken::writable(&one)) -> () => {},
///     default => panic!("an empty socket takes bytes at once"),
/// }
/// ```
#[cfg(feature = "interpose")]
pub fn writable(fd: &impl AsFd) -> ReadyArm<'_> {
    ReadyArm::new(fd.as_fd(), Direction::Write)
}

#[cfg(feature = "interpose")]
impl<'a> ReadyArm<'a> {
    fn new(fd: BorrowedFd<'a>, direction: Direction) -> Self {
        Self {
            fd,
            direction,
            slot: Cell::new(None),
            listed: Cell::new(false),
        }
    }

    /// The slot. It is in no list, or it stays in place.
    fn slot(&self) -> Option<&PollSlot> {
        // SAFETY: S1: replaced in `try_now` only, which is not called while this reference is in use.
        unsafe { &*self.slot.as_ptr() }.as_ref()
    }
}

// SAFETY: S8: the descriptor's list holds the slot from `enlist` to `withdraw`, and is locked in both.
#[cfg(feature = "interpose")]
unsafe impl Arm for ReadyArm<'_> {
    fn try_now(&self) -> bool {
        let fd = self.fd.as_raw_fd();
        self.slot
            .set(fd_table::entry(fd).map(|entry| entry.poll_slot(fd, self.direction)));
        let events = match self.direction {
            Direction::Read => libc::POLLIN,
            Direction::Write => libc::POLLOUT,
        };
        let mut asked = libc::pollfd { fd, events, revents: 0 };
        loop {
            // SAFETY: S5: one live entry, and no wait.
            match unsafe { libc::poll(&mut asked, 1, 0) } {
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // An error counts as ready: the caller's own call will meet it.
                answer => return answer != 0,
            }
        }
    }

    unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
        let Some(slot) = self.slot() else { return true };
        // SAFETY: S8: the select keeps this arm and its ticket in place until `withdraw` has returned.
        match unsafe { slot.enlist(ticket.cell()) } {
            Enlisted::Yes => {
                self.listed.set(true);
                true
            }
            Enlisted::Changed => false,
            // `deadline_ns` returns a deadline instead.
            Enlisted::Refused(_) => true,
        }
    }

    fn withdraw(&self) {
        if self.listed.replace(false)
            && let Some(slot) = self.slot()
        {
            slot.unlist();
        }
    }

    fn deadline_ns(&self) -> Option<u64> {
        (!self.listed.get()).then(|| deadline_after(Duration::from_millis(1)))
    }
}

#[cfg(feature = "interpose")]
impl Operation for ReadyArm<'_> {
    type Output = ();

    fn finish(self) {}
}

impl Wrong for Ticker {}
impl<T> Wrong for JoinHandle<T> {}
impl<T> Wrong for ScopedJoinHandle<'_, T> {}

/// A handle that can wait for the end of a coroutine: [`JoinHandle`] or [`ScopedJoinHandle`]. [`join_any`] takes
/// either. The trait is sealed: no other type can implement it.
pub trait Joinable: sealed::Sealed {
    /// What the coroutine returns.
    type Output;

    /// Returns an arm of a [`select!`](crate::select) that is ready when the coroutine has ended: see
    /// [`JoinHandle::join_arm`].
    fn join_arm(&self) -> JoinArm<'_, Self::Output>;

    /// Waits for the coroutine to end, and returns its result: see [`JoinHandle::join`] for blocking, cancellation and
    /// panics.
    ///
    /// # Errors
    /// [`JoinError`] if the coroutine panicked, was cancelled, or ran out of stack.
    fn join(self) -> Result<Self::Output, JoinError>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! joinable {
    ($($handle:ty),*) => {$(
        impl<T> sealed::Sealed for $handle {}

        impl<T> Joinable for $handle {
            type Output = T;

            fn join_arm(&self) -> JoinArm<'_, T> {
                Self::join_arm(self)
            }

            fn join(self) -> Result<T, JoinError> {
                Self::join(self)
            }
        }
    )*};
}

joinable!(JoinHandle<T>, ScopedJoinHandle<'_, T>);

/// Waits until one of the coroutines has ended. Removes its handle from `handles`, as [`Vec::remove`] does, and returns
/// the index that the handle had and the coroutine's result. The other coroutines go on. If several have ended, one of
/// them is chosen at random. The handles are those of [`spawn`](crate::spawn) or of a scope.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Select`), or blocks the calling OS thread.
///
/// # Cancellation
/// Unwinds; `handles` is unchanged.
///
/// # Panics
/// If there are no handles.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let mut handles: Vec<_> = [60_000, 1].map(|ms| silken::spawn(move || silken::time::sleep_ms(ms))).into();
/// let (index, result) = silken::join_any(&mut handles);
/// assert_eq!((index, handles.len()), (1, 1));
/// result.unwrap();
///
/// let words = ["one".to_string(), "two".to_string()];
/// silken::scope(|s| {
///     let mut lengths: Vec<_> = words.iter().map(|word| s.spawn(|| word.len())).collect();
///     assert_eq!(silken::join_any(&mut lengths).1.unwrap(), 3);
/// });
/// ```
#[track_caller]
pub fn join_any<H: Joinable>(handles: &mut Vec<H>) -> (usize, Result<H::Output, JoinError>) {
    assert!(!handles.is_empty(), "no coroutine to wait for");
    join_first(handles, Limit::Until(None)).expect("it waits for ever")
}

/// Does what [`join_any`] does, but waits for at most `timeout`. Returns `None` when the time is up, or at once if
/// there are no handles; then `handles` is unchanged.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Select`), or blocks the calling OS thread, for at most `timeout`.
///
/// # Cancellation
/// Unwinds; `handles` is unchanged.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let mut handles = vec![silken::spawn(silken::park)];
/// assert!(silken::join_any_timeout(&mut handles, Duration::from_millis(1)).is_none());
/// handles[0].coroutine().unpark();
/// assert!(silken::join_any_timeout(&mut handles, Duration::from_secs(60)).is_some());
/// assert!(silken::join_any_timeout(&mut handles, Duration::from_secs(60)).is_none()); // none is left
/// ```
pub fn join_any_timeout<H: Joinable>(
    handles: &mut Vec<H>,
    timeout: Duration,
) -> Option<(usize, Result<H::Output, JoinError>)> {
    if handles.is_empty() {
        return None;
    }
    join_first(handles, Limit::within(timeout))
}

fn join_first<H: Joinable>(handles: &mut Vec<H>, limit: Limit) -> Option<(usize, Result<H::Output, JoinError>)> {
    let index = {
        let arms: Vec<JoinArm<'_, H::Output>> = handles.iter().map(Joinable::join_arm).collect();
        let arms: Vec<&dyn Arm> = arms.iter().map(|arm| arm as &dyn Arm).collect();
        run(&arms, Order::Fair, limit)?
    };
    Some((index, handles.remove(index).join()))
}

/// Waits for the first of several coroutines to end, and returns its result. The others go on, detached. `any_join!(a,
/// b, c)` takes handles whose results have one type. With `any_join!(timeout; a, b, c)` the wait ends after `timeout`,
/// and the result is an `Option`. See [`join_any`](crate::join_any) for blocking and cancellation; an interrupted wait
/// detaches all of them.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let slow = silken::spawn(|| silken::sleep(Duration::from_secs(60)));
/// let other = slow.coroutine();
/// let fast = silken::spawn(|| ());
/// silken::any_join!(slow, fast).unwrap();
/// let slow = silken::spawn(silken::park);
/// assert!(silken::any_join!(Duration::from_millis(1); slow).is_none());
/// # other.cancel();
/// ```
#[macro_export]
macro_rules! any_join {
    ($timeout:expr; $($handle:expr),+ $(,)?) => {
        $crate::join_any_timeout(&mut ::std::vec![$($handle),+], $timeout).map(|(_, result)| result)
    };
    ($($handle:expr),+ $(,)?) => {
        $crate::join_any(&mut ::std::vec![$($handle),+]).1
    };
}

/// Runs each expression on a coroutine of its own, all at once. Waits for all, and returns the tuple of their values.
/// The expressions may borrow, as the children of a [`scope`](crate::scope()) may.
///
/// # Blocking and cancellation
/// Those of [`scope`](crate::scope()): a cancelled caller cancels the coroutines, waits for them, and unwinds.
///
/// # Panics
/// With the panic of an expression, after all coroutines have ended: if several panicked, that of the first in order.
/// Also if one of the coroutines was cancelled alone, and if a coroutine cannot be made.
///
/// # Examples
/// ```
/// let words = vec!["a", "b"];
/// let (length, joined) = silken::join!(words.len(), { words.concat() });
/// assert_eq!((length, joined.as_str()), (2, "ab"));
/// ```
#[macro_export]
macro_rules! join {
    ($($body:expr),+ $(,)?) => {
        $crate::__join!(@handles [] $($body,)+)
    };
}

/// Gives each body of [`join!`](crate::join) a variable. All variables have one name, but each step's variable is a
/// different one by hygiene.
#[doc(hidden)]
#[macro_export]
macro_rules! __join {
    (@handles [$($done:tt)*] $body:expr, $($rest:expr,)*) => {
        $crate::__join!(@handles [$($done)* (handle ($body))] $($rest,)*)
    };
    (@handles [$(($handle:ident ($body:expr)))+]) => {
        $crate::scope(|scope| {
            $(let $handle = scope.spawn(|| $body);)+
            ($($crate::__macros::joined($handle),)+)
        })
    };
}

/// The value of a child of [`join!`](crate::join), or its panic.
#[doc(hidden)]
pub fn joined<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|error| match error {
        JoinError::Panicked(payload) => payload.resume(),
        error => panic!("{error}"),
    })
}

impl<T> fmt::Debug for JoinArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinArm { .. }")
    }
}

impl fmt::Debug for TickArm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TickArm { .. }")
    }
}

#[cfg(feature = "interpose")]
impl fmt::Debug for ReadyArm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadyArm { .. }")
    }
}
