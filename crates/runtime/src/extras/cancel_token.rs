//! How can code check for a request to stop by itself, beside the cancellation of coroutines? This file holds such a
//! request as a value.
//!
//! A token is a channel that carries nothing; the cancellation closes it. So a waiter, in a `select!` or not, uses what
//! channels have already. Tokens form a tree. A child holds its parent, through which requests from further up reach
//! it. A parent refers to its children weakly. When it makes further children it forgets those that are gone.

use crate::channel::{self, Receiver, Sender};
use crate::extras::after_func::after_func;
use crate::wait::monitor::{Monitor, MonitorWake};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A request to stop, which many may check and any code may make; compare the cancellation of Go's `context`. A clone
/// is the same token.
///
/// A token cancels nothing by itself: code that holds it checks it, waits for it, or uses it as an arm of a
/// [`select!`](crate::select). In contrast, the cancellation of a coroutine
/// ([`JoinHandle::cancel`](crate::JoinHandle::cancel)) works on code that does not know of it.
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
    /// Held so that a request reaches this token through it.
    parent: Option<CancelToken>,
    done: Receiver<Infallible>,
    state: Monitor<TokenState>,
}

struct TokenState {
    /// Keeps the channel open; `None`: cancelled.
    open: Option<Sender<Infallible>>,
    children: Vec<Weak<TokenNode>>,
    /// Number of children at which those that are gone are forgotten.
    room: usize,
}

impl Drop for TokenNode {
    /// Not recursive: a chain may be long.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut node) = parent.and_then(|token| Arc::into_inner(token.0)) {
            parent = node.parent.take();
        }
    }
}

impl CancelToken {
    /// Makes a token that is not cancelled.
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

    /// Makes a child: it is cancelled with this token, or alone. A child of a cancelled token is cancelled from the
    /// start.
    ///
    /// # Examples
    /// ```
    /// let stop = silken::CancelToken::new();
    /// let (one, other) = (stop.child(), stop.child());
    /// one.cancel();
    /// assert!(!stop.is_cancelled() && !other.is_cancelled());
    /// stop.cancel();
    /// assert!(other.is_cancelled());
    /// ```
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::below(Some(self.clone()));
        let weak = Arc::downgrade(&child.0);
        // Dropped outside the lock, since it frees memory.
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

    /// Cancels this token, its children, and theirs in turn. This cannot be undone. Wakes all waiters. Does not block.
    pub fn cancel(&self) {
        let mut tokens = vec![self.0.clone()];
        while let Some(node) = tokens.pop() {
            let (open, children) = node.state.update(|state| {
                (
                    (state.open.take(), std::mem::take(&mut state.children)),
                    MonitorWake::None,
                )
            });
            // Closes the channel, which wakes all waiters.
            drop(open);
            tokens.extend(children.iter().filter_map(Weak::upgrade));
        }
    }

    /// [Cancels](Self::cancel) the token after `timeout`, unless it is cancelled before. Does not block. The timer does
    /// not keep the token alive.
    ///
    /// # Panics
    /// If the runtime of the caller cannot start, or is shut down.
    ///
    /// # Examples
    /// ```
    /// let stop = silken::CancelToken::new();
    /// stop.cancel_after(std::time::Duration::from_millis(1));
    /// stop.wait();
    /// assert!(stop.is_cancelled());
    /// ```
    pub fn cancel_after(&self, timeout: Duration) {
        // A token without owners needs no cancelling.
        let node = Arc::downgrade(&self.0);
        after_func(timeout, move || {
            if let Some(node) = node.upgrade() {
                CancelToken(node).cancel();
            }
        });
    }

    /// Whether the token was cancelled. Does not block.
    pub fn is_cancelled(&self) -> bool {
        self.0.state.with(|state| state.open.is_none())
    }

    /// The same as [`wait`](Self::wait), under the name that tokio's token has.
    pub fn cancelled(&self) {
        self.wait();
    }

    /// Waits until the token is cancelled; returns at once if it was.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds.
    ///
    /// # Examples
    /// ```
    /// use silken::CancelToken;
    ///
    /// let token = CancelToken::new();
    /// let child = token.child();
    /// let waiter = silken::spawn(move || child.wait());
    /// token.cancel();
    /// waiter.join().unwrap();
    /// ```
    pub fn wait(&self) {
        // Nothing is ever sent, so the receive ends when the channel is closed.
        let _ = self.0.done.recv();
    }

    /// Does what [`wait`](Self::wait) does, but for at most `timeout`; returns whether the token was cancelled.
    ///
    /// # Blocking and cancellation
    /// Those of [`wait`](Self::wait).
    ///
    /// # Examples
    /// ```
    /// let stop = silken::CancelToken::new();
    /// assert!(!stop.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let _ = self.0.done.recv_timeout(timeout);
        self.is_cancelled()
    }

    /// Returns a channel that the cancellation closes, for `recv(token.done()) -> _` in a [`select!`](crate::select).
    /// It never carries a message. It is also closed when no owner of the token is left.
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
