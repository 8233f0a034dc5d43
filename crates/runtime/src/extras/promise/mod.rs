//! How does code that waits get a value that another thread or coroutine produces once?
//!
//! | file | answers |
//! |---|---|
//! | `mod.rs` | who decides an outcome, who waits for it |
//! | `steps.rs` | what runs later, once the outcome is there |
//! | `combinators.rs` | how several promises become one |
//!
//! # Protocol
//! A [`Promise`] is a place for an outcome, a wait list, and a list of steps that wait for the outcome. A [`Resolver`]
//! fills the place once, from any thread: the first of several wins. If all resolvers are gone, the promise is
//! abandoned. That is an outcome as well, so no wait lasts for ever.
//!
//! The lock decides the winner (`claimed`). The outcome is written without the lock: moving a value runs no user code,
//! but its drop may. It is announced under the lock again (`settled`): then the waiters are woken and the steps are
//! taken out. The outcome never changes afterwards, so it is read without a lock. It is counted, so several promises
//! may share one outcome.
//!
//! The steps hold the promise that holds them. The settling breaks this circle; it happens at the latest when the last
//! resolver goes.

mod combinators;
mod steps;

use crate::coroutine::{WaitReason, lost};
use crate::wait::deadline_after;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use steps::{Due, Step, work_off};

/// The reason why a promise has no value.
///
/// # Examples
/// ```
/// use silken::{Promise, PromiseError};
/// let (promise, resolver) = Promise::<u32, &str>::new();
/// drop(resolver);
/// assert_eq!(promise.wait(), Err(PromiseError::Abandoned));
/// assert_eq!(PromiseError::<&str>::Abandoned.to_string(), "the promise was abandoned");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseError<E> {
    /// The promise was rejected with this error.
    Rejected(E),
    /// No code can decide the outcome any more: the resolvers were dropped, or the coroutine that should fill the
    /// promise panicked, was cancelled, could not be started, or ran out of stack.
    Abandoned,
}

impl<E> PromiseError<E> {
    /// Returns the error that the promise was rejected with; `None` if it was abandoned.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let refused = Promise::<(), _>::rejected("no").wait().unwrap_err();
    /// assert_eq!(refused.rejected(), Some("no"));
    /// assert_eq!(PromiseError::<&str>::Abandoned.rejected(), None);
    /// ```
    pub fn rejected(self) -> Option<E> {
        match self {
            Self::Rejected(error) => Some(error),
            Self::Abandoned => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for PromiseError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(error) => error.fmt(f),
            Self::Abandoned => f.write_str("the promise was abandoned"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for PromiseError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(error) => Some(error),
            Self::Abandoned => None,
        }
    }
}

type Outcome<T, E> = Result<T, PromiseError<E>>;

struct PromiseState {
    resolvers: usize,
    /// A resolver has won, and decides the outcome.
    claimed: bool,
    /// The outcome is there.
    settled: bool,
    steps: Vec<Step>,
}

struct PromiseShared<T, E> {
    outcome: OnceLock<Arc<Outcome<T, E>>>,
    state: Monitor<PromiseState>,
}

/// A value that comes later, or an error. A clone is the same promise. Dropping it cancels nothing.
///
/// # Examples
/// ```
/// use silken::{Promise, PromiseError};
/// let (promise, resolver) = Promise::<u32, String>::new();
/// let answer = promise.then(|number| number * 2).fail(|_| Ok::<_, String>(0)).finally(|| println!("settled"));
/// let large = promise.and_then(|number| if number > 99 { Ok(number) } else { Err("small".to_string()) });
/// std::thread::spawn(move || resolver.resolve(21));
/// assert_eq!(answer.wait(), Ok(42));
/// assert_eq!(large.chain(|outcome| Ok::<_, ()>(outcome.is_err())).wait(), Ok(true));
/// assert_eq!(Promise::race([large]).wait(), Err(PromiseError::Rejected("small".to_string())));
/// ```
pub struct Promise<T, E> {
    shared: Arc<PromiseShared<T, E>>,
}

/// The right to decide a promise's outcome. Clones have the same right; the first to use it wins. Dropping the last one
/// [abandons](PromiseError::Abandoned) an undecided promise. A resolver may be used on any thread.
///
/// # Examples
/// ```
/// let (promise, resolver) = silken::Promise::<u32, ()>::new();
/// let other = resolver.clone();
/// drop(resolver);
/// assert!(!promise.is_settled()); // there is another one
/// other.resolve(7).unwrap();
/// assert_eq!(promise.wait(), Ok(7));
/// ```
pub struct Resolver<T, E> {
    shared: Arc<PromiseShared<T, E>>,
}

impl<T, E> Promise<T, E> {
    /// Makes a promise, and the right to decide it.
    ///
    /// # Examples
    /// ```
    /// let (promise, resolver) = silken::Promise::<u32, ()>::new();
    /// assert!(!promise.is_settled());
    /// resolver.resolve(1).unwrap();
    /// assert_eq!(promise.get(), Some(Ok(&1)));
    /// ```
    pub fn new() -> (Self, Resolver<T, E>) {
        let shared = Arc::new(PromiseShared {
            outcome: OnceLock::new(),
            state: Monitor::new(PromiseState {
                resolvers: 1,
                claimed: false,
                settled: false,
                steps: Vec::new(),
            }),
        });
        (Self { shared: shared.clone() }, Resolver { shared })
    }

    /// Makes a promise that is resolved already.
    pub fn resolved(value: T) -> Self {
        Self::with_outcome(Ok(value))
    }

    /// Makes a promise that is rejected already.
    pub fn rejected(error: E) -> Self {
        Self::with_outcome(Err(PromiseError::Rejected(error)))
    }

    fn with_outcome(outcome: Outcome<T, E>) -> Self {
        let (promise, resolver) = Self::new();
        // Nobody else can have decided it.
        let _ = resolver.settle(outcome);
        promise
    }

    /// Whether the outcome is there: then no wait blocks. Does not block.
    pub fn is_settled(&self) -> bool {
        self.shared.outcome.get().is_some()
    }

    /// Returns the outcome; `None` if it is not there yet. Does not block.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let promise = Promise::<u32, &str>::rejected("no");
    /// assert_eq!(promise.get(), Some(Err(PromiseError::Rejected(&"no"))));
    /// ```
    pub fn get(&self) -> Option<Result<&T, PromiseError<&E>>> {
        self.shared.outcome.get().map(|outcome| borrowed(outcome))
    }

    /// Waits for the outcome, and returns a reference to it. If the outcome is there already, it does not wait.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Once`), or blocks the calling OS thread. The step that fills a promise
    /// must not wait for that promise: it would wait for itself.
    ///
    /// # Cancellation
    /// Unwinds; the promise is unchanged, and whatever decides it goes on. If one request ends both the caller and the
    /// coroutine that should fill the promise, the caller unwinds too, and does not see [`PromiseError::Abandoned`].
    ///
    /// # Errors
    /// [`PromiseError`] if the promise was rejected or abandoned.
    ///
    /// # Examples
    /// ```
    /// let promise = silken::Promise::<_, ()>::spawn(|| Ok(vec![1, 2, 3]));
    /// assert_eq!(promise.wait_ref().map(Vec::len), Ok(3));
    /// ```
    pub fn wait_ref(&self) -> Result<&T, PromiseError<&E>> {
        self.shared.wait(None);
        self.get().unwrap_or(Err(PromiseError::Abandoned))
    }

    /// Waits for the outcome, and returns a clone of it. If the outcome is there already, it does not wait.
    ///
    /// # Blocking and cancellation
    /// Those of [`wait_ref`](Self::wait_ref).
    ///
    /// # Errors
    /// [`PromiseError`] if the promise was rejected or abandoned.
    ///
    /// # Panics
    /// If the `clone` of the value or of the error panics.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let (promise, resolver) = Promise::<u32, &str>::new();
    /// silken::spawn(move || resolver.reject("no"));
    /// assert_eq!(promise.wait(), Err(PromiseError::Rejected("no")));
    /// assert_eq!(promise.wait(), Err(PromiseError::Rejected("no"))); // as often as one likes
    /// ```
    pub fn wait(&self) -> Result<T, PromiseError<E>>
    where
        T: Clone,
        E: Clone,
    {
        self.shared.wait(None);
        self.shared.outcome()
    }

    /// Does what [`wait`](Self::wait) does, but for at most `timeout`. Returns `None` if the time is up first; the
    /// promise is unchanged then.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Once`), or blocks the calling OS thread, for at most `timeout`.
    ///
    /// # Cancellation
    /// That of [`wait_ref`](Self::wait_ref).
    ///
    /// # Errors
    /// [`PromiseError`] if the promise was rejected or abandoned.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let (promise, resolver) = silken::Promise::<u32, ()>::new();
    /// assert_eq!(promise.wait_timeout(Duration::from_millis(1)), None);
    /// resolver.resolve(7).unwrap();
    /// assert_eq!(promise.wait_timeout(Duration::ZERO), Some(Ok(7)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<T, PromiseError<E>>>
    where
        T: Clone,
        E: Clone,
    {
        self.shared.wait(Some(deadline_after(timeout)));
        self.shared.outcome.get().map(|outcome| Outcome::clone(outcome))
    }
}

fn borrowed<T, E>(outcome: &Outcome<T, E>) -> Result<&T, PromiseError<&E>> {
    outcome.as_ref().map_err(|error| match error {
        PromiseError::Rejected(error) => PromiseError::Rejected(error),
        PromiseError::Abandoned => PromiseError::Abandoned,
    })
}

impl<T, E> PromiseShared<T, E> {
    fn wait(&self, deadline_ns: Option<u64>) {
        self.state.wait(WaitReason::Once, |state, expired| {
            if state.settled || expired {
                Look::Done(())
            } else {
                Look::Wait(deadline_ns)
            }
        });
        if let Some(Err(PromiseError::Abandoned)) = self.outcome.get().map(|outcome| &**outcome) {
            lost(());
        }
    }

    /// A clone of the outcome, of a promise that is settled.
    fn outcome(&self) -> Outcome<T, E>
    where
        T: Clone,
        E: Clone,
    {
        let outcome = self.outcome.get().map(|outcome| Outcome::clone(outcome));
        outcome.unwrap_or(Err(PromiseError::Abandoned))
    }
}

impl<T, E> Resolver<T, E> {
    /// Gives the promise its value: wakes its waiters and starts its steps, which run on coroutines of their own. Does
    /// not block.
    ///
    /// # Errors
    /// The value, if the outcome is decided already, by whatever resolver.
    ///
    /// # Examples
    /// ```
    /// let (promise, resolver) = silken::Promise::<u32, ()>::new();
    /// assert_eq!(resolver.resolve(1), Ok(()));
    /// assert_eq!(resolver.resolve(2), Err(2));
    /// assert_eq!(promise.wait(), Ok(1));
    /// ```
    pub fn resolve(&self, value: T) -> Result<(), T> {
        match self.settle(Ok(value)) {
            Err(Ok(value)) => Err(value),
            _ => Ok(()),
        }
    }

    /// Gives the promise its error: wakes its waiters and starts its steps, which run on coroutines of their own. Does
    /// not block.
    ///
    /// # Errors
    /// The error, if the outcome is decided already, by whatever resolver.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let (promise, resolver) = Promise::<(), &str>::new();
    /// assert_eq!(resolver.reject("no"), Ok(()));
    /// assert_eq!(resolver.reject("never"), Err("never"));
    /// assert_eq!(promise.wait(), Err(PromiseError::Rejected("no")));
    /// ```
    pub fn reject(&self, error: E) -> Result<(), E> {
        match self.settle(Err(PromiseError::Rejected(error))) {
            Err(Err(PromiseError::Rejected(error))) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the outcome is decided. A promise [is settled](Promise::is_settled) a moment later. Does not block.
    pub fn is_settled(&self) -> bool {
        self.shared.state.with(|state| state.claimed)
    }

    /// Returns the promise.
    pub fn promise(&self) -> Promise<T, E> {
        Promise {
            shared: self.shared.clone(),
        }
    }

    fn settle(&self, outcome: Outcome<T, E>) -> Result<(), Outcome<T, E>> {
        let mut due = Due::default();
        if self.claim() {
            self.announce(Arc::new(outcome), &mut due);
            work_off(due);
            Ok(())
        } else {
            Err(outcome)
        }
    }

    /// Does what [`settle`](Self::settle) does, unless the outcome is decided already. The outcome may be another
    /// promise's. The steps are left to the caller.
    fn settle_with(&self, outcome: Arc<Outcome<T, E>>, due: &mut Due) {
        if self.claim() {
            self.announce(outcome, due);
        }
    }

    fn claim(&self) -> bool {
        !self
            .shared
            .state
            .with(|state| std::mem::replace(&mut state.claimed, true))
    }

    /// Announces the outcome; the caller has claimed it.
    fn announce(&self, outcome: Arc<Outcome<T, E>>, due: &mut Due) {
        // Only the claimer comes here, so the outcome is not there yet.
        let _ = self.shared.outcome.set(outcome);
        let steps = self.shared.state.update(|state| {
            state.settled = true;
            (std::mem::take(&mut state.steps), MonitorWake::All)
        });
        due.extend(steps);
    }
}

impl<T, E> Clone for Promise<T, E> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T, E> Clone for Resolver<T, E> {
    fn clone(&self) -> Self {
        self.shared.state.with(|state| state.resolvers += 1);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T, E> Drop for Resolver<T, E> {
    fn drop(&mut self) {
        let is_last = self.shared.state.with(|state| {
            state.resolvers -= 1;
            state.resolvers == 0
        });
        if is_last {
            // The outcome may have been decided before.
            let _ = self.settle(Err(PromiseError::Abandoned));
        }
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for Promise<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise")
            .field("outcome", &self.shared.outcome.get())
            .finish()
    }
}

impl<T, E> fmt::Debug for Resolver<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}
