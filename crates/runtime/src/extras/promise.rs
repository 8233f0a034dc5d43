//! How does code that waits, and code that runs later, get a value that another thread or coroutine produces once?
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
//!
//! # Steps
//! A step ([`then`](Promise::then), [`fail`](Promise::fail), …) costs its closure while it waits. When the outcome is
//! there, the step runs on a coroutine of its own, in the runtime of the code that added it. It does not run on the
//! resolver's stack: that may be any thread, holding any lock, so no user code runs there, not even a `Clone`. Steps
//! take clones of the outcome, for a promise has many readers.
//!
//! What runs on the resolver's stack is the beginning of a step: it spawns the coroutine or, in
//! [`race`](Promise::race), settles the next promise with the same outcome. Then the steps of the next promise are due.
//! They go to the end of one list ([`Due`]), which the first settler works off. So a chain of promises of any length
//! needs no more stack than one promise.
//!
//! A step that panics, is cancelled, or cannot be started drops the resolver of the promise that it should fill: that
//! promise is abandoned, and says so. A step that runs out of stack drops nothing; [`on_lost`] abandons its promise.

use crate::api::spawn::spawn_on;
use crate::coroutine::{WaitReason, contained, lost, on_lost};
use crate::runtime::default::current_or_default;
use crate::sched::{Scheduler, SpawnRequest};
use crate::wait::deadline_after;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{Location, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The reason why a promise has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseError<E> {
    /// The promise was rejected with this error.
    Rejected(E),
    /// No code can decide the outcome any more: the resolvers were dropped, or the coroutine that should fill the
    /// promise panicked, was cancelled, could not be started, or ran out of stack.
    Abandoned,
}

impl<E> PromiseError<E> {
    /// Returns the error that the promise was rejected with, if any.
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

/// Begins a step; the steps that become due by that are added to the list.
type Step = Box<dyn FnOnce(&mut Due) + Send>;

/// The steps that are due: see the head of the file.
#[derive(Default)]
struct Due(VecDeque<Step>);

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
/// [abandons](PromiseError::Abandoned) an undecided promise.
pub struct Resolver<T, E> {
    shared: Arc<PromiseShared<T, E>>,
}

impl<T, E> Promise<T, E> {
    /// Makes a promise, and the right to decide it.
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

    /// Whether the outcome is there.
    pub fn is_settled(&self) -> bool {
        self.shared.outcome.get().is_some()
    }

    /// Returns the outcome, if it is there. Does not block.
    pub fn get(&self) -> Option<Result<&T, PromiseError<&E>>> {
        self.shared.outcome.get().map(|outcome| borrowed(outcome))
    }

    /// Waits for the outcome, and returns a reference to it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Once`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the promise is unchanged.
    ///
    /// # Errors
    /// [`PromiseError`] if the promise was rejected or abandoned.
    pub fn wait_ref(&self) -> Result<&T, PromiseError<&E>> {
        self.shared.wait(None);
        self.get().unwrap_or(Err(PromiseError::Abandoned))
    }

    /// Waits for the outcome, and returns a clone of it. Blocking and cancellation are those of
    /// [`wait_ref`](Self::wait_ref).
    ///
    /// # Errors
    /// [`PromiseError`] if the promise was rejected or abandoned.
    pub fn wait(&self) -> Result<T, PromiseError<E>>
    where
        T: Clone,
        E: Clone,
    {
        self.shared.wait(None);
        self.shared.outcome()
    }

    /// Does what [`wait`](Self::wait) does, but for at most `timeout`. Returns `None` when the time is up.
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

impl<T, E> Promise<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Runs `body` on a coroutine; its return value is the outcome. If it panics, is cancelled or runs out of stack,
    /// the promise is [abandoned](PromiseError::Abandoned). Does not block.
    ///
    /// # Panics
    /// If the coroutine cannot be made: see [`spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn(body: impl FnOnce() -> Result<T, E> + Send + 'static) -> Self {
        let (promise, resolver) = Self::new();
        crate::api::spawn::spawn(move || resolver.fill(|| body().map_err(PromiseError::Rejected)));
        promise
    }

    /// Adds a step that gets the outcome, whatever it is; all other steps are made of this one. The step runs on a
    /// coroutine of its own as soon as the outcome is there. Its return value is the outcome of the returned promise.
    /// If it panics, that promise is [abandoned](PromiseError::Abandoned). Does not block.
    ///
    /// # Panics
    /// If the default runtime does not start.
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
        let scheduler = expect_ambient();
        let (promise, resolver) = Promise::new();
        let source = self.clone();
        self.shared.add_step(Box::new(move |due| {
            resolver.fill_later(scheduler, site, due, || {
                let outcome = source.shared.outcome();
                drop(source);
                step(outcome)
            });
        }));
        promise
    }

    /// Adds a step that gets the value; a rejection or an abandonment passes by it. Runs and panics as
    /// [`chain`](Self::chain) says.
    #[track_caller]
    pub fn then<U>(&self, step: impl FnOnce(T) -> U + Send + 'static) -> Promise<U, E>
    where
        U: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| outcome.map(step))
    }

    /// Adds a step that gets the value and may fail; an error passes by it. Runs and panics as [`chain`](Self::chain)
    /// says.
    #[track_caller]
    pub fn and_then<U>(&self, step: impl FnOnce(T) -> Result<U, E> + Send + 'static) -> Promise<U, E>
    where
        U: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| {
            outcome.and_then(|value| step(value).map_err(PromiseError::Rejected))
        })
    }

    /// Adds a step that gets the error and may return a value instead; a value passes by it. Runs and panics as
    /// [`chain`](Self::chain) says.
    #[track_caller]
    pub fn fail<F>(&self, step: impl FnOnce(PromiseError<E>) -> Result<T, F> + Send + 'static) -> Promise<T, F>
    where
        F: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| {
            outcome.or_else(|error| step(error).map_err(PromiseError::Rejected))
        })
    }

    /// Adds a step that runs when the outcome is there, whatever it is. The outcome passes on after it. Runs and panics
    /// as [`chain`](Self::chain) says.
    #[track_caller]
    pub fn finally(&self, step: impl FnOnce() + Send + 'static) -> Self {
        self.step(Location::caller(), move |outcome| {
            step();
            outcome
        })
    }

    /// Returns a promise of all values, in the order of `promises`, or of the first error or abandonment in time. The
    /// first error decides at once. The rest is not cancelled: the other promises go on, and their outcomes are ignored
    /// here. Without promises the value is an empty vector. Does not block; the values are cloned on a coroutine.
    ///
    /// # Panics
    /// If the default runtime does not start.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError::Rejected};
    /// let both = Promise::all([Promise::spawn(|| Ok::<_, &str>(1)), Promise::resolved(2)]);
    /// assert_eq!(both.wait(), Ok(vec![1, 2]));
    /// let (slow, resolver) = Promise::<u32, &str>::new();
    /// assert_eq!(Promise::all([slow.clone(), Promise::rejected("no")]).wait(), Err(Rejected("no")));
    /// resolver.resolve(3).unwrap();
    /// assert_eq!(slow.wait(), Ok(3)); // it went on
    /// ```
    #[track_caller]
    pub fn all(promises: impl IntoIterator<Item = Self>) -> Promise<Vec<T>, E> {
        let (scheduler, site) = (expect_ambient(), Location::caller());
        let promises: Arc<[Self]> = promises.into_iter().collect();
        let (all, resolver) = Promise::new();
        if promises.is_empty() {
            // Nobody else can have decided it.
            let _ = resolver.settle(Ok(Vec::new()));
        }
        let missing = Arc::new(Monitor::new(promises.len()));
        for promise in promises.iter() {
            let (source, promises) = (promise.clone(), promises.clone());
            let (missing, resolver) = (missing.clone(), resolver.clone());
            promise.shared.add_step(Box::new(move |due| {
                let failed = source.shared.has_failed();
                let decides = missing.with(|missing| {
                    let waits = *missing > 0;
                    *missing = if failed { 0 } else { missing.saturating_sub(1) };
                    waits && *missing == 0
                });
                if decides {
                    resolver.fill_later(scheduler, site, due, move || {
                        if failed {
                            source.shared.outcome().map(|_| Vec::new())
                        } else {
                            promises.iter().map(|one| one.shared.outcome()).collect()
                        }
                    });
                }
            }));
        }
        all
    }

    /// Returns a promise of the outcome that comes first. The rest is not cancelled: the other promises go on, and
    /// their outcomes are ignored here. Without promises it is [abandoned](PromiseError::Abandoned). Does not block.
    #[track_caller]
    pub fn race(promises: impl IntoIterator<Item = Self>) -> Self {
        let (first, resolver) = Self::new();
        for promise in promises {
            let resolver = resolver.clone();
            let source = promise.shared.clone();
            promise.shared.add_step(Box::new(move |due| {
                if let Some(outcome) = source.outcome.get() {
                    resolver.settle_with(outcome.clone(), due);
                }
            }));
        }
        first
    }
}

fn expect_ambient() -> &'static Scheduler {
    current_or_default().unwrap_or_else(|error| panic!("the runtime does not start: {error}"))
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

    fn has_failed(&self) -> bool {
        self.outcome.get().is_none_or(|outcome| outcome.is_err())
    }

    /// Runs the step once the promise is settled: on the settler's stack, or now.
    fn add_step(&self, step: Step) {
        let due = self.state.with(|state| {
            if state.settled {
                return Some(step);
            }
            state.steps.push(step);
            None
        });
        work_off(Due(due.into_iter().collect()));
    }
}

/// Begins the steps that are due, and the steps that become due by that. A step that cannot be started may drop values
/// of the user's, and that drop may panic. The other steps begin all the same. The first panic goes on afterwards,
/// unless the caller unwinds already.
fn work_off(mut due: Due) {
    let mut panic = None;
    while let Some(step) = due.0.pop_front() {
        if let Err(payload) = contained(|| step(&mut due)) {
            match panic {
                None => panic = Some(payload),
                // No code could receive a panic of its destructor.
                Some(_) => std::mem::forget(payload),
            }
        }
    }
    match panic {
        Some(payload) if !std::thread::panicking() => resume_unwind(payload),
        payload => std::mem::forget(payload),
    }
}

impl<T, E> Resolver<T, E>
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Gives the promise the outcome of `f`, on a coroutine. In a runtime that ends no coroutine can be made, and the
    /// promise is abandoned.
    fn fill_later(
        self,
        scheduler: &'static Scheduler,
        site: &'static Location<'static>,
        due: &mut Due,
        f: impl FnOnce() -> Outcome<T, E> + Send + 'static,
    ) {
        // This clone keeps the resolver in the closure from being the last one: the drop of the last one would begin
        // the steps that are due in a frame above this one.
        let resolver = self.clone();
        let spawned = spawn_on(scheduler, SpawnRequest::at(site), move || resolver.fill(f));
        if spawned.is_err() {
            self.settle_with(Arc::new(Err(PromiseError::Abandoned)), due);
        }
    }

    /// Gives the promise, which no other resolver decides, the outcome of `f`. If the coroutine is lost in `f`, the
    /// promise is abandoned.
    fn fill(self, f: impl FnOnce() -> Outcome<T, E>) {
        let other = self.clone();
        on_lost(move || {
            let _ = other.settle(Err(PromiseError::Abandoned));
        });
        let _ = self.settle(f());
    }
}

impl<T, E> Resolver<T, E> {
    /// Gives the promise its value: wakes its waiters and starts its steps. Does not block.
    ///
    /// # Errors
    /// The value, if the outcome is decided already.
    pub fn resolve(&self, value: T) -> Result<(), T> {
        match self.settle(Ok(value)) {
            Err(Ok(value)) => Err(value),
            _ => Ok(()),
        }
    }

    /// Gives the promise its error: wakes its waiters and starts its steps. Does not block.
    ///
    /// # Errors
    /// The error, if the outcome is decided already.
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
        due.0.extend(steps);
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
