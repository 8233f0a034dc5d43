//! Do more urgent coroutines run first, and does none wait for ever?

use crate::common::{on_runtimes, run_on};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Far more turns than any bound of the scheduler allows.
const TURNS_MAX: usize = 20_000;

fn spawn<T: Send + 'static>(priority: i64, body: impl FnOnce() -> T + Send + 'static) -> silken::JoinHandle<T> {
    let builder = silken::Builder::new().priority(priority);
    builder.spawn(body).expect("there is room for a coroutine")
}

/// What ran, in its order.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<(i64, usize)>>>);

impl Order {
    fn note(&self, priority: i64, number: usize) {
        self.0.lock().unwrap().push((priority, number));
    }

    /// Whether all ran by priority, and those of one priority in turn. Ordinary ones may have been woken through the
    /// LIFO slot, so they have no such turn.
    #[track_caller]
    fn check(&self, count: usize) {
        let order = self.0.lock().unwrap();
        assert_eq!(order.len(), count);
        let place = |&(priority, number): &(i64, usize)| (priority, if priority == 0 { 0 } else { number });
        assert!(order.is_sorted_by_key(place), "{order:?}");
    }
}

const MIXED: [i64; 12] = [3, 0, -2, 9, -2, 0, 3, -40_000, 1, 0, 70_000, -1];

#[test]
fn spawned_ones_begin_by_priority() {
    on_runtimes([1], || {
        let order = Order::default();
        let begin = |(number, priority)| {
            let order = order.clone();
            spawn(priority, move || order.note(priority, number))
        };
        let handles: Vec<_> = MIXED.into_iter().enumerate().map(begin).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        order.check(MIXED.len());
    });
}

/// Spawns one coroutine of each priority, which waits for a permit and then notes that it runs.
fn wait_for(gate: &Arc<silken::sync::Semaphore>, order: &Order) -> Vec<silken::JoinHandle<()>> {
    let begin = |(number, priority)| {
        let (order, gate) = (order.clone(), gate.clone());
        spawn(priority, move || {
            gate.acquire().unwrap().forget();
            order.note(priority, number);
        })
    };
    MIXED.into_iter().enumerate().map(begin).collect()
}

#[test]
fn woken_ones_continue_by_priority() {
    on_runtimes([1], || {
        let (order, gate) = (Order::default(), Arc::new(silken::sync::Semaphore::new(0)));
        let handles = wait_for(&gate, &order);
        // All wait now: this coroutine is an ordinary one, and the background ones have to run before it goes on.
        silken::sleep(Duration::from_millis(20));
        gate.add_permits(MIXED.len());
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        order.check(MIXED.len());
    });
}

#[test]
fn yielding_ones_alternate_with_their_equals_only() {
    on_runtimes([1], || {
        let order = Order::default();
        let begin = |priority| {
            let order = order.clone();
            spawn(priority, move || {
                for round in 0..10 {
                    order.note(priority, round);
                    silken::yield_now();
                }
            })
        };
        let handles = [4, -4, 4, -4].map(begin);
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        order.check(40);
    });
}

/// A thread wakes them while the worker is busy.
#[test]
fn those_that_threads_wake_are_ordered_too() {
    on_runtimes([1], || {
        let (order, gate) = (Order::default(), Arc::new(silken::sync::Semaphore::new(0)));
        let handles = wait_for(&gate, &order);
        silken::sleep(Duration::from_millis(20));
        silken::no_preempt(|| {
            let all_woken = Arc::new(AtomicBool::new(false));
            let woken = all_woken.clone();
            let thread = std::thread::spawn(move || {
                gate.add_permits(MIXED.len());
                woken.store(true, SeqCst);
            });
            while !all_woken.load(SeqCst) {
                std::hint::spin_loop();
            }
            drop(thread);
        });
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        order.check(MIXED.len());
    });
}

/// Two urgent coroutines yield to each other for ever; the others must get their turns.
#[test]
fn urgent_ones_starve_nobody() {
    on_runtimes([1, 2], || {
        let (over, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let spin = || {
            let (over, turns) = (over.clone(), turns.clone());
            spawn(-5, move || {
                while !over.load(SeqCst) {
                    turns.fetch_add(1, SeqCst);
                    silken::yield_now();
                }
            })
        };
        let spinners: Vec<_> = std::iter::repeat_with(spin).take(4).collect();
        let others = [-1, 0, 1, 2, 7].map(|priority| {
            let turns = turns.clone();
            spawn(priority, move || {
                for _ in 0..5 {
                    let before = turns.load(SeqCst);
                    silken::yield_now();
                    let waited = turns.load(SeqCst) - before;
                    assert!(waited < TURNS_MAX, "priority {priority} waited {waited} turns");
                }
            })
        });
        others.into_iter().for_each(|handle| handle.join().unwrap());
        over.store(true, SeqCst);
        spinners.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

/// Background coroutines wait while an ordinary one is always ready, but not for ever.
#[test]
fn background_ones_get_few_turns_but_some() {
    on_runtimes([1], || {
        let over = Arc::new(AtomicBool::new(false));
        let count = |priority| {
            let over = over.clone();
            spawn(priority, move || {
                let mut turns = 0_usize;
                while !over.load(SeqCst) {
                    turns += 1;
                    silken::yield_now();
                }
                turns
            })
        };
        let [ordinary, background] = [0, 1].map(count);
        for _ in 0..10_000 {
            silken::yield_now();
        }
        over.store(true, SeqCst);
        let (ordinary, background) = (ordinary.join().unwrap(), background.join().unwrap());
        assert!(background >= 10, "{background} turns");
        assert!(ordinary >= 20 * background, "{ordinary} and {background} turns");
    });
}

/// A worker takes them from one that is busy.
#[test]
fn thieves_take_them() {
    for (workers, is_light) in [(2, false), (2, true), (4, false), (4, true)] {
        run_on(workers, is_light, || {
            let ended = Arc::new(AtomicUsize::new(0));
            let begin = |priority| {
                let ended = ended.clone();
                spawn(priority, move || ended.fetch_add(1, SeqCst))
            };
            let handles = [-3, 3, 0, -3].map(begin);
            // This worker runs none of them, as long as this coroutine does not wait.
            silken::no_preempt(|| {
                while ended.load(SeqCst) < 4 {
                    std::hint::spin_loop();
                }
            });
            handles
                .into_iter()
                .for_each(|handle| assert!(handle.join().unwrap() < 4));
        });
    }
}

/// Many of all priorities, which yield, park, are woken by coroutines and threads, and end: none is lost, and none runs
/// twice at a time.
#[test]
fn none_is_lost() {
    on_runtimes([1, 2, 4], || {
        let sum = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = silken::channel::unbounded::<usize>();
        let thread = std::thread::spawn({
            let sender = sender.clone();
            move || (0..500).for_each(|number| sender.send(number).unwrap())
        });
        let handles: Vec<_> = (0..1000)
            .map(|number: usize| {
                let (sum, sender, receiver) = (sum.clone(), sender.clone(), receiver.clone());
                spawn(number as i64 % 7 - 3, move || {
                    silken::yield_now();
                    if number.is_multiple_of(2) {
                        sender.send(number).unwrap();
                    }
                    receiver.recv().unwrap();
                    if number.is_multiple_of(10) {
                        silken::sleep(Duration::from_micros(50));
                    }
                    sum.fetch_add(number, SeqCst);
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        thread.join().unwrap();
        assert_eq!(sum.load(SeqCst), 999 * 1000 / 2);
    });
}
