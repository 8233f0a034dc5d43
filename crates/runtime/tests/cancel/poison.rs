//! What unwinds without a panic poisons nothing; what panics afterwards does.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Stands for a guard that would poison: says what it saw when it was dropped.
struct Guard<'a>(&'a mut Option<bool>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        *self.0 = Some(silken::panicking());
    }
}

fn poisons(body: impl FnOnce()) -> bool {
    let mut seen = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _guard = Guard(&mut seen);
        body();
    }));
    drop(outcome);
    seen.expect("the guard was dropped")
}

fn panic_now() {
    resume_unwind(Box::new("a panic"));
}

/// Out of time at once, on a coroutine or on a thread.
fn interrupted() {
    silken::check_cancelled();
    unreachable!();
}

fn cases() {
    silken::timeout(Duration::ZERO, || {
        assert!(!poisons(|| ()));
        assert!(poisons(panic_now));
        assert!(!poisons(interrupted));
        // Swallowed, and dropped: what follows is a panic again, also for a guard that was there before.
        assert!(poisons(|| {
            drop(catch_unwind(interrupted));
            panic_now();
        }));
        // An older payload that the newer unwinding drops is not mistaken for its own.
        let mut seen = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _guard = Guard(&mut seen);
            let _older = catch_unwind(interrupted);
            interrupted();
        }));
        drop(outcome);
        assert_eq!(seen, Some(false));
        // Caught and resumed it is what it was.
        assert!(!poisons(|| {
            silken::scope(|_| interrupted());
        }));
        assert!(!poisons(|| resume_unwind(catch_unwind(interrupted).unwrap_err())));
        // A scope in a destructor does not forget the unwinding around it.
        struct Scopes;
        impl Drop for Scopes {
            fn drop(&mut self) {
                let _ = catch_unwind(|| silken::scope(|_| panic_now()));
            }
        }
        assert!(!poisons(|| {
            let _scopes = Scopes;
            interrupted();
        }));
    })
    .unwrap();
    assert!(poisons(panic_now));
}

#[test]
fn an_interruption_poisons_nothing_and_a_panic_does() {
    cases();
    super::on_all(cases);
}

#[test]
fn a_kept_payload_ends_with_its_coroutine() {
    let kept = std::sync::Mutex::new(None);
    let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    let outcome = runtime.run(|| {
        silken::scope(|s| {
            s.spawn(|| {
                silken::current().cancel();
                *kept.lock().unwrap() = catch_unwind(silken::check_cancelled).err();
            });
        });
        // The control block is used again.
        silken::spawn(|| poisons(panic_now)).join().unwrap()
    });
    assert!(outcome.unwrap());
    assert!(kept.lock().unwrap().is_some());
}
