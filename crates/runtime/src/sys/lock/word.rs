//! A word on which threads sleep, and the two things that the kernel does with it.
//!
//! [`StaticWord`] is an atomic and `sys::futex`, in every build. Statics use it, since loom's objects have no const
//! constructor and do not outlive one execution of a model. [`Word`] is the same outside loom. Under loom its kernel is
//! a mutex (the futex bucket's lock) and a condition variable (the bucket's queue). `sleep_while` compares under the
//! mutex and `wake_one` notifies under it: this is the promise of `futex(2)` that the proofs use. So the models run the
//! real protocols, sleep included, and loom reports a lost wake as a deadlock. The models leave out spurious wakes and
//! wakes by signals, which take the same paths as a wake that was meant for another thread.
//!
//! `witness_read` and `witness_write` stand for an access to the data that the word protects: loom checks them against
//! each other as it checks a cell. A witness beside a plain cell is used instead of loom's cell itself for two reasons.
//! The lock's guard hands out references, of which loom could see only the start anyway; and the plain cell serves
//! statics too.

use crate::loom::static_atomic::{AtomicU32, Ordering};

/// A word that threads can sleep on: see the file's head.
pub(crate) trait FutexWord {
    /// Loads the word, like an atomic's `load`.
    fn load(&self, order: Ordering) -> u32;

    /// Swaps the word, like an atomic's `swap`.
    fn swap(&self, value: u32, order: Ordering) -> u32;

    /// Exchanges the word, like an atomic's `compare_exchange`; returns whether it succeeded.
    fn exchange(&self, current: u32, value: u32, success: Ordering, failure: Ordering) -> bool;

    /// Sleeps while the word is `expected`, until woken or until `deadline_ns` of the monotonic clock. May return
    /// early.
    fn sleep_while(&self, expected: u32, deadline_ns: Option<u64>);

    /// Wakes one thread that sleeps on the word.
    fn wake_one(&self);

    /// Tells loom that a thread reads the data that the word protects.
    #[inline(always)]
    fn witness_read(&self) {}

    /// Tells loom that a thread may write the data that the word protects.
    #[inline(always)]
    fn witness_write(&self) {}
}

/// An atomic and `sys::futex`: see the file's head.
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

/// Outside loom the two words are the same: see the file's head.
#[cfg(not(loom))]
pub(crate) use StaticWord as Word;

#[cfg(loom)]
pub(crate) use model::Word;

/// The kernel as loom models it.
#[cfg(loom)]
mod model {
    use super::{FutexWord, Ordering};
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::{Condvar, Mutex};

    /// The word under loom: see the file's head.
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

        /// With a deadline: returns as if the deadline had come. That is one of the things that can happen, and the one
        /// that needs no waker.
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
