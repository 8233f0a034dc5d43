//! A coroutine that computes for long holds up nobody whom another worker could serve.

use silken::Runtime;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// Computes until the flag is set, by somebody whom only another worker can continue.
fn compute_until(flag: &AtomicBool) {
    let start = Instant::now();
    while !flag.load(SeqCst) {
        assert!(start.elapsed() < PATIENCE, "nobody took over from the computing worker");
        std::hint::spin_loop();
    }
}

/// Runs `check` while the other workers sleep, and again while each has more to do than it can.
fn idle_and_busy(check: impl Fn(&Runtime)) {
    for busy in [false, true] {
        for workers in [2, 4] {
            let runtime = Runtime::builder().workers(workers).build().unwrap();
            let stop = Arc::new(AtomicBool::new(!busy));
            let yielding: Vec<_> = (0..2 * (workers - 1))
                .map(|_| {
                    let stop = stop.clone();
                    runtime.spawn(move || {
                        while !stop.load(SeqCst) {
                            silken::yield_now();
                        }
                    })
                })
                .collect();
            check(&runtime);
            stop.store(true, SeqCst);
            yielding.into_iter().for_each(|handle| handle.join().unwrap());
        }
    }
}

#[test]
fn whom_it_has_woken() {
    idle_and_busy(|runtime| {
        let flag = Arc::new(AtomicBool::new(false));
        let sets = flag.clone();
        let woken = runtime.spawn(move || {
            silken::park();
            sets.store(true, SeqCst);
        });
        let coroutine = woken.coroutine();
        let computing = runtime.spawn(move || {
            // By then everybody sleeps who can.
            silken::sleep(Duration::from_millis(20));
            coroutine.unpark();
            compute_until(&flag);
        });
        computing.join().unwrap();
        woken.join().unwrap();
    });
}

#[test]
fn whom_it_has_spawned() {
    idle_and_busy(|runtime| {
        let computing = runtime.spawn(move || {
            silken::sleep(Duration::from_millis(20));
            let flag = Arc::new(AtomicBool::new(false));
            let children: Vec<_> = (0..3)
                .map(|_| {
                    let flag = flag.clone();
                    silken::spawn(move || flag.store(true, SeqCst))
                })
                .collect();
            compute_until(&flag);
            children
        });
        for child in computing.join().unwrap() {
            child.join().unwrap();
        }
    });
}

#[test]
fn whose_deadline_is_on_its_processor() {
    idle_and_busy(|runtime| {
        let computing = runtime.spawn(|| {
            let flag = Arc::new(AtomicBool::new(false));
            let sets = flag.clone();
            let sleeper = silken::spawn(move || {
                silken::sleep(Duration::from_millis(30));
                sets.store(true, SeqCst);
            });
            // Long enough for the child to begin here, or elsewhere.
            silken::sleep(Duration::from_millis(10));
            compute_until(&flag);
            sleeper
        });
        computing.join().unwrap().join().unwrap();
    });
}

#[test]
fn whose_descriptor_is_registered_with_its_processor() {
    idle_and_busy(|runtime| {
        let pairs: Vec<_> = (0..8).map(|_| UnixStream::pair().unwrap()).collect();
        let (mut near, far): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let flags: Vec<_> = far.iter().map(|_| Arc::new(AtomicBool::new(false))).collect();
        let readers: Vec<_> = far
            .into_iter()
            .zip(flags.clone())
            .map(|(mut far, flag)| {
                runtime.spawn(move || {
                    far.read_exact(&mut [0]).unwrap();
                    flag.store(true, SeqCst);
                })
            })
            .collect();
        let begun = Arc::new(AtomicBool::new(false));
        let mark = begun.clone();
        let computing = runtime.spawn(move || {
            silken::sleep(Duration::from_millis(20));
            mark.store(true, SeqCst);
            flags.iter().for_each(|flag| compute_until(flag));
        });
        while !begun.load(SeqCst) {
            std::thread::yield_now();
        }
        near.iter_mut().for_each(|near| near.write_all(b"x").unwrap());
        computing.join().unwrap();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
