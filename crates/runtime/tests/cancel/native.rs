//! silken's own waits.

use super::{FAR, on_all, unwinds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_sleep_unwinds() {
    on_all(|| {
        unwinds(|| silken::sleep(FAR));
        unwinds(|| silken::sleep_until(Instant::now() + FAR));
    });
}

#[test]
fn a_park_unwinds() {
    on_all(|| {
        unwinds(silken::park);
        unwinds(|| silken::park_timeout(FAR));
    });
}

#[test]
fn a_join_unwinds_and_the_other_goes_on() {
    on_all(|| {
        let other = silken::spawn(silken::park);
        let coroutine = other.coroutine();
        unwinds(move || other.join().unwrap());
        assert!(!coroutine.is_cancelled());
        coroutine.unpark();
        let timed = silken::spawn(silken::park);
        let coroutine = timed.coroutine();
        unwinds(move || drop(timed.join_timeout(FAR)));
        assert!(!coroutine.is_cancelled());
        coroutine.unpark();
    });
}

#[test]
fn a_yield_and_a_check_unwind() {
    on_all(|| {
        unwinds(|| {
            loop {
                silken::yield_now();
            }
        });
        let checker = silken::spawn(|| {
            assert!(!silken::is_cancelled());
            silken::check_cancelled();
            silken::current().cancel();
            assert!(silken::is_cancelled());
            silken::check_cancelled();
            unreachable!();
        });
        assert!(checker.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn one_that_has_not_started_drops_its_closure() {
    super::run_on(1, false, || {
        let held = std::sync::Arc::new(());
        let copy = held.clone();
        let handle = silken::spawn(move || {
            let _copy = copy;
            unreachable!("it was cancelled before");
        });
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    });
}

#[test]
fn one_that_never_waits_again_gives_its_value() {
    on_all(|| {
        let handle = silken::spawn(|| {
            silken::current().cancel();
            7
        });
        assert_eq!(handle.join().unwrap(), 7);
    });
}

#[test]
fn a_cancel_that_races_with_the_end_gives_the_value_or_cancelled() {
    on_all(|| {
        for round in 0..200u32 {
            let handle = silken::spawn(move || {
                for _ in 0..round % 7 {
                    silken::yield_now();
                }
                round
            });
            if round % 2 == 0 {
                silken::yield_now();
            }
            handle.cancel();
            match handle.join() {
                Ok(value) => assert_eq!(value, round),
                Err(error) => assert!(error.is_cancelled(), "{error:?}"),
            }
        }
    });
}

#[test]
fn a_wake_that_came_first_is_kept() {
    on_all(|| {
        let handle = silken::spawn(|| {
            silken::current().unpark();
            silken::current().cancel();
            silken::park(); // satisfied already: no wait
            silken::park();
        });
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_third_partys_catch_does_not_swallow_it() {
    on_all(|| {
        let caught = std::sync::Arc::new(AtomicUsize::new(0));
        let count = caught.clone();
        let handle = silken::spawn(move || {
            for _ in 0..3 {
                catch_unwind(|| silken::sleep(FAR)).unwrap_err();
                count.fetch_add(1, Ordering::Relaxed);
            }
            silken::park();
            count.fetch_add(100, Ordering::Relaxed);
        });
        silken::sleep(Duration::from_millis(2));
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(caught.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn a_panic_after_a_swallowed_cancellation_is_a_panic() {
    on_all(|| {
        let handle = silken::spawn(|| {
            silken::current().cancel();
            let _ = catch_unwind(silken::yield_now);
            std::panic::resume_unwind(Box::new("real"));
        });
        assert!(handle.join().unwrap_err().is_panic());
    });
}

#[test]
fn destructors_wait_to_the_end() {
    struct Waits(std::sync::Arc<AtomicUsize>);

    impl Drop for Waits {
        fn drop(&mut self) {
            super::takes(Duration::from_millis(3), || silken::sleep(Duration::from_millis(3)));
            silken::park_timeout(Duration::from_millis(1));
            silken::spawn(|| ()).join().unwrap();
            let mut done = false;
            silken::scope(|s| {
                s.spawn(|| {
                    silken::sleep(Duration::from_millis(1));
                    done = true;
                });
            });
            assert!(done);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    on_all(|| {
        let ended = std::sync::Arc::new(AtomicUsize::new(0));
        let waits = Waits(ended.clone());
        unwinds(move || {
            let _waits = waits;
            silken::park();
        });
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_parked_waiter_is_woken_by_cancel_or_unpark_but_not_lost() {
    on_all(|| {
        for _ in 0..100 {
            let handle = silken::spawn(silken::park);
            let (first, second) = (handle.coroutine(), handle.coroutine());
            let unparker = silken::spawn(move || first.unpark());
            let canceller = silken::spawn(move || second.cancel());
            unparker.join().unwrap();
            canceller.join().unwrap();
            match handle.join() {
                Ok(()) => {}
                Err(error) => assert!(error.is_cancelled()),
            }
        }
    });
}

#[test]
fn nobody_cancels_an_os_thread() {
    assert!(!silken::is_cancelled());
    silken::check_cancelled();
    assert_eq!(silken::mask_cancel(|| 3), 3);
    assert!(catch_unwind(AssertUnwindSafe(silken::check_cancelled)).is_ok());
}
