//! How is the value of a watch locked? By a `Monitor` over a count of readers and a flag for a writer. Writers have
//! priority: a reader waits while a writer waits, because otherwise receivers that read all the time would keep a
//! sender out. So a receiver must not borrow twice at once: a writer that came in between would wait for the first
//! borrow, and the second borrow would wait for the writer. Rejected: an `Arc` that is swapped (no `send_modify`
//! without `Clone`, and an allocation for each change).

use crate::coroutine::WaitReason;
use crate::loom::UnsafeCell;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use std::fmt;
use std::ops::Deref;

/// The users of the value: those that hold the lock, and the writers that wait for it.
#[derive(Default)]
struct Access {
    readers: usize,
    writes: bool,
    waiting_writers: usize,
}

/// A value behind a read-write lock.
pub(super) struct LockedValue<T> {
    value: UnsafeCell<T>,
    access: Monitor<Access>,
}

// SAFETY: S2: the lock lets several threads read the value at once, or one write it.
unsafe impl<T: Send + Sync> Sync for LockedValue<T> {}
// SAFETY: S2: moving it moves the value.
unsafe impl<T: Send> Send for LockedValue<T> {}

/// A read lock on the value. Senders wait as long as it exists. Hold it only for a short time, and hold only one at a
/// time.
pub struct Ref<'a, T> {
    value: *const T,
    locked: &'a LockedValue<T>,
    pub(super) has_changed: bool,
}

// SAFETY: S2: it lends a `&T`; the lock that it holds belongs to no thread.
unsafe impl<T: Sync + Send> Send for Ref<'_, T> {}
// SAFETY: S2: it lends a `&T`.
unsafe impl<T: Sync + Send> Sync for Ref<'_, T> {}

/// A write lock on the value; it unlocks also when the sender's closure panics.
struct WriteAccess<'a, T>(&'a LockedValue<T>);

/// A writer that waits for the lock, and may be cancelled.
struct WaitingWriter<'a>(&'a Monitor<Access>, bool);

impl Drop for WaitingWriter<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.update(|access| {
                access.waiting_writers -= 1;
                ((), MonitorWake::All)
            });
        }
    }
}

impl<T> LockedValue<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            access: Monitor::new(Access::default()),
        }
    }

    /// Locks the value for reading.
    pub(super) fn read(&self) -> Ref<'_, T> {
        self.access.wait(WaitReason::Lock, |access, _| {
            if access.writes || access.waiting_writers > 0 {
                return Look::Wait(None);
            }
            access.readers += 1;
            Look::Done(())
        });
        self.borrowed(false)
    }

    /// The read lock that the caller holds, and has no `Ref` for (any more).
    pub(super) fn borrowed(&self, has_changed: bool) -> Ref<'_, T> {
        Ref {
            value: self.value.with(|value| value),
            locked: self,
            has_changed,
        }
    }

    fn write(&self) -> WriteAccess<'_, T> {
        let mut waiting = WaitingWriter(&self.access, false);
        self.access.wait(WaitReason::Lock, |access, _| {
            if access.writes || access.readers > 0 {
                if !waiting.1 {
                    waiting.1 = true;
                    access.waiting_writers += 1;
                }
                return Look::Wait(None);
            }
            if waiting.1 {
                waiting.1 = false;
                access.waiting_writers -= 1;
            }
            access.writes = true;
            Look::Done(())
        });
        WriteAccess(self)
    }

    /// Runs `change` on the value, which is locked for writing until it returns or panics.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let _access = self.write();
        self.value.with_mut(|value| {
            // SAFETY: S2: this caller has the value for writing.
            change(unsafe { &mut *value })
        })
    }
}

impl<T> Drop for WriteAccess<'_, T> {
    fn drop(&mut self) {
        self.0.access.update(|access| {
            access.writes = false;
            ((), MonitorWake::All)
        });
    }
}

impl<T> Drop for Ref<'_, T> {
    fn drop(&mut self) {
        self.locked.access.update(|access| {
            access.readers -= 1;
            let wake = if access.readers == 0 {
                MonitorWake::All
            } else {
                MonitorWake::None
            };
            ((), wake)
        });
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: S2: the borrow counts as a reader, so no sender writes.
        unsafe { &*self.value }
    }
}

impl<T> Ref<'_, T> {
    /// Whether the receiver that borrowed had not seen this version of the value before; `false` if a sender borrowed.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
