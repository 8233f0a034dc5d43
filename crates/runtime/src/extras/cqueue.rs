//! A queue of events that coroutines send to one poller: a select whose arms are whole coroutines, added and removed
//! while it runs. [`scope`] has an example.
//!
//! The rest of this page is for those who change the code.
//!
//! # Protocol
//! [`scope`] makes a queue; [`Cqueue::add`] makes an *arm*, a child of that scope. An arm waits for anything (its top
//! half). Then it [sends](EventSender::send) an event, which waits until the event was polled. Then the arm goes on
//! (its bottom half). So an arm has at most one event in the queue, and does nothing that the poller has not asked for.
//! What it found is not lost: it goes with the event (`extra`), or waits in the arm. At the end of the scope all arms
//! are cancelled and waited for.
//!
//! The names are may's. In may a poll runs the bottom half before it returns, on the poller's time. Here the poll wakes
//! the arm, which runs beside the poller: an arm that blocks in its bottom half does not block the poll. Data for the
//! poller goes in the event.
//!
//! # Lifetimes
//! Arms may borrow what outlives the scope, since [`scope`] returns after they have ended. It is built on
//! [`crate::scope()`] and adds no unsafe code. (may's `add` accepts any lifetime, and frees what an arm still uses.)
//!
//! # Order
//! Events are numbered and polled in that order. So "polled" means "the first number in the queue is greater than this
//! event's": one number serves all arms.

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

/// An event that an arm has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<E = usize> {
    /// The arm's token.
    pub token: usize,
    /// The data that the arm sent.
    pub extra: E,
}

/// The reason why a poll returned no event.
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
    /// The arms that have ended since the last look, and whether by a panic.
    ended: Vec<(u64, bool)>,
}

type Shared<E> = Arc<Monitor<CqueueState<E>>>;

/// A queue and its arms: [`scope`] makes one and lends it to its closure. A dropped queue cancels its arms.
pub struct Cqueue<'scope, 'env: 'scope, E = usize> {
    scope: &'scope Scope<'scope, 'env>,
    shared: Shared<E>,
    arms: RefCell<Arms<'scope>>,
}

struct Arms<'scope> {
    handles: HashMap<u64, ScopedJoinHandle<'scope, ()>>,
    next: u64,
}

/// Runs `body` with a queue, to which `body` adds arms and which it polls. Returns the value of `body`, after the arms
/// that still run have been cancelled and have ended.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Scope`), or blocks the calling OS thread, until the last arm has ended.
///
/// # Cancellation
/// A cancelled caller cancels the arms, waits for them, and unwinds: see [`crate::scope()`].
///
/// # Panics
/// With the panic of `body`, or if an arm panicked and no poll reported it.
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
    /// Adds an arm: runs it on a coroutine, with a sender for events that carry `token`. Several arms may have the same
    /// token. Does not block.
    ///
    /// # Panics
    /// If the coroutine cannot be made. With the panic of another arm that has panicked since the last call.
    ///
    /// # Examples
    /// ```
    /// silken::cqueue::scope(|queue| {
    ///     let arm = queue.add(7, |events| events.send("ready"));
    ///     assert_eq!(arm.token(), 7);
    ///     assert_eq!(queue.poll(None).unwrap().extra, "ready");
    /// });
    /// ```
    #[track_caller]
    pub fn add(&self, token: usize, arm: impl FnOnce(EventSender<E>) + Send + 'scope) -> Selector {
        self.reap();
        let mut arms = self.arms.borrow_mut();
        let number = arms.next;
        arms.next += 1;
        self.shared.with(|state| {
            state.alive += 1;
            // Each arm has at most one event in the queue, and one end. So sending allocates nothing, and ending seldom
            // does.
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

    /// Waits for the next event, for at most `timeout`, or without a limit if it is `None`. The arm that sent the event
    /// goes on.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Select`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the event stays in the queue.
    ///
    /// # Errors
    /// [`PollError::Timeout`] if the time is up first; [`PollError::Finished`] if all arms have ended and all their
    /// events were polled.
    ///
    /// # Panics
    /// With the panic of an arm that has panicked.
    ///
    /// # Examples
    /// ```
    /// use silken::cqueue::{self, PollError};
    /// use std::time::Duration;
    /// cqueue::scope(|queue| {
    ///     let arm = queue.add(0, |events| {
    ///         silken::park();
    ///         events.send(1);
    ///     });
    ///     assert_eq!(queue.poll(Some(Duration::from_millis(1))), Err(PollError::Timeout));
    ///     arm.remove();
    ///     assert_eq!(queue.poll(None), Err(PollError::Finished));
    /// });
    /// ```
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

    /// Number of arms that have not ended.
    pub fn len(&self) -> usize {
        self.shared.with(|state| state.alive)
    }

    /// Whether all arms have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the arms that have ended, and resumes the panic of one that panicked.
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

/// A reference to an arm, which [`Cqueue::add`] returns. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Selector {
    token: usize,
    coroutine: Coroutine,
}

impl Selector {
    /// Cancels the arm: its present or next wait unwinds it. An event that it has sent stays in the queue. Does not
    /// block.
    pub fn remove(self) {
        self.coroutine.cancel();
    }

    /// The arm's token.
    pub fn token(&self) -> usize {
        self.token
    }
}

/// The sender of an arm's events: [`Cqueue::add`] passes it to the arm.
///
/// # Examples
/// ```
/// use silken::cqueue::{Event, EventSender};
/// silken::cqueue::scope(|queue| {
///     queue.add(3, |events: EventSender<&str>| events.send("ready"));
///     assert_eq!(queue.poll(None), Ok(Event { token: 3, extra: "ready" }));
/// });
/// ```
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
    /// Unwinds when the scope ends or the arm is [removed](Selector::remove), among other reasons; the event stays in
    /// the queue.
    ///
    /// # Examples
    /// ```
    /// use silken::cqueue::{self, Event, EventSender};
    ///
    /// cqueue::scope(|queue| {
    ///     queue.add(1, |events: EventSender<u32>| (0..2).for_each(|k| events.send(k)));
    ///     assert_eq!(queue.poll(None), Ok(Event { token: 1, extra: 0 }));
    ///     assert_eq!(queue.poll(None), Ok(Event { token: 1, extra: 1 }));
    /// });
    /// ```
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

    /// Returns the arm's token: may's name for [`token`](Self::token).
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

/// Adds an arm to a [`Cqueue`](crate::extras::cqueue::Cqueue) that repeats three steps for ever: it evaluates the top
/// expression, which may wait; it sends an event with its token; it runs the bottom. The form is `cqueue_add!(queue,
/// token, pattern = top => bottom)`.
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

/// Does what [`cqueue_add!`](crate::cqueue_add) does, but the arm takes its steps once and ends.
///
/// # Examples
/// ```
/// silken::cqueue::scope(|queue| {
///     silken::cqueue_add_oneshot!(queue, 7, _ = silken::sleep_ms(1) => {});
///     assert_eq!(queue.poll(None).unwrap().token, 7);
///     assert_eq!(queue.poll(None), Err(silken::cqueue::PollError::Finished));
/// });
/// ```
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
