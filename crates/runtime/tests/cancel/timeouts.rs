//! `timeout` over silken's own waits.

use super::{FAR, Note, SOON, on_all, takes};
use silken::{Elapsed, timeout};
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(3);

/// Every native wait, which must end at the deadline and run destructors.
fn native_waits_end() {
    fn ends(wait: impl FnOnce()) {
        let dropped = AtomicBool::new(false);
        let outcome = takes(SHORT, || {
            timeout(SHORT, || {
                let _note = Note(&dropped);
                wait();
            })
        });
        assert_eq!(outcome, Err(Elapsed));
        assert!(dropped.load(Ordering::SeqCst));
        silken::yield_now(); // nothing is left over
    }
    ends(|| silken::sleep(FAR));
    ends(|| silken::sleep_until(Instant::now() + FAR));
    ends(|| {
        loop {
            silken::park();
        }
    });
    ends(|| {
        loop {
            silken::park_timeout(FAR);
        }
    });
    let other = silken::spawn(silken::park);
    let coroutine = other.coroutine();
    ends(move || other.join().unwrap());
    coroutine.unpark();
    ends(|| {
        loop {
            silken::check_cancelled();
        }
    });
    ends(|| {
        loop {
            silken::yield_now();
        }
    });
    ends(|| {
        silken::scope(|s| {
            s.spawn(silken::park);
        });
    });
}

#[test]
fn native_waits_end_at_the_deadline() {
    on_all(native_waits_end);
}

#[test]
fn native_waits_of_an_os_thread_end_at_the_deadline() {
    native_waits_end();
}

#[test]
fn a_value_in_time_and_a_late_one() {
    on_all(|| {
        assert_eq!(timeout(FAR, || 1), Ok(1));
        assert_eq!(timeout(Duration::ZERO, || 2), Ok(2));
        assert_eq!(timeout(FAR, || silken::sleep(Duration::from_millis(1))), Ok(()));
        assert_eq!(silken::timeout_at(Instant::now(), silken::yield_now), Err(Elapsed));
        assert_eq!(timeout(Duration::MAX, silken::time_left), Ok(None));
    });
}

#[test]
fn whose_time_is_up_gets_it() {
    on_all(|| {
        // The inner one.
        assert_eq!(timeout(FAR, || timeout(SHORT, || silken::sleep(FAR))), Ok(Err(Elapsed)));
        // The outer one, past an inner one.
        assert_eq!(timeout(SHORT, || timeout(FAR, || silken::sleep(FAR))), Err(Elapsed));
        // The outer one came first; the inner one has passed as well by then.
        let outcome = timeout(SHORT, || {
            timeout(2 * SHORT, || {
                let begun = Instant::now();
                while begun.elapsed() < 3 * SHORT {
                    std::hint::spin_loop();
                }
                silken::yield_now();
            })
        });
        assert_eq!(outcome, Err(Elapsed));
        // Neither: the wait's own.
        let outcome = timeout(FAR, || {
            silken::spawn(silken::park)
                .join_timeout(SHORT)
                .map(|_| ())
                .map_err(|late| late.0.cancel())
        });
        assert_eq!(outcome, Ok(Err(())));
    });
}

#[test]
fn a_panic_and_a_cancellation_pass() {
    on_all(|| {
        let outcome = catch_unwind(|| timeout(FAR, || resume_unwind(Box::new("own"))));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"own"));
        super::unwinds(|| {
            let _ = timeout(FAR, silken::park);
            unreachable!("cancellation is not an elapsed time");
        });
    });
}

#[test]
fn a_third_partys_catch_does_not_stop_it() {
    on_all(|| {
        let outcome = timeout(SHORT, || {
            for _ in 0..3 {
                catch_unwind(|| silken::sleep(FAR)).unwrap_err();
            }
            silken::sleep(FAR);
        });
        assert_eq!(outcome, Err(Elapsed));
        // A caught one that outlives its timeout reaches nobody else.
        let mut kept = None;
        let outcome = timeout(FAR, || {
            let inner = timeout(SHORT, || kept = catch_unwind(|| silken::sleep(FAR)).err());
            assert_eq!(inner, Ok(()));
            silken::yield_now();
        });
        assert_eq!(outcome, Ok(()));
        assert!(kept.is_some());
    });
}

#[test]
fn what_is_left() {
    on_all(|| {
        assert_eq!((silken::time_left(), silken::deadline()), (None, None));
        timeout(FAR, || {
            let outer = silken::deadline().unwrap();
            assert!(silken::time_left().unwrap() > FAR / 2);
            timeout(2 * FAR, || assert!(silken::deadline().unwrap() < outer + FAR / 2)).unwrap();
            timeout(SOON, || assert!(silken::time_left().unwrap() <= SOON)).unwrap();
        })
        .unwrap();
        assert_eq!(silken::time_left(), None);
    });
}

#[test]
fn children_inherit_it() {
    on_all(|| {
        let outcome = timeout(FAR, || {
            silken::scope(|s| {
                let left = s.spawn(|| s.spawn(silken::time_left).join().unwrap()).join().unwrap();
                assert!(left.unwrap() > FAR / 2);
            });
        });
        assert_eq!(outcome, Ok(()));
        let cancelled = AtomicBool::new(false);
        let outcome = timeout(SHORT, || {
            silken::scope(|s| {
                s.spawn(|| {
                    let _note = Note(&cancelled);
                    silken::scope(|s| {
                        s.spawn(silken::park);
                    });
                });
            });
        });
        assert_eq!(outcome, Err(Elapsed));
        assert!(cancelled.load(Ordering::SeqCst));
        // One that is spawned for itself does not.
        assert_eq!(
            timeout(FAR, || silken::spawn(silken::time_left).join().unwrap()),
            Ok(None)
        );
    });
}

#[test]
fn a_child_keeps_to_it_while_the_parent_computes() {
    super::run_on(2, false, || {
        let outcome = timeout(SHORT, || {
            silken::scope(|s| {
                let child = s.spawn(silken::park);
                while !child.is_finished() {
                    std::hint::spin_loop();
                }
            });
            unreachable!("the end of the scope is a blocking point");
        });
        assert_eq!(outcome, Err(Elapsed));
    });
}

#[test]
fn a_deadline_and_a_wake_race() {
    on_all(|| {
        for round in 0..100 {
            let handle = silken::spawn(silken::park);
            let coroutine = handle.coroutine();
            let waker = silken::spawn(move || {
                silken::sleep(Duration::from_micros(900 + 2 * round));
                coroutine.unpark();
            });
            match timeout(Duration::from_millis(1), || handle.join().unwrap()) {
                Ok(()) | Err(Elapsed) => {}
            }
            waker.join().unwrap();
        }
    });
}
