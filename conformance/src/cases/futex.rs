//! futex(2) through libc's `syscall`: the word that all locks above are made of.
//!
//! A waiter is known to sleep when a wake reports it; the cases wake in a loop until the count is reached, since no
//! call tells from outside that somebody waits.

use crate::raw::{Page, clock, futex_at, futex_cmp_requeue, futex_wait, futex_wait_bitset, futex_wake};
use crate::{Executor, Kind, Unit, join_all};
use libc::{
    EAGAIN, EFAULT, ETIMEDOUT, FUTEX_CLOCK_REALTIME, FUTEX_CMP_REQUEUE, FUTEX_PRIVATE_FLAG, FUTEX_WAIT,
    FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET, c_int,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);
const ANY: u32 = u32::MAX;

fn sleepers(ex: &dyn Executor, word: &Arc<AtomicU32>, flag: c_int, count: usize) -> Vec<Unit<()>> {
    let word = Arc::clone(word);
    ex.start_each(count, move |_| {
        assert_eq!(futex_wait(&word, FUTEX_WAIT | flag, 0, None).unwrap(), 0)
    })
}

/// Wakes one by one until `count` sleepers were reported.
fn wake_each(word: &AtomicU32, op: c_int, bits: u32, count: usize) {
    let mut woken = 0;
    while woken < count {
        let now = futex_wake(word, op, 1, bits).unwrap();
        assert!(now <= 1);
        woken += now;
        sleep(Duration::from_micros(100));
    }
    assert_eq!(futex_wake(word, op, c_int::MAX, bits).unwrap(), 0);
}

fn wait_and_wake(ex: &dyn Executor, flag: c_int) {
    let word = Arc::new(AtomicU32::new(0));
    let units = sleepers(ex, &word, flag, 10);
    wake_each(&word, FUTEX_WAKE | flag, 0, 10);
    join_all(units);
}

/// FUTEX_WAIT sleeps and FUTEX_WAKE reports whom it woke, on a private word.
pub fn wait_wake_private(ex: &dyn Executor) {
    wait_and_wake(ex, FUTEX_PRIVATE_FLAG);
}

/// The same on a word declared as shared.
pub fn wait_wake_shared(ex: &dyn Executor) {
    wait_and_wake(ex, 0);
}

/// A wake of many wakes no more than asked and reports the number.
pub fn wake_count(ex: &dyn Executor) {
    let word = Arc::new(AtomicU32::new(0));
    let units = sleepers(ex, &word, FUTEX_PRIVATE_FLAG, 10);
    let mut left = 10;
    while left > 0 {
        let woken = futex_wake(&word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 3, 0).unwrap();
        assert!(woken <= 3.min(left));
        left -= woken;
        sleep(Duration::from_millis(1));
    }
    join_all(units);
}

/// A word that changed before the wait: EAGAIN, for both forms.
pub fn value_mismatch(ex: &dyn Executor) {
    ex.start(|| {
        let word = AtomicU32::new(1);
        for flag in [0, FUTEX_PRIVATE_FLAG] {
            let error = futex_wait(&word, FUTEX_WAIT | flag, 0, None).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(EAGAIN));
            let error = futex_wait_bitset(&word, FUTEX_WAIT_BITSET | flag, 0, None, ANY).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(EAGAIN));
        }
    })
    .join();
}

/// FUTEX_WAIT's time-out is relative: ETIMEDOUT, not early.
pub fn relative_timeout(ex: &dyn Executor) {
    ex.start(|| {
        let word = AtomicU32::new(0);
        let started = Instant::now();
        let error = futex_wait(&word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, Some(SHORT)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ETIMEDOUT));
        assert!(started.elapsed() >= SHORT);
    })
    .join();
}

/// FUTEX_WAIT_BITSET's time-out is absolute, on either clock: ETIMEDOUT, not early, at once when it has passed.
pub fn absolute_timeout(ex: &dyn Executor) {
    ex.start(|| {
        let word = AtomicU32::new(0);
        for (flag, id) in [(0, libc::CLOCK_MONOTONIC), (FUTEX_CLOCK_REALTIME, libc::CLOCK_REALTIME)] {
            let op = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | flag;
            for deadline in [clock(id) + SHORT, clock(id) - SHORT] {
                let error = futex_wait_bitset(&word, op, 0, Some(deadline), ANY).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(ETIMEDOUT));
                assert!(clock(id) >= deadline);
            }
        }
    })
    .join();
}

/// A waiter that timed out is not counted by a later wake.
pub fn timed_out_is_gone(ex: &dyn Executor) {
    let word = Arc::new(AtomicU32::new(0));
    let shared = Arc::clone(&word);
    let op = FUTEX_WAIT | FUTEX_PRIVATE_FLAG;
    join_all(ex.start_each(5, move |_| {
        assert!(futex_wait(&shared, op, 0, Some(Duration::from_millis(2))).is_err());
    }));
    assert_eq!(
        futex_wake(&word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, c_int::MAX, 0).unwrap(),
        0
    );
}

/// FUTEX_WAKE_BITSET wakes those whose bits it names, and FUTEX_WAKE wakes any.
pub fn bitset_selects(ex: &dyn Executor) {
    let word = Arc::new(AtomicU32::new(0));
    let wait = |bits| {
        let word = Arc::clone(&word);
        let op = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG;
        ex.start(move || assert_eq!(futex_wait_bitset(&word, op, 0, None, bits).unwrap(), 0))
    };
    let (reader, writer, both) = (wait(0b01), wait(0b10), wait(0b11));
    let op = FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG;
    assert_eq!(futex_wake(&word, op, c_int::MAX, 0b100).unwrap(), 0);
    wake_each(&word, op, 0b10, 2);
    writer.join();
    both.join();
    wake_each(&word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 0, 1);
    reader.join();
}

/// An empty bit set is refused with EINVAL.
pub fn empty_bitset(ex: &dyn Executor) {
    let error = ex.start(|| {
        let word = AtomicU32::new(0);
        let wait = futex_wait_bitset(&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, None, 0).unwrap_err();
        let wake = futex_wake(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 1, 0).unwrap_err();
        [wait.raw_os_error(), wake.raw_os_error()]
    });
    assert_eq!(error.join(), [Some(libc::EINVAL); 2]);
}

/// A bad address is an error number, for words and for timeouts, and nothing else is the worse for it.
pub fn bad_addresses(ex: &dyn Executor) {
    const WAIT: c_int = FUTEX_WAIT | FUTEX_PRIVATE_FLAG;
    const WAKE: c_int = FUTEX_WAKE | FUTEX_PRIVATE_FLAG;
    join_all(ex.start_each(4, |_| {
        let error = |result: std::io::Result<usize>| result.unwrap_err().raw_os_error();
        let wait = |word, op, timeout| error(futex_at(word, op, 0, timeout, 0, ANY));
        let good = AtomicU32::new(0);
        let good = good.as_ptr().expose_provenance();
        let (forbidden, behind_the_end) = (Page::new(false), Page::new(true));
        forbidden.set_accessible(false);
        for bad in [
            forbidden.address(),
            behind_the_end.address(),
            8,
            1 << 50,
            usize::MAX - 3,
        ] {
            assert_eq!(wait(bad, WAIT, 0), Some(EFAULT), "{bad:#x}");
            assert_eq!(wait(bad, FUTEX_WAIT, 0), Some(EFAULT), "shared, {bad:#x}");
            assert_eq!(wait(bad, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0), Some(EFAULT));
            assert_eq!(wait(good, WAIT, bad & !7), Some(EFAULT), "a timeout at {bad:#x}");
            // The word is not looked at.
            let woken = futex_at(bad, WAKE, 1, 0, 0, 0);
            assert!(matches!(woken, Ok(0)) || error(woken) == Some(EFAULT));
        }
        assert_eq!(futex_at(forbidden.address(), WAKE, 1, 0, 0, 0).unwrap(), 0);
        assert_eq!(wait(good + 2, WAIT, 0), Some(libc::EINVAL));
        assert_eq!(error(futex_at(good + 2, WAKE, 1, 0, 0, 0)), Some(libc::EINVAL));
        assert_eq!(
            error(futex_at(
                good,
                FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG,
                0,
                1,
                good + 2,
                0
            )),
            Some(libc::EINVAL)
        );
    }));
}

/// FUTEX_CMP_REQUEUE on a word that has become inaccessible is EFAULT, and who waits there can be woken afterwards.
pub fn requeue_of_a_bad_address(ex: &dyn Executor) {
    const OP: c_int = FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG;
    let (from, to) = (Page::new(false), Page::new(false));
    let units = ex.start_each(3, move |_| {
        // Nothing tells that a waiter sleeps: a late one finds the page inaccessible, and tries again.
        while let Err(error) = futex_at(from.address(), FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0) {
            assert_eq!(error.raw_os_error(), Some(EFAULT));
            sleep(Duration::from_micros(100));
        }
    });
    ex.start(move || {
        // One has woken, so the others wait or are about to.
        while futex_at(from.address(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0).unwrap() == 0 {
            sleep(Duration::from_micros(100));
        }
        let bad = Page::new(false);
        bad.set_accessible(false);
        let waiting = futex_at(bad.address(), OP, 1, 1, to.address(), 0);
        assert_eq!(waiting.unwrap_err().raw_os_error(), Some(EFAULT));
        sleep(SHORT);
        from.set_accessible(false);
        let requeued = futex_at(from.address(), OP, 1, 1, to.address(), 0);
        assert_eq!(requeued.unwrap_err().raw_os_error(), Some(EFAULT));
        from.set_accessible(true);
        let mut woken = 0;
        while woken < 2 {
            woken += futex_at(from.address(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 2, 0, 0, 0).unwrap();
            sleep(Duration::from_micros(100));
        }
    })
    .join();
    join_all(units);
}

/// FUTEX_CMP_REQUEUE moves waiters to another word, where a wake finds them, or wakes them; a wrong value is EAGAIN.
pub fn cmp_requeue(ex: &dyn Executor) {
    const OP: c_int = FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG;
    let (from, to) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(5));
    let error = futex_cmp_requeue(&from, &to, OP, 1, 9, 7).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EAGAIN));
    let units = sleepers(ex, &from, FUTEX_PRIVATE_FLAG, 8);
    let mut moved = 0;
    while moved < 8 {
        moved += futex_cmp_requeue(&from, &to, OP, 0, 8, 0).unwrap();
        sleep(Duration::from_micros(200));
    }
    assert_eq!(
        futex_wake(&from, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, c_int::MAX, 0).unwrap(),
        0
    );
    let woken = futex_wake(&to, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, c_int::MAX, 0).unwrap();
    // A wait may end for no reason, says futex(2), so whoever requeues may wake instead of moving. The kernel moves;
    // what is promised to all is that each was counted once, and that nobody is left behind.
    if ex.kind() == Kind::Threads {
        assert_eq!(woken, 8);
    }
    assert!(woken <= 8);
    join_all(units);
}

/// A mutex made of two futex calls counts right under contention.
pub fn handmade_mutex(ex: &dyn Executor) {
    let state = Arc::new((AtomicU32::new(0), AtomicUsize::new(0)));
    let shared = Arc::clone(&state);
    join_all(ex.start_each(8, move |_| {
        let (word, total) = (&shared.0, &shared.1);
        for _ in 0..500 {
            // 0 free, 1 held, 2 held with sleepers (Drepper, "Futexes Are Tricky", mutex2 in spirit).
            if word.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
                while word.swap(2, SeqCst) != 0 {
                    let _ = futex_wait(word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2, None);
                }
            }
            let before = total.load(SeqCst);
            std::thread::yield_now();
            total.store(before + 1, SeqCst);
            if word.swap(0, SeqCst) == 2 {
                futex_wake(word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0).unwrap();
            }
        }
    }));
    assert_eq!(state.1.load(SeqCst), 4_000);
}
