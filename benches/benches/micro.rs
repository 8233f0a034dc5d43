//! Micro-benchmarks of silken in one process, for work on silken itself: quick to run, comparable only with themselves.
//!
//! Each iteration starts a runtime and does a fixed number of operations in it, large enough that the start disappears;
//! divan divides by that number (`item/s`). Comparisons with floors and peers are the business of the `bench` program.
//!
//! Run: `cargo bench -p silken-benches --features silken-side`.

use divan::Bencher;
use divan::counter::ItemsCount;
use std::sync::{Arc, Mutex};

const OPERATIONS: usize = 200_000;
const BATCH: usize = 1_000;
const CONTENDERS: usize = 8;

fn main() {
    divan::main();
}

fn measure(bencher: Bencher, workers: usize, work: fn()) {
    bencher
        .counter(ItemsCount::new(OPERATIONS))
        .with_inputs(|| silken::Runtime::builder().workers(workers).build().expect("a runtime"))
        .bench_local_values(|runtime| runtime.run(work).expect("no panic"));
}

#[divan::bench]
fn yield_isolated(bencher: Bencher) {
    measure(bencher, 1, || {
        let yields = || (0..OPERATIONS / 2).for_each(|_| silken::yield_now());
        for handle in [silken::spawn(yields), silken::spawn(yields)] {
            handle.join().expect("no panic");
        }
    });
}

#[divan::bench]
fn yield_light(bencher: Bencher) {
    measure(bencher, 1, || {
        let yields = || (0..OPERATIONS / 2).for_each(|_| silken::yield_now());
        // SAFETY: S12: it yields and returns, and uses no thread-local.
        let light = || unsafe { silken::Builder::new().light() };
        for handle in [(), ()].map(|()| light().spawn(yields).expect("a coroutine")) {
            handle.join().expect("no panic");
        }
    });
}

#[divan::bench(args = [1, 2])]
fn spawn_join(bencher: Bencher, workers: usize) {
    measure(bencher, workers, || {
        for _ in 0..OPERATIONS / BATCH {
            let handles: Vec<_> = (0..BATCH).map(|number| silken::spawn(move || number)).collect();
            for (number, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.join().expect("no panic"), number);
            }
        }
    });
}

/// A coroutine wakes itself: the price of the two calls without a switch.
#[divan::bench]
fn unpark_then_park(bencher: Bencher) {
    measure(bencher, 1, || {
        let own = silken::current();
        for _ in 0..OPERATIONS {
            own.unpark();
            silken::park();
        }
    });
}

#[divan::bench(args = [1, 2])]
fn std_mutex(bencher: Bencher, workers: usize) {
    measure(bencher, workers, || {
        let sum = Arc::new(Mutex::new(0));
        let add =
            |sum: Arc<Mutex<usize>>| move || (0..OPERATIONS / CONTENDERS).for_each(|_| *sum.lock().expect("sane") += 1);
        let handles: Vec<_> = (0..CONTENDERS).map(|_| silken::spawn(add(sum.clone()))).collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        assert_eq!(*sum.lock().expect("sane"), OPERATIONS);
    });
}
