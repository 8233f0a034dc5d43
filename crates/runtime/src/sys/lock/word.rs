//! The word of a lock, and the two things the kernel does with it.
//!
//! Outside loom it is an atomic and `sys::futex`. Under loom the kernel is a mutex (the futex bucket's lock) and a condition
//! variable (its queue): `sleep_while` compares under the mutex, `wake_one` notifies under it, which is the promise of
//! `futex(2)` that the lock's proof uses. So the models run the real three-state protocol, sleep included, and loom reports
//! a lost wake as a deadlock. What they leave out: spurious wakes and wakes by signals, which re-run the same swap. And
//! the guard's references leave the cell's closure, so loom checks each access where it starts, not for as long as it lasts.

use crate::loom::atomic::AtomicU32;

/// See the file's head.
#[cfg(not(loom))]
pub(super) struct Word {
    pub(super) state: AtomicU32,
}

#[cfg(not(loom))]
impl Word {
    pub(super) const fn new(state: u32) -> Self {
        Self {
            state: AtomicU32::new(state),
        }
    }

    pub(super) fn sleep_while(&self, expected: u32) {
        // Every outcome means the same to the caller: look again.
        let _ = crate::sys::futex::wait(&self.state, expected, None);
    }

    #[cold]
    pub(super) fn wake_one(&self) {
        crate::sys::futex::wake(&self.state, 1);
    }
}

/// See the file's head.
#[cfg(loom)]
pub(super) struct Word {
    pub(super) state: AtomicU32,
    bucket: loom::sync::Mutex<()>,
    queue: loom::sync::Condvar,
}

#[cfg(loom)]
impl Word {
    pub(super) fn new(state: u32) -> Self {
        Self {
            state: AtomicU32::new(state),
            bucket: loom::sync::Mutex::new(()),
            queue: loom::sync::Condvar::new(),
        }
    }

    pub(super) fn sleep_while(&self, expected: u32) {
        let bucket = self.bucket.lock().unwrap();
        // Relaxed: the bucket's mutex orders this load against the waker, as the kernel's lock does.
        if self.state.load(crate::loom::atomic::Ordering::Relaxed) == expected {
            drop(self.queue.wait(bucket).unwrap());
        }
    }

    pub(super) fn wake_one(&self) {
        let _bucket = self.bucket.lock().unwrap();
        self.queue.notify_one();
    }
}
