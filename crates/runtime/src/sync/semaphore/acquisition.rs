//! How a select waits for permits: permits that reach an arm that is not chosen go back.

use super::{AcquireError, Semaphore, SemaphorePermit};
use crate::coroutine::WaitCell;
use crate::wait::list::{Granted, QueuedWaiter, WaitList};
use std::cell::Cell;

/// Permits as a part of a select.
pub(crate) struct Acquisition<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
    waiter: QueuedWaiter,
    listed: Cell<bool>,
    /// What the next look finds; `None`: the next look tries to take permits.
    granted: Cell<Option<Result<(), AcquireError>>>,
}

impl<'a> Acquisition<'a> {
    pub(crate) fn of(semaphore: &'a Semaphore, permits: usize) -> Self {
        Self {
            semaphore,
            permits,
            waiter: QueuedWaiter::new(permits as u64),
            listed: Cell::new(false),
            granted: Cell::new(None),
        }
    }

    /// Whether the wait is over: permits were taken, or the semaphore is closed.
    pub(crate) fn is_over(&self) -> bool {
        let result = match self.granted.get() {
            Some(result) => result,
            None => self.semaphore.take(self.permits),
        };
        let is_over = result != Err(AcquireError::NoPermits);
        self.granted.set(is_over.then_some(result));
        is_over
    }

    /// Makes callers that add permits settle the cell; `false` if the wait is over already.
    ///
    /// # Safety
    /// This value and the cell stay in place until [`unlist`](Self::unlist) has returned (S8).
    pub(crate) unsafe fn list(&self, cell: &WaitCell) -> bool {
        let take = |_: &mut WaitList<()>| self.semaphore.take_or_announce(self.permits);
        // SAFETY: S8: the caller promises: both stay in place until `unlist` has returned.
        let taken = unsafe { self.semaphore.queue.list(&self.waiter, cell, take) };
        self.listed.set(taken.is_none());
        self.granted.set(taken);
        taken.is_none()
    }

    pub(crate) fn unlist(&self) {
        if self.listed.replace(false) {
            let leave = |queue: &mut WaitList<()>, _| self.semaphore.serve(queue);
            // A close settles all waiters together (`WithAll`); the next look then finds the semaphore closed.
            if self.semaphore.queue.unlist(&self.waiter, leave) == Granted::Alone {
                self.granted.set(Some(Ok(())));
            }
        }
    }

    /// The permits, or the error, once the wait is over.
    pub(crate) fn finish(self) -> Result<SemaphorePermit<'a>, AcquireError> {
        self.granted.take().unwrap_or(Err(AcquireError::Closed))?;
        Ok(self.semaphore.permit(self.permits))
    }
}

impl Acquisition<'_> {
    /// Gives the permits back, if the arm has them.
    pub(crate) fn let_go(&self) {
        if self.granted.get() == Some(Ok(())) {
            self.granted.set(None);
            self.semaphore.add_permits(self.permits);
        }
    }
}

impl Drop for Acquisition<'_> {
    /// The select has chosen another arm, so the permits go back.
    fn drop(&mut self) {
        self.let_go();
    }
}
