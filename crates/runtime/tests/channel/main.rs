//! Behaviour of channels and selects, in every mixture of those who use them.

mod allocation;
mod basics;
mod blocking;
mod cancel;
mod large;
mod select;
mod select_dynamic;
mod std_names;
mod stress;
mod timed;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Who plays the parts of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cast {
    Threads,
    Coroutines,
    /// In turn.
    Mixed,
}

enum Player<T> {
    Thread(std::thread::JoinHandle<T>),
    Coroutine(silken::JoinHandle<T>),
}

impl<T> Player<T> {
    fn join(self) -> T {
        match self {
            Player::Thread(thread) => thread.join().unwrap(),
            Player::Coroutine(coroutine) => coroutine.join().unwrap(),
        }
    }
}

impl Cast {
    fn spawn<T: Send + 'static>(self, part: impl FnOnce() -> T + Send + 'static) -> Player<T> {
        static TURN: AtomicUsize = AtomicUsize::new(0);
        let is_thread = match self {
            Cast::Threads => true,
            Cast::Coroutines => false,
            Cast::Mixed => TURN.fetch_add(1, Ordering::Relaxed).is_multiple_of(2),
        };
        if is_thread {
            Player::Thread(std::thread::spawn(part))
        } else {
            Player::Coroutine(silken::spawn(part))
        }
    }
}

/// Plays a case by threads; by coroutines, isolated and light, of runtimes with one, two and eight workers; and by
/// both.
fn everywhere(case: impl Fn(Cast) + Send + Sync) {
    case(Cast::Threads);
    in_runtimes(|| {
        case(Cast::Coroutines);
        case(Cast::Mixed);
    });
}

fn in_runtimes(case: impl Fn() + Send + Sync) {
    for (workers, is_light) in [(1, false), (2, false), (8, false), (1, true), (2, true)] {
        let mut builder = silken::Runtime::builder().workers(workers);
        if is_light {
            // SAFETY: S12: the cases wait in silken's types, std's sleeps, and keep nothing in thread-locals.
            builder = unsafe { builder.light() };
        }
        let runtime = builder.build().expect("the runtime starts");
        if let Err(payload) = runtime.run(&case) {
            eprintln!("with {workers} workers, light: {is_light}");
            std::panic::resume_unwind(payload);
        }
    }
}

/// Long enough for the others to have begun to wait, as a rule.
fn pause() {
    silken::sleep(Duration::from_millis(3));
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

/// Counts its drops.
#[derive(Debug)]
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
