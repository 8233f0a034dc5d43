//! Scopes whose first error cancels the rest: [`try_join!`](crate::try_join) and [`try_scope`].
//!
//! A child that returns an error keeps it, if it is the first, and cancels the scope *after* that: so whoever finds a
//! sibling cancelled finds the error that did it. A caller that is to end itself does not come to see either
//! (`coroutine/cancel.rs`, "A partner that is gone").

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
        // A later one is dropped outside the lock.
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

/// What [`try_join!`](crate::try_join) makes of a child's end.
#[doc(hidden)]
pub fn joined_or_not<T>(handle: ScopedJoinHandle<'_, Option<T>>) -> Option<T> {
    match handle.join() {
        Ok(value) => value,
        Err(JoinError::Panicked(payload)) => payload.resume(),
        Err(_) => None,
    }
}

/// Runs each expression, a `Result`, on a coroutine of its own, all at once. Gives `Ok` of the tuple of their values,
/// or the first error: then the others are cancelled and waited for. They may borrow, as the children of a
/// [`scope`](crate::scope()) may. The errors are of one type.
///
/// # Blocking and cancellation
/// As [`join!`](crate::join).
///
/// # Panics
/// With a panic of an expression: the others are cancelled and waited for first. When one of them has cancelled itself.
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

/// Gives each body of [`try_join!`](crate::try_join) a variable: the name is one, but each step's is another by
/// hygiene.
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

/// A scope whose children return results: see [`try_scope`]. A clone is the same scope, so children may have one and
/// spawn, too.
pub struct TryScope<'scope, 'env: 'scope, E> {
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
    /// Makes a child. In a scope with a [limit](try_scope_limited) it waits for a place first. When the scope has
    /// failed, the child does not start. Joined by its handle, a child that returned `Ok(value)` gives `Some(value)`,
    /// and one that returned an error gives `None`: the error is the scope's.
    ///
    /// # Blocking and cancellation
    /// As [`Semaphore::acquire`], in a scope with a limit.
    ///
    /// # Panics
    /// When it cannot be made: see [`Builder::spawn_scoped`](crate::Builder::spawn_scoped).
    #[track_caller]
    pub fn spawn<T: Send + 'scope>(
        &self,
        body: impl FnOnce() -> Result<T, E> + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, Option<T>> {
        // Nobody closes it.
        let place = self.places.clone().map(Semaphore::acquire_owned).and_then(Result::ok);
        let (first, scope) = (self.first.clone(), self.scope);
        scope.spawn(move || {
            let _place = place;
            first.value(body(), scope)
        })
    }

    /// The scope, for what has no result: [`defer`](Scope::defer), [`cancel`](Scope::cancel).
    pub fn scope(&self) -> &'scope Scope<'scope, 'env> {
        self.scope
    }
}

/// Runs `body` with a [`scope`](crate::scope()) whose children return results. Its first error, of a child or of
/// `body`, cancels all children, and is what comes out once they have ended; else it is the value of `body`. Go's
/// `errgroup`. A scope with an endless child, an accept loop say, ends by the first `?` in `body`.
///
/// A child that panics cancels the others, too ([`Scope::cancel_on_panic`] says otherwise). A child that has not
/// started when the scope fails never begins: its closure is dropped. Where a child's error type is not plain from its
/// body, say it: `|| -> Result<(), Error> { … }`.
///
/// # Blocking and cancellation
/// As [`scope`](crate::scope()).
///
/// # Errors
/// The first one that a child, or `body`, returned.
///
/// # Panics
/// As [`scope`](crate::scope()).
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

/// As [`try_scope`], with at most `limit` children at once: [`TryScope::spawn`] waits for a place. A child that spawns
/// keeps its own place meanwhile.
///
/// # Errors
/// As [`try_scope`].
///
/// # Panics
/// As [`try_scope`]; when `limit` is 0.
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
