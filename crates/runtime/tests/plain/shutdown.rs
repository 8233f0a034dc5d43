//! What is left when main returns.

use silken::{Runtime, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
