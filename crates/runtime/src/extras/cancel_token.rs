//! A request to stop, as a value: for code that looks by itself when it stops, beside the cancellation of coroutines.
//!
//! A token is a channel that carries nothing and that the cancellation closes: so whoever waits for it, by itself or in
//! a `select!`, does so by what channels have already. Tokens form a tree. A child keeps its parent, through which
//! requests come from further up. A parent refers to its children weakly, and forgets those that are gone when it makes
//! others.

use crate::channel::{self, Receiver, Sender};
use crate::extras::after_func::after_func;
use crate::wait::monitor::{Monitor, MonitorWake};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A request to stop that many may look at and anybody may make. Clones are the same token.
///
/// It cancels nothing by itself: code that has it looks at it, waits for it, or has it as an arm of a
/// [`select!`](crate::select). Cancellation of a coroutine ([`JoinHandle::cancel`](crate::JoinHandle::cancel)) works on
/// code that knows nothing of it.
///
/// # Examples
/// ```
/// use silken::CancelToken;
/// use silken::channel::unbounded;
///
/// let stop = CancelToken::new();
/// let (jobs, queue) = unbounded::<u32>();
/// let worker = {
///     let stop = stop.child();
///     silken::spawn(move || {
///         let mut done = 0;
///         loop {
///             silken::select! {
///                 recv(queue) -> job => done += job.unwrap_or(0),
///                 recv(stop.done()) -> _ => return done,
///             }
///         }
///     })
/// };
/// jobs.send(7).unwrap();
/// while !jobs.is_empty() {
///     silken::yield_now();
/// }
/// stop.cancel();
/// assert_eq!(worker.join().unwrap(), 7);
/// ```
#[derive(Clone)]
pub struct CancelToken(Arc<TokenNode>);

struct TokenNode {
    /// Kept, so that a request reaches this one through it.
    parent: Option<CancelToken>,
    done: Receiver<Infallible>,
    state: Monitor<TokenState>,
}

struct TokenState {
    /// Keeps the channel open; none: cancelled.
    open: Option<Sender<Infallible>>,
    children: Vec<Weak<TokenNode>>,
    /// How many children there may be before those that are gone are forgotten.
    room: usize,
}

impl Drop for TokenNode {
    /// Not by recursion: a chain may be long.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut node) = parent.and_then(|token| Arc::into_inner(token.0)) {
            parent = node.parent.take();
        }
    }
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::below(None)
    }

    fn below(parent: Option<CancelToken>) -> Self {
        let (open, done) = channel::unbounded();
        let state = TokenState {
            open: Some(open),
            children: Vec::new(),
            room: 4,
        };
        Self(Arc::new(TokenNode {
            parent,
            done,
            state: Monitor::new(state),
        }))
    }

    /// A token that is cancelled with this one, or alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::below(Some(self.clone()));
        let weak = Arc::downgrade(&child.0);
        // Outside the lock: what is forgotten frees memory.
        let mut gone = Vec::new();
        let is_cancelled = self.0.state.with(|state| {
            if state.open.is_none() {
                return true;
            }
            if state.children.len() >= state.room {
                let (here, there) = std::mem::take(&mut state.children)
                    .into_iter()
                    .partition(|child| child.strong_count() > 0);
                (state.children, gone) = (here, there);
                state.room = (2 * state.children.len()).max(4);
            }
            state.children.push(weak);
            false
        });
        drop(gone);
        if is_cancelled {
            child.cancel();
        }
        child
    }

    /// Asks to stop, for good: this token and its children, and theirs. Does not block.
    pub fn cancel(&self) {
        let mut tokens = vec![self.0.clone()];
        while let Some(node) = tokens.pop() {
            let (open, children) = node.state.update(|state| {
                (
                    (state.open.take(), std::mem::take(&mut state.children)),
                    MonitorWake::None,
                )
            });
            // Closes the channel, which wakes all who wait.
            drop(open);
            tokens.extend(children.iter().filter_map(Weak::upgrade));
        }
    }

    /// [Cancels](Self::cancel) it when the time is over, if nobody does before.
    pub fn cancel_after(&self, timeout: Duration) {
        // A token that nobody has any more needs no cancelling.
        let node = Arc::downgrade(&self.0);
        after_func(timeout, move || {
            if let Some(node) = node.upgrade() {
                CancelToken(node).cancel();
            }
        });
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.state.with(|state| state.open.is_none())
    }

    /// Waits until it is cancelled.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds.
    pub fn wait(&self) {
        // Nothing is ever sent, so it ends when the channel is closed.
        let _ = self.0.done.recv();
    }

    /// As [`wait`](Self::wait), for at most `timeout`; whether it was cancelled.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let _ = self.0.done.recv_timeout(timeout);
        self.is_cancelled()
    }

    /// A channel that is closed by the cancellation (and when nobody has the token any more), for
    /// `recv(token.done()) -> _` in a [`select!`](crate::select).
    pub fn done(&self) -> &Receiver<Infallible> {
        &self.0.done
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
