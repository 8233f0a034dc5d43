//! What does the compiler say when a user puts something that is no arm (a channel of std, a ticker) into a select?
//!
//! The trait of this file gives these types methods with the names of the arms' methods (tickers and join handles get
//! theirs in `api/select.rs`). A bound on them, which no type satisfies, carries a message that tells the right way. So
//! the compiler reports the error at the arm, and says more than that there is no such method. The operand of `on(…)`
//! is passed to a function that takes arms only ([`is_arm`]). So the error is about the operand, and not about the list
//! of arms in which it would stand later.

use super::Operation;

/// Returns the arm. Its type is hidden, so that what is no arm is one error and not one for each later use.
#[doc(hidden)]
pub fn is_arm<A: Operation>(arm: A) -> impl Operation<Output = A::Output> {
    arm
}

/// No type implements this trait.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be in `recv(…)` or `send(…)` of a select!",
    label = "no channel of silken's",
    note = "of std's channels the select cannot know when they change: use `silken::channel`, or `silken::mpsc`, which has std's names",
    note = "a ticker is `on(ticker.tick_arm())`, a coroutine's end `on(handle.join_arm())`"
)]
pub trait Selectable {}

/// The methods that the macro calls, for types that are no channels.
#[doc(hidden)]
pub trait Wrong {
    /// Stands in for a receiver's method in `recv(…)`.
    fn recv_arm(&self) -> super::RecvArm<'_, ()>
    where
        Self: Selectable,
    {
        unreachable!("nothing is selectable")
    }

    /// Stands in for a sender's method in `send(…)`.
    fn send_arm<T>(&self, _: T) -> super::SendArm<'_, ()>
    where
        Self: Selectable,
    {
        unreachable!("nothing is selectable")
    }
}

impl<T> Wrong for std::sync::mpsc::Receiver<T> {}
impl<T> Wrong for std::sync::mpsc::Sender<T> {}
impl<T> Wrong for std::sync::mpsc::SyncSender<T> {}
