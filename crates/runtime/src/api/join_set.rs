//! Coroutines that are joined in the order in which they end.
//!
//! Each coroutine has a [`Notice`], which tells the set that it ends: its drop puts the coroutine's key into a queue.
//! So the next one that has ended is found without a look at all. A notice comes a moment before the end itself, which
//! the set then waits for: longer if thread-locals have slow destructors. A coroutine that was cancelled before it
//! began drops its closure, and the notice with it; one that runs out of stack is not unwound, and [`on_lost`] gives
//! its notice.

use crate::api::handle::{Coroutine, CoroutineId, JoinHandle};
use crate::api::spawn::{expect_spawned, spawn_on};
use crate::coroutine::{JoinError, WaitReason, on_lost};
use crate::runtime::default::current_or_default;
use crate::sched::SpawnRequest;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// The keys of those who end, in that order.
type Ended = Monitor<VecDeque<u64>>;

struct Notice {
    ended: Arc<Ended>,
    key: u64,
}

impl Drop for Notice {
    fn drop(&mut self) {
        self.ended.update(|ended| {
            ended.push_back(self.key);
            ((), MonitorWake::All)
        });
    }
}

/// A set of coroutines whose results are taken in the order in which they end. Dropping it cancels those that have not
/// been joined; tokio's type of that name.
///
/// # Examples
/// ```
/// let mut set = silken::JoinSet::new();
/// for n in 1..=3 {
///     set.spawn(move || n * n);
/// }
/// let mut sum = 0;
/// while let Some(square) = set.join_next() {
///     sum += square.unwrap();
/// }
/// assert_eq!(sum, 14);
/// ```
pub struct JoinSet<T> {
    handles: HashMap<u64, JoinHandle<T>>,
    ended: Arc<Ended>,
    next_key: u64,
}

impl<T> JoinSet<T> {
    /// A set without coroutines.
    pub fn new() -> Self {
        Self {
            handles: HashMap::new(),
            ended: Arc::new(Monitor::new(VecDeque::new())),
            next_key: 0,
        }
    }

    /// How many coroutines have not been joined.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether all have been joined.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Waits for the next coroutine to end, and takes its result; `None` when all have been joined.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the set is as it was.
    pub fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.join_next_with_id().map(|(_, result)| result)
    }

    /// As [`join_next`](Self::join_next), with the coroutine's number.
    pub fn join_next_with_id(&mut self) -> Option<(CoroutineId, Result<T, JoinError>)> {
        if self.handles.is_empty() {
            return None;
        }
        let key = self.ended.wait(WaitReason::Join, |ended, _| match ended.front() {
            Some(key) => Look::Done(*key),
            None => Look::Wait(None),
        });
        Some(self.join(key))
    }

    /// The result of one that has ended, if there is one. Waits no longer than its end takes.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        let key = self.ended.with(|ended| ended.front().copied())?;
        Some(self.join(key).1)
    }

    /// The key stays in the queue until the wait, which may unwind, is over.
    fn join(&mut self, key: u64) -> (CoroutineId, Result<T, JoinError>) {
        let handle = &self.handles[&key];
        handle.wait();
        let id = handle.coroutine().id();
        self.ended.with(|ended| ended.pop_front());
        let handle = self.handles.remove(&key).expect("each key is queued once");
        (id, handle.join_ended())
    }

    /// Waits for all, and gives their values in the order in which they ended.
    ///
    /// # Panics
    /// With the first panic that is met; the rest are cancelled then. When one was cancelled.
    pub fn join_all(mut self) -> Vec<T> {
        let mut values = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next() {
            match result {
                Ok(value) => values.push(value),
                Err(JoinError::Panicked(payload)) => payload.resume(),
                Err(error) => panic!("{error}"),
            }
        }
        values
    }

    /// Asks all to end: see [`JoinHandle::cancel`]. They are still to be joined.
    pub fn cancel_all(&self) {
        self.handles.values().for_each(JoinHandle::cancel);
    }

    /// [Cancels all](Self::cancel_all) and waits until they have ended.
    pub fn shutdown(&mut self) {
        self.cancel_all();
        while self.join_next().is_some() {}
    }

    /// Lets all run on, and forgets them.
    pub fn detach_all(&mut self) {
        self.handles.clear();
        self.ended = Arc::new(Monitor::new(VecDeque::new()));
    }
}

impl<T: Send + 'static> JoinSet<T> {
    /// Makes a coroutine, in the caller's runtime or the default one.
    ///
    /// # Panics
    /// When it cannot be made: see [`spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn(&mut self, body: impl FnOnce() -> T + Send + 'static) -> Coroutine {
        let key = self.next_key;
        self.next_key += 1;
        let notice = Notice {
            ended: self.ended.clone(),
            key,
        };
        let run = move || {
            let ended = notice.ended.clone();
            on_lost(move || drop(Notice { ended, key }));
            let _notice = notice;
            body()
        };
        let site = Location::caller();
        let spawned = current_or_default().and_then(|scheduler| spawn_on(scheduler, SpawnRequest::at(site), run));
        // One that is refused gives its notice all the same.
        if spawned.is_err() {
            self.ended.with(|ended| ended.retain(|ended| *ended != key));
        }
        let handle = expect_spawned(spawned);
        let coroutine = handle.coroutine();
        self.handles.insert(key, handle);
        coroutine
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
