//! A word that threads sleep on, and the two things the kernel does with it.
//!
//! [`StaticWord`] is an atomic and `sys::futex`, in every build: what lies in a `static` uses it, since loom's objects
//! have no const constructor and do not outlive one execution of a model. [`Word`] is the same outside loom. Under loom
//! its kernel is a mutex (the futex bucket's lock) and a condition variable (its queue): `sleep_while` compares under
//! the mutex, `wake_one` notifies under it, which is the promise of `futex(2)` that the proofs use. So the models run
//! the real protocols, sleep included, and loom reports a lost wake as a deadlock. What they leave out: spurious wakes
//! and wakes by signals, which take the same paths as a wake that came for somebody else.
//!
//! `witness_read` and `witness_write` stand for an access to what the word protects: loom checks them against each
//! other as it checks a cell. A witness beside a plain cell, not loom's cell itself, because the lock's guard hands out
//! references, of which loom could see only the start anyway, and because the plain cell serves statics too.

use crate::loom::static_atomic::{AtomicU32, Ordering};

/// See the file's head.
pub(crate) trait FutexWord {
    /// As an atomic's `load`.
    fn load(&self, order: Ordering) -> u32;

    /// As an atomic's `swap`.
    fn swap(&self, value: u32, order: Ordering) -> u32;

    /// As an atomic's `compare_exchange`; whether it succeeded.
    fn exchange(&self, current: u32, value: u32, success: Ordering, failure: Ordering) -> bool;

    /// Sleeps while the word is `expected`, until woken or until `deadline_ns` of the monotonic clock; may return
    /// early.
    fn sleep_while(&self, expected: u32, deadline_ns: Option<u64>);

    /// Wakes one thread that sleeps on the word.
    fn wake_one(&self);

    /// Somebody reads what the word protects.
    #[inline(always)]
    fn witness_read(&self) {}

    /// Somebody may write what the word protects.
    #[inline(always)]
    fn witness_write(&self) {}
}

/// See the file's head.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct StaticWord(AtomicU32);

impl StaticWord {
    pub(crate) const fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }
}

impl FutexWord for StaticWord {
    #[inline(always)]
    fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }

    #[inline(always)]
    fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.0.swap(value, order)
    }

    #[inline(always)]
    fn exchange(&self, current: u32, value: u32, success: Ordering, failure: Ordering) -> bool {
        self.0.compare_exchange(current, value, success, failure).is_ok()
    }

    fn sleep_while(&self, expected: u32, deadline_ns: Option<u64>) {
        // Every outcome means the same to the caller: look again.
        let _ = crate::sys::futex::wait(&self.0, expected, deadline_ns);
    }

    #[cold]
    fn wake_one(&self) {
        crate::sys::futex::wake(&self.0, 1);
    }
}

/// See the file's head.
#[cfg(not(loom))]
pub(crate) use StaticWord as Word;

#[cfg(loom)]
pub(crate) use model::Word;

/// The kernel as loom plays it.
#[cfg(loom)]
mod model {
    use super::{FutexWord, Ordering};
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::{Condvar, Mutex};

    /// See the file's head.
    #[derive(Debug)]
    pub(crate) struct Word {
        state: AtomicU32,
        bucket: Mutex<()>,
        queue: Condvar,
        witness: UnsafeCell<()>,
    }

    // SAFETY: S2: the witness is nothing to touch; that two threads may reach it unordered is what loom is asked about.
    unsafe impl Sync for Word {}

    impl Word {
        pub(crate) fn new(value: u32) -> Self {
            Self {
                state: AtomicU32::new(value),
                bucket: Mutex::new(()),
                queue: Condvar::new(),
                witness: UnsafeCell::new(()),
            }
        }
    }

    impl FutexWord for Word {
        fn load(&self, order: Ordering) -> u32 {
            self.state.load(order)
        }

        fn swap(&self, value: u32, order: Ordering) -> u32 {
            self.state.swap(value, order)
        }

        fn exchange(&self, current: u32, value: u32, success: Ordering, failure: Ordering) -> bool {
            self.state.compare_exchange(current, value, success, failure).is_ok()
        }

        /// With a deadline: as if it had come. That is one of the things that can happen, and the one that needs no
        /// waker.
        fn sleep_while(&self, expected: u32, deadline_ns: Option<u64>) {
            if deadline_ns.is_some() {
                return loom::thread::yield_now();
            }
            let bucket = self.bucket.lock().unwrap();
            // Relaxed: the bucket's mutex orders this load against the waker, as the kernel's lock does.
            if self.state.load(Ordering::Relaxed) == expected {
                drop(self.queue.wait(bucket).unwrap());
            }
        }

        fn wake_one(&self) {
            let _bucket = self.bucket.lock().unwrap();
            self.queue.notify_one();
        }

        fn witness_read(&self) {
            self.witness.with(|_| ());
        }

        fn witness_write(&self) {
            self.witness.with_mut(|_| ());
        }
    }
}
