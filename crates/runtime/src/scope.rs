//! Coroutines that may borrow from their parent: [`std::thread::scope`]'s counterpart.
//!
//! The scope cannot end before its children have: it waits for them in every case, also when its own closure panics or its coroutine is cancelled.

use crate::coroutine::{Group, JoinError};
use crate::handle::{Coroutine, JoinHandle};
use crate::runtime::ambient;
use crate::sched::{self, SpawnRequest};
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::ptr::NonNull;

/// A place to spawn children that borrow; see [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    group: Group,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The right to wait for a child of a scope and to take its result. Dropping it leaves the waiting to the scope.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    group: NonNull<Group>,
    _scope: PhantomData<&'scope ()>,
}

// SAFETY: S2: as for JoinHandle; the group is made of atomics and lives as long as 'scope.
unsafe impl<T: Send> Send for ScopedJoinHandle<'_, T> {}
// SAFETY: S2: as above.
unsafe impl<T: Send> Sync for ScopedJoinHandle<'_, T> {}

/// Runs `body` with a place to spawn children that may borrow what `body` may borrow. Returns when `body` and all children have ended.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Scope`), or blocks the calling OS thread, until the last child has ended.
///
/// # Cancellation
/// The wait for the children is not interrupted: they may use what the parent owns.
///
/// # Stack overflow
/// A child that runs out of stack ends the process: it may have lent to others what it borrows, and the scope could not return.
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
        scope: PhantomData,
        env: PhantomData,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&scope)));
    let a_child_panicked = scope.group.wait();
    match outcome {
        Err(payload) => resume_unwind(payload),
        Ok(_) if a_child_panicked => panic!("a scoped coroutine panicked"),
        Ok(value) => value,
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

    pub(crate) fn spawn_request<T, F>(
        &'scope self,
        request: SpawnRequest,
        body: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let scheduler = ambient()?;
        let group = NonNull::from(&self.group);
        self.group.enter();
        let request = SpawnRequest {
            group: Some(group),
            ..request
        };
        // SAFETY: S1: `scope` waits until the coroutine has left the group, which it does after its result has been settled; what is not taken
        // by then is never touched. S2: both are Send. S8: the group lives until `scope` has waited.
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
        self.handle.wait(None);
        self.handle.take()
    }

    /// Whether the child has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// The child's end as an arm of a [`select!`](crate::select): see [`JoinHandle::join_arm`].
    pub fn join_arm(&self) -> crate::JoinArm<'_, T> {
        self.handle.join_arm()
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
