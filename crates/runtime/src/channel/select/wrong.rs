//! What users put into an arm by mistake: std's channels, tickers. The names of the arms' methods are given to these
//! types, with a bound that nothing satisfies and that tells the way out. So the error is at the arm, and says more
//! than that there is no such method.

/// Satisfied by nothing.
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
    /// For `recv(…)`.
    fn recv_arm(&self) -> super::RecvArm<'_, ()>
    where
        Self: Selectable,
    {
        unreachable!("nothing is selectable")
    }

    /// For `send(…)`.
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
