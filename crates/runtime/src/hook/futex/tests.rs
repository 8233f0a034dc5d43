//! Does the hook keep its contract on OS threads? Threads that wait in the table, as a coroutine does, stand for
//! coroutines, beside threads that wait in the kernel.

use super::*;
use crate::loom::static_atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

const PRIVATE: c_int = libc::FUTEX_PRIVATE_FLAG;

fn address(word: &AtomicU32) -> c_long {
    word.as_ptr().expose_provenance() as c_long
}

/// Calls the hook; a failure is returned as its error number.
fn futex(word: &AtomicU32, operation: c_int, rest: [c_long; 4]) -> Result<c_long, c_int> {
    let [c, d, e, f] = rest;
    // SAFETY: S7: live words, and timespecs that outlive the call.
    match unsafe { syscall(libc::SYS_futex, address(word), c_long::from(operation), c, d, e, f) } {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        result => Ok(result),
    }
}

fn wake(word: &AtomicU32, count: i32) -> c_long {
    futex(word, libc::FUTEX_WAKE | PRIVATE, [c_long::from(count), 0, 0, 0]).unwrap()
}

fn parse(
    word: &AtomicU32,
    operation: c_int,
    expected: u32,
    timeout: Option<&timespec>,
    bitset: u32,
) -> Option<FutexWait> {
    let timeout = timeout.map_or(0, |timeout| std::ptr::from_ref(timeout).expose_provenance() as c_long);
    let call = FutexCall([
        address(word),
        c_long::from(operation),
        c_long::from(expected),
        timeout,
        0,
        c_long::from(bitset),
    ]);
    // SAFETY: S7: live words and timespecs.
    unsafe { FutexWait::parse(&call) }
}

/// Threads of both kinds that sleep on a word.
struct Sleepers {
    threads: Vec<std::thread::JoinHandle<()>>,
    coroutines_back: Arc<AtomicUsize>,
    threads_back: Arc<AtomicUsize>,
}

impl Sleepers {
    fn start(word: &Arc<AtomicU32>, coroutines: usize, threads: usize) -> Self {
        let (coroutines_back, threads_back) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut handles = Vec::new();
        for number in 0..coroutines + threads {
            let word = word.clone();
            let back = if number < coroutines {
                &coroutines_back
            } else {
                &threads_back
            }
            .clone();
            handles.push(std::thread::spawn(move || {
                if number < coroutines {
                    assert_eq!(
                        parse(&word, libc::FUTEX_WAIT | PRIVATE, 0, None, 0).unwrap().park(),
                        Ok(())
                    );
                } else {
                    assert_eq!(futex(&word, libc::FUTEX_WAIT | PRIVATE, [0; 4]), Ok(0));
                }
                back.fetch_add(1, SeqCst);
            }));
        }
        // It cannot be observed from outside that a thread sleeps on a futex.
        std::thread::sleep(Duration::from_millis(150));
        Self {
            threads: handles,
            coroutines_back,
            threads_back,
        }
    }

    /// Waits for that many to come back, and checks that no more do.
    fn expect(&self, coroutines: usize, threads: usize) {
        let seen = || (self.coroutines_back.load(SeqCst), self.threads_back.load(SeqCst));
        for _ in 0..500 {
            if seen() == (coroutines, threads) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(seen(), (coroutines, threads));
    }

    fn join(self) {
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_wake_takes_coroutines_first_and_the_rest_from_the_kernel() {
    let word = Arc::new(AtomicU32::new(0));
    let sleepers = Sleepers::start(&word, 2, 3);
    assert_eq!(wake(&word, 1), 1);
    sleepers.expect(1, 0);
    assert_eq!(wake(&word, 2), 2);
    sleepers.expect(2, 1);
    assert_eq!(wake(&word, i32::MAX), 2);
    sleepers.expect(2, 3);
    assert_eq!(wake(&word, i32::MAX), 0);
    sleepers.join();
}

#[test]
fn a_count_of_zero_wakes_one_as_in_the_kernel() {
    let word = Arc::new(AtomicU32::new(0));
    let sleepers = Sleepers::start(&word, 1, 1);
    assert_eq!(wake(&word, 0), 1);
    sleepers.expect(1, 0);
    assert_eq!(wake(&word, -1), 1);
    sleepers.expect(1, 1);
    sleepers.join();
}

#[test]
fn a_requeue_wakes_coroutines_and_moves_threads() {
    let (word, other) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
    let sleepers = Sleepers::start(&word, 2, 2);
    let requeue = |wake: c_long, count: c_long, expected: c_long| {
        futex(
            &word,
            libc::FUTEX_CMP_REQUEUE | PRIVATE,
            [wake, count, address(&other), expected],
        )
    };
    assert_eq!(requeue(1, 1, 7), Err(libc::EAGAIN));
    assert_eq!(requeue(-1, 1, 0), Err(libc::EINVAL));
    sleepers.expect(0, 0);
    // One to wake and two to move: both coroutines are woken, and one thread is moved.
    assert_eq!(requeue(1, 2, 0), Ok(3));
    sleepers.expect(2, 0);
    assert_eq!(wake(&other, i32::MAX), 1);
    sleepers.expect(2, 1);
    assert_eq!(wake(&word, i32::MAX), 1);
    sleepers.join();
}

#[test]
fn wake_op_changes_the_word_once_and_wakes_both() {
    // FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0): the second word grows by one, and its waiters wake if it was 0.
    const ADD_ONE_IF_ZERO: c_long = 1 << 28 | 1 << 12;
    let (first, second) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let sleepers = [Sleepers::start(&first, 1, 1), Sleepers::start(&second, 1, 1)];
    let woken = futex(
        &first,
        libc::FUTEX_WAKE_OP | PRIVATE,
        [1, 1, address(&second), ADD_ONE_IF_ZERO],
    );
    assert_eq!(woken, Ok(4));
    assert_eq!(second.load(SeqCst), 1);
    for sleepers in sleepers {
        sleepers.expect(1, 1);
        sleepers.join();
    }
}

#[test]
fn bitsets_select() {
    let word = Arc::new(AtomicU32::new(0));
    let sleeper = std::thread::spawn({
        let word = word.clone();
        move || {
            parse(&word, libc::FUTEX_WAIT_BITSET | PRIVATE, 0, None, 0b10)
                .unwrap()
                .park()
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    let wake = |bitset| futex(&word, libc::FUTEX_WAKE_BITSET | PRIVATE, [1, 0, 0, bitset]);
    assert_eq!(wake(0b01), Ok(0));
    assert_eq!(wake(0b11), Ok(1));
    assert_eq!(sleeper.join().unwrap(), Ok(()));
}

#[test]
fn deadlines_end_waits_and_not_before() {
    const TEN_MS: u64 = 10_000_000;
    let word = AtomicU32::new(0);
    let relative = clock::ns_to_timespec(TEN_MS);
    let absolute = |clock| clock::ns_to_timespec(clock::clock_now_ns(clock) + TEN_MS);
    let (monotonic, realtime) = (absolute(libc::CLOCK_MONOTONIC), absolute(libc::CLOCK_REALTIME));
    let start_ns = clock::now_ns();
    for (operation, timeout) in [
        (libc::FUTEX_WAIT, &relative),
        (libc::FUTEX_WAIT_BITSET, &monotonic),
        (libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME, &realtime),
    ] {
        let wait = parse(&word, operation | PRIVATE, 0, Some(timeout), ANY).unwrap();
        assert!(wait.deadline_ns.unwrap().abs_diff(start_ns + TEN_MS) < 5 * TEN_MS);
        assert_eq!(wait.park(), Err(Errno::TIMEDOUT));
        assert!(clock::now_ns() >= start_ns + TEN_MS);
    }
    assert_eq!(
        TABLE.wake(address(&word) as usize, ANY, 9),
        0,
        "who timed out is in no list"
    );
    let past = parse(
        &word,
        libc::FUTEX_WAIT_BITSET | PRIVATE,
        0,
        Some(&clock::ns_to_timespec(1)),
        ANY,
    )
    .unwrap();
    assert_eq!(past.park(), Err(Errno::TIMEDOUT));
}

#[test]
fn a_mismatch_does_not_sleep_deadline_or_not() {
    let word = AtomicU32::new(5);
    let past = clock::ns_to_timespec(1);
    for timeout in [None, Some(&past)] {
        let wait = parse(&word, libc::FUTEX_WAIT_BITSET | PRIVATE, 4, timeout, ANY).unwrap();
        assert_eq!(wait.park(), Err(Errno::AGAIN));
    }
    assert_eq!(
        futex(&word, libc::FUTEX_WAIT | PRIVATE, [4, 0, 0, 0]),
        Err(libc::EAGAIN)
    );
    // A shared wait goes through the kernel, on this very thread when there is no coroutine.
    let call = FutexCall([address(&word), c_long::from(libc::FUTEX_WAIT), 4, 0, 0, 0]);
    assert_eq!(call.wait_elsewhere(), Err(Errno::AGAIN));
}

#[test]
fn what_the_kernel_would_refuse_is_left_to_it() {
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    let word = &words[0];
    let wait = |address, timeout: Option<&timespec>, bitset| {
        let timeout = timeout.map_or(0, |timeout| std::ptr::from_ref(timeout).expose_provenance() as c_long);
        let call = FutexCall([
            address,
            c_long::from(libc::FUTEX_WAIT_BITSET | PRIVATE),
            0,
            timeout,
            0,
            bitset,
        ]);
        // SAFETY: S7: timespecs are live, and the address is not read.
        assert!(unsafe { FutexWait::parse(&call) }.is_none());
        // SAFETY: S7: timespecs are live; the kernel refuses the call.
        assert_eq!(unsafe { call.answer() }, -1);
        std::io::Error::last_os_error().raw_os_error().unwrap()
    };
    let nonsense = timespec { tv_sec: 0, tv_nsec: -1 };
    assert_eq!(wait(address(word) + 1, None, -1), libc::EINVAL);
    assert_eq!(wait(address(word), None, 0), libc::EINVAL);
    assert_eq!(wait(address(word), Some(&nonsense), -1), libc::EINVAL);
    assert_eq!(wait(0, None, -1), libc::EFAULT);
    assert_eq!(wait(-4096, None, -1), libc::EFAULT);
}

#[test]
fn other_system_calls_pass() {
    // SAFETY: S7: no pointers.
    let pid = unsafe { syscall(libc::SYS_getpid, 0, 0, 0, 0, 0, 0) };
    assert_eq!(pid, c_long::from(std::process::id()));
}
