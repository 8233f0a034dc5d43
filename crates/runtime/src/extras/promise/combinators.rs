//! How do several promises become one? A step on each of them counts, or settles the new promise.
//!
//! Both functions leave the given promises as they are: no promise is cancelled, since others may wait for it.

use super::steps::expect_ambient;
use super::{Promise, PromiseShared};
use crate::wait::monitor::Monitor;
use std::panic::Location;
use std::sync::Arc;

impl<T, E> Promise<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
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

    /// Returns a promise of the outcome that comes first, a value or not. The rest is not cancelled: the other promises
    /// go on, and their outcomes are ignored here. If several are settled already, the first in order wins. Without
    /// promises it is [abandoned](super::PromiseError::Abandoned). Does not block, and makes no coroutine.
    ///
    /// # Examples
    /// ```
    /// use silken::{Promise, PromiseError};
    /// let (slow, _resolver) = Promise::<u32, &str>::new();
    /// assert_eq!(Promise::race([slow.clone(), Promise::resolved(7)]).wait(), Ok(7));
    /// assert_eq!(Promise::race([slow, Promise::rejected("no")]).wait(), Err(PromiseError::Rejected("no")));
    /// assert_eq!(Promise::<u32, &str>::race([]).wait(), Err(PromiseError::Abandoned));
    /// ```
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

impl<T, E> PromiseShared<T, E> {
    fn has_failed(&self) -> bool {
        self.outcome.get().is_none_or(|outcome| outcome.is_err())
    }
}
