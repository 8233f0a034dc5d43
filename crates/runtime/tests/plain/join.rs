//! Ends: values, panics, cancellation, many joiners, time limits.

use super::on_all;
use silken::{JoinError, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn quiet_panic(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

#[test]
fn a_panic_stays_in_its_coroutine_and_its_payload_is_kept() {
    on_all(|| {
        let error = spawn(|| quiet_panic("gone")).join().unwrap_err();
        assert_eq!(error.message(), Some("gone"));
        assert!(matches!(error, JoinError::Panicked(_)));
        let payload = spawn(|| std::panic::resume_unwind(Box::new(77u8)))
            .join()
            .unwrap_err()
            .into_panic()
            .unwrap();
        assert_eq!(*payload.downcast::<u8>().unwrap(), 77);
    });
}

#[test]
fn destructors_run_when_a_coroutine_unwinds() {
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            // A destructor may wait.
            silken::yield_now();
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    on_all(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..10)
            .map(|_| {
                let guard = Count(count.clone());
                spawn(move || {
                    let _guard = guard;
                    quiet_panic("unwinding")
                })
            })
            .collect();
        for handle in handles {
            handle.join().map(|()| unreachable!()).unwrap_err();
        }
        assert_eq!(count.load(Ordering::Relaxed), 10);
    });
}

#[test]
fn join_timeout_gives_the_handle_back() {
    on_all(|| {
        let sleeper = spawn(silken::park);
        let begun = Instant::now();
        let silken::JoinTimeout(sleeper) = sleeper.join_timeout(Duration::from_millis(10)).unwrap_err();
        assert!(begun.elapsed() >= Duration::from_millis(10));
        assert!(!sleeper.is_finished());
        sleeper.coroutine().unpark();
        sleeper.join_timeout(Duration::from_secs(20)).unwrap().unwrap();
    });
}

#[test]
fn a_cancelled_sleeper_ends_and_runs_destructors() {
    on_all(|| {
        let guard = Arc::new(());
        let held = guard.clone();
        let sleeper = spawn(move || {
            let _held = held;
            silken::sleep(Duration::from_secs(100));
        });
        while Arc::strong_count(&guard) == 1 {
            silken::yield_now();
        }
        silken::sleep(Duration::from_millis(1));
        sleeper.cancel();
        assert!(matches!(sleeper.join(), Err(JoinError::Cancelled)));
        assert_eq!(Arc::strong_count(&guard), 1);
    });
}

#[test]
fn one_that_has_not_started_is_cancelled_without_running() {
    on_all(|| {
        let ran = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..100)
            .map(|_| {
                let ran = ran.clone();
                spawn(move || {
                    ran.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        for handle in &handles {
            handle.cancel();
        }
        let cancelled = handles.into_iter().filter_map(|handle| handle.join().err()).count();
        assert_eq!(cancelled + ran.load(Ordering::Relaxed), 100);
    });
}

#[test]
fn a_cancelled_joiner_lets_go() {
    on_all(|| {
        let sleeper = spawn(silken::park);
        let wake = sleeper.coroutine();
        let joiner = spawn(move || sleeper.join());
        silken::sleep(Duration::from_millis(1));
        joiner.cancel();
        assert!(matches!(joiner.join(), Err(JoinError::Cancelled)));
        wake.unpark();
    });
}

#[test]
fn threads_join_coroutines_and_coroutines_join_what_threads_spawned() {
    on_all(|| {
        let handle = spawn(|| {
            silken::sleep(Duration::from_millis(2));
            1
        });
        assert_eq!(
            std::thread::scope(|s| s.spawn(|| handle.join().unwrap()).join().unwrap()),
            1
        );
    });
}

#[test]
fn who_joins_itself_panics_as_with_threads() {
    on_all(|| {
        let (give, take) = std::sync::mpsc::channel::<silken::JoinHandle<()>>();
        let (say, hear) = std::sync::mpsc::channel();
        let handle = spawn(move || {
            let own = take.recv().unwrap();
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| own.join().is_ok()));
            say.send(caught.is_err()).unwrap();
        });
        give.send(handle).unwrap();
        assert!(hear.recv().unwrap(), "it did not panic");
        // With a limit it is an ordinary wait that comes to its end.
        let (give, take) = std::sync::mpsc::channel::<silken::JoinHandle<()>>();
        let (say, hear) = std::sync::mpsc::channel();
        let handle = spawn(move || {
            let own = take.recv().unwrap();
            say.send(own.join_timeout(Duration::from_millis(1)).is_err()).unwrap();
        });
        give.send(handle).unwrap();
        assert!(hear.recv().unwrap());
    });
}

/// What error types of applications ask of what they are made from.
#[test]
fn the_error_may_be_shared_and_says_what_was_thrown() {
    fn fits<T: std::error::Error + Send + Sync + 'static>() {}
    fits::<JoinError>();
    let error = silken::spawn(|| std::panic::panic_any(7_u32)).join().unwrap_err();
    assert_eq!(
        (
            error.downcast_ref::<u32>(),
            error.downcast_ref::<i32>(),
            error.message()
        ),
        (Some(&7), None, None)
    );
    let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
    assert_eq!(boxed.to_string(), "the coroutine panicked");
    let number = silken::spawn(|| -> u32 { panic!("{}", 6 * 7) }).join().unwrap_err();
    assert_eq!(
        (number.message(), number.downcast_ref::<String>().map(String::as_str)),
        (Some("42"), Some("42"))
    );
}
