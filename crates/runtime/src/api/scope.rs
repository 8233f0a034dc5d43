//! How can coroutines borrow from their parent's frames, and how are they cancelled together with it? This file holds
//! the counterpart of [`std::thread::scope`], which is also the unit of structured cancellation.
//!
//! The scope cannot end before its children have ended. It waits for them in every case: also when its own closure
//! panics, or when its coroutine is cancelled. When its coroutine is cancelled it first cancels the children:
//! `coroutine/group.rs` describes the tree.
//!
//! # Order of the end
//! 1. The closure ends.
//! 2. The scope waits for the children.
//! 3. The deferred functions run, newest first.
//! 4. The scope returns, or continues to unwind.
//!
//! So a deferred function has exclusive use of what the children borrowed. While the scope waits, it holds the
//! closure's panic, if there is one, caught.
//!
//! # Who may still spawn
//! A deferred function can reach the scope: it may spawn, and it may defer. So "all children have ended" is not the end
//! of the scope. The end is the first moment after the closure at which *no child is alive and nothing is deferred*:
//! then no code is left that could spawn. The scope waits for children again after each deferred function, and ends at
//! that moment ([`finish`]). After that moment the scope never has a child again.
//!
//! A child that a deferred function leaves behind is cancelled first. What is deferred is the end of the scope, so no
//! code is left that would ask this child to stop.
//!
//! Why no spawn can come later: code that spawns or defers borrows the scope for `'scope`. Such code runs in one of
//! three places:
//!
//! - in the closure, which has ended;
//! - in a child, of which none is alive: a child leaves the group after its captures, its result and its locals are
//!   gone;
//! - in a deferred function, of which none is left.
//!
//! A value that borrows the scope is in a frame of these, or in a child's core, or leaked. In a child's core it is the
//! result: that is dropped before the child leaves, or it is taken by a handle, which again is such a value. The
//! destructor of a leaked value does not run. At its end the scope itself holds the closure's value and caught panics,
//! and neither can name `'scope`.
//!
//! Nothing may unwind out of [`finish`] before the end. So deferred functions run caught, and so does the destructor of
//! a panic's payload that another panic displaces.

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

/// A function that runs at the end of a scope, with its lifetime erased.
type Deferred = Box<dyn FnOnce() + Send + 'static>;

/// A place to spawn children that may borrow from their parent. [`scope`] makes one and lends it to its closure.
///
/// # Examples
/// ```
/// let numbers = [1, 2, 3];
/// let sum = silken::scope(|s: &silken::Scope<'_, '_>| {
///     let first = s.spawn(|| numbers[0]);
///     let rest = s.spawn(|| numbers[1..].iter().sum::<i32>());
///     first.join().unwrap() + rest.join().unwrap()
/// });
/// assert_eq!(sum, 6);
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    group: Group,
    deferred: Lock<Vec<Deferred>>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The right to wait for a child of a scope and to take its result. [`Scope::spawn`] returns one.
///
/// A dropped handle leaves the waiting to the scope: the child runs on, and the scope waits for it. A panic whose
/// handle was dropped makes the scope panic.
///
/// # Examples
/// ```
/// let word = String::from("silken");
/// silken::scope(|s| {
///     let length: silken::ScopedJoinHandle<'_, usize> = s.spawn(|| word.len());
///     assert_eq!(length.join().unwrap(), 6);
/// });
/// ```
pub struct ScopedJoinHandle<'scope, T> {
    pub(super) handle: JoinHandle<T>,
    group: NonNull<Group>,
    _scope: PhantomData<&'scope ()>,
}

// SAFETY: S2: as for JoinHandle; the group is made of atomics and lives as long as 'scope.
unsafe impl<T: Send> Send for ScopedJoinHandle<'_, T> {}
// SAFETY: S2: as for JoinHandle.
unsafe impl<T: Send> Sync for ScopedJoinHandle<'_, T> {}

/// Runs `body` with a place to spawn children that may borrow what `body` may borrow. Returns the value of `body`,
/// after `body` and all children have ended.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Scope`), or blocks the calling OS thread, until the last child has ended.
///
/// # Cancellation
/// The caller may be cancelled, or its time may be up ([`timeout`](crate::timeout)), while it waits in the scope or for
/// anything else in `body`. Then the children are cancelled too, and their scopes' children in turn. The scope still
/// waits for them, since they may use what the parent owns; then it unwinds. Children keep to the deadline that held
/// where the scope was opened.
///
/// # Stack overflow
/// A child that runs out of stack ends the process. It may have lent to others what it borrows, and the scope could not
/// return.
///
/// # Panics
/// With the panic of `body`, if it panicked; else with the first panic of a [deferred](Scope::defer) function; else if
/// a child panicked whose handle was not joined.
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
    // A child may have noticed before the caller that the time is up.
    if ended.interrupted || scope.group.is_cancelled() {
        raise_if_cancelled();
    }
    value
}

/// The result of the scope's end.
struct EndedChild {
    /// The caller was cancelled, or its time was up.
    interrupted: bool,
    /// The first panic of a deferred function.
    panic: Option<Payload>,
}

/// Waits for the children and runs the deferred functions, until neither is left. See the head of the file. Does not
/// unwind.
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
        // Cancellation is masked here. All deferred functions run, whatever the outcome of each.
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
            // The next function may have children of its own.
            group.forget_cancel();
        }
    }
}

/// Waits until the group is empty. An interruption cancels the children, and the wait continues. Returns whether there
/// was one.
fn wait_for_children(group: &Group) -> bool {
    let Some(core) = current_core() else {
        return wait_for_children_on_thread(group);
    };
    // In a destructor that an unwinding runs, the children may run to their end.
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
    /// Spawns a child of the scope. It is ready to run at once, and need not be joined: the scope waits for it.
    ///
    /// On a coroutine the child belongs to that coroutine's runtime. On an OS thread it belongs to the runtime of the
    /// running `#[silken::main]`, otherwise to the default runtime.
    ///
    /// A child of a [cancelled](Self::cancel) scope does not start: its closure is dropped, and a join returns
    /// [`JoinError::Cancelled`].
    ///
    /// # Panics
    /// If the coroutine cannot be made: see [`Builder::spawn_scoped`](crate::Builder::spawn_scoped), which returns the
    /// error instead.
    ///
    /// # Examples
    /// ```
    /// let mut left = [1, 2];
    /// let mut right = [3, 4];
    /// silken::scope(|s| {
    ///     s.spawn(|| left.reverse());
    ///     s.spawn(|| right.reverse());
    /// });
    /// assert_eq!((left, right), ([2, 1], [4, 3]));
    /// ```
    #[track_caller]
    pub fn spawn<T, F>(&'scope self, body: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_request(SpawnRequest::at(Location::caller()), body)
            .unwrap_or_else(|error| panic!("failed to spawn a coroutine: {error}"))
    }

    /// Runs `f` at the end of the scope, whether the scope ends by a return, by a panic or by cancellation.
    ///
    /// The deferred functions run after the closure and all children have ended, the last deferred first. If `f` spawns
    /// children that have not ended when it returns, they are cancelled and waited for; then the next deferred function
    /// runs. A function that `f` defers is the next one.
    ///
    /// # Cancellation
    /// Masked in `f`, as by [`mask_cancel`](crate::mask_cancel).
    ///
    /// # Panics
    /// Does not panic itself. A panic of `f` comes out of the scope, unless the closure panicked: then the closure's
    /// panic comes out. The other deferred functions run first.
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

    /// Cancels all children: those that are alive, and those that are spawned from now on, which do not start. The
    /// children of their scopes are cancelled with them. The scope's own closure goes on. Does not block.
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

    /// Sets whether a panic cancels the other children.
    ///
    /// With `true`, a panic in a child or in the scope's closure cancels all children, as [`cancel`](Self::cancel)
    /// does. With `false`, the default, they run to their end, as in [`std::thread::scope`]. The panic that comes out
    /// of the scope is the same in both cases.
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
    /// Waits for the child to end, and returns its result.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds the caller, as [`JoinHandle::join`] does. The child goes on, and the scope waits for it.
    ///
    /// # Errors
    /// [`JoinError`] if the child panicked or was cancelled. Then the scope does not panic because of this child.
    ///
    /// # Panics
    /// In the child itself, which would wait for its own end.
    ///
    /// # Examples
    /// ```
    /// silken::scope(|s| {
    ///     let fails = s.spawn(|| panic!("no value"));
    ///     assert!(fails.join().unwrap_err().is_panic());
    /// }); // does not panic: the error was taken
    /// ```
    pub fn join(mut self) -> Result<T, JoinError> {
        self.handle.wait_until(None);
        self.handle.take()
    }

    /// Does what [`join`](Self::join) does, but waits for at most `timeout`.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds the caller; the child goes on, and the scope waits for it.
    ///
    /// # Errors
    /// The handle, if the time is up first. The inner error is that of [`join`](Self::join).
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

    /// Whether the child has ended: then a [`join`](Self::join) does not wait. Does not block.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Asks the child to end: see [`JoinHandle::cancel`]. Does not block, and does not wait for the end.
    ///
    /// # Examples
    /// ```
    /// silken::scope(|s| {
    ///     let child = s.spawn(silken::park);
    ///     child.cancel();
    ///     assert!(child.join().unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// Returns the child, to wake or cancel it later.
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
    /// Spawns the coroutine as a child of a [`scope`](crate::scope()): what [`Scope::spawn`] does, with this builder's
    /// settings. Does not block.
    ///
    /// # Errors
    /// Those of [`spawn`](Self::spawn). The closure is dropped then.
    ///
    /// # Examples
    /// ```
    /// let text = String::from("borrowed");
    /// silken::scope(|s| {
    ///     let child = silken::Builder::new().name("reader".to_string()).spawn_scoped(s, || text.len()).unwrap();
    ///     assert_eq!(child.join().unwrap(), 8);
    /// });
    /// ```
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
        scope.spawn_request(self.request(Location::caller())?, body)
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
