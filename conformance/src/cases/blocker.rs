//! silken::sync::Blocker: park and unpark, for coroutines and threads alike.

use crate::Executor;
use crate::probe::{FAR, SHORT};
use silken::sync::{Blocker, ParkError};
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// A wake before the park is kept, one at most.
pub fn token_is_kept(ex: &dyn Executor) {
    let blocker = Blocker::current();
    let shared = blocker.clone();
    ex.start(move || (0..3).for_each(|_| shared.unpark())).join();
    assert_eq!(blocker.park(None), Ok(()));
    assert_eq!(blocker.park(Some(Duration::from_millis(1))), Err(ParkError::Timeout));
}

/// A limit is not cut short, and is not used up if the wake comes.
pub fn timeouts(ex: &dyn Executor) {
    let blocker = Blocker::current();
    let shared = blocker.clone();
    let unit = ex.start(move || {
        let started = Instant::now();
        assert_eq!(shared.park(Some(SHORT)), Err(ParkError::Timeout));
        assert!(started.elapsed() >= SHORT);
        assert_eq!(shared.park_deadline(started), Err(ParkError::Timeout));
        shared.park(Some(FAR))
    });
    sleep(3 * SHORT);
    blocker.unpark();
    assert_eq!(unit.join(), Ok(()));
}

/// A unit and an OS thread wake each other.
pub fn ping_pong(ex: &dyn Executor) {
    let (one, other) = (Arc::new(Blocker::new()), Arc::new(Blocker::new()));
    let (mine, theirs) = (other.clone(), one.clone());
    let thread = thread::spawn(move || {
        for _ in 0..300 {
            mine.park(None).unwrap();
            theirs.unpark();
        }
    });
    ex.start(move || {
        for _ in 0..300 {
            other.unpark();
            one.park(None).unwrap();
        }
    })
    .join();
    thread.join().unwrap();
}
