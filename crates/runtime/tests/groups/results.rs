//! `try_join!` and `try_scope`: the first error, panics, and the caller's own end.

use super::{FAR, on_all};
use silken::{Elapsed, timeout, try_join, try_scope, try_scope_limited};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn never() -> Result<u32, String> {
    silken::sleep(FAR);
    Ok(0)
}

#[test]
fn all_values_or_the_first_error() {
    on_all(|| {
        let word = "borrowed".to_string();
        let values = try_join!(Ok::<_, String>(word.len()), Ok("two"), Ok(()));
        assert_eq!(values, Ok((8, "two", ())));
        assert_eq!(
            try_join!(never(), Err::<(), _>("first".to_string()), never()),
            Err("first".to_string())
        );
        assert_eq!(
            try_join!(never(), try_join!(never(), Err::<u8, _>("inner".to_string()))),
            Err("inner".to_string())
        );
    });
}

#[test]
fn a_panic_is_a_panic() {
    on_all(|| {
        let outcome = catch_unwind(|| try_join!(Ok::<_, String>(1), { panic!("not an error") as Result<(), String> }));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"not an error"));
        let outcome = catch_unwind(|| {
            try_scope(|group| {
                group.spawn(|| -> Result<(), String> { panic!("in a group") });
                Ok(())
            })
        });
        outcome.unwrap_err();
    });
}

#[test]
fn the_callers_own_end_comes_first() {
    on_all(|| {
        for _ in 0..50 {
            assert_eq!(
                timeout(Duration::from_millis(1), || try_join!(never(), never())),
                Err(Elapsed)
            );
            let parent = silken::spawn(|| {
                let _ = try_scope(|group| {
                    for _ in 0..3 {
                        group.spawn(never);
                    }
                    never()
                });
                unreachable!("it was cancelled");
            });
            silken::yield_now();
            parent.cancel();
            assert!(parent.join().unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn a_group_ends_with_its_first_error() {
    on_all(|| {
        let begun = AtomicUsize::new(0);
        let outcome: Result<(), usize> = try_scope(|group| {
            for n in 0..10 {
                let begun = &begun;
                group.spawn(move || {
                    begun.fetch_add(1, Ordering::Relaxed);
                    if n == 7 {
                        return Err(n);
                    }
                    silken::sleep(FAR);
                    Ok(())
                });
            }
            Ok(())
        });
        assert_eq!(outcome, Err(7));
        // The body's own error, and a value.
        let outcome: Result<u32, &str> = try_scope(|group| {
            group.spawn(|| {
                silken::sleep(FAR);
                Ok(())
            });
            Err("the body")
        });
        assert_eq!(outcome, Err("the body"));
        let outcome: Result<u32, &str> = try_scope(|group| {
            let child = group.spawn(|| Ok(3));
            Ok(child.join().unwrap().unwrap() + 1)
        });
        assert_eq!(outcome, Ok(4));
    });
}

#[test]
fn children_spawn_children_into_the_group() {
    on_all(|| {
        let outcome: Result<(), u32> = try_scope(|group| {
            let inner = group.clone();
            group.spawn(move || {
                inner.spawn(|| Err::<(), _>(5));
                Ok(())
            });
            Ok(())
        });
        assert_eq!(outcome, Err(5));
    });
}

#[test]
fn a_limit_holds() {
    on_all(|| {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let outcome: Result<(), ()> = try_scope_limited(3, |group| {
            for _ in 0..30 {
                group.spawn(|| {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    silken::sleep(Duration::from_micros(200));
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                });
            }
            Ok(())
        });
        outcome.unwrap();
        assert_eq!((most.into_inner(), running.into_inner()), (3, 0));
    });
}

/// The others do not wait for ever for what the one that panicked would have done.
#[test]
fn a_panic_cancels_the_others() {
    on_all(|| {
        let in_scope = catch_unwind(|| {
            try_scope(|group| -> Result<(), ()> {
                group.spawn(|| -> Result<(), ()> {
                    silken::park();
                    unreachable!("nobody unparks it")
                });
                group.spawn(|| -> Result<(), ()> { std::panic::resume_unwind(Box::new("one of a group")) });
                Ok(())
            })
        });
        assert!(in_scope.is_err());
        let joined = catch_unwind(|| {
            let waits = || -> Result<(), ()> {
                silken::park();
                unreachable!("nobody unparks it")
            };
            let panics = || -> Result<(), ()> { std::panic::resume_unwind(Box::new("one of two")) };
            silken::try_join!(waits(), panics())
        });
        assert_eq!(joined.unwrap_err().downcast_ref(), Some(&"one of two"));
    });
}
