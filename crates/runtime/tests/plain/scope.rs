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
