//! Once, OnceLock, LazyLock: once, seen by all, and what a failure leaves behind.

use super::{LONG, SHORT, a_moment, on_all, on_coroutines};
use silken::sync::{Arc, LazyLock, Once, OnceLock};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn once_among_many_who_all_see_it() {
    on_all(|world| {
        let shared = Arc::new((Once::new(), AtomicUsize::new(0)));
        let of_agents = shared.clone();
        world.run(40, move |number| {
            let (once, count) = &*of_agents;
            if number % 4 == 0 {
                once.wait();
            } else {
                once.call_once(|| {
                    silken::sleep(SHORT);
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
            assert_eq!(count.load(Ordering::Relaxed), 1);
        });
        assert!(shared.0.is_completed());
    });
}

#[test]
fn a_panic_poisons_and_force_heals() {
    on_all(|world| {
        let once = Arc::new(Once::new());
        let other = once.clone();
        let agent = world.spawn(move || other.call_once(|| std::panic::resume_unwind(Box::new(()))));
        assert!(agent.panicked());
        for wait in [false, true] {
            let other = once.clone();
            let quiet = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || match wait {
                true => other.wait(),
                false => other.call_once(|| unreachable!()),
            }));
            let message = quiet.unwrap_err();
            assert!(message.downcast_ref::<&str>().unwrap().contains("poisoned"));
        }
        let other = once.clone();
        let patient = world.spawn(move || other.wait_force());
        a_moment();
        once.call_once_force(|state| assert!(state.is_poisoned()));
        once.call_once(|| unreachable!());
        once.wait();
        patient.join();
    });
}

#[test]
fn a_cancelled_initialiser_leaves_it_to_the_next() {
    on_coroutines(|_| {
        let lock = Arc::new(OnceLock::new());
        let (first, second) = (lock.clone(), lock.clone());
        let first = silken::spawn(move || {
            first.get_or_init(|| {
                silken::sleep(LONG);
                1
            });
        });
        a_moment();
        let second = silken::spawn(move || *second.get_or_init(|| 2));
        let third = lock.clone();
        let cancelled_waiter = silken::spawn(move || *third.wait());
        a_moment();
        cancelled_waiter.cancel();
        assert!(cancelled_waiter.join().unwrap_err().is_cancelled());
        assert!(!second.is_finished());
        first.cancel();
        assert!(first.join().unwrap_err().is_cancelled());
        assert_eq!(second.join().unwrap(), 2);
        assert_eq!(lock.get(), Some(&2));
    });
}

#[test]
fn once_lock_sets_waits_and_takes() {
    on_all(|world| {
        let lock = Arc::new(OnceLock::<String>::new());
        assert_eq!(lock.get(), None);
        assert_eq!(lock.wait_timeout(SHORT), None);
        let other = lock.clone();
        let waiter = world.spawn(move || other.wait().clone());
        let other = lock.clone();
        let timed = world.spawn(move || other.wait_timeout(LONG).cloned());
        a_moment();
        let of_agents = lock.clone();
        let set = world.run(10, move |number| of_agents.set(number.to_string()).is_ok());
        assert_eq!(set.into_iter().filter(|set| *set).count(), 1);
        let value = lock.get().unwrap().clone();
        assert_eq!(waiter.join(), value);
        assert_eq!(timed.join(), Some(value.clone()));
        let mut lock = Arc::into_inner(lock).unwrap();
        lock.get_mut().unwrap().push('!');
        assert_eq!(lock.clone(), lock);
        assert_eq!(lock.take(), Some(value + "!"));
        assert_eq!(lock.take(), None);
        assert_eq!(lock.set("again".to_owned()), Ok(()));
        assert_eq!(format!("{lock:?}"), "OnceLock(\"again\")");
        assert_eq!(lock.into_inner().as_deref(), Some("again"));
        let panicked = OnceLock::new();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            panicked.get_or_init(|| std::panic::resume_unwind(Box::new(())));
        }));
        assert!(result.is_err());
        assert_eq!(*panicked.get_or_init(|| 3), 3, "not poisoned");
    });
}

#[test]
fn lazy_lock_makes_one_value() {
    on_all(|world| {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let before = MADE.load(Ordering::Relaxed);
        let lazy = Arc::new(LazyLock::new(|| {
            silken::sleep(SHORT);
            MADE.fetch_add(1, Ordering::Relaxed)
        }));
        let of_agents = lazy.clone();
        let seen = world.run(20, move |_| **of_agents);
        assert_eq!(seen, [before; 20]);
        let broken = LazyLock::new(|| -> u32 { std::panic::resume_unwind(Box::new("broken")) });
        for expected in ["broken", "poisoned"] {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| *broken));
            let message = result.unwrap_err();
            let message = message.downcast_ref::<&str>().unwrap();
            assert!(message.contains(expected), "{message}");
        }
    });
}

/// Somebody who waits for a closure that mends it does not hide from others that it is poisoned.
#[test]
fn a_patient_waiter_hides_no_poison() {
    on_all(|world| {
        let once = Arc::new(Once::new());
        let other = once.clone();
        let agent = world.spawn(move || other.call_once(|| std::panic::resume_unwind(Box::new(()))));
        assert!(agent.panicked());
        let patient = once.clone();
        let patient = world.spawn(move || patient.wait_force());
        a_moment();
        let hasty = once.clone();
        let hasty =
            world.spawn(move || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hasty.wait())).is_err());
        assert!(hasty.join(), "it is told at once");
        once.call_once_force(|state| assert!(state.is_poisoned()));
        patient.join();
    });
}
