//! How is a function applied to many items by several coroutines that borrow? [`par_map`] spawns them in a scope, and
//! they take the items from one shared iterator.

use crate::api::scope::scope;
use crate::coroutine::JoinError;
use crate::sched::SpawnRequest;
use crate::sync::Mutex;
use std::panic::Location;

/// Calls `f` with each item, on up to `concurrency` coroutines at once, and returns the results in the order of the
/// items. `f` may borrow. The items are taken from the iterator one by one, as they are needed. Without items there is
/// no coroutine, and the result is empty.
///
/// This suits work that waits: requests, queries, files. For work that computes, choose a `concurrency` equal to the
/// number of workers.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Scope`), or blocks the calling OS thread.
///
/// # Cancellation
/// Unwinds; the calls that are under way are cancelled and waited for.
///
/// # Panics
/// With a panic of `f` or of the iterator; the other calls are then cancelled. If a call cancels its own coroutine, so
/// that its result is missing. If `concurrency` is 0, or if a coroutine cannot be made.
///
/// # Examples
/// ```
/// let words = ["one", "three", "seven"];
/// let lengths = silken::par_map(2, &words, |word| word.len());
/// assert_eq!(lengths, [3, 5, 5]);
/// ```
#[track_caller]
pub fn par_map<I, R, F>(concurrency: usize, items: I, f: F) -> Vec<R>
where
    I: IntoIterator,
    I::IntoIter: Send,
    I::Item: Send,
    R: Send,
    F: Fn(I::Item) -> R + Sync,
{
    assert!(concurrency > 0, "somebody has to call it");
    let items = Mutex::new(items.into_iter().enumerate());
    // Poisoned: the iterator has panicked on another coroutine, and the scope passes that panic on.
    let next = || items.lock().ok()?.next();
    let work = |first| {
        let mut results = Vec::new();
        let mut at_hand = Some(first);
        while let Some((index, item)) = at_hand {
            results.push((index, f(item)));
            at_hand = next();
        }
        results
    };
    let site = Location::caller();
    let mut results: Vec<(usize, R)> = scope(|s| {
        s.cancel_on_panic(true);
        let mut workers = Vec::new();
        while workers.len() < concurrency
            && let Some(first) = next()
        {
            let worker = s.spawn_request(SpawnRequest::at(site), move || work(first));
            workers.push(worker.unwrap_or_else(|error| panic!("failed to spawn a coroutine: {error}")));
        }
        let (mut results, mut was_cancelled) = (Vec::new(), false);
        for worker in workers {
            match worker.join() {
                Ok(some) => results.extend(some),
                Err(JoinError::Panicked(payload)) => payload.resume(),
                // Cancelled because another call panicked, and that panic comes out soon; or cancelled alone, by its
                // own code.
                Err(_) => was_cancelled = true,
            }
        }
        assert!(!was_cancelled, "a call of par_map was cancelled");
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
