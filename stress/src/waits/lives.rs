//! Waits for other coroutines: for their end, for all children's end, and for being woken by one.

use super::{Part, Wait};
use crate::plan::Rng;
use silken::Coroutine;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A time that does not come in a round.
const LONG: Duration = Duration::from_secs(3600);

/// Cancels the coroutine whatever happens to the one that waits for it.
struct CancelAtEnd(Coroutine);

impl Drop for CancelAtEnd {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Each coroutine makes another and waits for it.
pub(super) struct Joins;

impl Wait for Joins {
    fn part(&self, part: &mut Part) {
        let (token, counted) = (part.token(), part.child());
        let moment = if part.rng.chance(50) { LONG } else { part.moment() };
        let child = silken::spawn(move || {
            let _counted = counted;
            silken::sleep(moment);
            token
        });
        let _cancel = CancelAtEnd(child.coroutine());
        match part.rng.below(4) {
            0 => drop(child),
            1 => match child.join_timeout(part.moment()) {
                Ok(outcome) => assert!(outcome.is_ok(), "nobody cancelled it: {outcome:?}"),
                Err(late) => {
                    late.0.cancel();
                    late.0.wait();
                    assert!(late.0.is_finished());
                }
            },
            _ => {
                let outcome = child.join();
                assert!(outcome.is_ok(), "nobody cancelled it: {outcome:?}");
            }
        }
    }

    fn ends_by_cancel(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Each coroutine opens a scope with children who write to what it owns.
pub(super) struct Scopes;

impl Wait for Scopes {
    fn part(&self, part: &mut Part) {
        let ended = AtomicUsize::new(0);
        let children = 1 + part.rng.below(3);
        struct Checked<'a>(&'a AtomicUsize, usize);
        impl Drop for Checked<'_> {
            fn drop(&mut self) {
                // In a destructor, since the scope may have unwound: then a panic would abort, so it reports itself.
                if self.0.load(Ordering::Relaxed) != self.1 {
                    eprintln!("a scope has ended before its children: {self:?}");
                    std::process::abort();
                }
            }
        }
        impl std::fmt::Debug for Checked<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?} of {}", self.0, self.1)
            }
        }
        struct Ends<'a>(&'a AtomicUsize);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let _checked = Checked(&ended, children);
        let cancels = part.rng.chance(30);
        silken::scope(|s| {
            for _ in 0..children {
                let (token, ends, moment) = (part.token(), Ends(&ended), part.moment());
                let kind = part.rng.below(4);
                s.spawn(move || {
                    let _owned = (token, ends);
                    match kind {
                        0 => silken::park(),
                        1 => silken::scope(|inner| drop(inner.spawn(move || silken::sleep(LONG)))),
                        2 => drop(silken::timeout(moment, || silken::sleep(LONG))),
                        _ => silken::sleep(moment),
                    }
                });
            }
            part.pause();
            if cancels {
                s.cancel();
            }
        });
    }

    fn ends_by_cancel(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Parks {
    parked: Mutex<Vec<Coroutine>>,
    released: AtomicBool,
}

impl Wait for Parks {
    fn part(&self, part: &mut Part) {
        self.parked.lock().unwrap().push(silken::current());
        for _ in 0..1 + part.rng.below(3) {
            // Relaxed: the lock orders it for those who came before the release took them out, and the others see it
            // here.
            if self.released.load(Ordering::Relaxed) {
                break;
            }
            match part.rng.below(4) {
                0 => silken::park_timeout(part.moment()),
                _ => silken::park(),
            }
        }
    }

    fn stir(&self, rng: &mut Rng) {
        let parked = self.parked.lock().unwrap();
        if !parked.is_empty() {
            parked[rng.below(parked.len())].unpark();
        }
    }

    fn release(&self) {
        let mut parked = self.parked.lock().unwrap();
        self.released.store(true, Ordering::Relaxed);
        parked.iter().for_each(Coroutine::unpark);
        parked.clear();
    }

    fn check(&self) -> Result<(), String> {
        self.parked.lock().unwrap().clear();
        Ok(())
    }
}
