//! How does a function run later, when the outcome of a promise is there?
//!
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

use super::{Outcome, Promise, PromiseError, PromiseShared, Resolver};
use crate::api::spawn::spawn_on;
use crate::coroutine::{contained, on_lost};
use crate::runtime::default::current_or_default;
use crate::sched::{Scheduler, SpawnRequest};
use std::collections::VecDeque;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;

/// Begins a step; the steps that become due by that are added to the list.
pub(super) type Step = Box<dyn FnOnce(&mut Due) + Send>;

/// The steps that are due: see the head of the file.
#[derive(Default)]
pub(super) struct Due(VecDeque<Step>);

impl Due {
    pub(super) fn extend(&mut self, steps: Vec<Step>) {
        self.0.extend(steps);
    }
}

impl<T, E> Promise<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Runs `body` on a coroutine; its return value is the outcome. If it panics, is cancelled or runs out of stack,
    /// the promise is [abandoned](PromiseError::Abandoned). Does not block. Dropping the promise does not stop `body`.
    ///
    /// # Panics
    /// If the coroutine cannot be made: see [`spawn`](crate::spawn).
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let number = Promise::spawn(|| "42".parse::<u32>());
    /// assert_eq!(number.wait(), Ok(42));
    /// let lost = Promise::<(), ()>::spawn(|| panic!("on purpose"));
    /// assert_eq!(lost.wait(), Err(PromiseError::Abandoned));
    /// ```
    #[track_caller]
    pub fn spawn(body: impl FnOnce() -> Result<T, E> + Send + 'static) -> Self {
        let (promise, resolver) = Self::new();
        crate::api::spawn::spawn(move || resolver.fill(|| body().map_err(PromiseError::Rejected)));
        promise
    }

    /// Adds a step that gets the outcome, whatever it is; all other steps are made of this one. The step runs on a
    /// coroutine of its own as soon as the outcome is there, which may be now. Its return value is the outcome of the
    /// returned promise. Several steps of one promise run beside each other, in no order. Does not block.
    ///
    /// A step that panics, is cancelled, or cannot be started because its runtime has ended
    /// [abandons](PromiseError::Abandoned) the returned promise. The step runs even if the returned promise is dropped.
    ///
    /// # Panics
    /// If the default runtime does not start.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let (promise, resolver) = Promise::<u32, &str>::new();
    /// let told = promise.chain(|outcome| match outcome {
    ///     Ok(number) => Ok::<_, ()>(format!("{number}")),
    ///     Err(PromiseError::Rejected(why)) => Ok(format!("rejected: {why}")),
    ///     Err(PromiseError::Abandoned) => Ok("abandoned".to_string()),
    /// });
    /// drop(resolver);
    /// assert_eq!(told.wait().unwrap(), "abandoned");
    /// ```
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

    /// Adds a step that gets the value. A rejection or an abandonment passes by it, to the returned promise. Runs,
    /// panics and is cancelled as [`chain`](Self::chain) says. Does not block.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// assert_eq!(Promise::<u32, ()>::resolved(21).then(|number| number * 2).wait(), Ok(42));
    /// let passed = Promise::<u32, _>::rejected("no").then(|number| number * 2);
    /// assert_eq!(passed.wait(), Err(PromiseError::Rejected("no")));
    /// ```
    #[track_caller]
    pub fn then<U>(&self, step: impl FnOnce(T) -> U + Send + 'static) -> Promise<U, E>
    where
        U: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| outcome.map(step))
    }

    /// Adds a step that gets the value and may fail. An error passes by it, to the returned promise. Runs, panics and
    /// is cancelled as [`chain`](Self::chain) says. Does not block.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let halved = |number: u32| if number % 2 == 0 { Ok(number / 2) } else { Err("odd") };
    /// assert_eq!(Promise::resolved(8).and_then(halved).wait(), Ok(4));
    /// assert_eq!(Promise::resolved(7).and_then(halved).wait(), Err(PromiseError::Rejected("odd")));
    /// ```
    #[track_caller]
    pub fn and_then<U>(&self, step: impl FnOnce(T) -> Result<U, E> + Send + 'static) -> Promise<U, E>
    where
        U: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| {
            outcome.and_then(|value| step(value).map_err(PromiseError::Rejected))
        })
    }

    /// Adds a step that gets the error, an abandonment too, and may return a value instead. A value passes by it, to
    /// the returned promise. Runs, panics and is cancelled as [`chain`](Self::chain) says. Does not block.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let (promise, resolver) = Promise::<u32, &str>::new();
    /// let mended = promise.fail(|error| match error {
    ///     PromiseError::Rejected(why) => Err(why),
    ///     PromiseError::Abandoned => Ok(0),
    /// });
    /// drop(resolver);
    /// assert_eq!(mended.wait(), Ok(0));
    /// ```
    #[track_caller]
    pub fn fail<F>(&self, step: impl FnOnce(PromiseError<E>) -> Result<T, F> + Send + 'static) -> Promise<T, F>
    where
        F: Send + Sync + 'static,
    {
        self.step(Location::caller(), move |outcome| {
            outcome.or_else(|error| step(error).map_err(PromiseError::Rejected))
        })
    }

    /// Adds a step that runs when the outcome is there, whatever it is. The outcome passes on after it, to the returned
    /// promise. Runs, panics and is cancelled as [`chain`](Self::chain) says: if it panics, the outcome does not pass
    /// on, and the returned promise is abandoned. Does not block.
    ///
    /// # Examples
    /// ```
    /// use silken::Promise;
    /// let (done, closed) = silken::channel::oneshot::channel();
    /// let outcome = Promise::<u32, ()>::spawn(|| Ok(7)).finally(move || done.send("closed").unwrap());
    /// assert_eq!((outcome.wait(), closed.recv()), (Ok(7), Ok("closed")));
    /// ```
    #[track_caller]
    pub fn finally(&self, step: impl FnOnce() + Send + 'static) -> Self {
        self.step(Location::caller(), move |outcome| {
            step();
            outcome
        })
    }
}

pub(super) fn expect_ambient() -> &'static Scheduler {
    current_or_default().unwrap_or_else(|error| panic!("the runtime does not start: {error}"))
}

impl<T, E> PromiseShared<T, E> {
    /// Runs the step once the promise is settled: on the settler's stack, or now.
    pub(super) fn add_step(&self, step: Step) {
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
pub(super) fn work_off(mut due: Due) {
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
    pub(super) fn fill_later(
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
