//! park, unpark, yield, sleep.

use super::on_all;
use silken::spawn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_token_is_kept() {
    on_all(|| {
        silken::current().unpark();
        silken::current().unpark();
        silken::park();
        let begun = Instant::now();
        silken::park_timeout(Duration::from_millis(5));
        assert!(begun.elapsed() >= Duration::from_millis(5), "two wakes are one token");
    });
}

#[test]
fn ping_pong() {
    on_all(|| {
        const ROUNDS: usize = 2_000;
        let turn = Arc::new(AtomicUsize::new(0));
        let other_turn = turn.clone();
        let main = silken::current();
        let other = spawn(move || {
            for round in 0..ROUNDS {
                while other_turn.load(Ordering::Acquire) != 2 * round + 1 {
                    silken::park();
                }
                other_turn.store(2 * round + 2, Ordering::Release);
                main.unpark();
            }
        });
        let wake = other.coroutine();
        for round in 0..ROUNDS {
            turn.store(2 * round + 1, Ordering::Release);
            wake.unpark();
            while turn.load(Ordering::Acquire) != 2 * round + 2 {
                silken::park();
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn an_internal_wait_does_not_swallow_the_token() {
    on_all(|| {
        let handle = spawn(|| {
            silken::sleep(Duration::from_millis(5));
            silken::park();
        });
        silken::sleep(Duration::from_millis(1));
        handle.coroutine().unpark();
        handle.join().unwrap();
    });
}

#[test]
fn threads_wake_coroutines() {
    on_all(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let sleepers: Vec<_> = (0..100)
            .map(|_| {
                let stop = stop.clone();
                spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        silken::park();
                    }
                })
            })
            .collect();
        let wake: Vec<_> = sleepers.iter().map(|sleeper| sleeper.coroutine()).collect();
        std::thread::spawn(move || {
            stop.store(true, Ordering::Release);
            wake.iter().for_each(silken::Coroutine::unpark);
        });
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

#[test]
fn sleepers_never_wake_early_and_in_the_order_of_their_deadlines() {
    on_all(|| {
        let begun = Instant::now();
        let sleepers: Vec<_> = (0..200u64)
            .map(|i| {
                let length = Duration::from_micros(i * 7919 % 20_000);
                spawn(move || {
                    silken::sleep_until(begun + length);
                    assert!(begun.elapsed() >= length);
                })
            })
            .collect();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

#[test]
fn those_who_yield_do_not_starve_sleepers() {
    on_all(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..3)
            .map(|_| {
                let stop = stop.clone();
                spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        silken::yield_now();
                    }
                })
            })
            .collect();
        silken::sleep(Duration::from_millis(10));
        stop.store(true, Ordering::Relaxed);
        for one in busy {
            one.join().unwrap();
        }
    });
}

/// A thread that has given its parker back may wait in the destructors that come later, and so may whoever gets that
/// parker meanwhile.
#[test]
fn late_destructors_of_thread_locals_wait() {
    type Wait = fn();

    /// Waits when it is dropped.
    struct Waits(Wait, std::sync::mpsc::Sender<()>);

    impl Drop for Waits {
        fn drop(&mut self) {
            (self.0)();
            self.1.send(()).unwrap();
        }
    }

    thread_local! {
        static LATE: std::cell::RefCell<Option<Waits>> = const { std::cell::RefCell::new(None) };
    }

    fn other() {
        silken::sleep(Duration::from_millis(10));
    }

    let waits: [Wait; 5] = [
        || spawn(other).join().unwrap(),
        || silken::scope(|s| drop(s.spawn(other))),
        || silken::park_timeout(Duration::from_millis(10)),
        || {
            let (tx, rx) = silken::channel::bounded(0);
            spawn(move || tx.send(7).unwrap());
            assert_eq!(rx.recv(), Ok(7));
        },
        || {
            let runtime = silken::Runtime::builder().workers(1).build().unwrap();
            runtime.run(other).unwrap();
        },
    ];
    let (tx, rx) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..20)
        .map(|number| {
            let waits = Waits(waits[number % waits.len()], tx.clone());
            std::thread::spawn(move || {
                // First here, so that the parker, which the next line makes, is given back before.
                LATE.set(Some(waits));
                spawn(other).join().unwrap();
            })
        })
        .collect();
    for _ in &threads {
        rx.recv_timeout(Duration::from_secs(30)).expect("the wait ends");
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
