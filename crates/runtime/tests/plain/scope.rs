//! Children that borrow.

use super::on_all;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn children_borrow_and_are_waited_for() {
    on_all(|| {
        let mut numbers = vec![0usize; 500];
        silken::scope(|s| {
            for (i, number) in numbers.iter_mut().enumerate() {
                s.spawn(move || {
                    silken::yield_now();
                    *number = i;
                });
            }
        });
        assert!(numbers.iter().enumerate().all(|(i, number)| i == *number));
    });
}

#[test]
fn results_may_borrow() {
    on_all(|| {
        let text = String::from("some words here");
        let words = silken::scope(|s| {
            let handles: Vec<_> = (0..3)
                .map(|i| {
                    let text = &text;
                    s.spawn(move || text.split(' ').nth(i).unwrap())
                })
                .collect();
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(words, ["some", "words", "here"]);
    });
}

#[test]
fn scopes_nest() {
    on_all(|| {
        let count = AtomicUsize::new(0);
        silken::scope(|outer| {
            for _ in 0..10 {
                outer.spawn(|| {
                    silken::scope(|inner| {
                        for _ in 0..10 {
                            inner.spawn(|| count.fetch_add(1, Ordering::Relaxed));
                        }
                    });
                });
            }
        });
        assert_eq!(count.into_inner(), 100);
    });
}

#[test]
fn a_childs_panic_comes_out_unless_joined() {
    on_all(|| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(|_| {}));
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                silken::scope(|s| {
                    s.spawn(|| std::panic::resume_unwind(Box::new(1)));
                });
            }));
            std::panic::set_hook(hook);
            std::panic::resume_unwind(outcome.unwrap_err());
        }));
        assert!(outcome.is_err());
        silken::scope(|s| {
            s.spawn(|| std::panic::resume_unwind(Box::new(1)))
                .join()
                .map(|()| unreachable!())
                .unwrap_err();
        });
    });
}

#[test]
fn children_are_waited_for_when_the_body_panics() {
    on_all(|| {
        let count = AtomicUsize::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            silken::scope(|s| {
                for _ in 0..10 {
                    s.spawn(|| {
                        silken::sleep(std::time::Duration::from_millis(1));
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
                std::panic::resume_unwind(Box::new("body"));
            })
        }));
        assert_eq!(*outcome.unwrap_err().downcast::<&str>().unwrap(), "body");
        assert_eq!(count.into_inner(), 10);
    });
}

#[test]
fn a_scope_on_an_os_thread() {
    let mut value = 0;
    silken::scope(|s| {
        s.spawn(|| value = 9);
    });
    assert_eq!(value, 9);
}

/// Counts down when it is dropped.
struct Lives<'a>(&'a AtomicUsize);

impl<'a> Lives<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Lives<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Asserts that nothing that `body` spawns outlives the scope.
fn leaves_nobody<F>(body: F)
where
    F: for<'scope> Fn(&'scope silken::Scope<'scope, '_>, &'scope AtomicUsize) + Send + Sync,
{
    on_all(|| {
        let alive = AtomicUsize::new(0);
        let _ = catch_unwind(AssertUnwindSafe(|| silken::scope(|s| body(s, &alive))));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

/// Spawns a child that ends only when it is cancelled, once it lives.
fn spawn_for_ever<'scope>(s: &'scope silken::Scope<'scope, '_>, alive: &'scope AtomicUsize) {
    let (tx, rx) = silken::channel::bounded(0);
    s.spawn(move || {
        let _lives = Lives::new(alive);
        tx.send(()).unwrap();
        silken::park();
        unreachable!("nobody unparks it");
    });
    let _ = rx.recv();
}

#[test]
fn what_a_deferred_function_spawns_does_not_outlive_the_scope() {
    leaves_nobody(|s, alive| s.defer(|| spawn_for_ever(s, alive)));
    leaves_nobody(|s, alive| {
        s.defer(|| {
            spawn_for_ever(s, alive);
            s.defer(|| {
                assert_eq!(alive.load(Ordering::SeqCst), 0);
                spawn_for_ever(s, alive);
            });
        });
    });
    leaves_nobody(|s, alive| {
        s.defer(|| {
            spawn_for_ever(s, alive);
            std::panic::resume_unwind(Box::new(()));
        });
        s.defer(|| spawn_for_ever(s, alive));
        std::panic::resume_unwind(Box::new(()));
    });
}

#[test]
fn what_a_destructor_spawns_does_not_outlive_the_scope() {
    /// Spawns when it is dropped.
    struct Spawns<'scope, 'env>(&'scope silken::Scope<'scope, 'env>, &'scope AtomicUsize);

    impl Drop for Spawns<'_, '_> {
        fn drop(&mut self) {
            let (scope, alive) = (self.0, self.1);
            scope.spawn(move || {
                let _lives = Lives::new(alive);
                silken::sleep(std::time::Duration::from_millis(1));
            });
        }
    }

    // A result that nobody takes, in each of the places where it can go.
    leaves_nobody(|s, alive| drop(s.spawn(move || Spawns(s, alive))));
    leaves_nobody(|s, alive| {
        let child = s.spawn(move || Spawns(s, alive));
        s.defer(move || drop(child));
    });
    leaves_nobody(|s, alive| std::mem::forget(s.spawn(move || Spawns(s, alive))));
    // What a closure has captured: of a child that is cancelled before it began, of a deferred function that panics.
    leaves_nobody(|s, alive| {
        let spawns = Spawns(s, alive);
        s.cancel();
        drop(s.spawn(move || drop(spawns)));
    });
    leaves_nobody(|s, alive| {
        let spawns = Spawns(s, alive);
        s.defer(move || {
            let _spawns = spawns;
            std::panic::resume_unwind(Box::new(()));
        });
    });
    // A handle that another child keeps.
    leaves_nobody(|s, alive| {
        let child = s.spawn(move || Spawns(s, alive));
        s.spawn(move || {
            silken::yield_now();
            drop(child);
        });
    });
}

#[test]
fn a_payload_whose_destructor_panics_does_not_end_the_scope_early() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("in a payload"));
        }
    }

    leaves_nobody(|s, alive| {
        s.defer(|| spawn_for_ever(s, alive));
        for _ in 0..2 {
            s.defer(|| {
                spawn_for_ever(s, alive);
                std::panic::resume_unwind(Box::new(Bomb));
            });
        }
        s.defer(|| std::panic::resume_unwind(Box::new("the first")));
    });
}

#[test]
fn what_is_deferred_may_use_children_of_its_own() {
    on_all(|| {
        let steps = std::sync::Mutex::new(Vec::new());
        silken::scope(|s| {
            for number in 0..3 {
                let steps = &steps;
                s.defer(move || {
                    let child = s.spawn(move || number);
                    steps.lock().unwrap().push(child.join().unwrap());
                });
                // Left behind, and cancelled; the next one's is not.
                s.defer(|| drop(s.spawn(silken::park)));
            }
        });
        assert_eq!(steps.into_inner().unwrap(), [2, 1, 0]);
    });
}
