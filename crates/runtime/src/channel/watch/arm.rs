//! How does a change of a watch become an arm of a select?
//!
//! A look at the version takes nothing away. The version that the receiver has seen moves on only when the arm was
//! chosen, in [`finish`](Operation::finish).

use super::super::select::{Arm, Operation, Ticket};
use super::{Receiver, RecvError};
use crate::coroutine::lost;
use crate::wait::monitor::MonitorWaiter;
use std::cell::Cell;
use std::fmt;

/// An arm that waits for a change: see [`Receiver::changed_arm`].
pub struct ChangedArm<'a, T> {
    receiver: &'a mut Receiver<T>,
    waiter: MonitorWaiter,
    news: Cell<Option<Result<u64, RecvError>>>,
}

impl<'a, T> ChangedArm<'a, T> {
    pub(super) fn new(receiver: &'a mut Receiver<T>) -> Self {
        Self {
            receiver,
            waiter: MonitorWaiter::new(),
            news: Cell::new(None),
        }
    }
}

// SAFETY: S8: the news' list holds the node from `enlist` to `withdraw`, and is locked in both. No waker claims the
// ticket: a woken select looks again.
unsafe impl<T> Arm for ChangedArm<'_, T> {
    fn try_now(&self) -> bool {
        self.news.set(self.receiver.shared.news(self.receiver.seen));
        self.news.get().is_some()
    }

    unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
        let Receiver { shared, seen } = &*self.receiver;
        let has_news = |(): &mut ()| shared.news(*seen).is_some();
        // SAFETY: S8: the select keeps this arm and its ticket in place until `withdraw` has returned.
        unsafe { shared.news.watch(&self.waiter, ticket.cell(), has_news) }
    }

    fn withdraw(&self) {
        self.receiver.shared.news.withdraw(&self.waiter);
    }
}

impl<T> Operation for ChangedArm<'_, T> {
    type Output = Result<(), RecvError>;

    fn finish(self) -> Self::Output {
        self.receiver.seen = self.news.get().unwrap_or(Err(RecvError)).map_err(lost)?;
        Ok(())
    }
}

impl<T> fmt::Debug for ChangedArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangedArm { .. }")
    }
}
