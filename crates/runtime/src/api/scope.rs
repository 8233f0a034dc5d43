//! Coroutines that may borrow from their parent: [`std::thread::scope`]'s counterpart, and the unit of structured
//! cancellation.
//!
//! The scope cannot end before its children have: it waits for them in every case, also when its own closure panics or
//! its coroutine is cancelled. In that case it first cancels them: see `coroutine/group.rs` for the tree.
//!
//! # Order of the end
//! The closure ends; the children are waited for; what was deferred runs, newest first; the scope returns, or goes on
//! unwinding. So what is deferred may use, alone, what the children borrowed. While the scope waits it holds the
//! closure's panic, if any, caught.
//!
//! # Who may still spawn
//! A function that is deferred has the scope in reach: it may spawn, and defer. So "all children have ended" is not the
//! end of the scope. The end is the first moment after the closure at which *no child is alive and nothing is
//! deferred*: then no code is left that could spawn. Children are waited for again after each deferred function, and
//! the scope ends at that moment ([`finish`]). Then it is for good. A child that a deferred function leaves behind is
//! cancelled first: what is deferred is the end of the scope, and nobody who is left would ask it to stop. Whoever
//! spawns or defers does so from code that borrows the scope for `'scope`, and such code runs in the closure (ended),
//! in a child (none is alive: it leaves the group after its captures, its result, and its locals are gone), or in a
//! deferred function (none is left). A value that borrows the scope is in a frame of these, in a child's core (its
//! result, dropped before it leaves, or taken by a handle, which again is such a value), or leaked: a leaked value's
//! destructor does not run. What the scope itself holds at its end, the closure's value and caught panics, cannot name
//! `'scope`.
//!
//! Nothing may unwind out of [`finish`] meanwhile: deferred functions run caught, and so does the destructor of a
//! panic's payload that another panic displaces.

use crate::api::handle::{Coroutine, JoinHandle};
use crate::api::spawn::{Builder, SpawnWith};
use crate::coroutine::{
    Critical, Group, JoinError, OpenScope, Outcome, Payload, WaitReason, caught, contained, current_core, discard,
    effective_deadline_ns, is_interrupted, park, park_thread_until, raise_if_cancelled, resume,
};
use crate::runtime::default::current_or_default;
use crate::sched::{self, SpawnRequest};
use crate::sys::{Lock, clock};
use crate::wait::{self, deadline_after};
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::NonNull;
use std::time::Duration;

/// What is to run at the end of a scope, its lifetime erased.
type Deferred = Box<dyn FnOnce() + Send + 'static>;

/// A place to spawn children that borrow; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    group: Group,
    deferred: Lock<Vec<Deferred>>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The right to wait for a child of a scope and to take its result. Dropping it leaves the waiting to the scope.
pub struct ScopedJoinHandle<'scope, T> {
    pub(super) handle: JoinHandle<T>,
    group: NonNull<Group>,
    _scope: PhantomData<&'scope ()>,
}

// SAFETY: S2: as for JoinHandle; the group is made of atomics and lives as long as 'scope.
unsafe impl<T: Send> Send for ScopedJoinHandle<'_, T> {}
// SAFETY: S2: as for JoinHandle.
unsafe impl<T: Send> Sync for ScopedJoinHandle<'_, T> {}

/// Runs `body` with a place to spawn children that may borrow what `body` may borrow. Returns when `body` and all
/// children have ended.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Scope`), or blocks the calling OS thread, until the last child has ended.
///
/// # Cancellation
/// When the caller is cancelled, or its time is up ([`timeout`](crate::timeout)), while it waits in the scope or for
/// anything else in `body`, the children are cancelled too, and theirs in turn. They are waited for all the same, since
/// they may use what the parent owns; then the scope unwinds. Children keep to the deadline that held where the scope
/// was opened.
///
/// # Stack overflow
/// A child that runs out of stack ends the process: it may have lent to others what it borrows, and the scope could not
/// return.
///
/// # Panics
/// With `body`'s panic if it panicked, else when a child panicked whose handle nobody joined.
///
/// # Examples
/// ```
/// let mut numbers = vec![3, 1, 2];
/// let mut sum = 0;
/// silken::scope(|s| {
///     s.spawn(|| numbers.sort());
///     s.spawn(|| sum = 6);
/// });
/// assert_eq!(numbers, [1, 2, 3]);
/// assert_eq!(sum, 6);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(body: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        group: Group::new(),
        deferred: Lock::new(Vec::new()),
        scope: PhantomData,
        env: PhantomData,
    };
    let (outcome, ended) = OpenScope::during(&scope.group, || {
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&scope)));
        if outcome.is_err() {
            caught();
            scope.group.on_panic();
        }
        (outcome, finish(&scope.group, &scope.deferred))
    });
    let value = match (outcome, ended.panic) {
        (Ok(value), None) => value,
        (Ok(_), Some(payload)) => resume(payload),
        (Err(payload), displaced) => {
            if let Some(displaced) = displaced {
                discard(displaced);
            }
            resume(payload)
        }
    };
    assert!(!scope.group.has_panicked(), "a scoped coroutine panicked");
    // A child may have noticed first that the time is up.
    if ended.interrupted || scope.group.is_cancelled() {
        raise_if_cancelled();
    }
    value
}

/// How the scope's end went.
struct EndedChild {
    /// The caller was cancelled, or its time was up.
    interrupted: bool,
    /// The first panic of a deferred function.
    panic: Option<Payload>,
}

/// Waits for the children and runs what is deferred, until there is neither. See the head of the file. Does not unwind.
fn finish(group: &Group, deferred: &Lock<Vec<Deferred>>) -> EndedChild {
    let mut ended = EndedChild {
        interrupted: wait_for_children(group),
        panic: None,
    };
    loop {
        let newest = {
            let _critical = Critical::enter();
            deferred.lock().pop()
        };
        let Some(f) = newest else { return ended };
        let was_cancelled = group.is_cancelled();
        // Undisturbed; all of it runs, whatever comes of one.
        match contained(f) {
            Ok(()) => {}
            Err(payload) if ended.panic.is_none() => ended.panic = Some(payload),
            Err(payload) => discard(payload),
        }
        if !group.is_empty() {
            group.cancel_children();
            ended.interrupted |= wait_for_children(group);
        }
        if !was_cancelled {
            // The next one may have children of its own.
            group.forget_cancel();
        }
    }
}

/// Waits until the group is empty. Interrupted, it cancels the children, and waits on; says so.
fn wait_for_children(group: &Group) -> bool {
    let Some(core) = current_core() else {
        return wait_for_children_on_thread(group);
    };
    // In a destructor that an unwinding runs, the children are let to their end.
    let cancellable = !std::thread::panicking();
    let is_empty = || group.is_empty();
    let interrupted = wait::wait_until(core, is_empty, WaitReason::Scope, None, cancellable) == Outcome::Cancelled;
    if interrupted {
        group.cancel_children();
        let _ = wait::wait_until(core, is_empty, WaitReason::Scope, None, false);
    }
    interrupted
}

fn wait_for_children_on_thread(group: &Group) -> bool {
    let mut interrupted = false;
    while !group.is_empty() {
        match effective_deadline_ns() {
            Some(deadline_ns) if !interrupted && clock::now_ns() < deadline_ns => park_thread_until(deadline_ns),
            Some(_) if !interrupted && is_interrupted() => {
                group.cancel_children();
                interrupted = true;
            }
            _ => park(WaitReason::Scope),
        }
    }
    interrupted
}

impl std::fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Makes a child.
    ///
    /// # Panics
    /// When it cannot be made: see [`Builder::spawn_scoped`](crate::Builder::spawn_scoped), which returns the error.
    #[track_caller]
    pub fn spawn<T, F>(&'scope self, body: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_request(SpawnRequest::at(Location::caller()), body)
            .unwrap_or_else(|error| panic!("failed to spawn a coroutine: {error}"))
    }

    /// Has `f` run at the end of the scope, whether that is reached by returning, by a panic or by cancellation: after
    /// the closure and all children have ended, the last deferred first. If `f` spawns children that have not ended
    /// when it returns, they are cancelled and waited for; then the next deferred function runs. If `f` defers a
    /// function, that is the next one.
    ///
    /// # Cancellation
    /// Masked in `f`, as by [`mask_cancel`](crate::mask_cancel).
    ///
    /// # Panics
    /// A panic of `f` comes out of the scope, unless the closure's own does. The rest of what is deferred runs before.
    ///
    /// # Examples
    /// ```
    /// let mut steps = Vec::new();
    /// let log = std::sync::Mutex::new(&mut steps);
    /// silken::scope(|s| {
    ///     s.defer(|| log.lock().unwrap().push("closed"));
    ///     s.defer(|| log.lock().unwrap().push("flushed"));
    ///     s.spawn(|| log.lock().unwrap().push("written"));
    /// });
    /// assert_eq!(steps, ["written", "flushed", "closed"]);
    /// ```
    pub fn defer(&'scope self, f: impl FnOnce() + Send + 'scope) {
        let f: Box<dyn FnOnce() + Send + 'scope> = Box::new(f);
        // SAFETY: S1: `scope` runs or drops it before 'scope ends; only the lifetime differs.
        let f = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Deferred>(f) };
        let _critical = Critical::enter();
        self.deferred.lock().push(f);
    }

    /// Cancels all children: those that live, and those that are spawned from now on, which do not start. Their scopes'
    /// children are cancelled with them. The scope's own closure goes on.
    ///
    /// # Examples
    /// ```
    /// silken::scope(|s| {
    ///     let child = s.spawn(silken::park);
    ///     s.cancel();
    ///     assert!(child.join().unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn cancel(&self) {
        self.group.cancel_children();
    }

    /// Sets what a panic does to the others: with `true`, one in a child or in the scope's closure cancels all children
    /// as [`cancel`](Self::cancel) does; with `false`, the default, they run to their end, as in
    /// [`std::thread::scope`]. What comes out of the scope is the same.
    ///
    /// # Examples
    /// ```
    /// let failed = std::panic::catch_unwind(|| silken::scope(|s| {
    ///     s.cancel_on_panic(true);
    ///     s.spawn(silken::park); // would wait for ever
    ///     s.spawn(|| panic!("this ends it"));
    /// }));
    /// assert!(failed.is_err());
    /// ```
    pub fn cancel_on_panic(&self, cancels: bool) -> &Self {
        self.group.set_cancel_on_panic(cancels);
        self
    }

    pub(crate) fn spawn_request<T, F>(
        &'scope self,
        request: SpawnRequest,
        body: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let scheduler = current_or_default()?;
        let group = NonNull::from(&self.group);
        self.group.enter();
        let request = SpawnRequest {
            group: Some(group),
            ..request
        };
        // SAFETY: S1: `scope` waits until the coroutine has left the group, which it does after its result has been
        // settled; what is not taken by then is never touched. S2: both are Send. S8: the group lives until `scope` has
        // waited.
        let core = unsafe { sched::spawn(scheduler, request, body) }.inspect_err(|_| self.group.leave())?;
        // SAFETY: S1: the body's result type is T, and this is its one handle.
        let handle = unsafe { JoinHandle::new(core) };
        Ok(ScopedJoinHandle {
            handle,
            group,
            _scope: PhantomData,
        })
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the child's end and takes its result. Blocking, cancellation and errors as [`JoinHandle::join`].
    ///
    /// # Errors
    /// As [`JoinHandle::join`].
    pub fn join(mut self) -> Result<T, JoinError> {
        self.handle.wait_until(None);
        self.handle.take()
    }

    /// As [`join`](Self::join), for at most `timeout`.
    ///
    /// # Errors
    /// Gives the handle back when the time is up; the inner error is that of [`join`](Self::join).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// silken::scope(|s| {
    ///     let child = s.spawn(silken::park);
    ///     let child = child.join_timeout(Duration::from_millis(1)).unwrap_err(); // it goes on
    ///     child.coroutine().unpark();
    ///     child.join().unwrap();
    /// });
    /// ```
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<T, JoinError>, Self> {
        if self.handle.wait_until(Some(deadline_after(timeout))) {
            Ok(self.handle.take())
        } else {
            Err(self)
        }
    }

    /// Whether the child has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Asks the child to end: see [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// The child.
    pub fn coroutine(&self) -> Coroutine {
        self.handle.coroutine()
    }
}

impl<T> Drop for ScopedJoinHandle<'_, T> {
    fn drop(&mut self) {
        if self.handle.discard() {
            // SAFETY: S8: the handle lives within 'scope, and so does the group.
            unsafe { self.group.as_ref() }.note_panic();
        }
    }
}

impl<T> std::fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("coroutine", &self.coroutine())
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Makes the coroutine a child of a [`scope`](crate::scope()).
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, 'env, T, F>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        body: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let site = Location::caller();
        self.check()?;
        scope.spawn_request(self.request(site), body)
    }
}

impl<'scope, T, F> SpawnWith<F> for &'scope Scope<'scope, '_>
where
    F: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    type Handle = ScopedJoinHandle<'scope, T>;

    fn go(self, body: F) -> ScopedJoinHandle<'scope, T> {
        self.spawn(body)
    }
}
