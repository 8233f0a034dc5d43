//! A queue of events that coroutines send to one who polls: a select whose arms are whole coroutines, added and removed
//! while it runs.
//!
//! # Protocol
//! [`scope`] gives a queue; [`Cqueue::add`] makes an *arm*, a child of that scope. An arm waits for whatever it likes
//! (its top half), then [sends](EventSender::send) an event, which waits until the event was polled, and goes on (its
//! bottom half). So an arm has at most one event in the queue, does nothing that nobody has asked for, and what it
//! found is not lost: it goes with the event (`extra`), or waits in the arm. At the scope's end all arms are cancelled,
//! and waited for.
//!
//! In may, from which the names are, a poll runs the bottom half before it returns, on the poller's time. Here the arm
//! is woken and runs beside the poller: an arm that blocks in its bottom half does not block the poll. What the poller
//! is to have, the event carries.
//!
//! # Lifetimes
//! Arms may borrow what outlives the scope, since [`scope`] returns when they have ended: it is built on
//! [`crate::scope()`] and adds no unsafe code. (may's `add` accepts any lifetime, and frees what an arm still uses.)
//!
//! # Order
//! Events are numbered and polled in that order, so "polled" is "the first number in the queue is greater than mine":
//! one number serves all arms.

use crate::api::handle::Coroutine;
use crate::api::scope::{Scope, ScopedJoinHandle};
use crate::coroutine::{WaitReason, is_panicking, lost};
use crate::wait::deadline_after;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What an arm has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<E = usize> {
    /// The arm's token.
    pub token: usize,
    /// What it sent with it.
    pub extra: E,
}

/// Why a poll has no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollError {
    /// The time is up.
    Timeout,
    /// All arms have ended, and all their events were polled.
    Finished,
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "there was no event in time",
            Self::Finished => "all arms of the queue have ended",
        })
    }
}

impl std::error::Error for PollError {}

struct CqueueState<E> {
    events: VecDeque<Event<E>>,
    /// The number of the event that is polled next.
    first: u64,
    alive: usize,
    /// Arms that have ended since the last look, and whether by a panic.
    ended: Vec<(u64, bool)>,
}

type Shared<E> = Arc<Monitor<CqueueState<E>>>;

/// A queue and its arms: see [`scope`].
pub struct Cqueue<'scope, 'env: 'scope, E = usize> {
    scope: &'scope Scope<'scope, 'env>,
    shared: Shared<E>,
    arms: RefCell<Arms<'scope>>,
}

struct Arms<'scope> {
    handles: HashMap<u64, ScopedJoinHandle<'scope, ()>>,
    next: u64,
}

/// Runs `body` with a queue to which it adds arms, and which it polls. Returns when `body` has; arms that still run are
/// cancelled, and waited for.
///
/// # Blocking
/// As [`crate::scope()`].
///
/// # Panics
/// With `body`'s panic, or when an arm panicked and no poll reported it.
///
/// # Examples
/// ```
/// use silken::cqueue::{self, PollError};
/// let (tx, rx) = silken::channel::unbounded();
/// let words = ["a", "b"];
/// let got = cqueue::scope(|queue| {
///     for (token, word) in words.iter().enumerate() {
///         let tx = &tx;
///         queue.add(token, move |events| {
///             tx.send(*word).unwrap();
///             events.send(word.len());
///         });
///     }
///     let mut tokens = vec![];
///     loop {
///         match queue.poll(None) {
///             Ok(event) => tokens.push((event.token, event.extra)),
///             Err(PollError::Finished) => break tokens,
///             Err(PollError::Timeout) => unreachable!(),
///         }
///     }
/// });
/// assert_eq!(got.len(), 2);
/// assert!(got.contains(&(0, 1)) && got.contains(&(1, 1)));
/// assert_eq!(rx.len(), 2);
/// ```
#[track_caller]
pub fn scope<'env, E, R, F>(body: F) -> R
where
    E: Send + 'env,
    F: for<'scope> FnOnce(&Cqueue<'scope, 'env, E>) -> R,
{
    crate::api::scope::scope(|scope| {
        let queue = Cqueue {
            scope,
            shared: Arc::new(Monitor::new(CqueueState {
                events: VecDeque::new(),
                first: 0,
                alive: 0,
                ended: Vec::new(),
            })),
            arms: RefCell::new(Arms {
                handles: HashMap::new(),
                next: 0,
            }),
        };
        body(&queue)
    })
}

impl<'scope, 'env, E: Send + 'env> Cqueue<'scope, 'env, E> {
    /// Adds an arm: runs it on a coroutine, with the means to send events under the token. Several arms may have the
    /// same token.
    ///
    /// # Panics
    /// When the coroutine cannot be made; with the panic of an arm that has ended by one.
    #[track_caller]
    pub fn add(&self, token: usize, arm: impl FnOnce(EventSender<E>) + Send + 'scope) -> Selector {
        self.reap();
        let mut arms = self.arms.borrow_mut();
        let number = arms.next;
        arms.next += 1;
        self.shared.with(|state| {
            state.alive += 1;
            // Each arm has one event in the queue at most, and one end: so sending allocates nothing, and ending
            // seldom.
            state.events.reserve(state.alive);
            state.ended.reserve(state.alive);
        });
        let end = CqueueEnd {
            shared: self.shared.clone(),
            number,
        };
        let events = EventSender {
            shared: self.shared.clone(),
            token,
        };
        let handle = self.scope.spawn(move || {
            let _end = end;
            arm(events);
        });
        let coroutine = handle.coroutine();
        arms.handles.insert(number, handle);
        Selector { token, coroutine }
    }

    /// Waits for the next event, for at most `timeout`. The arm that sent it goes on.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Select`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the event is left in the queue.
    ///
    /// # Errors
    /// See [`PollError`].
    ///
    /// # Panics
    /// With the panic of an arm that has ended by one.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<Event<E>, PollError> {
        let deadline_ns = timeout.map(deadline_after);
        loop {
            self.reap();
            let polled = self.shared.wait(WaitReason::Select, |state, expired| {
                if state.ended.iter().any(|(_, panicked)| *panicked) {
                    Look::Done(None)
                } else if !state.events.is_empty() {
                    Look::Done(Some(Ok(())))
                } else if state.alive == 0 {
                    Look::Done(Some(Err(PollError::Finished)))
                } else if expired {
                    Look::Done(Some(Err(PollError::Timeout)))
                } else {
                    Look::Wait(deadline_ns)
                }
            });
            match polled {
                None => {}
                Some(Err(PollError::Finished)) => return Err(lost(PollError::Finished)),
                Some(Err(error)) => return Err(error),
                Some(Ok(())) => {
                    let event = self.shared.update(|state| {
                        let event = state.events.pop_front();
                        state.first += u64::from(event.is_some());
                        (event, MonitorWake::All)
                    });
                    if let Some(event) = event {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// How many arms have not ended.
    pub fn len(&self) -> usize {
        self.shared.with(|state| state.alive)
    }

    /// Whether all arms have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the arms that have ended, and goes on with the panic of one that panicked.
    fn reap(&self) {
        let ended = self.shared.with(|state| std::mem::take(&mut state.ended));
        let mut panicked = None;
        for (number, has_panicked) in ended {
            let handle = self.arms.borrow_mut().handles.remove(&number);
            match handle {
                Some(handle) if has_panicked && panicked.is_none() => panicked = Some(handle),
                _ => {}
            }
        }
        if let Some(Err(Ok(payload))) = panicked.map(|handle| handle.join().map_err(crate::JoinError::into_panic)) {
            std::panic::resume_unwind(payload);
        }
    }
}

impl<E> Drop for Cqueue<'_, '_, E> {
    fn drop(&mut self) {
        for handle in self.arms.get_mut().handles.values() {
            handle.cancel();
        }
    }
}

impl<E> fmt::Debug for Cqueue<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cqueue").finish_non_exhaustive()
    }
}

/// An arm as its adder sees it.
#[derive(Clone, Debug)]
pub struct Selector {
    token: usize,
    coroutine: Coroutine,
}

impl Selector {
    /// Cancels the arm: its present or next wait unwinds it. An event that it has sent stays in the queue.
    pub fn remove(self) {
        self.coroutine.cancel();
    }

    /// The arm's token.
    pub fn token(&self) -> usize {
        self.token
    }
}

/// An arm's means to send events.
pub struct EventSender<E = usize> {
    shared: Shared<E>,
    token: usize,
}

impl<E> EventSender<E> {
    /// Sends an event, and waits until it was polled.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Send`).
    ///
    /// # Cancellation
    /// Unwinds, as when the scope ends or the arm is [removed](Selector::remove); the event stays in the queue.
    pub fn send(&self, extra: E) {
        let token = self.token;
        let number = self.shared.update(|state| {
            state.events.push_back(Event { token, extra });
            (state.first + state.events.len() as u64 - 1, MonitorWake::All)
        });
        self.shared.wait(WaitReason::Send, |state, _| {
            if state.first > number {
                Look::Done(())
            } else {
                Look::Wait(None)
            }
        });
    }

    /// The arm's token.
    pub fn token(&self) -> usize {
        self.token
    }

    /// The arm's token, as may has it.
    pub fn get_token(&self) -> usize {
        self.token
    }
}

impl<E> fmt::Debug for EventSender<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Tells the queue that its arm has ended.
struct CqueueEnd<E> {
    shared: Shared<E>,
    number: u64,
}

impl<E> Drop for CqueueEnd<E> {
    fn drop(&mut self) {
        let panicked = is_panicking();
        self.shared.update(|state| {
            state.alive -= 1;
            state.ended.push((self.number, panicked));
            ((), MonitorWake::All)
        });
    }
}

/// Adds an arm to a [`Cqueue`](crate::extras::cqueue::Cqueue) that does this again and again: it waits for the top
/// expression, sends an event with its token, and runs the bottom:
/// `cqueue_add!(queue, token, pattern = top => bottom)`.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::channel::unbounded();
/// (1..=3).for_each(|n| tx.send(n).unwrap());
/// let sum = std::sync::atomic::AtomicU32::new(0);
/// silken::cqueue::scope(|queue| {
///     silken::cqueue_add!(queue, 7, n = rx.recv().unwrap() => sum.fetch_add(n, std::sync::atomic::Ordering::Relaxed));
///     for _ in 0..3 {
///         assert_eq!(queue.poll(None).unwrap().token, 7);
///     }
/// });
/// assert!(sum.into_inner() >= 3);
/// ```
#[macro_export]
macro_rules! cqueue_add {
    ($queue:expr, $token:expr, $pattern:pat = $top:expr => $bottom:expr) => {
        $queue.add($token, |events| {
            loop {
                let $pattern = $top;
                events.send(events.token());
                $bottom;
            }
        })
    };
}

/// As [`cqueue_add!`](crate::cqueue_add), once.
#[macro_export]
macro_rules! cqueue_add_oneshot {
    ($queue:expr, $token:expr, $pattern:pat = $top:expr => $bottom:expr) => {
        $queue.add($token, |events| {
            let $pattern = $top;
            events.send(events.token());
            $bottom;
        })
    };
}
