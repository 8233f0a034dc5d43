//! What is left when main returns.

use silken::{Builder, Runtime, spawn};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

struct Count(Arc<AtomicUsize>);
impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_left_is_cancelled_and_runs_its_destructors() {
    for workers in [1, 2] {
        let count = Arc::new(AtomicUsize::new(0));
        let held = count.clone();
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        runtime
            .run(move || {
                for i in 0..300 {
                    let guard = Count(held.clone());
                    spawn(move || {
                        let _guard = guard;
                        match i % 3 {
                            0 => silken::park(),
                            1 => silken::sleep(Duration::from_secs(1000)),
                            _ => loop {
                                silken::yield_now();
                            },
                        }
                    });
                }
                silken::sleep(Duration::from_millis(5));
            })
            .unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 300);
    }
}

#[test]
fn a_dropped_runtime_ends_its_coroutines() {
    let count = Arc::new(AtomicUsize::new(0));
    let runtime = Runtime::builder().workers(2).build().unwrap();
    for _ in 0..50 {
        let guard = Count(count.clone());
        runtime.spawn(move || {
            let _guard = guard;
            silken::park();
        });
    }
    drop(runtime);
    assert_eq!(count.load(Ordering::Relaxed), 50);
}

#[test]
fn what_does_not_end_is_reported() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stubborn = stop.clone();
    let begun = Arc::new(AtomicUsize::new(0));
    let mark = begun.clone();
    runtime.spawn(move || {
        mark.store(1, Ordering::Relaxed);
        while !stubborn.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    while begun.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let report = runtime.shutdown(Duration::from_millis(20));
    assert_eq!(report.left.len(), 1);
    assert!(!report.is_clean());
    stop.store(true, Ordering::Relaxed);
}

/// How many threads of this process have names that begin so.
fn threads_named(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} has not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is left behind waits for a lock of std, which is not cancelled: it gets the lock as a detached thread would,
/// and gives it on.
#[test]
fn who_is_left_behind_takes_part_in_what_it_waits_for() {
    for workers in [1, 2] {
        let lock = Arc::new(Mutex::new(0));
        let guard = lock.lock().unwrap();
        let runtime = Runtime::builder().workers(workers).name("behind").build().unwrap();
        let waiting = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let (lock, waiting) = (lock.clone(), waiting.clone());
            runtime.spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                *lock.lock().unwrap() += 1;
            });
        }
        wait_until("the coroutines", || waiting.load(Ordering::SeqCst) == 3);
        let (done, is_done) = mpsc::channel();
        let thread = std::thread::spawn({
            let lock = lock.clone();
            move || {
                *lock.lock().unwrap() += 1;
                done.send(()).unwrap();
            }
        });
        // Until it sleeps, behind them.
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(runtime.shutdown(Duration::from_millis(20)).left.len(), 3);
        drop(guard);
        is_done.recv_timeout(PATIENCE).expect("the thread gets the lock");
        thread.join().unwrap();
        wait_until("the end of the workers", || threads_named("behind-") == 0);
        assert_eq!(*lock.lock().unwrap(), 4);
    }
}

/// A message that goes to one who is left behind is not lost: it is at work still. It spawns nothing more.
#[test]
fn who_is_left_behind_goes_on_and_spawns_nothing() {
    let runtime = Runtime::builder().workers(2).name("message").build().unwrap();
    let (sender, receiver) = silken::channel::bounded::<u32>(0);
    let (answers, answer) = mpsc::channel();
    let begun = Arc::new(AtomicBool::new(false));
    let mark = begun.clone();
    runtime.spawn(move || {
        mark.store(true, Ordering::SeqCst);
        let message = silken::mask_cancel(|| receiver.recv().unwrap());
        let spawned = Builder::new().spawn(|| ()).map(drop).map_err(|error| error.to_string());
        answers.send((message, spawned)).unwrap();
        silken::park();
        unreachable!("it is cancelled");
    });
    wait_until("the coroutine", || begun.load(Ordering::SeqCst));
    assert_eq!(runtime.shutdown(Duration::from_millis(20)).left.len(), 1);
    sender.send(7).unwrap();
    let (message, spawned) = answer.recv_timeout(PATIENCE).unwrap();
    assert_eq!(message, 7);
    assert!(spawned.unwrap_err().contains("shut down"));
    wait_until("the end of the workers", || threads_named("message-") == 0);
}

/// OS threads spawn while the runtime ends: each spawn is refused or its coroutine ends, and the workers end in any
/// case.
#[test]
fn spawns_race_with_the_end() {
    for round in 0..100 {
        let runtime = Arc::new(Runtime::builder().workers(1 + round % 2).name("race").build().unwrap());
        let ran = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (runtime, ran, stop) = (Arc::downgrade(&runtime), ran.clone(), stop.clone());
                std::thread::spawn(move || {
                    let mut handles = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        let Some(runtime) = runtime.upgrade() else { break };
                        let ran = ran.clone();
                        handles.push(runtime.spawn(move || ran.fetch_add(1, Ordering::SeqCst)));
                    }
                    handles
                })
            })
            .collect();
        wait_until("the first spawn", || ran.load(Ordering::SeqCst) > 0);
        stop.store(true, Ordering::SeqCst);
        // The last owner ends it, on whichever thread that is.
        drop(runtime);
        for handle in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            let outcome = handle.join_timeout(PATIENCE).expect("it ends");
            assert!(outcome.is_ok() || outcome.unwrap_err().is_cancelled());
        }
    }
    wait_until("the end of the workers", || threads_named("race-") == 0);
}

/// Stays until it is released, and spawns others that do the same, up to a number of them.
fn stay(running: Arc<Mutex<HashSet<silken::CoroutineId>>>, room: Arc<AtomicUsize>, release: Arc<AtomicBool>) {
    silken::mask_cancel(|| {
        running.lock().unwrap().insert(silken::current().id());
        while !release.load(Ordering::SeqCst) {
            let takes = |room: usize| room.checked_sub(1);
            if room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, takes).is_ok() {
                let (running, room, release) = (running.clone(), room.clone(), release.clone());
                let _ = Builder::new().spawn(move || stay(running, room, release));
            }
            silken::yield_now();
        }
        running.lock().unwrap().remove(&silken::current().id());
    });
}

/// A shutdown that does not wait names all who run on, also those who were spawned while it looked.
#[test]
fn all_who_run_on_are_reported() {
    for round in 0..1_000_u64 {
        let workers = 2;
        let runtime = Runtime::builder().workers(workers).name("report").build().unwrap();
        let running = Arc::new(Mutex::new(HashSet::new()));
        let (room, release) = (Arc::new(AtomicUsize::new(300)), Arc::new(AtomicBool::new(false)));
        let (its_running, its_release) = (running.clone(), release.clone());
        runtime.spawn(move || stay(its_running, room, its_release));
        std::thread::sleep(Duration::from_micros(round % 50));
        let left: HashSet<silken::CoroutineId> = runtime
            .shutdown(Duration::ZERO)
            .left
            .iter()
            .map(silken::Coroutine::id)
            .collect();
        let running = running.lock().unwrap().clone();
        release.store(true, Ordering::SeqCst);
        assert!(running.is_subset(&left), "{running:?} run, {left:?} were reported");
    }
    wait_until("the end of the workers", || threads_named("report-") == 0);
}

/// A job that was submitted between the last look for coroutines and the first refusal is cancelled or reported. The
/// moment of the submission is steered towards that boundary.
#[test]
fn a_clean_end_leaves_no_job_behind() {
    let (mut spins, mut made) = (2_000_u32, 0);
    for round in 0..400 {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let pool = runtime.spawn(|| silken::Pool::new(4)).join().unwrap();
        let [go, is_over, was_left] = std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
        let submitter = {
            let (go, is_over, was_left) = (go.clone(), is_over.clone(), was_left.clone());
            std::thread::spawn(move || {
                while !go.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
                pool.submit(move || {
                    silken::sleep(Duration::from_millis(2));
                    was_left.store(is_over.load(Ordering::SeqCst), Ordering::SeqCst);
                })
            })
        };
        go.store(true, Ordering::SeqCst);
        for spin in 0..spins + round % 64 {
            std::hint::black_box(spin);
        }
        let end = runtime.shutdown(PATIENCE);
        is_over.store(true, Ordering::SeqCst);
        assert!(end.is_clean());
        let outcome = submitter.join().unwrap().map(|job| job.join());
        assert!(
            !was_left.load(Ordering::SeqCst),
            "round {round}: a job ran on after a clean end"
        );
        if outcome.is_ok() {
            made += 1;
            spins = spins.saturating_sub(50);
        } else {
            spins += 50;
        }
    }
    assert!(made > 0);
}

#[test]
fn mains_panic_is_returned() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let payload = runtime
        .run(|| -> () { std::panic::resume_unwind(Box::new("main")) })
        .unwrap_err();
    assert_eq!(*payload.downcast::<&str>().unwrap(), "main");
}

#[test]
fn main_may_borrow() {
    let mut text = String::from("a");
    Runtime::builder()
        .workers(2)
        .build()
        .unwrap()
        .run(|| text.push('b'))
        .unwrap();
    assert_eq!(text, "ab");
}
