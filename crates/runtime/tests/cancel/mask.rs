//! Masks.

use super::{FAR, SOON, on_all, takes};
use std::time::Duration;

/// The caller cancels itself, and says what came of `body` and of the blocking point after it.
fn cancelled_before<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) {
    let reached = std::sync::Arc::new(std::sync::Mutex::new(None));
    let result = reached.clone();
    let handle = silken::spawn(move || {
        silken::current().cancel();
        let value = silken::mask_cancel(body);
        *result.lock().unwrap() = Some(value);
        silken::yield_now();
        unreachable!("the first blocking point after the mask unwinds");
    });
    assert!(handle.join().unwrap_err().is_cancelled());
    assert!(reached.lock().unwrap().take().is_some());
}

#[test]
fn inside_no_native_wait_sees_it() {
    on_all(|| {
        cancelled_before(|| takes(SOON, || silken::sleep(SOON)));
        cancelled_before(|| silken::park_timeout(Duration::from_millis(1)));
        cancelled_before(|| {
            silken::spawn(|| silken::sleep(Duration::from_millis(2)))
                .join()
                .unwrap()
        });
        cancelled_before(silken::yield_now);
        cancelled_before(|| {
            assert!(silken::is_cancelled());
            silken::check_cancelled();
        });
    });
}

#[test]
fn masks_nest() {
    on_all(|| {
        cancelled_before(|| {
            silken::mask_cancel(silken::yield_now);
            silken::yield_now();
            let _ = std::panic::catch_unwind(|| silken::mask_cancel(|| std::panic::resume_unwind(Box::new(1))));
            silken::yield_now();
        });
    });
}

#[test]
fn a_cancel_that_comes_inside_acts_afterwards() {
    on_all(|| {
        let handle = silken::spawn(|| {
            silken::mask_cancel(silken::park);
            silken::park();
        });
        silken::sleep(Duration::from_millis(2));
        handle.cancel();
        silken::sleep(Duration::from_millis(2));
        assert!(!handle.is_finished());
        handle.coroutine().unpark();
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_timeout_does_not_fire_through_but_inside() {
    on_all(|| {
        let outer = silken::timeout(Duration::from_millis(1), || {
            silken::mask_cancel(|| {
                assert_eq!(silken::time_left(), None);
                takes(SOON, || silken::sleep(SOON));
                assert!(silken::timeout(Duration::from_millis(1), || silken::sleep(FAR)).is_err());
            });
            silken::yield_now();
        });
        assert_eq!(outer, Err(silken::Elapsed));
    });
}

#[test]
fn children_of_a_masked_parent_go_on() {
    on_all(|| {
        let handle = silken::spawn(|| {
            let mut done = false;
            silken::mask_cancel(|| {
                silken::scope(|s| {
                    s.spawn(|| {
                        silken::sleep(SOON);
                        done = true;
                    });
                });
            });
            assert!(done);
            silken::yield_now();
        });
        silken::sleep(Duration::from_millis(2));
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}
