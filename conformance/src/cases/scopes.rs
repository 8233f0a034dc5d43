//! silken::scope: children borrow, the scope waits for all of them, and what comes out of it.

use crate::harness::{deliberate_panic, quietly};
use crate::probe::{FAR, Tally, builder};
use crate::{Executor, join_all};
use silken::channel::bounded;
use silken::{Scope, ScopedJoinHandle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

fn child<'scope, T: Send + 'scope>(
    ex: &dyn Executor,
    scope: &'scope Scope<'scope, '_>,
    f: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    builder(ex).spawn_scoped(scope, f).expect("a child starts")
}

fn caught<T>(f: impl FnOnce() -> T) -> std::thread::Result<T> {
    quietly(|| catch_unwind(AssertUnwindSafe(f)))
}

/// Children borrow what their parent owns, and the scope's value comes out when they have ended.
pub fn children_borrow(ex: &dyn Executor) {
    let mut parts = [0; 10];
    let count = AtomicUsize::new(0);
    let borrowed = &count;
    let value = silken::scope(|s| {
        for (number, part) in parts.iter_mut().enumerate() {
            child(ex, s, move || {
                silken::sleep(Duration::from_millis(1));
                *part = number;
                borrowed.fetch_add(1, SeqCst);
            });
        }
        "done"
    });
    assert_eq!((value, count.load(SeqCst)), ("done", 10));
    assert!((0..10).eq(parts));
}

/// A child may be joined before the end, once, for its value.
pub fn children_are_joined(ex: &dyn Executor) {
    let words = ["one", "three"];
    let sum: usize = silken::scope(|s| {
        let handles = words.map(|word| child(ex, s, move || word.len()));
        handles.into_iter().map(|handle| handle.join().unwrap()).sum()
    });
    assert_eq!(sum, 8);
}

/// Children make grandchildren in the same scope, and scopes of their own.
pub fn nested(ex: &dyn Executor) {
    let count = AtomicUsize::new(0);
    silken::scope(|s| {
        for _ in 0..4 {
            child(ex, s, || {
                s.spawn(|| {
                    silken::yield_now();
                    count.fetch_add(1, SeqCst);
                });
                silken::scope(|s| {
                    for _ in 0..4 {
                        s.spawn(|| count.fetch_add(1, SeqCst));
                    }
                });
            });
        }
    });
    assert_eq!(count.load(SeqCst), 20);
}

/// The body's panic comes out, after the children have ended.
pub fn body_panics(ex: &dyn Executor) {
    let ended = AtomicBool::new(false);
    let outcome = caught(|| {
        silken::scope(|s| {
            child(ex, s, || {
                silken::sleep(Duration::from_millis(3));
                ended.store(true, SeqCst);
            });
            deliberate_panic();
        })
    });
    assert!(outcome.is_err() && ended.load(SeqCst));
}

/// The panic of a child that nobody joined comes out as the scope's; the others run to their end. One that was joined
/// does not.
pub fn child_panics(ex: &dyn Executor) {
    let count = AtomicUsize::new(0);
    let hub = ex.shared();
    let outcome = ex.start(move || {
        let outcome = caught(|| {
            silken::scope(|s| {
                child(&*hub, s, || deliberate_panic());
                for _ in 0..3 {
                    child(&*hub, s, || {
                        silken::sleep(Duration::from_millis(2));
                        count.fetch_add(1, SeqCst);
                    });
                }
            });
        });
        (
            outcome.is_err_and(|payload| !payload.is::<String>()),
            count.load(SeqCst),
        )
    });
    assert_eq!(outcome.join(), (true, 3));
    silken::scope(|s| assert!(child(ex, s, || deliberate_panic()).join().unwrap_err().is_panic()));
}

/// If it is asked for, a panic cancels the others.
pub fn cancel_on_panic(ex: &dyn Executor) {
    let tally = Tally::default();
    let outcome = caught(|| {
        silken::scope(|s| {
            s.cancel_on_panic(true);
            for _ in 0..3 {
                let value = tally.value();
                child(ex, s, move || {
                    silken::sleep(FAR);
                    drop(value);
                });
            }
            child(ex, s, || deliberate_panic());
        });
    });
    assert!(outcome.is_err());
    assert_eq!(tally.dropped(), 3);
}

/// A scope that is cancelled unwinds its children, those of their scopes too, and starts no others; the body goes on.
pub fn cancel_children(ex: &dyn Executor) {
    let tally = Tally::default();
    let went_on = silken::scope(|s| {
        let handles: Vec<_> = (0..3)
            .map(|_| {
                child(ex, s, || {
                    let _value = tally.value();
                    silken::scope(|s| _ = s.spawn(|| silken::sleep(FAR)));
                })
            })
            .collect();
        silken::yield_now();
        s.cancel();
        for handle in handles {
            assert!(handle.join().unwrap_err().is_cancelled());
        }
        let late = child(ex, s, || silken::sleep(FAR));
        assert!(late.join().unwrap_err().is_cancelled());
        true
    });
    assert!(went_on);
    assert_eq!(tally.dropped(), tally.made());
}

/// What is deferred runs when all have ended, the last first, also after a panic.
pub fn deferred_runs_last(ex: &dyn Executor) {
    for panics in [false, true] {
        let steps = Mutex::new(Vec::new());
        let note = |step| steps.lock().unwrap().push(step);
        let outcome = caught(|| {
            silken::scope(|s| {
                s.defer(|| note("first"));
                s.defer(|| note("second"));
                child(ex, s, || {
                    silken::sleep(Duration::from_millis(1));
                    note("child");
                });
                if panics {
                    deliberate_panic();
                }
            });
        });
        assert_eq!(outcome.is_err(), panics);
        assert_eq!(*steps.lock().unwrap(), ["child", "second", "first"]);
    }
}

/// Children talk to their parent and to each other over borrowed channels.
pub fn children_talk(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let sum = AtomicUsize::new(0);
    silken::scope(|s| {
        for _ in 0..3 {
            child(ex, s, || rx.iter().for_each(|number| _ = sum.fetch_add(number, SeqCst)));
        }
        (0..100).for_each(|number| tx.send(number).unwrap());
        tx.close();
    });
    assert_eq!(sum.load(SeqCst), 4950);
}

/// Scopes of many units at once.
pub fn many_scopes(ex: &dyn Executor) {
    let sums = join_all(ex.start_each(16, |unit| {
        let mut parts = [0; 8];
        silken::scope(|s| {
            for (number, part) in parts.iter_mut().enumerate() {
                s.spawn(move || *part = unit * number);
            }
        });
        parts.iter().sum::<usize>()
    }));
    assert!((0..16).map(|unit| unit * 28).eq(sums));
}
