//! How are coroutines joined in the order in which they end? Each coroutine has a [`Notice`], which tells the set that
//! the coroutine ends: the drop of the notice puts the coroutine's key into a queue. So the set finds the next ended
//! coroutine without looking at the others.
//!
//! A notice comes a moment before the end itself, and the set then waits for the end. That takes longer if
//! thread-locals have slow destructors. A coroutine that was cancelled before it began drops its closure, and the
//! notice with it. A coroutine that runs out of stack is not unwound; [`on_lost`] gives its notice.

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

/// The keys of the coroutines that end, in that order.
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

/// A set of coroutines whose results are taken in the order in which they end: tokio's type of that name. A dropped set
/// cancels the coroutines that have not been joined, and does not wait for them.
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
    /// Makes a set without coroutines.
    pub fn new() -> Self {
        Self {
            handles: HashMap::new(),
            ended: Arc::new(Monitor::new(VecDeque::new())),
            next_key: 0,
        }
    }

    /// Number of coroutines that have not been joined, ended or not.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether all coroutines have been joined.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Waits for the next coroutine to end, and returns its result; `None` if all have been joined.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the set is unchanged.
    ///
    /// # Examples
    /// ```
    /// let mut set = silken::JoinSet::new();
    /// set.spawn(|| "fast");
    /// let slow = set.spawn(|| {
    ///     silken::park();
    ///     "slow"
    /// });
    /// assert_eq!(set.join_next().unwrap().unwrap(), "fast");
    /// slow.unpark();
    /// assert_eq!(set.join_next().unwrap().unwrap(), "slow");
    /// assert!(set.join_next().is_none());
    /// ```
    pub fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.join_next_with_id().map(|(_, result)| result)
    }

    /// Does what [`join_next`](Self::join_next) does, and returns the coroutine's number too.
    ///
    /// # Examples
    /// ```
    /// let mut set = silken::JoinSet::new();
    /// let id = set.spawn(|| 7).id();
    /// assert!(matches!(set.join_next_with_id(), Some((ended, Ok(7))) if ended == id));
    /// ```
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

    /// Returns the result of a coroutine that has ended; `None` if none has ended, or all have been joined. Does not
    /// wait for a coroutine to end. It may wait for the destructors of a coroutine whose body has ended.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait; the set is unchanged.
    ///
    /// # Examples
    /// ```
    /// let mut set = silken::JoinSet::new();
    /// let sleeper = set.spawn(silken::park);
    /// assert!(set.try_join_next().is_none());
    /// sleeper.unpark();
    /// set.join_next().unwrap().unwrap();
    /// ```
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        let key = self.ended.with(|ended| ended.front().copied())?;
        Some(self.join(key).1)
    }

    /// The key stays in the queue until the wait is over, since the wait may unwind.
    fn join(&mut self, key: u64) -> (CoroutineId, Result<T, JoinError>) {
        let handle = &self.handles[&key];
        handle.wait();
        let id = handle.coroutine().id();
        self.ended.with(|ended| ended.pop_front());
        let handle = self.handles.remove(&key).expect("each key is queued once");
        (id, handle.join_ended())
    }

    /// Waits for all coroutines, and returns their values in the order in which they ended.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the coroutines that have not been joined are cancelled.
    ///
    /// # Panics
    /// With the first panic of a coroutine that it meets, or if a coroutine was cancelled or ran out of stack. The
    /// coroutines that have not been joined are then cancelled.
    ///
    /// # Examples
    /// ```
    /// let mut set = silken::JoinSet::new();
    /// (1..=3).for_each(|n| drop(set.spawn(move || n * n)));
    /// assert_eq!(set.join_all().into_iter().sum::<i32>(), 14);
    /// ```
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

    /// Asks all coroutines to end: see [`JoinHandle::cancel`]. Does not block. They stay in the set, to be joined.
    ///
    /// # Examples
    /// ```
    /// let mut set = silken::JoinSet::new();
    /// set.spawn(silken::park);
    /// set.cancel_all();
    /// assert!(set.join_next().unwrap().unwrap_err().is_cancelled());
    /// ```
    pub fn cancel_all(&self) {
        self.handles.values().for_each(JoinHandle::cancel);
    }

    /// [Cancels](Self::cancel_all) all coroutines and waits until they have ended. Their results are dropped, panics
    /// included.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Join`), or blocks the calling OS thread. A coroutine that never waits
    /// again is waited for as long as it runs.
    ///
    /// # Cancellation
    /// Unwinds; the coroutines that have not been joined stay in the set, cancelled.
    ///
    /// # Examples
    /// ```
    /// let mut set = silken::JoinSet::new();
    /// set.spawn(silken::park);
    /// set.shutdown();
    /// assert!(set.is_empty());
    /// ```
    pub fn shutdown(&mut self) {
        self.cancel_all();
        while self.join_next().is_some() {}
    }

    /// Detaches all coroutines: they go on, and the set is empty afterwards.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = silken::channel::unbounded();
    /// let mut set = silken::JoinSet::new();
    /// set.spawn(move || sender.send("still here").unwrap());
    /// set.detach_all();
    /// drop(set);
    /// assert_eq!(receiver.recv(), Ok("still here"));
    /// ```
    pub fn detach_all(&mut self) {
        self.handles.clear();
        self.ended = Arc::new(Monitor::new(VecDeque::new()));
    }
}

impl<T: Send + 'static> JoinSet<T> {
    /// Spawns a coroutine of the set, in the caller's runtime; on an OS thread, in that of the running
    /// `#[silken::main]`, otherwise in the default one. Returns a reference to it.
    ///
    /// # Panics
    /// If the coroutine cannot be made: see [`spawn`](crate::spawn). The set is unchanged then.
    ///
    /// # Examples
    /// ```
    /// let mut set = silken::JoinSet::new();
    /// let coroutine = set.spawn(|| silken::current().id());
    /// assert_eq!(set.join_next().unwrap().unwrap(), coroutine.id());
    /// ```
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
        // A coroutine that was refused gives its notice all the same.
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
