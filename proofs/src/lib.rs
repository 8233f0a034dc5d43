//! How is it shown that a crate does on coroutines what it does on OS threads?
//!
//! The same function runs as so many *units* at once: first each on a thread of its own, then each as a coroutine on
//! two workers. The function asserts what it has got, so threads are the oracle. During the second run a thread counts
//! the process's threads: if the crate's waits park, there are a few more than workers, and not one per unit. Both
//! times are printed; nobody judges them, since a machine may be busy.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The workers of the runtime.
pub const WORKERS: usize = 2;

/// Threads beside the workers that the runtime and the crates may have: the monitor, spare threads, pools, a crate's
/// own.
const THREADS_MAX: usize = 60;

/// Serves a protocol to the units of both runs: each connection on a coroutine of a runtime of its own, so that it adds
/// no thread for each. Lasts as long as the process.
pub fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    static RUNTIME: LazyLock<silken::Runtime> =
        LazyLock::new(|| silken::Runtime::builder().workers(1).build().expect("a runtime"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let serve = Arc::new(serve);
    RUNTIME.spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.expect("a connection"), serve.clone());
            silken::spawn(move || serve(stream));
        }
    });
    address
}

/// The process's threads.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// The most threads that the process has while `work` runs, and its value.
fn counting_threads<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let (over, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(threads(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let value = work();
        over.store(true, Ordering::Relaxed);
        (most.load(Ordering::Relaxed), value)
    })
}

/// Runs `unit` so many times at once, on OS threads and then on coroutines.
///
/// # Panics
/// With a unit's panic, and if the coroutines have taken about as many threads as there are units.
pub fn prove<F: Fn(usize) + Send + Sync + 'static>(what: &str, units: usize, unit: F) {
    // The tests of a program run side by side, and each counts the threads of the process.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..units {
            let unit = &unit;
            scope.spawn(move || unit(number));
        }
    });
    let on_threads = begun.elapsed();
    let before = threads();
    let (most, on_coroutines) = counting_threads(|| on_coroutines(units, unit));
    let extra = most.saturating_sub(before);
    println!("{what}: {units} at once: threads {on_threads:.0?}, coroutines {on_coroutines:.0?} with {extra} threads");
    assert!(extra <= WORKERS + THREADS_MAX, "{extra} threads for {units} coroutines");
}

fn on_coroutines<F: Fn(usize) + Send + Sync + 'static>(units: usize, unit: F) -> Duration {
    let runtime = silken::Runtime::builder().workers(WORKERS).build().expect("a runtime");
    let begun = Instant::now();
    let ran = runtime.run(move || {
        let unit = Arc::new(unit);
        let all: Vec<_> = (0..units)
            .map(|number| {
                let unit = unit.clone();
                silken::spawn(move || unit(number))
            })
            .collect();
        for one in all {
            one.join().unwrap_or_else(|error| panic!("{error}"));
        }
    });
    ran.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
    begun.elapsed()
}
