//! `par_map`.

use super::{FAR, on_all};
use silken::sync::Barrier;
use silken::{Elapsed, par_map, timeout};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn results_keep_the_order() {
    on_all(|| {
        let words: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let lengths = par_map(8, &words, |word| {
            silken::yield_now();
            word.parse::<usize>().unwrap()
        });
        assert!(lengths.into_iter().eq(0..200));
        assert_eq!(par_map(3, Vec::<u8>::new(), |byte| byte), []);
    });
}

#[test]
fn no_more_than_asked_for_run_at_once_and_no_item_is_taken_before() {
    on_all(|| {
        let counters = || AtomicUsize::new(0);
        let (running, most, taken, done) = (counters(), counters(), counters(), counters());
        let first_four = Barrier::new(4);
        let items = (0..40).inspect(|_| {
            taken.fetch_add(1, Ordering::SeqCst);
        });
        par_map(4, items, |item| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if item < 4 {
                first_four.wait();
            }
            // In this order: `done` may grow in between.
            let taken = taken.load(Ordering::SeqCst);
            assert!(taken <= done.load(Ordering::SeqCst) + 4);
            silken::sleep(Duration::from_micros(100));
            running.fetch_sub(1, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(most.into_inner(), 4);
    });
}

#[test]
fn a_panic_and_a_deadline_end_it() {
    on_all(|| {
        let outcome = catch_unwind(|| {
            par_map(4, 0..1000, |item| {
                assert!(item != 3, "the third");
                silken::sleep(FAR);
            })
        });
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"the third"));
        let outcome = timeout(Duration::from_millis(2), || par_map(4, 0..8, |_| silken::sleep(FAR)));
        assert!(matches!(outcome, Err(Elapsed)));
    });
}

/// A result that is missing is a panic, and not a shorter list.
#[test]
fn no_result_is_left_out() {
    on_all(|| {
        let outcome = catch_unwind(|| {
            par_map(2, 0..10, |item| {
                if item == 3 {
                    silken::current().cancel();
                }
                silken::yield_now();
            })
        });
        assert_eq!(
            outcome.unwrap_err().downcast_ref(),
            Some(&"a call of par_map was cancelled")
        );
    });
}

#[test]
fn signals_that_do_not_exist_are_refused_and_change_nothing() {
    for number in [-1, 0, 65, 9, 1000] {
        assert_eq!(
            silken::signal::on(number).unwrap_err().kind(),
            std::io::ErrorKind::InvalidInput
        );
    }
    let (first, second) = (silken::signal::on(10).unwrap(), silken::signal::on(10).unwrap());
    // SAFETY: S7: it takes a number.
    unsafe { libc::raise(10) };
    assert_eq!((first.recv(), second.recv()), (Ok(10), Ok(10)));
}
