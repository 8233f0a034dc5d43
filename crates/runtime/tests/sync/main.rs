//! Behaviour of `silken::sync`: each case among OS threads, isolated coroutines, light ones, and mixes.

mod condvar;
mod events;
mod mutex;
mod once;
mod rwlock;
mod semaphore;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Who the agents of a case are.
#[derive(Debug)]
struct World {
    kind: Kind,
    spawned: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Threads,
    Coroutines {
        workers: usize,
        light: bool,
    },
    /// Every second one a thread.
    Mixed {
        workers: usize,
        light: bool,
    },
}

/// One who takes part.
enum Agent<T> {
    Thread(std::thread::JoinHandle<T>),
    Coroutine(silken::JoinHandle<T>),
}

impl World {
    fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Agent<T> {
        let number = self.spawned.fetch_add(1, Ordering::Relaxed);
        match self.kind {
            Kind::Mixed { .. } if number % 2 == 1 => Agent::Thread(std::thread::spawn(f)),
            Kind::Threads => Agent::Thread(std::thread::spawn(f)),
            _ => Agent::Coroutine(silken::spawn(f)),
        }
    }

    /// Runs `f` by `count` agents at a time, each with its number, and waits for all.
    fn run<T: Send + 'static>(&self, count: usize, f: impl Fn(usize) -> T + Clone + Send + 'static) -> Vec<T> {
        let agents: Vec<_> = (0..count)
            .map(|number| {
                let f = f.clone();
                self.spawn(move || f(number))
            })
            .collect();
        agents.into_iter().map(Agent::join).collect()
    }
}

impl<T> Agent<T> {
    fn join(self) -> T {
        match self {
            Agent::Thread(thread) => thread.join().unwrap(),
            Agent::Coroutine(coroutine) => coroutine.join().unwrap(),
        }
    }

    /// Whether it panicked.
    fn panicked(self) -> bool {
        match self {
            Agent::Thread(thread) => thread.join().is_err(),
            Agent::Coroutine(coroutine) => coroutine.join().is_err_and(|error| error.is_panic()),
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Agent::Thread(thread) => thread.is_finished(),
            Agent::Coroutine(coroutine) => coroutine.is_finished(),
        }
    }
}

/// A hang ends the process, with a name.
fn within_a_minute<T>(what: &str, case: impl FnOnce() -> T) -> T {
    let (done, watch) = mpsc::channel::<()>();
    let what = what.to_owned();
    std::thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("hangs: {what}");
            std::process::abort();
        }
    });
    let result = case();
    drop(done);
    result
}

fn on(kind: Kind, case: &(impl Fn(&World) + Send + Sync)) {
    let name = format!("{} {kind:?}", std::thread::current().name().unwrap_or("?"));
    let world = World {
        kind,
        spawned: AtomicUsize::new(0),
    };
    within_a_minute(&name, || match kind {
        Kind::Threads => case(&world),
        Kind::Coroutines { workers, light } | Kind::Mixed { workers, light } => {
            let mut builder = silken::Runtime::builder().workers(workers);
            if light {
                // SAFETY: S12: the cases wait in silken's types, std's locks and sleeps, and keep nothing in
                // thread-locals.
                builder = unsafe { builder.light() };
            }
            let runtime = builder.build().expect("the runtime starts");
            if let Err(payload) = runtime.run(|| case(&world)) {
                eprintln!("in {kind:?}");
                std::panic::resume_unwind(payload);
            }
        }
    });
}

/// Runs a case in every world.
fn on_all(case: impl Fn(&World) + Send + Sync) {
    on(Kind::Threads, &case);
    on_coroutines(&case);
    for light in [false, true] {
        on(Kind::Mixed { workers: 2, light }, &case);
    }
}

/// Runs a case that only coroutines can play.
fn on_coroutines(case: impl Fn(&World) + Send + Sync) {
    for workers in [1, 2, 8] {
        for light in [false, true] {
            on(Kind::Coroutines { workers, light }, &case);
        }
    }
}

/// Runs a case that needs thread-locals of one's own.
fn on_isolated(case: impl Fn(&World) + Send + Sync) {
    for workers in [1, 2, 8] {
        on(Kind::Coroutines { workers, light: false }, &case);
    }
}

/// Waits, politely, until something is so.
fn until(mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come about");
        silken::sleep(Duration::from_micros(200));
    }
}

/// Long enough for the others to get where they wait.
fn a_moment() {
    silken::sleep(Duration::from_millis(3));
}

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(20);

/// A seed that is printed, so that a failure can be repeated: SILKEN_TEST_SEED.
fn seed_of(case: &str) -> u64 {
    let seed = match std::env::var("SILKEN_TEST_SEED") {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    eprintln!("{case}: SILKEN_TEST_SEED={seed}");
    seed
}
