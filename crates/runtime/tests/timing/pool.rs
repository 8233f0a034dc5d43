//! The pool.

use super::{LONG, everywhere, ms, on_coroutines};
use silken::channel::oneshot;
use silken::{Pool, SubmitError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn no_more_run_at_once_than_allowed_and_all_run() {
    everywhere(|world| {
        let pool = Pool::new(3);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let submitting: Vec<_> = (0..4)
            .map(|part| {
                let (pool, running, most) = (pool.clone(), running.clone(), most.clone());
                world.spawn(move || {
                    let submit = |number: usize| {
                        let (running, most) = (running.clone(), most.clone());
                        let run = move || {
                            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            silken::yield_now();
                            running.fetch_sub(1, Ordering::SeqCst);
                            part * 100 + number
                        };
                        pool.submit(run).unwrap()
                    };
                    let handles: Vec<_> = (0..100).map(submit).collect();
                    handles.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>()
                })
            })
            .collect();
        let sum: usize = submitting.into_iter().map(super::Part::join).sum();
        assert_eq!(sum, (0..400).sum());
        pool.wait();
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!((pool.running(), pool.waiting(), pool.concurrency()), (0, 0, 3));
    });
}

#[test]
fn a_full_pool_refuses_or_waits() {
    everywhere(|world| {
        let pool = Pool::bounded(1, 1);
        let (go, may_go) = oneshot::channel();
        let first = pool.submit(move || may_go.recv().unwrap()).unwrap();
        let second = pool.submit(|| 2).unwrap();
        let refused = pool.try_submit(|| 3).unwrap_err();
        assert!(matches!(refused, SubmitError::Full(_)));
        assert_eq!(refused.into_inner()(), 3);
        let third = world.spawn({
            let pool = pool.clone();
            move || pool.submit(|| 3).unwrap().join().unwrap()
        });
        let second = second.join_timeout(ms(2)).expect_err("it is not its turn");
        assert!(!second.is_finished());
        go.send(1).unwrap();
        assert_eq!((first.join().unwrap(), second.join().unwrap(), third.join()), (1, 2, 3));
    });
}

#[test]
fn panics_stay_with_their_handle() {
    on_coroutines(|| {
        let pool = Pool::new(1);
        let panicking = pool
            .submit(|| std::panic::resume_unwind(Box::new("on purpose")))
            .unwrap();
        let next = pool.submit(|| 1).unwrap();
        let error = panicking.join().unwrap_err();
        assert_eq!(error.message(), Some("on purpose"));
        assert_eq!(next.join().unwrap(), 1);
    });
}

#[test]
fn a_closed_pool_takes_nothing_and_finishes() {
    everywhere(|_| {
        let pool = Pool::new(2);
        let runs = Arc::new(AtomicUsize::new(0));
        for _ in 0..50 {
            let runs = runs.clone();
            let handle = pool.submit(move || {
                silken::yield_now();
                runs.fetch_add(1, Ordering::Relaxed);
            });
            drop(handle.unwrap());
        }
        pool.shutdown();
        assert_eq!(
            runs.load(Ordering::Relaxed),
            50,
            "a dropped handle does not stop its function"
        );
        assert!(pool.is_closed());
        assert!(matches!(pool.submit(|| ()), Err(SubmitError::Closed(_))));
    });
}

#[test]
fn what_is_queued_can_be_dropped() {
    everywhere(|world| {
        let pool = Pool::new(1);
        let (go, may_go) = oneshot::channel();
        let first = pool.submit(move || may_go.recv().is_ok()).unwrap();
        let unwanted = pool.submit(|| unreachable!("it was cancelled")).unwrap();
        let cancelled = pool.submit(|| unreachable!("it was dropped")).unwrap();
        unwanted.cancel();
        assert!(unwanted.is_finished());
        assert!(!pool.wait_timeout(ms(1)));
        let closing = world.spawn(move || pool.shutdown_now());
        assert!(unwanted.join().unwrap_err().is_cancelled());
        assert!(cancelled.join().unwrap_err().is_cancelled());
        go.send(()).unwrap();
        assert!(first.join().unwrap());
        closing.join();
    });
}

#[test]
fn a_running_function_is_cancelled_and_its_slot_is_free_again() {
    on_coroutines(|| {
        let pool = Pool::new(1);
        let (started, has_started) = oneshot::channel();
        let sleeping = pool.submit(move || {
            started.send(()).unwrap();
            silken::sleep(LONG);
        });
        let sleeping = sleeping.unwrap();
        has_started.recv().unwrap();
        sleeping.cancel();
        assert!(sleeping.join().unwrap_err().is_cancelled());
        assert_eq!(pool.submit(|| 1).unwrap().join().unwrap(), 1);
        pool.wait();
    });
}

/// Panics when it is dropped, unless an unwinding goes on.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("a bomb"));
        }
    }
}

fn is_bomb<T>(outcome: Result<T, silken::JoinError>) -> bool {
    matches!(outcome, Err(error) if error.message() == Some("a bomb"))
}

#[test]
fn a_destructors_panic_is_the_functions_own_outcome() {
    everywhere(|_| {
        let pool = Pool::new(1);
        let (go, may_go) = oneshot::channel();
        let first = pool.submit(move || may_go.recv()).unwrap();
        let bomb = Bomb;
        let cancelled = pool.submit(move || drop(bomb)).unwrap();
        let bomb = Bomb;
        let forgotten = pool.submit(move || drop(bomb)).unwrap();
        let later = pool.submit(|| 7).unwrap();
        cancelled.cancel();
        forgotten.cancel();
        drop(forgotten);
        assert!(cancelled.is_finished());
        go.send(1).unwrap();
        assert_eq!(first.join().unwrap(), Ok(1));
        assert!(is_bomb(cancelled.join()));
        assert_eq!(later.join().unwrap(), 7);

        let (go, may_go) = oneshot::channel::<()>();
        let running = pool.submit(move || may_go.recv()).unwrap();
        let bomb = Bomb;
        let dropped = pool.submit(move || drop(bomb)).unwrap();
        drop(go);
        pool.shutdown_now();
        assert!(running.join().unwrap().is_err());
        // Started by now, or given up: a bomb in both cases.
        assert!(is_bomb(dropped.join()));
        assert_eq!((pool.running(), pool.waiting()), (0, 0));
    });
}

#[test]
fn a_thousand_functions_with_bombs() {
    let seed: u64 = std::env::var("SILKEN_SEED").map_or(1, |seed| seed.parse().unwrap());
    everywhere(|world| {
        let pool = Pool::new(3);
        let parts: Vec<_> = (0..4)
            .map(|part| {
                let pool = pool.clone();
                world.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed * 4 + part);
                    let mut next = move || random.u32(..100);
                    let mut outcomes = [0; 3];
                    for _ in 0..250 {
                        let bomb = (next() < 50).then(|| Bomb);
                        let handle = pool
                            .submit(move || {
                                silken::yield_now();
                                drop(bomb);
                            })
                            .unwrap();
                        match next() {
                            0..30 => handle.cancel(),
                            30..50 => {
                                drop(handle);
                                continue;
                            }
                            _ => {}
                        }
                        match handle.join() {
                            Ok(()) => outcomes[0] += 1,
                            Err(error) if error.is_cancelled() => outcomes[1] += 1,
                            Err(error) => {
                                assert_eq!(error.message(), Some("a bomb"));
                                outcomes[2] += 1;
                            }
                        }
                    }
                    outcomes
                })
            })
            .collect();
        for part in parts {
            assert!(part.join().iter().all(|count| *count > 0), "seed {seed}");
        }
        pool.shutdown();
        assert_eq!((pool.running(), pool.waiting()), (0, 0), "seed {seed}");
        assert!(matches!(pool.submit(|| ()), Err(SubmitError::Closed(_))));
    });
}
