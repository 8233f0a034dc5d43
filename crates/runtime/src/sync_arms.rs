//! Locks of `sync` as arms of a [`select!`](crate::select): a notification, permits, the end of a group.
//!
//! Their wakers cannot claim an arm. They settle the select's cell, and the select looks at all arms again (`select.rs`). What a waker has given to this very arm meanwhile, a notification
//! or permits, is kept in the arm; the next look takes it, and if the select chooses another arm it goes to the next waiter (`sync/wait_queue.rs`, "A part of a select").

use crate::channel::select::{Arm, Operation, Ticket};
use crate::sync::{AcquireError, Acquisition, Departure, Notification, Notify, Semaphore, SemaphorePermit, WaitGroup};
use std::fmt;

/// A notification as an arm: see [`Notify::notified_arm`].
pub struct NotifiedArm<'a>(Notification<'a>);

impl Notify {
    /// The next notification as an arm of a [`select!`](crate::select), by `on(…)`. One that comes to an arm that is not chosen goes to another waiter, or is kept.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Notify;
    /// use std::time::Duration;
    /// static NEWS: Notify = Notify::new();
    /// silken::spawn(|| NEWS.notify_one());
    /// silken::select! {
    ///     on(NEWS.notified_arm()) -> () => {},
    ///     default(Duration::from_secs(60)) => panic!("no news for a minute"),
    /// }
    /// ```
    pub fn notified_arm(&self) -> NotifiedArm<'_> {
        NotifiedArm(Notification::of(self))
    }
}

/// Permits as an arm: see [`Semaphore::acquire_arm`].
pub struct AcquireArm<'a>(Acquisition<'a>);

impl Semaphore {
    /// The taking of a permit as an arm of a [`select!`](crate::select), by `on(…)`. Its result is that of [`acquire`](Self::acquire). Permits that come to an arm that is not chosen go back.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::Semaphore;
    /// use std::time::Duration;
    /// let places = Semaphore::new(1);
    /// let first = places.acquire().unwrap();
    /// let late = silken::select! {
    ///     on(places.acquire_arm()) -> _permit => false,
    ///     default(Duration::from_millis(1)) => true,
    /// };
    /// drop(first);
    /// assert!(late && places.available_permits() == 1);
    /// ```
    pub fn acquire_arm(&self) -> AcquireArm<'_> {
        self.acquire_many_arm(1)
    }

    /// As [`acquire_arm`](Self::acquire_arm), of several permits at once.
    pub fn acquire_many_arm(&self, permits: usize) -> AcquireArm<'_> {
        AcquireArm(Acquisition::of(self, permits))
    }
}

/// The end of a group as an arm: see [`WaitGroup::wait_others_arm`].
pub struct WaitGroupArm<'a>(Departure<'a>);

impl WaitGroup {
    /// That all other members have left, as an arm of a [`select!`](crate::select), by `on(…)`: see [`wait_others`](Self::wait_others).
    ///
    /// # Examples
    /// ```
    /// use silken::sync::WaitGroup;
    /// use std::time::Duration;
    /// let group = WaitGroup::new();
    /// let member = group.clone();
    /// silken::spawn(move || drop(member));
    /// silken::select! {
    ///     on(group.wait_others_arm()) -> () => {},
    ///     default(Duration::from_secs(60)) => panic!("somebody stays"),
    /// }
    /// ```
    pub fn wait_others_arm(&self) -> WaitGroupArm<'_> {
        WaitGroupArm(Departure::of_others(self))
    }
}

macro_rules! arms {
    ($($arm:ident: $try_now:ident),*) => {$(
        // SAFETY: S8: the queue holds the waiter from `list` to `unlist`, and is locked in both.
        unsafe impl Arm for $arm<'_> {
            fn try_now(&self) -> bool {
                self.0.$try_now()
            }

            unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
                // SAFETY: S8: the caller's contract.
                unsafe { self.0.list(ticket.cell()) }
            }

            fn withdraw(&self) {
                self.0.unlist();
            }
        }

        impl fmt::Debug for $arm<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($arm), " { .. }"))
            }
        }
    )*};
}

arms!(NotifiedArm: take, AcquireArm: is_over, WaitGroupArm: is_over);

impl Operation for NotifiedArm<'_> {
    type Output = ();

    fn finish(self) {}
}

impl<'a> Operation for AcquireArm<'a> {
    type Output = Result<SemaphorePermit<'a>, AcquireError>;

    fn finish(self) -> Self::Output {
        self.0.finish()
    }
}

impl Operation for WaitGroupArm<'_> {
    type Output = ();

    fn finish(self) {}
}
