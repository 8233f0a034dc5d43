//! What waits for time, and the channels of one value, one to all, and the latest: on OS threads, on coroutines of
//! either kind, and on both at once.
//!
//! Time is asserted from below, and by counts: a loaded machine is late, never early.

mod after_func;
mod broadcast;
#[path = "../common/mod.rs"]
mod common;
mod cqueue;
mod oneshot;
mod pool;
mod promise;
mod select;
mod ticker;
mod watch;

use std::time::Duration;

/// Who runs the parts of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
    Threads,
    Coroutines,
    /// The case on a coroutine, its parts on threads and coroutines by turns.
    Mixed,
}

/// The end of a part.
enum Part<T> {
    Thread(std::thread::JoinHandle<T>),
    Coroutine(silken::JoinHandle<T>),
}

impl<T> Part<T> {
    fn join(self) -> T {
        match self {
            Part::Thread(handle) => handle.join().unwrap(),
            Part::Coroutine(handle) => handle.join().unwrap(),
        }
    }
}

impl World {
    fn spawn<T: Send + 'static>(self, body: impl FnOnce() -> T + Send + 'static) -> Part<T> {
        use std::sync::atomic::{AtomicBool, Ordering};
        static TURN: AtomicBool = AtomicBool::new(false);
        let on_thread = match self {
            World::Threads => true,
            World::Coroutines => false,
            World::Mixed => TURN.fetch_xor(true, Ordering::Relaxed),
        };
        if on_thread {
            Part::Thread(std::thread::spawn(body))
        } else {
            Part::Coroutine(silken::spawn(body))
        }
    }
}

/// Runs a case in every world: threads, and runtimes of one, two and eight workers with isolated and with light
/// coroutines.
fn everywhere(case: impl Fn(World) + Send + Sync) {
    case(World::Threads);
    on_coroutines(|| {
        case(World::Coroutines);
        case(World::Mixed);
    });
}

fn on_coroutines(case: impl Fn() + Send + Sync) {
    common::on_runtimes([1, 2, 8], case);
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Long enough that it does not pass in a test that works.
const LONG: Duration = Duration::from_secs(60);
