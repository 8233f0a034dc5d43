//! `CancelToken`, and permits that own their semaphore.

use super::{FAR, on_all};
use silken::CancelToken;
use silken::sync::Semaphore;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn who_waits_is_told_and_who_comes_later_too() {
    on_all(|| {
        let token = CancelToken::new();
        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let token = token.clone();
                silken::spawn(move || token.wait())
            })
            .collect();
        let selects = {
            let token = token.clone();
            silken::spawn(move || {
                silken::select! {
                    recv(token.done()) -> _ => "told",
                    default(FAR) => "late",
                }
            })
        };
        assert!(!token.wait_timeout(Duration::from_millis(1)) && !token.is_cancelled());
        token.cancel();
        token.cancel();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(selects.join().unwrap(), "told");
        token.wait();
        assert!(token.is_cancelled() && token.wait_timeout(FAR));
    });
}

#[test]
fn children_are_cancelled_and_parents_are_not() {
    on_all(|| {
        let root = CancelToken::new();
        let (left, right) = (root.child(), root.child());
        let leaf = left.child();
        // Many that are gone.
        (0..1000).for_each(|_| drop(root.child()));
        left.cancel();
        assert_eq!(
            [&root, &left, &leaf, &right].map(CancelToken::is_cancelled),
            [false, true, true, false]
        );
        root.cancel();
        assert!(right.is_cancelled() && root.child().is_cancelled());
    });
}

#[test]
fn a_child_that_comes_while_its_parent_is_cancelled_is_told() {
    for _ in 0..500 {
        let root = CancelToken::new();
        let parent = root.clone();
        let maker = std::thread::spawn(move || parent.child());
        root.cancel();
        maker.join().unwrap().wait();
    }
}

/// Whoever lies between need not be kept.
#[test]
fn a_request_reaches_through_those_who_are_gone() {
    let root = CancelToken::new();
    let leaf = (0..100_000).fold(root.child(), |token, _| token.child());
    root.cancel();
    assert!(leaf.is_cancelled());
}

#[test]
fn a_token_may_have_a_time() {
    on_all(|| {
        let token = CancelToken::new();
        token.cancel_after(Duration::from_millis(2));
        token.wait();
        assert!(token.is_cancelled());
    });
}

#[test]
fn a_permit_that_is_owned_travels() {
    on_all(|| {
        let places = Arc::new(Semaphore::new(3));
        let permit = places.clone().acquire_many_owned(2).unwrap();
        let single = places.clone().try_acquire_owned().unwrap();
        assert!(places.clone().try_acquire_owned().is_err());
        let waiter = {
            let places = places.clone();
            silken::spawn(move || places.acquire_owned().unwrap().num_permits())
        };
        silken::spawn(move || drop(permit)).join().unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
        single.forget();
        assert_eq!(places.available_permits(), 2);
    });
}
