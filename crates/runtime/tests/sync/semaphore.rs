//! Semaphore: the number is kept, the first come are the first served, and nobody who leaves takes permits along.

use super::{LONG, SHORT, a_moment, on_all, on_coroutines, seed_of, until};
use fastrand::Rng;
use silken::sync::{AcquireError, Arc, Semaphore, SemaphorePermit, Semphore};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn never_more_than_there_are() {
    let seed = seed_of("semaphore::never_more_than_there_are");
    on_all(|world| {
        let mut random = Rng::with_seed(seed);
        let shared = Arc::new((Semaphore::new(4), AtomicUsize::new(0)));
        let agents: Vec<_> = (0..20)
            .map(|_| {
                let (shared, mut random) = (shared.clone(), random.fork());
                world.spawn(move || {
                    let (semaphore, taken) = &*shared;
                    for _ in 0..100 {
                        let count = random.usize(1..=4);
                        let permit = match random.u64(..4) {
                            0 => semaphore.try_acquire_many(count).ok(),
                            1 => semaphore
                                .acquire_many_timeout(count, Duration::from_micros(random.u64(..300)))
                                .ok(),
                            _ => Some(semaphore.acquire_many(count).unwrap()),
                        };
                        let Some(permit) = permit else { continue };
                        assert_eq!(permit.num_permits(), count);
                        assert!(taken.fetch_add(count, Ordering::SeqCst) + count <= 4);
                        if random.u64(..4) == 0 {
                            silken::yield_now();
                        }
                        taken.fetch_sub(count, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        agents.into_iter().for_each(super::Agent::join);
        assert_eq!(shared.0.available_permits(), 4);
    });
}

#[test]
fn a_big_request_is_not_overtaken() {
    on_all(|world| {
        let semaphore = Arc::new(Semaphore::new(2));
        let one = semaphore.acquire().unwrap();
        let other = semaphore.clone();
        let big = world.spawn(move || other.acquire_many(2).map(SemaphorePermit::forget));
        until(|| semaphore.try_acquire().is_err());
        assert_eq!(
            semaphore.available_permits(),
            1,
            "one is there, and is not for the next"
        );
        let other = semaphore.clone();
        let small = world.spawn(move || other.acquire().map(SemaphorePermit::forget));
        a_moment();
        assert!(!big.is_finished() && !small.is_finished());
        drop(one);
        big.join().unwrap();
        a_moment();
        assert!(!small.is_finished());
        semaphore.release(1);
        small.join().unwrap();
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn who_gives_up_lets_the_next_go() {
    on_all(|world| {
        let semaphore = Arc::new(Semaphore::new(1));
        let (hasty, behind) = (semaphore.clone(), semaphore.clone());
        let hasty = world.spawn(move || hasty.acquire_many_timeout(5, SHORT * 4).map(drop));
        until(|| semaphore.try_acquire().is_err());
        let behind = world.spawn(move || behind.acquire_timeout(LONG).map(drop));
        assert_eq!(hasty.join(), Err(AcquireError::TimedOut));
        assert_eq!(behind.join(), Ok(()));
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn a_cancelled_waiter_lets_the_next_go() {
    on_coroutines(|_| {
        let semaphore = Arc::new(Semaphore::new(1));
        let (first, behind) = (semaphore.clone(), semaphore.clone());
        let first = silken::spawn(move || drop(first.acquire_many(2)));
        until(|| semaphore.try_acquire().is_err());
        let behind = silken::spawn(move || behind.acquire().is_ok());
        a_moment();
        first.cancel();
        assert!(first.join().unwrap_err().is_cancelled());
        assert!(behind.join().unwrap());
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn closing_ends_all_waits() {
    on_all(|world| {
        let semaphore = Arc::new(Semaphore::new(0));
        let agents: Vec<_> = (0..40)
            .map(|_| {
                let semaphore = semaphore.clone();
                world.spawn(move || semaphore.acquire().map(drop))
            })
            .collect();
        a_moment();
        semaphore.close();
        assert!(
            agents
                .into_iter()
                .all(|agent| agent.join() == Err(AcquireError::Closed))
        );
        semaphore.add_permits(1);
        assert_eq!(semaphore.try_acquire().map(drop), Err(AcquireError::Closed));
        assert!(semaphore.is_closed());
    });
}

#[test]
fn by_the_names_of_may_and_cogo() {
    on_all(|world| {
        let semaphore = Arc::new(Semphore::new(0));
        let other = semaphore.clone();
        assert!(!semaphore.try_wait() && !semaphore.wait_timeout(SHORT));
        let waiter = world.spawn(move || {
            other.wait();
            other.wait();
        });
        semaphore.post();
        semaphore.post();
        semaphore.post();
        waiter.join();
        assert_eq!(semaphore.get_value(), 1);
        assert!(semaphore.try_wait());
    });
}

#[test]
#[should_panic(expected = "more than MAX_PERMITS")]
fn too_many_permits() {
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    semaphore.add_permits(1);
}

/// Refused while somebody waits, and the panic's hook waits and uses the semaphore: so it is under no lock.
#[test]
fn too_many_permits_are_refused_outside_the_lock() {
    static USED_BY_HOOK: std::sync::Mutex<Option<Arc<Semaphore>>> = std::sync::Mutex::new(None);
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>().map_or("", String::as_str);
            let semaphore = USED_BY_HOOK.lock().unwrap().clone();
            match semaphore.filter(|_| text.contains("MAX_PERMITS")) {
                Some(semaphore) => {
                    silken::sleep(SHORT);
                    assert!(semaphore.try_acquire_many(5).is_err());
                }
                None => before(info),
            }
        }));
    });
    on_coroutines(|world| {
        let semaphore = Arc::new(Semaphore::new(1));
        *USED_BY_HOOK.lock().unwrap() = Some(semaphore.clone());
        let waiter = world.spawn({
            let semaphore = semaphore.clone();
            move || semaphore.acquire_many(3).unwrap().forget()
        });
        a_moment();
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            semaphore.add_permits(Semaphore::MAX_PERMITS);
        }));
        assert!(refused.is_err());
        semaphore.add_permits(2);
        waiter.join();
        assert_eq!(semaphore.available_permits(), 0);
        *USED_BY_HOOK.lock().unwrap() = None;
    });
}

/// A big request that gives up lets in all small ones behind it, however many: more than one batch.
#[test]
fn a_big_request_that_gives_up_lets_all_small_ones_in() {
    on_coroutines(|_| {
        const SMALL: usize = 50;
        let places = Arc::new(Semaphore::new(SMALL + 1));
        let one = places.acquire().unwrap();
        let of_big = places.clone();
        let big = silken::spawn(move || of_big.acquire_many_timeout(SMALL + 1, SHORT * 4).is_err());
        a_moment();
        let meet = Arc::new(silken::sync::Barrier::new(SMALL));
        let small: Vec<_> = (0..SMALL)
            .map(|_| {
                let (places, meet) = (places.clone(), meet.clone());
                silken::spawn(move || {
                    let _permit = places.acquire().unwrap();
                    meet.wait();
                })
            })
            .collect();
        assert!(big.join().unwrap());
        for handle in small {
            assert!(matches!(handle.join_timeout(LONG), Ok(Ok(()))), "one is shut out");
        }
        drop(one);
    });
}
