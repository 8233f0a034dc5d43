//! The size changes all the time, while coroutines of all kinds run: nothing is lost, and nothing stands still.

use super::Runtime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A runtime whose size may change, and begins with this one.
fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers_up_to(workers, 4).build().expect("it starts")
}

/// Far more than any wait of these tests takes.
const LONG: Duration = Duration::from_secs(60);

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn yields(count: usize) {
    (0..count).for_each(|_| crate::yield_now());
}

#[test]
fn an_only_worker_shares_what_waits_for_it() {
    let runtime = runtime(1);
    let scheduler = runtime.scheduler;
    let arrived = Arc::new(AtomicUsize::new(0));
    let [may_begin, may_end] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let handles: Vec<_> = (0..3)
        .map(|_| {
            let (arrived, may_begin, may_end) = (arrived.clone(), may_begin.clone(), may_end.clone());
            runtime.spawn(move || {
                while !may_begin.load(Ordering::SeqCst) {
                    crate::yield_now();
                }
                arrived.fetch_add(1, Ordering::SeqCst);
                // Takes a worker for itself.
                crate::no_preempt(|| {
                    while !may_end.load(Ordering::SeqCst) {
                        std::hint::spin_loop();
                    }
                });
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(10));
    scheduler.resize(3);
    std::thread::sleep(Duration::from_millis(10));
    may_begin.store(true, Ordering::SeqCst);
    until("each of the three has a worker", || arrived.load(Ordering::SeqCst) == 3);
    may_end.store(true, Ordering::SeqCst);
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert!(runtime.shutdown(LONG).is_clean());
}

#[test]
fn a_surplus_worker_runs_what_is_bound_to_it_and_no_more() {
    let runtime = runtime(4);
    let scheduler = runtime.scheduler;
    let over = Arc::new(AtomicBool::new(false));
    let seen: Arc<[AtomicUsize; 4]> = Arc::new([const { AtomicUsize::new(0) }; 4]);
    let sleepers: Vec<_> = (0..40)
        .map(|_| {
            let (over, seen) = (over.clone(), seen.clone());
            runtime.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    if let Some(id) = crate::worker_id() {
                        seen[id].fetch_add(1, Ordering::SeqCst);
                    }
                    yields(3);
                    crate::sleep(Duration::from_millis(1));
                }
            })
        })
        .collect();
    let turns = Arc::new(AtomicUsize::new(0));
    let bound = {
        let (over, turns) = (over.clone(), turns.clone());
        runtime.block_on(move || {
            let body = move || {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(crate::worker_id(), Some(3));
                    crate::sleep(Duration::from_millis(1));
                    turns.fetch_add(1, Ordering::SeqCst);
                }
            };
            crate::Builder::new().worker(3).spawn(body).unwrap()
        })
    };
    scheduler.resize(2);
    let at_resize = turns.load(Ordering::SeqCst);
    until("the bound one goes on", || {
        turns.load(Ordering::SeqCst) > at_resize + 10
    });
    // Those that were queued there, or sleep there, leave it.
    until("they leave the surplus workers", || {
        let before = [&seen[2], &seen[3]].map(|count| count.load(Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(30));
        before == [&seen[2], &seen[3]].map(|count| count.load(Ordering::SeqCst))
    });
    scheduler.resize(4);
    let before = seen[2].load(Ordering::SeqCst) + seen[3].load(Ordering::SeqCst);
    until("they come back", || {
        seen[2].load(Ordering::SeqCst) + seen[3].load(Ordering::SeqCst) > before
    });
    over.store(true, Ordering::SeqCst);
    sleepers.into_iter().for_each(|handle| handle.join().unwrap());
    bound.join().unwrap();
    assert!(runtime.shutdown(LONG).is_clean());
}

/// Those that are bound to a surplus worker have their turns beside more urgent ones, as on any worker.
#[test]
fn nobody_starves_on_a_surplus_worker() {
    for priorities in [[-1, -1, 0], [0, 0, 1], [-2, -2, -1]] {
        let runtime = runtime(2);
        let over = Arc::new(AtomicBool::new(false));
        let turns: Arc<[AtomicUsize; 3]> = Arc::new([const { AtomicUsize::new(0) }; 3]);
        let bound = runtime.block_on({
            let (over, turns) = (over.clone(), turns.clone());
            move || {
                [0, 1, 2].map(|number| {
                    let (over, turns) = (over.clone(), turns.clone());
                    let body = move || {
                        while !over.load(Ordering::SeqCst) {
                            turns[number].fetch_add(1, Ordering::SeqCst);
                            crate::yield_now();
                        }
                    };
                    let builder = crate::Builder::new().worker(1).priority(priorities[number]);
                    builder.spawn(body).unwrap()
                })
            }
        });
        runtime.scheduler.resize(1);
        // The worker learns of it within an event interval.
        std::thread::sleep(Duration::from_millis(10));
        let before = turns[2].load(Ordering::SeqCst);
        until("the least urgent one has turns", || {
            turns[2].load(Ordering::SeqCst) > before + 10
        });
        over.store(true, Ordering::SeqCst);
        bound.into_iter().for_each(|handle| handle.join().unwrap());
        assert!(runtime.shutdown(LONG).is_clean());
    }
}

#[test]
fn nothing_is_lost_while_the_size_changes() {
    for begins in [1, 4] {
        let runtime = runtime(begins);
        let scheduler = runtime.scheduler;
        let sum = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = crate::channel::bounded::<usize>(3);
        let handles: Vec<_> = (0..200_usize)
            .map(|number| {
                let (sum, sender, receiver) = (sum.clone(), sender.clone(), receiver.clone());
                runtime.block_on(move || {
                    let builder = crate::Builder::new().priority(number as i64 % 3 - 1);
                    let body = move || {
                        for round in 0..50 {
                            if number.is_multiple_of(2) {
                                sender.send(1).unwrap();
                            } else {
                                sum.fetch_add(receiver.recv().unwrap(), Ordering::SeqCst);
                            }
                            if round % 10 == 0 {
                                crate::sleep(Duration::from_micros(100));
                            }
                        }
                    };
                    builder.spawn(body).unwrap()
                })
            })
            .collect();
        let mut sizes = fastrand::Rng::with_seed(7);
        while handles.iter().any(|handle| !handle.is_finished()) {
            scheduler.resize(sizes.usize(1..=4));
            std::thread::sleep(Duration::from_micros(sizes.u64(0..2000)));
        }
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(sum.load(Ordering::SeqCst), 100 * 50);
        scheduler.resize(1);
        assert!(runtime.shutdown(LONG).is_clean());
    }
}
