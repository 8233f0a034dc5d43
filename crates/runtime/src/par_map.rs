//! A function applied to many things, by several coroutines that borrow.

use crate::scope::scope;
use crate::sync::Mutex;

/// Calls `f` with each item, on up to `concurrency` coroutines at once, and gives the results in the order of the items. `f` may borrow. Items are taken from the iterator one by
/// one, as they are needed.
///
/// For work that waits: requests, queries, files. Work that computes is better served by `concurrency` equal to the number of workers.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Scope`), or blocks the calling OS thread.
///
/// # Cancellation
/// Unwinds; the calls that go on are cancelled and waited for.
///
/// # Panics
/// With a panic of `f` or of the iterator; then the other calls are cancelled. When `concurrency` is 0, or a coroutine cannot be made.
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
    R: Send,
    F: Fn(I::Item) -> R + Sync,
{
    assert!(concurrency > 0, "somebody has to call it");
    let items = items.into_iter();
    let coroutines = items.size_hint().1.map_or(concurrency, |most| most.min(concurrency));
    let items = Mutex::new(items.enumerate());
    // Poisoned: somebody has panicked in the iterator, and the scope passes that on.
    let next = || items.lock().ok()?.next();
    let work = || {
        let mut results = Vec::new();
        while let Some((index, item)) = next() {
            results.push((index, f(item)));
        }
        results
    };
    let mut results: Vec<(usize, R)> = scope(|s| {
        s.cancel_on_panic(true);
        let workers: Vec<_> = (0..coroutines).map(|_| s.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| match worker.join() {
                Ok(results) => results,
                Err(error) => match error.into_panic() {
                    Ok(payload) => std::panic::resume_unwind(payload),
                    // By the panic of another, which comes out soon.
                    Err(_) => Vec::new(),
                },
            })
            .collect()
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
