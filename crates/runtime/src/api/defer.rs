//! `defer!`: what is to happen when a block is left, however it is left.

/// Runs its closure when it goes: what [`defer!`](crate::defer) makes. [`Deferred::cancel`] takes that back.
#[must_use = "runs at once if it is not kept"]
pub struct Deferred<F: FnOnce() -> R, R> {
    body: Option<F>,
}

impl<F: FnOnce() -> R, R> Deferred<F, R> {
    /// Runs `body` when the returned value is dropped.
    pub fn new(body: F) -> Self {
        Self { body: Some(body) }
    }

    /// Drops the closure without running it.
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

/// Runs statements, or a closure, at the end of the enclosing block: after a return, after `?`, while a panic or a
/// cancellation unwinds. The last deferred runs first.
///
/// What the statements use is borrowed until then; `defer!(move || …)` takes it.
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
