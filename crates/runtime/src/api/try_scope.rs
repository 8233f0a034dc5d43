//! How does the first error of a scope's children cancel the others, so that each caller sees that error and not its
//! consequence? This file holds [`try_join!`](crate::try_join) and [`try_scope`].
//!
//! A child that returns an error first stores it, if it is the first error, and cancels the scope *after* that. So code
//! that finds a sibling cancelled also finds the error that caused it. A caller that the same request is to end sees
//! neither: it unwinds (`coroutine/cancel.rs`, "A partner that is gone").

use crate::api::scope::{Scope, ScopedJoinHandle, scope};
use crate::coroutine::JoinError;
use crate::sync::Semaphore;
use crate::wait::monitor::Monitor;
use std::fmt;
use std::sync::Arc;

/// The first error of a scope's children.
#[doc(hidden)]
pub struct FirstError<E>(Monitor<Option<E>>);

impl<E> FirstError<E> {
    #[doc(hidden)]
    pub fn new() -> Self {
        Self(Monitor::new(None))
    }

    #[doc(hidden)]
    pub fn take(&self) -> Option<E> {
        self.0.with(Option::take)
    }

    fn note(&self, error: E, scope: &Scope<'_, '_>) {
        // A later error is dropped outside the lock.
        let _later = self.0.with(|first| match first {
            None => first.replace(error),
            Some(_) => Some(error),
        });
        scope.cancel();
    }

    fn value<T>(&self, result: Result<T, E>, scope: &Scope<'_, '_>) -> Option<T> {
        result.map_err(|error| self.note(error, scope)).ok()
    }

    #[doc(hidden)]
    #[track_caller]
    pub fn spawn<'scope, 'env, T>(
        &'scope self,
        scope: &'scope Scope<'scope, 'env>,
        body: impl FnOnce() -> Result<T, E> + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, Option<T>>
    where
        T: Send + 'scope,
        E: Send,
    {
        scope.spawn(move || self.value(body(), scope))
    }
}

/// The value of a child of [`try_join!`](crate::try_join), `None` if it failed, or its panic.
#[doc(hidden)]
pub fn joined_or_not<T>(handle: ScopedJoinHandle<'_, Option<T>>) -> Option<T> {
    match handle.join() {
        Ok(value) => value,
        Err(JoinError::Panicked(payload)) => payload.resume(),
        Err(_) => None,
    }
}

/// Runs each expression, a `Result`, on a coroutine of its own, all at once. Evaluates to `Ok` with the tuple of their
/// values, or to the first error. After the first error the other coroutines are cancelled and waited for. The
/// expressions may borrow, as the children of a [`scope`](crate::scope()) may. All errors have one type.
///
/// # Blocking and cancellation
/// Those of [`scope`](crate::scope()): a cancelled caller cancels the coroutines, waits for them, and unwinds.
///
/// # Errors
/// The first error in time that an expression returned. Later errors are dropped.
///
/// # Panics
/// With the panic of an expression, after the others have been cancelled and waited for. Also if one of the coroutines
/// has cancelled itself, and if a coroutine cannot be made.
///
/// # Examples
/// ```
/// let text = "7".to_string();
/// let both = silken::try_join!(text.parse::<u8>(), "8".parse::<u8>());
/// assert_eq!(both, Ok((7, 8)));
/// let late = || -> Result<(), std::num::ParseIntError> { Ok(silken::sleep(std::time::Duration::from_secs(3600))) };
/// assert!(silken::try_join!(late(), "x".parse::<u8>()).is_err()); // at once
/// ```
#[macro_export]
macro_rules! try_join {
    ($($body:expr),+ $(,)?) => {
        $crate::__try_join!(@handles [] $($body,)+)
    };
}

/// Gives each body of [`try_join!`](crate::try_join) a variable. All variables have one name, but each step's variable
/// is a different one by hygiene.
#[doc(hidden)]
#[macro_export]
macro_rules! __try_join {
    (@handles [$($done:tt)*] $body:expr, $($rest:expr,)*) => {
        $crate::__try_join!(@handles [$($done)* (value ($body))] $($rest,)*)
    };
    (@handles [$(($value:ident ($body:expr)))+]) => {{
        let first = $crate::__macros::FirstError::new();
        let ($($value,)+) = $crate::scope(|scope| {
            scope.cancel_on_panic(true);
            $(let $value = first.spawn(scope, || $body);)+
            ($($crate::__macros::joined_or_not($value),)+)
        });
        match first.take() {
            ::core::option::Option::Some(error) => ::core::result::Result::Err(error),
            ::core::option::Option::None => ::core::result::Result::Ok((
                $($value.expect("a coroutine of try_join! was cancelled"),)+
            )),
        }
    }};
}

/// A scope whose children return results: [`try_scope`] makes one and passes it to its closure. A clone refers to the
/// same scope, so a child may own one and spawn, too. Written without its last parameter, the errors are boxed.
///
/// # Examples
/// ```
/// let total: Result<u32, String> = silken::try_scope(|group: silken::TryScope<'_, '_, String>| {
///     let child = {
///         let group = group.clone();
///         group.clone().spawn(move || {
///             let grandchild = group.spawn(|| Ok(1));
///             Ok(grandchild.join().unwrap().unwrap_or(0) + 1)
///         })
///     };
///     Ok(child.join().unwrap().unwrap_or(0))
/// });
/// assert_eq!(total, Ok(2));
/// ```
pub struct TryScope<'scope, 'env: 'scope, E = Box<dyn std::error::Error + Send + Sync>> {
    scope: &'scope Scope<'scope, 'env>,
    first: Arc<FirstError<E>>,
    places: Option<Arc<Semaphore>>,
}

impl<E> Clone for TryScope<'_, '_, E> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope,
            first: self.first.clone(),
            places: self.places.clone(),
        }
    }
}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl<'scope, 'env, E: Send + 'scope> TryScope<'scope, 'env, E> {
    /// Spawns a child of the scope. In a scope with a [limit](try_scope_limited) it first waits for a place. If the
    /// scope has failed already, the child does not start and its closure is dropped.
    ///
    /// The handle need not be joined. If it is, a child that returned `Ok(value)` gives `Some(value)`, and a child that
    /// returned an error gives `None`: its error belongs to the scope.
    ///
    /// # Blocking
    /// In a scope with a limit that has no free place, parks the calling coroutine (wait reason `Semaphore`), or blocks
    /// the calling OS thread. Otherwise does not block.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait for a place; `body` is dropped.
    ///
    /// # Panics
    /// If the coroutine cannot be made: see [`Builder::spawn_scoped`](crate::Builder::spawn_scoped).
    ///
    /// # Examples
    /// ```
    /// let outcome = silken::try_scope(|group| {
    ///     let good = group.spawn(|| Ok(1));
    ///     let bad = group.spawn(|| Err::<u32, _>("no number"));
    ///     assert_eq!(bad.join().unwrap(), None); // the error is the scope's
    ///     drop(good);
    ///     Ok(())
    /// });
    /// assert_eq!(outcome, Err("no number"));
    /// ```
    #[track_caller]
    pub fn spawn<T: Send + 'scope>(
        &self,
        body: impl FnOnce() -> Result<T, E> + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, Option<T>> {
        // The semaphore is never closed, so this is `None` only without a limit.
        let place = self.places.clone().map(Semaphore::acquire_owned).and_then(Result::ok);
        let (first, scope) = (self.first.clone(), self.scope);
        scope.spawn(move || {
            let _place = place;
            first.value(body(), scope)
        })
    }

    /// Returns the plain scope, for [`defer`](Scope::defer), [`cancel`](Scope::cancel), and children that return no
    /// result.
    pub fn scope(&self) -> &'scope Scope<'scope, 'env> {
        self.scope
    }
}

/// Runs `body` with a [`scope`](crate::scope()) whose children return results: Go's `errgroup`. The first error, of a
/// child or of `body`, cancels all children. Once all have ended, `try_scope` returns that error. Without an error it
/// returns the value of `body`. An endless child, an accept loop for example, is cancelled by the first `?` that fails
/// in `body`.
///
/// A child's error does not interrupt `body` itself: it goes on until it returns, and a wait in it delays the error,
/// for ever if only the failed child would have ended it. Let `body` wait for the children
/// ([`join`](ScopedJoinHandle::join)) and for nothing else; put every other wait into a child. A child that panics
/// cancels the others, too, unless [`Scope::cancel_on_panic`] is set to `false`. A child that has not started when the
/// scope fails never begins: its closure is dropped.
///
/// # The type of the error
/// All errors of a scope have one type. The compiler must learn it somewhere ("type annotations needed" otherwise):
/// from the variable or the function that takes the outcome, from a child that returns an error value, or from the
/// parameter of `body`. `|group: silken::TryScope|` means `Box<dyn Error + Send + Sync>`, into which `?` converts every
/// error:
/// ```
/// let sum = silken::try_scope(|group: silken::TryScope| {
///     let child = group.spawn(|| Ok("7".parse::<u32>()?));
///     Ok(child.join()?.unwrap_or(0))
/// });
/// assert_eq!(sum.unwrap(), 7);
/// ```
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Scope`), or blocks the calling OS thread, until the last child has ended.
///
/// # Cancellation
/// A cancelled caller cancels the children, waits for them, and unwinds: see [`scope`](crate::scope()).
///
/// # Errors
/// The first error that a child, or `body`, returned. Later errors are dropped.
///
/// # Panics
/// Those of [`scope`](crate::scope()): with the panic of `body`, if it panicked; else with that of a deferred function;
/// else if a child panicked whose handle was not joined.
///
/// # Examples
/// ```
/// let pages = ["1", "2", "three", "4"];
/// let sum = std::sync::atomic::AtomicU32::new(0);
/// let outcome = silken::try_scope(|group| {
///     for page in pages {
///         let sum = &sum;
///         group.spawn(move || {
///             let number: u32 = page.parse()?;
///             sum.fetch_add(number, std::sync::atomic::Ordering::Relaxed);
///             Ok::<_, std::num::ParseIntError>(())
///         });
///     }
///     Ok(())
/// });
/// assert!(outcome.is_err());
/// ```
#[track_caller]
pub fn try_scope<'env, T, E, F>(body: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: Send + 'env,
{
    run(None, body)
}

/// Does what [`try_scope`] does, with at most `limit` children at once: [`TryScope::spawn`] waits for a place. A child
/// that spawns keeps its own place meanwhile, so children that spawn and wait may use up all places and wait for ever.
///
/// # Blocking and cancellation
/// Those of [`try_scope`].
///
/// # Errors
/// The first error that a child, or `body`, returned.
///
/// # Panics
/// If `limit` is 0; otherwise as [`try_scope`].
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
/// silken::try_scope_limited(2, |group| {
///     for _ in 0..10 {
///         group.spawn(|| {
///             most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
///             silken::yield_now();
///             running.fetch_sub(1, Ordering::Relaxed);
///             Ok::<_, String>(())
///         });
///     }
///     Ok(())
/// }).unwrap();
/// assert!(most.into_inner() <= 2);
/// ```
#[track_caller]
pub fn try_scope_limited<'env, T, E, F>(limit: usize, body: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: Send + 'env,
{
    assert!(limit > 0, "a scope runs at least one child at once");
    run(Some(Arc::new(Semaphore::new(limit))), body)
}

#[track_caller]
fn run<'env, T, E, F>(places: Option<Arc<Semaphore>>, body: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: Send + 'env,
{
    let first = Arc::new(FirstError::new());
    let value = scope(|scope| {
        scope.cancel_on_panic(true);
        let group = TryScope {
            scope,
            first: first.clone(),
            places,
        };
        first.value(body(group), scope)
    });
    match (first.take(), value) {
        (Some(error), _) => Err(error),
        (None, Some(value)) => Ok(value),
        (None, None) => unreachable!("without an error the body has returned a value"),
    }
}
