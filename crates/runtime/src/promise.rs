//! A value to come, and what is to be done with it.
//!
//! # Protocol
//! A [`Promise`] is a place for an outcome, a wait list, and a list of steps that wait for it. A [`Resolver`] fills the place, from any thread, once: the first of several
//! wins. If all resolvers are gone the promise is abandoned, which is an outcome as well: nobody waits for ever.
//!
//! The winner is decided under the lock (`claimed`), the outcome is written without it (moving a value is no user code, but its drop may be), and announced under the
//! lock again (`settled`): then those who wait are woken and the steps are taken out. The outcome never changes afterwards, so it is read without a lock.
//!
//! The steps hold the promise that holds them; being settled, which happens at the latest when the last resolver goes, breaks the circle.
//!
//! # Steps
//! A step ([`then`](Promise::then), [`fail`](Promise::fail), …) costs its closure as long as it waits; when the outcome is there it runs on a coroutine of its own, in the
//! runtime of who added it. Not on the resolver's stack: that may be any thread, holding any lock. (Only `all` and `race` clone there.) Steps take clones, for
//! a promise has many readers.
//!
//! A step that panics, is cancelled, or cannot be started drops the resolver of the promise that it was to fill: that one is abandoned, and says so.

use crate::coroutine::WaitReason;
use crate::driver::monitor::{Look, Monitor, Wake};
use crate::driver::timers::deadline_after;
use crate::runtime::ambient;
use crate::sched::{Scheduler, SpawnRequest};
use crate::spawn::spawn_on;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Why a promise has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseError<E> {
    /// It was rejected with this.
    Rejected(E),
    /// All its resolvers are gone, by a panic perhaps.
    Abandoned,
}

impl<E> PromiseError<E> {
    /// What it was rejected with.
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
type Step = Box<dyn FnOnce() + Send>;

struct State {
    resolvers: usize,
    /// Somebody decides the outcome.
    claimed: bool,
    /// The outcome is there.
    settled: bool,
    steps: Vec<Step>,
}

struct Shared<T, E> {
    outcome: OnceLock<Outcome<T, E>>,
    state: Monitor<State>,
}

/// A value to come, or an error. Clones are the same promise.
///
/// # Examples
/// ```
/// use silken::Promise;
/// let (promise, resolver) = Promise::<u32, String>::new();
/// let answer = promise.then(|number| number * 2).fail(|_| Ok::<_, String>(0));
/// std::thread::spawn(move || resolver.resolve(21));
/// assert_eq!(answer.wait(), Ok(42));
/// ```
pub struct Promise<T, E> {
    shared: Arc<Shared<T, E>>,
}

/// The right to decide a promise's outcome. Clones have the same right; the first to use it wins.
pub struct Resolver<T, E> {
    shared: Arc<Shared<T, E>>,
}

impl<T, E> Promise<T, E> {
    /// A promise, and the right to decide it.
    pub fn new() -> (Self, Resolver<T, E>) {
        let shared = Arc::new(Shared {
            outcome: OnceLock::new(),
            state: Monitor::new(State {
                resolvers: 1,
                claimed: false,
                settled: false,
                steps: Vec::new(),
            }),
        });
        (Self { shared: shared.clone() }, Resolver { shared })
    }

    /// A promise that is resolved already.
    pub fn resolved(value: T) -> Self {
        Self::with_outcome(Ok(value))
    }

    /// A promise that is rejected already.
    pub fn rejected(error: E) -> Self {
        Self::with_outcome(Err(PromiseError::Rejected(error)))
    }

    fn with_outcome(outcome: Outcome<T, E>) -> Self {
        let (promise, resolver) = Self::new();
        // Nobody else can have decided it.
        let _ = resolver.settle(outcome);
        promise
    }

    /// Whether the outcome is there.
    pub fn is_settled(&self) -> bool {
        self.shared.outcome.get().is_some()
    }

    /// The outcome, if it is there.
    pub fn get(&self) -> Option<Result<&T, PromiseError<&E>>> {
        self.shared.outcome.get().map(borrowed)
    }

    /// Waits for the outcome, and lends it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Once`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the promise is as it was.
    ///
    /// # Errors
    /// See [`PromiseError`].
    pub fn wait_ref(&self) -> Result<&T, PromiseError<&E>> {
        self.shared.wait(None);
        self.get().unwrap_or(Err(PromiseError::Abandoned))
    }

    /// Waits for the outcome, and clones it. Blocking and cancellation as [`wait_ref`](Self::wait_ref).
    ///
    /// # Errors
    /// See [`PromiseError`].
    pub fn wait(&self) -> Result<T, PromiseError<E>>
    where
        T: Clone,
        E: Clone,
    {
        self.shared.wait(None);
        self.shared.outcome()
    }

    /// As [`wait`](Self::wait), for at most `timeout`; `None` when the time is up.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<T, PromiseError<E>>>
    where
        T: Clone,
        E: Clone,
    {
        self.shared.wait(Some(deadline_after(timeout)));
        self.shared.outcome.get().cloned()
    }
}

fn borrowed<T, E>(outcome: &Outcome<T, E>) -> Result<&T, PromiseError<&E>> {
    outcome.as_ref().map_err(|error| match error {
        PromiseError::Rejected(error) => PromiseError::Rejected(error),
        PromiseError::Abandoned => PromiseError::Abandoned,
    })
}

impl<T, E> Promise<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Runs `body` on a coroutine; what it returns is the outcome.
    ///
    /// # Panics
    /// When the coroutine cannot be made: see [`spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn(body: impl FnOnce() -> Result<T, E> + Send + 'static) -> Self {
        let (promise, resolver) = Self::new();
        let run = move || {
            // The body had no resolver to decide it with.
            let _ = resolver.settle(body().map_err(PromiseError::Rejected));
        };
        crate::spawn::spawn(run);
        promise
    }

    /// Does something with the outcome, whatever it is: the step that all others are made of. It runs on a coroutine of its own as soon as the outcome is there, and
    /// gives the outcome of the promise that is returned.
    ///
    /// # Panics
    /// When the default runtime does not start.
    #[track_caller]
    pub fn chain<U, F>(
        &self,
        step: impl FnOnce(Result<T, PromiseError<E>>) -> Result<U, F> + Send + 'static,
    ) -> Promise<U, F>
    where
        U: Send + Sync + 'static,
        F: Send + Sync + 'static,
    {
        let site = Location::caller();
        self.step(site, move |outcome| step(outcome).map_err(PromiseError::Rejected))
    }

    fn step<U, F>(
        &self,
        site: &'static Location<'static>,
        step: impl FnOnce(Outcome<T, E>) -> Outcome<U, F> + Send + 'static,
    ) -> Promise<U, F>
    where
        U: Send + Sync + 'static,
        F: Send + Sync + 'static,
    {
        let scheduler = ambient().unwrap_or_else(|error| panic!("the runtime does not start: {error}"));
        let (promise, resolver) = Promise::new();
        let source = self.clone();
        self.shared.add_step(Box::new(move || {
            run_step(scheduler, site, move || {
                let outcome = source.shared.outcome();
                drop(source);
                // The new promise has no other resolver, so nobody has decided it.
                let _ = resolver.settle(step(outcome));
            });
        }));
        promise
    }

    /// Does something with the value; an error passes.
    #[track_caller]
    pub fn then<U>(&self, step: impl FnOnce(T) -> U + Send + 'static) -> Promise<U, E>
    where
        U: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| outcome.map(step))
    }

    /// Does something with the value that may fail; an error passes.
    #[track_caller]
    pub fn and_then<U>(&self, step: impl FnOnce(T) -> Result<U, E> + Send + 'static) -> Promise<U, E>
    where
        U: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| {
            outcome.and_then(|value| step(value).map_err(PromiseError::Rejected))
        })
    }

    /// Does something with the error, and may put a value in its stead; a value passes.
    #[track_caller]
    pub fn fail<F>(&self, step: impl FnOnce(PromiseError<E>) -> Result<T, F> + Send + 'static) -> Promise<T, F>
    where
        F: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| {
            outcome.or_else(|error| step(error).map_err(PromiseError::Rejected))
        })
    }

    /// Does something when the outcome is there, which passes once that is done.
    #[track_caller]
    pub fn finally(&self, step: impl FnOnce() + Send + 'static) -> Self {
        self.step(Location::caller(), move |outcome| {
            step();
            outcome
        })
    }

    /// All values, in the order of the promises, or the first error that comes.
    #[track_caller]
    pub fn all(promises: impl IntoIterator<Item = Self>) -> Promise<Vec<T>, E> {
        let promises: Arc<[Self]> = promises.into_iter().collect();
        let (all, resolver) = Promise::new();
        if promises.is_empty() {
            let _ = resolver.settle(Ok(Vec::new()));
        }
        let missing = Arc::new(Monitor::new(promises.len()));
        for promise in promises.iter() {
            let (source, promises) = (promise.clone(), promises.clone());
            let (missing, resolver) = (missing.clone(), resolver.clone());
            promise.shared.add_step(Box::new(move || {
                let left = missing.with(|missing| {
                    *missing -= 1;
                    *missing
                });
                // An earlier error may have decided already.
                let _ = match source.shared.outcome() {
                    Err(error) => resolver.settle(Err(error)),
                    Ok(_) if left > 0 => Ok(()),
                    Ok(_) => resolver.settle(promises.iter().map(|one| one.shared.outcome()).collect()),
                };
            }));
        }
        all
    }

    /// The outcome of the promise that is settled first.
    #[track_caller]
    pub fn race(promises: impl IntoIterator<Item = Self>) -> Self {
        let (first, resolver) = Self::new();
        for promise in promises {
            let resolver = resolver.clone();
            let source = promise.clone();
            promise.shared.add_step(Box::new(move || {
                // Another may have been first.
                let _ = resolver.settle(source.shared.outcome());
            }));
        }
        first
    }
}

/// Runs a step on a coroutine. In a runtime that ends it cannot: its drop tells whoever waits for the promise that it was to fill.
fn run_step(scheduler: &'static Scheduler, site: &'static Location<'static>, step: impl FnOnce() + Send + 'static) {
    drop(spawn_on(scheduler, SpawnRequest::at(site), step));
}

impl<T, E> Shared<T, E> {
    fn wait(&self, deadline_ns: Option<u64>) {
        self.state.wait(WaitReason::Once, |state, expired| {
            if state.settled || expired {
                Look::Done(())
            } else {
                Look::Wait(deadline_ns)
            }
        });
    }

    /// A clone of the outcome, of a promise that is settled.
    fn outcome(&self) -> Outcome<T, E>
    where
        T: Clone,
        E: Clone,
    {
        self.outcome.get().cloned().unwrap_or(Err(PromiseError::Abandoned))
    }

    /// Runs the step once the promise is settled: by who settles it, or now.
    fn add_step(&self, step: Step) {
        let due = self.state.with(|state| {
            if state.settled {
                return Some(step);
            }
            state.steps.push(step);
            None
        });
        if let Some(step) = due {
            step();
        }
    }
}

impl<T, E> Resolver<T, E> {
    /// Gives the promise its value.
    ///
    /// # Errors
    /// Gives the value back when the outcome is decided already.
    pub fn resolve(&self, value: T) -> Result<(), T> {
        match self.settle(Ok(value)) {
            Err(Ok(value)) => Err(value),
            _ => Ok(()),
        }
    }

    /// Gives the promise its error.
    ///
    /// # Errors
    /// Gives the error back when the outcome is decided already.
    pub fn reject(&self, error: E) -> Result<(), E> {
        match self.settle(Err(PromiseError::Rejected(error))) {
            Err(Err(PromiseError::Rejected(error))) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the outcome is decided.
    pub fn is_settled(&self) -> bool {
        self.shared.state.with(|state| state.claimed)
    }

    /// The promise.
    pub fn promise(&self) -> Promise<T, E> {
        Promise {
            shared: self.shared.clone(),
        }
    }

    fn settle(&self, outcome: Outcome<T, E>) -> Result<(), Outcome<T, E>> {
        let claimed = self
            .shared
            .state
            .with(|state| std::mem::replace(&mut state.claimed, true));
        if claimed {
            return Err(outcome);
        }
        self.shared.outcome.set(outcome)?;
        let steps = self.shared.state.update(|state| {
            state.settled = true;
            (std::mem::take(&mut state.steps), Wake::All)
        });
        steps.into_iter().for_each(|step| step());
        Ok(())
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
            // Somebody may have decided it before.
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
