//! The tree of scopes.

use super::{FAR, Note, on_all, takes, unwinds};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Counts itself in when made and out when dropped.
struct Guest<'a>(&'a AtomicUsize);

impl<'a> Guest<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Spawns `width` children with `depth` generations below each, all of which wait for ever.
fn family(alive: &AtomicUsize, width: usize, depth: usize) {
    silken::scope(|s| {
        for _ in 0..width {
            s.spawn(move || {
                let _guest = Guest::of(alive);
                if depth > 0 {
                    family(alive, width, depth - 1);
                }
                silken::park();
                unreachable!("nobody unparks it");
            });
        }
    });
}

fn until(ready: impl Fn() -> bool) {
    while !ready() {
        silken::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_cancelled_parent_cancels_its_tree() {
    on_all(|| {
        let alive = std::sync::Arc::new(AtomicUsize::new(0));
        let count = alive.clone();
        let parent = silken::spawn(move || family(&count, 3, 2));
        until(|| alive.load(Ordering::SeqCst) == 3 + 9 + 27);
        parent.cancel();
        assert!(parent.join().unwrap_err().is_cancelled());
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn children_are_cancelled_while_the_body_waits() {
    on_all(|| {
        unwinds(|| {
            let ended = AtomicBool::new(false);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                silken::scope(|s| {
                    s.spawn(|| {
                        let _note = Note(&ended);
                        silken::park();
                    });
                    silken::sleep(FAR);
                });
            }));
            assert!(ended.load(Ordering::SeqCst));
            resume_unwind(outcome.unwrap_err());
        });
    });
}

#[test]
fn the_scope_unwinds_after_its_children() {
    on_all(|| {
        let after = std::sync::Arc::new(AtomicBool::new(false));
        let flag = after.clone();
        unwinds(move || {
            silken::scope(|s| {
                s.spawn(silken::park);
            });
            flag.store(true, Ordering::SeqCst);
        });
        assert!(!after.load(Ordering::SeqCst));
    });
}

#[test]
fn cancel_reaches_the_living_and_the_later() {
    on_all(|| {
        let started = AtomicUsize::new(0);
        let outcome = silken::scope(|s| {
            let children: Vec<_> = (0..20).map(|_| s.spawn(silken::park)).collect();
            silken::yield_now();
            s.cancel();
            for child in children {
                assert!(child.join().unwrap_err().is_cancelled());
            }
            let late = s.spawn(|| {
                started.fetch_add(1, Ordering::Relaxed);
            });
            assert!(late.join().unwrap_err().is_cancelled());
            "goes on"
        });
        assert_eq!((outcome, started.load(Ordering::Relaxed)), ("goes on", 0));
    });
}

#[test]
fn an_inner_scopes_cancel_leaves_the_outer_alone() {
    on_all(|| {
        let mut outer_done = false;
        silken::scope(|outer| {
            outer.spawn(|| {
                silken::sleep(Duration::from_millis(3));
                outer_done = true;
            });
            silken::scope(|inner| {
                let child = inner.spawn(silken::park);
                inner.cancel();
                assert!(child.join().unwrap_err().is_cancelled());
            });
        });
        assert!(outer_done);
    });
}

#[test]
fn a_panic_cancels_the_siblings_if_so_told() {
    on_all(|| {
        let outcome = catch_unwind(|| {
            silken::scope(|s| {
                s.cancel_on_panic(true);
                for _ in 0..5 {
                    s.spawn(silken::park);
                }
                s.spawn(|| resume_unwind(Box::new(1)));
            });
        });
        assert!(outcome.is_err());
        // The closure's own panic, too.
        let outcome = catch_unwind(|| {
            silken::scope(|s| {
                s.cancel_on_panic(true);
                s.spawn(silken::park);
                resume_unwind(Box::new("body"));
            });
        });
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"body"));
        // One that is taken cancels all the same, and the scope returns.
        silken::scope(|s| {
            s.cancel_on_panic(true);
            let sibling = s.spawn(silken::park);
            assert!(s.spawn(|| resume_unwind(Box::new(1))).join().unwrap_err().is_panic());
            assert!(sibling.join().unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn otherwise_the_siblings_end_by_themselves() {
    on_all(|| {
        let ended = AtomicUsize::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            silken::scope(|s| {
                s.spawn(|| resume_unwind(Box::new(1)));
                s.spawn(|| {
                    silken::sleep(Duration::from_millis(3));
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn deferred_runs_last_in_first_out() {
    fn steps(how: impl FnOnce(&Mutex<Vec<&'static str>>)) -> Vec<&'static str> {
        let log = Mutex::new(Vec::new());
        let _ = catch_unwind(AssertUnwindSafe(|| how(&log)));
        log.into_inner().unwrap()
    }
    fn register<'scope>(s: &'scope silken::Scope<'scope, '_>, log: &'scope Mutex<Vec<&'static str>>) {
        s.defer(|| log.lock().unwrap().push("first"));
        s.spawn(|| {
            silken::sleep(Duration::from_millis(1));
            log.lock().unwrap().push("child");
        });
        s.defer(move || {
            log.lock().unwrap().push("second");
            s.defer(|| log.lock().unwrap().push("of the second"));
        });
    }
    on_all(|| {
        let order = ["child", "second", "of the second", "first"];
        assert_eq!(steps(|log| silken::scope(|s| register(s, log))), order);
        let panicked = steps(|log| {
            silken::scope(|s| {
                register(s, log);
                resume_unwind(Box::new(1));
            })
        });
        assert_eq!(panicked, order);
    });
    assert_eq!(
        steps(|log| silken::scope(|s| register(s, log))),
        ["child", "second", "of the second", "first"]
    );
}

#[test]
fn deferred_is_not_disturbed_by_cancellation() {
    on_all(|| {
        let waited = std::sync::Arc::new(AtomicBool::new(false));
        let flag = waited.clone();
        unwinds(move || {
            silken::scope(|s| {
                s.defer(|| {
                    takes(Duration::from_millis(3), || silken::sleep(Duration::from_millis(3)));
                    flag.store(true, Ordering::SeqCst);
                });
                silken::park();
            });
        });
        assert!(waited.load(Ordering::SeqCst));
    });
}

#[test]
fn a_deferred_panic_comes_out_and_the_rest_still_runs() {
    on_all(|| {
        let ran = AtomicBool::new(false);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            silken::scope(|s| {
                s.defer(|| ran.store(true, Ordering::SeqCst));
                s.defer(|| resume_unwind(Box::new("deferred")));
            });
        }));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"deferred"));
        assert!(ran.load(Ordering::SeqCst));
    });
}

#[test]
fn children_may_spawn_siblings_while_it_is_cancelled() {
    on_all(|| {
        let parent = silken::spawn(|| {
            silken::scope(|s| {
                for _ in 0..4 {
                    s.spawn(move || {
                        loop {
                            s.spawn(silken::park);
                            silken::yield_now();
                            silken::sleep(Duration::from_micros(200));
                        }
                    });
                }
            });
        });
        silken::sleep(Duration::from_millis(3));
        parent.cancel();
        assert!(parent.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn children_of_an_os_thread_are_cancelled_by_its_scope() {
    silken::scope(|s| {
        let child = s.spawn(silken::park);
        s.cancel();
        assert!(child.join().unwrap_err().is_cancelled());
    });
    let outcome = silken::timeout(Duration::from_millis(5), || {
        silken::scope(|s| {
            s.spawn(silken::park);
        });
    });
    assert_eq!(outcome, Err(silken::Elapsed));
}

#[test]
fn a_mixed_family_is_cancelled_from_an_os_thread() {
    fn members(alive: &AtomicUsize, depth: usize) {
        silken::scope(|s| {
            for light in [false, true] {
                let builder = silken::Builder::new();
                // SAFETY: S12: it waits in silken's sleep and scope, and uses no thread-local.
                let builder = if light { unsafe { builder.light() } } else { builder };
                let member = move || {
                    let _guest = Guest::of(alive);
                    if depth > 0 {
                        members(alive, depth - 1);
                    }
                    silken::sleep(FAR);
                };
                drop(builder.spawn_scoped(s, member).unwrap());
            }
        });
    }
    for workers in [1, 2, 8] {
        let runtime = silken::Runtime::builder().workers(workers).build().unwrap();
        let alive = std::sync::Arc::new(AtomicUsize::new(0));
        let count = alive.clone();
        let parent = runtime.spawn(move || members(&count, 3));
        until(|| alive.load(Ordering::SeqCst) == 2 + 4 + 8 + 16);
        parent.cancel();
        assert!(parent.join().unwrap_err().is_cancelled());
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }
}
