//! How an OS *thread* blocks on a word: parkers and [`Lock`](crate::sys::lock::Lock) sleep here. Coroutines do not come
//! here.
//!
//! The kernel compares the word and queues the caller under one bucket lock, and `wake` takes the same lock. A waker
//! changes the word *before* it wakes. So either the comparison sees the change, or the wake finds the sleeper queued:
//! no wake is lost between the two. The calls are those of `futex(2)`, private to this process.
//!
//! The wait is `FUTEX_WAIT_BITSET` and not `FUTEX_WAIT`: its timeout is an absolute time, so a retry after a signal or
//! a spurious wake neither recomputes nor extends the wait.

use std::ptr;

use super::clock;
use super::raw::{self, Errno};
use crate::loom::static_atomic::AtomicU32;

/// Why [`wait`] returned. In all four cases the caller looks at the word again.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FutexOutcome {
    /// A [`wake`] chose this thread (or chose the address for a word that was at that address before: always check
    /// again).
    Woken,
    /// The word did not hold the expected value; the thread did not sleep.
    Changed,
    /// The deadline passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps while `word` is `expected`, until woken or until `deadline_ns` on the monotonic clock.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline_ns: Option<u64>) -> FutexOutcome {
    let deadline = deadline_ns.map(clock::ns_to_timespec);
    let deadline: *const libc::timespec = deadline.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: S5: the word and the timespec outlive the call, and the kernel only reads them.
    let result = unsafe {
        raw::syscall6(
            libc::SYS_futex,
            word.as_ptr() as usize,
            (libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG) as usize,
            expected as usize,
            deadline as usize,
            0,
            libc::FUTEX_BITSET_MATCH_ANY as u32 as usize,
        )
    };
    match result {
        Ok(_) => FutexOutcome::Woken,
        Err(Errno::TIMEDOUT) => FutexOutcome::TimedOut,
        Err(Errno::INTR) => FutexOutcome::Interrupted,
        Err(errno) => {
            // EFAULT and EINVAL would need a bad address, which a reference cannot have.
            debug_assert_eq!(errno, Errno::AGAIN);
            FutexOutcome::Changed
        }
    }
}

/// Wakes at most `count` threads that sleep on `word`, and returns how many it woke.
///
/// The word may be gone already (the waker's last store can let another thread free it). The kernel uses only the
/// address, and a thread that sleeps on a new word at that address sees a spurious wake.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
    // The kernel reads the count as an int.
    let count = count.min(i32::MAX as u32);
    // SAFETY: S5: the kernel takes the address as a key and touches no memory there.
    let result = unsafe {
        raw::syscall3(
            libc::SYS_futex,
            word.as_ptr() as usize,
            (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize,
            count as usize,
        )
    };
    result.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loom::static_atomic::Ordering::SeqCst;
    use crate::sys::signal;
    use std::sync::Arc;

    #[test]
    fn another_value_does_not_sleep() {
        assert_eq!(wait(&AtomicU32::new(1), 0, None), FutexOutcome::Changed);
    }

    #[test]
    fn a_deadline_ends_the_wait_and_not_before() {
        let deadline = clock::now_ns() + 10_000_000;
        assert_eq!(wait(&AtomicU32::new(0), 0, Some(deadline)), FutexOutcome::TimedOut);
        assert!(clock::now_ns() >= deadline);
        assert_eq!(wait(&AtomicU32::new(0), 0, Some(0)), FutexOutcome::TimedOut);
    }

    #[test]
    fn wake_counts_the_threads_it_woke() {
        let word = Arc::new(AtomicU32::new(0));
        assert_eq!(wake(&word, u32::MAX), 0);
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let word = word.clone();
                std::thread::spawn(move || wait(&word, 0, None))
            })
            .collect();
        let mut woken = 0;
        while woken < 2 {
            woken += wake(&word, 1);
            std::thread::yield_now();
        }
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), FutexOutcome::Woken);
        }
    }

    #[test]
    fn a_far_deadline_does_not_overflow() {
        let word = Arc::new(AtomicU32::new(0));
        let sleeper = std::thread::spawn({
            let word = word.clone();
            move || wait(&word, 0, Some(u64::MAX))
        });
        while wake(&word, 1) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(sleeper.join().unwrap(), FutexOutcome::Woken);
    }

    #[test]
    fn a_signal_interrupts() {
        extern "C" fn nothing(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
        // SAFETY: S6: the handler does nothing.
        unsafe { signal::install(libc::SIGUSR2, nothing, 0) }.unwrap();
        let tid = Arc::new(AtomicU32::new(0));
        let sleeper = std::thread::spawn({
            let tid = tid.clone();
            move || {
                tid.store(signal::gettid() as u32, SeqCst);
                let word = AtomicU32::new(0);
                wait(&word, 0, Some(clock::now_ns() + 60 * clock::NS_PER_SECOND))
            }
        });
        // The first signals may arrive before the thread sleeps, so signals are sent until the thread ends.
        while !sleeper.is_finished() {
            if tid.load(SeqCst) != 0 {
                let _ = signal::tgkill(tid.load(SeqCst) as i32, libc::SIGUSR2);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(sleeper.join().unwrap(), FutexOutcome::Interrupted);
    }
}
