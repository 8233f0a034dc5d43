//! How does code run when a block is left, however it is left? `defer!` makes a value whose drop calls a closure.

/// Calls its closure when it is dropped. [`defer!`](crate::defer) makes one; [`Deferred::cancel`] takes the call back.
///
/// # Examples
/// ```
/// use silken::Deferred;
/// use std::cell::Cell;
/// let undone = Cell::new(0);
/// let undo = || Deferred::new(|| undone.set(undone.get() + 1));
/// drop(undo()); // a step that failed
/// undo().cancel(); // a step that succeeded
/// assert_eq!(undone.get(), 1);
/// ```
#[must_use = "runs at once if it is not kept"]
pub struct Deferred<F: FnOnce() -> R, R> {
    body: Option<F>,
}

impl<F: FnOnce() -> R, R> Deferred<F, R> {
    /// Makes a value that calls `body` when it is dropped, also while a panic or a cancellation unwinds.
    ///
    /// # Panics
    /// Does not panic itself. A panic of `body` comes out of the drop; if that drop is part of an unwinding, the
    /// process ends.
    pub fn new(body: F) -> Self {
        Self { body: Some(body) }
    }

    /// Drops the closure without calling it.
    pub fn cancel(mut self) {
        self.body = None;
    }
}

impl<F: FnOnce() -> R, R> Drop for Deferred<F, R> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            body();
        }
    }
}

impl<F: FnOnce() -> R, R> std::fmt::Debug for Deferred<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deferred").finish_non_exhaustive()
    }
}

/// Runs statements, or a closure, at the end of the enclosing block: after a return, after `?`, and while a panic or a
/// cancellation unwinds. The last deferred runs first.
///
/// What the statements use is borrowed until then; `defer!(move || …)` takes ownership of it.
///
/// # Examples
/// ```
/// use silken::defer;
/// use std::cell::RefCell;
/// let order = RefCell::new(Vec::new());
/// {
///     defer!(order.borrow_mut().push("first deferred"));
///     defer! {
///         let words = "last deferred";
///         order.borrow_mut().push(words);
///     }
///     defer!(|| order.borrow_mut().push("a closure"));
///     order.borrow_mut().push("body");
/// }
/// assert_eq!(order.into_inner(), ["body", "a closure", "last deferred", "first deferred"]);
/// ```
#[macro_export]
macro_rules! defer {
    (|| $body:expr $(,)?) => {
        let _deferred = $crate::Deferred::new(|| $body);
    };
    (move || $body:expr $(,)?) => {
        let _deferred = $crate::Deferred::new(move || $body);
    };
    ($($statements:tt)+) => {
        let _deferred = $crate::Deferred::new(|| { $($statements)+ });
    };
}
