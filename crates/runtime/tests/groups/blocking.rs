//! `blocking` and `spawn_blocking`: code that blocks its thread, beside coroutines.
//!
//! The bound of the pool belongs to the process. Cases about it run in a child process, which is this binary again.

use super::{FAR, on_all};
use silken::channel::{Receiver, Sender, bounded};
use silken::{Elapsed, Runtime, WaitReason, blocking, mask_cancel, spawn_blocking, timeout};
use std::panic::catch_unwind;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Longer than a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts how often it is dropped.
#[derive(Clone)]
struct Dropped(Arc<AtomicUsize>);

impl Dropped {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn wait_for(&self, count: usize) {
        let begun = std::time::Instant::now();
        while self.get() < count {
            assert!(begun.elapsed() < PATIENCE, "it is never dropped");
            silken::sleep(Duration::from_millis(1));
        }
    }

    fn guard(&self) -> Guard {
        Guard(self.clone())
    }
}

struct Guard(Dropped);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Work that has begun and goes on until it is told to end.
struct Held {
    begun: Receiver<()>,
    end: Sender<()>,
}

/// Makes work that returns a guard.
fn held(dropped: &Dropped) -> (Held, impl FnOnce() -> Guard + Send + 'static) {
    let (begins, begun) = bounded(1);
    let (end, ends) = bounded(1);
    let guard = dropped.guard();
    let work = move || {
        let _ = begins.send(());
        let _ = ends.recv();
        guard
    };
    (Held { begun, end }, work)
}

#[test]
fn the_caller_waits_and_others_run() {
    on_all(|| {
        let (sender, receiver) = bounded(1);
        let waits = silken::spawn(move || {
            blocking(move || {
                let name = thread::current().name().map(str::to_owned);
                (silken::is_coroutine(), name, receiver.recv().unwrap())
            })
        });
        while waits.coroutine().wait_reason() != WaitReason::Offload {
            silken::yield_now();
        }
        sender.send(7).unwrap();
        assert_eq!(waits.join().unwrap(), (false, Some("silken-blocking".to_string()), 7));
    });
}

#[test]
fn an_os_thread_calls_it() {
    let caller = thread::current().id();
    assert_eq!(blocking(move || thread::current().id()), caller);
    let nested = silken::spawn(|| blocking(|| (thread::current().id(), blocking(|| thread::current().id()))));
    let (outer, inner) = nested.join().unwrap();
    assert_eq!(outer, inner);
}

fn fails() -> u32 {
    panic!("over there")
}

#[test]
fn a_panic_comes_back() {
    on_all(|| {
        let payload = catch_unwind(|| blocking(fails)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"over there"));
        let error = silken::spawn(|| blocking(fails)).join().unwrap_err();
        assert_eq!(error.message(), Some("over there"));
        assert_eq!(blocking(|| 6 * 7), 42);
    });
}

#[test]
fn a_cancelled_caller_unwinds_at_once_and_the_work_goes_on() {
    on_all(|| {
        let dropped = Dropped::new();
        let (held, work) = held(&dropped);
        let caller = silken::spawn(move || drop(blocking(work)));
        held.begun.recv().unwrap();
        caller.cancel();
        assert!(caller.join().unwrap_err().is_cancelled());
        assert_eq!(dropped.get(), 0, "the work has not ended");
        held.end.send(()).unwrap();
        dropped.wait_for(1);
    });
}

#[test]
fn a_timeout_limits_the_wait() {
    on_all(|| {
        let dropped = Dropped::new();
        let (held, work) = held(&dropped);
        assert!(matches!(
            timeout(Duration::from_millis(2), || drop(blocking(work))),
            Err(Elapsed)
        ));
        drop(held.end);
        dropped.wait_for(1);
        let value = timeout(FAR, || blocking(|| 7));
        assert_eq!(value.unwrap(), 7);
    });
}

#[test]
fn in_a_mask_it_waits() {
    on_all(|| {
        let dropped = Dropped::new();
        let (held, work) = held(&dropped);
        let caller = silken::spawn(move || mask_cancel(|| drop(blocking(work))));
        held.begun.recv().unwrap();
        caller.cancel();
        silken::sleep(Duration::from_millis(2));
        assert!(!caller.is_finished());
        drop(held.end);
        caller.join().unwrap();
        assert_eq!(dropped.get(), 1);
    });
}

/// What a value or a panic of abandoned work does when it is dropped stays on its thread.
#[test]
fn abandoned_work_may_panic() {
    struct Bomb(Guard);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("{}", self.0.0.get());
            }
        }
    }
    on_all(|| {
        let dropped = Dropped::new();
        let (first, work) = held(&dropped);
        let has_a_bomb = silken::spawn(move || drop(blocking(move || Bomb(work()))));
        let (second, work) = held(&dropped);
        let panics = silken::spawn(move || blocking(move || assert_eq!(work().0.get(), usize::MAX)));
        for (held, caller) in [(first, has_a_bomb), (second, panics)] {
            held.begun.recv().unwrap();
            caller.cancel();
            assert!(caller.join().unwrap_err().is_cancelled());
            drop(held.end);
        }
        dropped.wait_for(2);
        assert_eq!(blocking(|| 7), 7);
    });
}

/// The coroutine of `spawn_blocking` waits for the work whatever happens to it.
#[test]
fn a_cancelled_handle_has_the_value() {
    on_all(|| {
        let dropped = Dropped::new();
        let (held, work) = held(&dropped);
        let handle = spawn_blocking(work);
        held.begun.recv().unwrap();
        handle.cancel();
        silken::sleep(Duration::from_millis(2));
        assert!(!handle.is_finished());
        drop(held.end);
        drop(handle.join().unwrap());
        assert_eq!(dropped.get(), 1);
        let error = spawn_blocking(fails).join().unwrap_err();
        assert_eq!(error.message(), Some("over there"));
    });
}

#[test]
fn a_shutdown_waits_for_the_work_of_cancelled_callers() {
    let dropped = Dropped::new();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let (begins, begun) = bounded(1);
    let guard = dropped.guard();
    let work = move || {
        begins.send(()).unwrap();
        thread::sleep(Duration::from_millis(50));
        drop(guard);
    };
    let caller = runtime.spawn(move || blocking(work));
    begun.recv().unwrap();
    assert!(runtime.shutdown(PATIENCE).is_clean());
    assert_eq!(dropped.get(), 1);
    assert!(caller.join().unwrap_err().is_cancelled());
}

#[test]
fn a_shutdown_names_the_work_that_goes_on() {
    let dropped = Dropped::new();
    let (runtime, other) = (
        Runtime::builder().workers(1).build().unwrap(),
        Runtime::builder().workers(1).build().unwrap(),
    );
    let (held, work) = held(&dropped);
    let line = line!() + 1;
    let caller = runtime.spawn(move || drop(blocking(work)));
    held.begun.recv().unwrap();
    let shutdown = runtime.shutdown(Duration::from_millis(20));
    assert!(!shutdown.is_clean() && shutdown.left.is_empty());
    let [site] = shutdown.work[..] else {
        panic!("{shutdown:?}")
    };
    assert!(
        site.file().ends_with("groups/blocking.rs") && site.line() == line,
        "{site}"
    );
    assert!(caller.join().unwrap_err().is_cancelled());
    assert!(other.shutdown(PATIENCE).is_clean(), "it is the work of another runtime");
    drop(held.end);
    dropped.wait_for(1);
}

/// Runs an ignored test of this file in a child, in which so many threads run work.
#[track_caller]
fn in_child(name: &str, threads: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("blocking::{name}")])
        .env("SILKEN_BLOCKING_THREADS", threads)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "a child runs it, with two threads"]
fn child_with_more_work_than_threads() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static PEAK: AtomicUsize = AtomicUsize::new(0);
    let all: Vec<_> = (0..50)
        .map(|number| {
            silken::spawn(move || {
                blocking(move || {
                    PEAK.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(1));
                    RUNNING.fetch_sub(1, Ordering::SeqCst);
                    number
                })
            })
        })
        .collect();
    let sum: usize = all.into_iter().map(|one| one.join().unwrap()).sum();
    assert_eq!((sum, PEAK.load(Ordering::SeqCst)), (1225, 2));
}

#[test]
fn more_work_than_threads_is_queued() {
    in_child("child_with_more_work_than_threads", "2");
}

#[test]
#[ignore = "a child runs it, with one thread"]
fn child_that_cancels_queued_work() {
    let dropped = Dropped::new();
    let (first, work) = held(&dropped);
    let runs = silken::spawn(move || blocking(work));
    first.begun.recv().unwrap();
    let (second, work) = held(&dropped);
    let queued = silken::spawn(move || drop(blocking(work)));
    while queued.coroutine().wait_reason() != WaitReason::Offload {
        thread::yield_now();
    }
    queued.cancel();
    assert!(queued.join().unwrap_err().is_cancelled());
    assert_eq!(dropped.get(), 1, "what was queued is dropped with what it owns");
    first.end.send(()).unwrap();
    drop(runs.join().unwrap());
    assert!(second.begun.recv().is_err(), "it has never begun");
}

#[test]
fn queued_work_of_a_cancelled_caller_never_runs() {
    in_child("child_that_cancels_queued_work", "1");
}

#[cfg(feature = "interpose")]
#[test]
#[ignore = "a child runs it, with one thread"]
fn child_that_looks_up_a_name() {
    use std::net::ToSocketAddrs;
    let dropped = Dropped::new();
    let (held, work) = held(&dropped);
    let runs = silken::spawn(move || blocking(work));
    held.begun.recv().unwrap();
    let looks_up = silken::spawn(|| ("localhost", 80).to_socket_addrs().map(|mut all| all.next().is_some()));
    assert!(looks_up.join().unwrap().unwrap());
    drop(held.end);
    drop(runs.join().unwrap());
}

#[cfg(feature = "interpose")]
#[test]
fn work_does_not_keep_names_from_being_looked_up() {
    in_child("child_that_looks_up_a_name", "1");
}

#[test]
fn a_number_of_threads_without_sense_is_refused() {
    let build = |threads| Runtime::builder().workers(1).blocking_threads(threads).build();
    let error = build(1_000_000).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("1000000 blocking threads"), "{error}");
}
