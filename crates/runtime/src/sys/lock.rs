//! How runtime code locks for a short time: a lock that blocks the thread.
//!
//! Why not `std::sync::Mutex`: its slow path is libc's `syscall(SYS_futex, …)`, which on a coroutine is the runtime's
//! own hook, and the hook takes such locks. This lock reaches the kernel through `sys::futex` alone. It blocks the
//! *thread*: a holder runs a few dozen instructions, never parks, and never calls foreign code. On a coroutine's stack
//! the caller stays in a critical section from before `lock` until after the guard is gone; otherwise a preempted
//! holder would block every worker.
//!
//! Protocol (Drepper, "Futexes Are Tricky", third mutex): one word with three states.
//!
//! | state | meaning | leaves by |
//! |---|---|---|
//! | `UNLOCKED` | free | a locker: `LOCKED` from the fast path, `CONTENDED` from the slow one |
//! | `LOCKED` | held, no thread sleeps | the holder: `UNLOCKED`; a locker about to sleep: `CONTENDED` |
//! | `CONTENDED` | held, a thread may sleep | the holder: `UNLOCKED` and one wake |
//!
//! No wake is lost. A locker sleeps only while the word is `CONTENDED`, and the kernel checks that under the lock that
//! `wake` takes; the holder's swap that ends `CONTENDED` always wakes. A woken thread takes the lock as `CONTENDED`,
//! since it cannot know whether others still sleep: at worst there is one wake for no sleeper, never one too few.
//!
//! No poison: a panic under the lock (a bug in the runtime) unlocks it. Rejected: fairness (holders are short, and a
//! barging locker keeps the cache line), and spinning alone (if the kernel deschedules a holder, each other core would
//! burn a time slice).

#[forbid(unsafe_code)]
mod witness;
mod word;

#[cfg(all(debug_assertions, not(loom)))]
pub(crate) use witness::set as set_witness;

pub(crate) use word::{FutexWord, StaticWord, Word};

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::loom::spin_loop;
use crate::loom::static_atomic::Ordering;

const UNLOCKED: u32 = 0;
const LOCKED: u32 = 1;
const CONTENDED: u32 = 2;

/// Looks at a held lock before sleeping, each after twice the pause of the look before: the more threads want the lock,
/// the longer its cache line stays with the holder. Tuned by the MPMC benchmarks: with pauses of one length, a message
/// of four senders and four receivers on two workers cost two to three times as much. One under loom, where more looks
/// only repeat the same interleavings.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 8 };

/// A value that one thread at a time may use, for a short time.
pub(crate) type Lock<T> = LockOn<T, Word>;

/// The same for statics. It differs from `Lock` only under loom: there it stays a plain lock and is not explored.
pub(crate) type StaticLock<T> = LockOn<T, StaticWord>;

/// A lock over the kind of word that its user needs: see [`Lock`] and [`StaticLock`].
#[derive(Debug)]
pub(crate) struct LockOn<T, W> {
    word: W,
    value: UnsafeCell<T>,
}

// SAFETY: S2: the lock hands the value from thread to thread, one at a time, each unlock happening before the next
// lock; so it needs of T what a move between threads needs.
unsafe impl<T: Send, W: Sync> Sync for LockOn<T, W> {}
// SAFETY: S2: moving the lock moves the value.
unsafe impl<T: Send, W: Send> Send for LockOn<T, W> {}

impl<T> LockOn<T, StaticWord> {
    /// An unlocked lock.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            word: StaticWord::new(UNLOCKED),
            value: UnsafeCell::new(value),
        }
    }
}

#[cfg(loom)]
impl<T> Lock<T> {
    /// An unlocked lock; not const, as loom's atomics are not.
    pub(crate) fn new(value: T) -> Self {
        Self {
            word: Word::new(UNLOCKED),
            value: UnsafeCell::new(value),
        }
    }
}

impl<T, W: FutexWord> LockOn<T, W> {
    /// Takes the lock, blocking the thread while another holds it. Locking it twice on one thread deadlocks.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock(&self) -> Guard<'_, T, W> {
        witness::check();
        if !try_acquire(&self.word) {
            acquire_slow(&self.word);
        }
        Guard {
            lock: self,
            not_send: PhantomData,
        }
    }

    /// Takes the lock if it is free at this moment.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T, W>> {
        // `then`, not `then_some`: `then_some` would make the guard in any case, and its drop would unlock.
        try_acquire(&self.word).then(|| Guard {
            lock: self,
            not_send: PhantomData,
        })
    }
}

// What follows is generic over the word only, and not over the value: it is compiled once.

#[inline]
fn try_acquire<W: FutexWord>(word: &W) -> bool {
    // Acquire: pairs with the Release in `release`, so the last holder's writes are visible. Relaxed on failure:
    // nothing is read on the strength of it.
    word.exchange(UNLOCKED, LOCKED, Ordering::Acquire, Ordering::Relaxed)
}

#[cold]
fn acquire_slow<W: FutexWord>(word: &W) {
    for look in 0..LOOKS {
        // Relaxed: a hint; `try_acquire` decides. `CONTENDED`: other threads have already spun and sleep, so this one
        // joins them.
        match word.load(Ordering::Relaxed) {
            UNLOCKED if try_acquire(word) => return,
            CONTENDED => break,
            _ => (0..1 << look).for_each(|_| spin_loop()),
        }
    }
    // Acquire: pairs with the Release in `release`, as in `try_acquire`.
    while word.swap(CONTENDED, Ordering::Acquire) != UNLOCKED {
        word.sleep_while(CONTENDED, None);
    }
}

#[inline]
fn release<W: FutexWord>(word: &W) {
    // Release: pairs with the Acquire of the next holder in `try_acquire` or `acquire_slow`.
    if word.swap(UNLOCKED, Ordering::Release) == CONTENDED {
        word.wake_one();
    }
}

/// The right to use the value; gives it back when dropped. Not `Send`: a lock is released by the thread that took it.
#[must_use]
pub(crate) struct Guard<'a, T, W: FutexWord> {
    lock: &'a LockOn<T, W>,
    not_send: PhantomData<*const ()>,
}

impl<T, W: FutexWord> Deref for Guard<'_, T, W> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.lock.word.witness_read();
        // SAFETY: S2: the guard holds the lock, and the reference borrows the guard.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, W: FutexWord> DerefMut for Guard<'_, T, W> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.lock.word.witness_write();
        // SAFETY: S2: the guard holds the lock, and the reference borrows the guard exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, W: FutexWord> Drop for Guard<'_, T, W> {
    #[inline]
    fn drop(&mut self) {
        release(&self.lock.word);
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_static_lock_counts_exactly_under_contention() {
        static COUNT: StaticLock<u64> = StaticLock::new(0);
        const THREADS: u64 = 4;
        const ROUNDS: u64 = 50_000;
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        *COUNT.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*COUNT.lock(), THREADS * ROUNDS);
    }

    #[test]
    fn a_sleeper_gets_the_lock_from_a_slow_holder() {
        let lock = Lock::new(0);
        std::thread::scope(|scope| {
            let mut guard = lock.lock();
            for _ in 0..3 {
                scope.spawn(|| *lock.lock() += 1);
            }
            // Until a thread has given up spinning and has stored that in the word.
            while lock.word.load(Ordering::Relaxed) != CONTENDED {
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            *guard += 10;
        });
        assert_eq!(*lock.lock(), 13);
    }

    #[test]
    fn try_lock_refuses_while_held() {
        let lock = Lock::new(());
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        // A refused attempt leaves the lock held.
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn a_panic_unlocks_and_does_not_poison() {
        let lock = Lock::new(1);
        let panicked = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _guard = lock.lock();
                    std::panic::resume_unwind(Box::new(()));
                })
                .join()
        });
        assert!(panicked.is_err());
        assert_eq!(*lock.lock(), 1);
    }
}
