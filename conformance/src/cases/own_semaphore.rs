//! silken::sync::Semaphore: never more permits out than there are, none lost, and first come first served.

use crate::probe::{FAR, SHORT, coroutine};
use crate::{Executor, join_all};
use silken::sync::{AcquireError, Semaphore};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No more are inside than there are permits, and all get their turn.
pub fn permits_limit(ex: &dyn Executor) {
    let (semaphore, inside) = (Arc::new(Semaphore::new(3)), Arc::new(AtomicUsize::new(0)));
    let shared = semaphore.clone();
    join_all(ex.start_each(12, move |_| {
        for _ in 0..20 {
            let _permit = shared.acquire().unwrap();
            assert!(inside.fetch_add(1, SeqCst) < 3);
            silken::yield_now();
            inside.fetch_sub(1, SeqCst);
        }
    }));
    assert_eq!(semaphore.available_permits(), 3);
}

/// Acquisitions of several permits at once, of different sizes, all succeed and lose none.
pub fn many_permits(ex: &dyn Executor) {
    let semaphore = Arc::new(Semaphore::new(4));
    let shared = semaphore.clone();
    join_all(ex.start_each(8, move |unit| {
        for round in 0..20 {
            let permits = 1 + (unit + round) % 4;
            let permit = shared.acquire_many(permits).unwrap();
            assert_eq!(permit.num_permits(), permits);
            silken::yield_now();
        }
    }));
    assert_eq!(semaphore.available_permits(), 4);
}

/// One who wants many is not starved by those who want few.
pub fn large_is_not_starved(ex: &dyn Executor) {
    let (semaphore, done) = (Arc::new(Semaphore::new(3)), Arc::new(AtomicUsize::new(0)));
    let (shared, seen) = (semaphore.clone(), done.clone());
    let small = ex.start_each(4, move |_| {
        while seen.load(SeqCst) == 0 {
            let _permit = shared.acquire().unwrap();
            silken::yield_now();
        }
    });
    let large = ex.start(move || (0..5).for_each(|_| drop(semaphore.acquire_many(3).unwrap())));
    large.join();
    done.store(1, SeqCst);
    join_all(small);
}

/// try_acquire succeeds while there are permits, and only then.
pub fn try_forms_are_not_inverted(ex: &dyn Executor) {
    let semaphore = Arc::new(Semaphore::new(2));
    ex.start(move || {
        let one = semaphore.try_acquire().unwrap();
        assert_eq!(semaphore.try_acquire_many(2).unwrap_err(), AcquireError::NoPermits);
        let two = semaphore.try_acquire().unwrap();
        assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
        assert!(!semaphore.try_wait());
        drop(one);
        assert_eq!(semaphore.available_permits(), 1);
        drop(two);
        assert_eq!(semaphore.try_acquire_many(2).unwrap().num_permits(), 2);
    })
    .join();
}

/// A limit runs out, not early, and takes nothing; a permit in time is had.
pub fn timeouts(ex: &dyn Executor) {
    let semaphore = Arc::new(Semaphore::new(1));
    let shared = semaphore.clone();
    let unit = ex.start(move || {
        let started = Instant::now();
        assert_eq!(
            shared.acquire_many_timeout(2, SHORT).unwrap_err(),
            AcquireError::TimedOut
        );
        assert!(started.elapsed() >= SHORT && shared.available_permits() == 1);
        drop(shared.acquire_many_timeout(2, FAR).unwrap());
    });
    sleep(3 * SHORT);
    semaphore.add_permits(1);
    unit.join();
    assert_eq!(semaphore.available_permits(), 2);
}

/// Waiters that give up while permits come lose none.
pub fn timeouts_race_permits(ex: &dyn Executor) {
    let semaphore = Arc::new(Semaphore::new(0));
    let shared = semaphore.clone();
    let takers = ex.start_each(5, move |_| {
        (0..40)
            .filter(|_| {
                let permit = shared.acquire_timeout(Duration::from_micros(100));
                permit.map(|permit| permit.forget()).is_ok()
            })
            .count()
    });
    for _ in 0..60 {
        semaphore.add_permits(1);
        silken::sleep(Duration::from_micros(70));
    }
    let taken: usize = join_all(takers).iter().sum();
    assert_eq!(taken + semaphore.available_permits(), 60);
}

/// Several permits at once let several in.
pub fn add_wakes_several(ex: &dyn Executor) {
    let semaphore = Arc::new(Semaphore::new(0));
    let shared = semaphore.clone();
    let units = ex.start_each(10, move |_| shared.acquire().unwrap().forget());
    sleep(SHORT);
    semaphore.add_permits(10);
    join_all(units);
    assert_eq!(semaphore.available_permits(), 0);
}

/// A close ends all waits, and nothing can be had afterwards.
pub fn close_wakes(ex: &dyn Executor) {
    let semaphore = Arc::new(Semaphore::new(0));
    let shared = semaphore.clone();
    let units = ex.start_each(5, move |_| shared.acquire().map(drop));
    sleep(SHORT);
    semaphore.close();
    assert_eq!(join_all(units), [Err(AcquireError::Closed); 5]);
    semaphore.add_permits(1);
    assert!(semaphore.is_closed() && semaphore.try_acquire().is_err());
}

/// wait and post: what was posted before is kept, each once.
pub fn wait_and_post(ex: &dyn Executor) {
    let (ping, pong) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (one, other) = (ping.clone(), pong.clone());
    let unit = ex.start(move || {
        for _ in 0..300 {
            one.wait();
            other.post();
        }
    });
    for _ in 0..300 {
        ping.post();
        pong.wait();
    }
    unit.join();
    (0..3).for_each(|_| ping.post());
    assert_eq!(ping.get_value(), 3);
    assert!((0..3).all(|_| ping.try_wait()) && !ping.wait_timeout(Duration::from_millis(1)));
}

/// Coroutines only: a cancelled waiter takes nothing, and what was on its way to it goes to the next.
pub fn cancelled_waiter(ex: &dyn Executor) {
    let semaphore = Arc::new(Semaphore::new(0));
    for _ in 0..20 {
        let units: Vec<_> = (0..3)
            .map(|_| {
                let shared = semaphore.clone();
                coroutine(ex, move || shared.acquire().map(|permit| permit.forget()))
            })
            .collect();
        silken::sleep(Duration::from_micros(200));
        semaphore.add_permits(1);
        units.iter().for_each(|unit| unit.cancel());
        let taken = units.into_iter().filter_map(|unit| unit.join().ok()).count();
        assert_eq!(taken + semaphore.available_permits(), 1);
        assert!(taken == 1 || semaphore.try_wait());
    }
}
