//! Is everything of a preempted coroutine as it was when it continues: registers, thread-locals, errno, panics?

use super::{SLICE, runtime};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Runs many copies of a computation on two workers with short slices. Each copy repeats it for some time.
fn repeat(body: impl Fn() + Sync) {
    let end = Instant::now() + Duration::from_millis(500);
    let rounds = AtomicUsize::new(0);
    runtime(2, SLICE)
        .run(|| {
            silken::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| {
                        while Instant::now() < end {
                            body();
                            rounds.fetch_add(1, SeqCst);
                        }
                    });
                }
            });
        })
        .unwrap();
    assert!(rounds.into_inner() >= 6);
}

/// A computation in which every bit counts.
fn mix(seed: u64, length: usize) -> (u64, u64) {
    let (mut word, mut float) = (seed | 1, 1.0_f64);
    for k in 0..length {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        float = float.mul_add(0.999_9, (word as u32) as f64 / 4_294_967_296.0);
        if black_box(k) % 97 == 0 {
            word = word.wrapping_add(float.to_bits());
        }
    }
    (word, float.to_bits())
}

#[test]
fn registers() {
    let expected = mix(7, 200_000);
    repeat(|| assert_eq!(mix(black_box(7), 200_000), expected));
}

/// Computes on each of several segments, and crosses to and fro.
#[test]
fn segments() {
    fn nest(depth: u64) -> u64 {
        let (word, _) = mix(depth, 3_000);
        match depth {
            0 => word,
            _ => word ^ silken::grow(0, || nest(depth - 1)).unwrap(),
        }
    }
    let expected = nest(6);
    repeat(|| {
        assert_eq!(nest(6), expected);
        for number in 0..200 {
            assert_eq!(silken::grow(0, || black_box(number)).unwrap(), number);
        }
    });
}

#[test]
fn thread_locals_and_the_thread_itself() {
    thread_local! {
        static COUNT: Cell<u64> = const { Cell::new(0) };
        static SEEN: RefCell<HashMap<u64, u64>> = RefCell::default();
    }
    repeat(|| {
        let (own, begun) = (thread::current().id(), COUNT.get());
        for k in 1..=20_000 {
            COUNT.set(COUNT.get() + 1);
            if k % 100 == 0 {
                SEEN.with_borrow_mut(|seen| *seen.entry(k).or_default() += 1);
            }
        }
        assert_eq!(COUNT.get(), begun + 20_000);
        assert_eq!(thread::current().id(), own);
        SEEN.with_borrow(|seen| assert!(seen.values().all(|times| *times == seen[&100])));
    });
}

#[test]
fn errno() {
    repeat(|| {
        let place = {
            // SAFETY: S7: closes nothing.
            assert_eq!(unsafe { libc::close(-1) }, -1);
            std::io::Error::last_os_error
        };
        let _ = black_box(mix(3, 50_000));
        assert_eq!(place().raw_os_error(), Some(libc::EBADF));
    });
}

#[test]
fn panics_and_their_destructors() {
    struct Counts<'a>(&'a AtomicUsize);

    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            let _ = black_box(mix(5, 5_000));
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn deep(depth: u32, dropped: &AtomicUsize) -> u64 {
        let _counts = Counts(dropped);
        if depth == 0 {
            panic_any(42_u64);
        }
        deep(depth - 1, dropped) + 1
    }

    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<u64>().is_none() {
            eprintln!("{info}");
        }
    }));
    repeat(|| {
        let dropped = AtomicUsize::new(0);
        let payload = catch_unwind(AssertUnwindSafe(|| deep(20, &dropped))).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&42_u64));
        assert_eq!(dropped.into_inner(), 21);
        assert!(!thread::panicking());
    });
}

/// The walk meets frames of preempted code only where that code asks for a backtrace itself; it must not be disturbed.
#[test]
fn backtraces() {
    #[inline(never)]
    fn asks_for_a_backtrace() -> String {
        std::backtrace::Backtrace::force_capture().to_string()
    }
    repeat(|| {
        let text = asks_for_a_backtrace();
        assert!(text.contains("asks_for_a_backtrace"), "{text}");
    });
}

#[test]
fn rounding_and_the_state_of_the_vector_unit_are_not_handed_on() {
    fn control_word() -> u32 {
        let mut word = 0_u32;
        // SAFETY: S7: stores one word.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut word) };
        word & !0x3F
    }
    repeat(|| {
        assert_eq!(control_word(), 0x1F80);
        let _ = black_box(mix(9, 50_000));
        assert_eq!(control_word(), 0x1F80);
    });
}
