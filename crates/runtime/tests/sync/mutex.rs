//! Mutex: exclusion, poison, deadlines, cancellation, fairness.

use super::{LONG, SHORT, World, a_moment, on_all, on_coroutines, on_isolated, seed_of, until};
use fastrand::Rng;
use silken::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn it_counts_exactly() {
    on_all(|world| {
        const ROUNDS: usize = 500;
        let count = Arc::new(Mutex::new(0));
        let of_agents = count.clone();
        world.run(16, move |_| {
            for round in 0..ROUNDS {
                let mut guard = of_agents.lock().unwrap();
                let before = *guard;
                if round % 64 == 0 {
                    silken::yield_now();
                }
                *guard = before + 1;
            }
        });
        assert_eq!(*count.lock().unwrap(), 16 * ROUNDS);
        assert_eq!(Arc::into_inner(count).unwrap().into_inner().unwrap(), 16 * ROUNDS);
    });
}

#[test]
fn try_lock_says_the_truth() {
    on_all(|world| {
        let mutex = Arc::new(Mutex::new(1));
        let guard = mutex.try_lock().unwrap();
        let other = mutex.clone();
        let refused = world.spawn(move || matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(refused.join());
        drop(guard);
        let other = mutex.clone();
        assert_eq!(world.spawn(move || *other.try_lock().unwrap()).join(), 1);
    });
}

#[test]
fn a_deadline_ends_the_wait_and_leaves_no_trace() {
    on_all(|world| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let begun = Instant::now();
        let other = mutex.clone();
        world.run(4, move |number| {
            let result = match number % 2 {
                0 => other.lock_timeout(SHORT),
                _ => other.lock_deadline(Instant::now() + SHORT),
            };
            assert!(matches!(result, Err(TryLockError::WouldBlock)));
            assert!(begun.elapsed() >= SHORT);
        });
        let other = mutex.clone();
        let patient = world.spawn(move || *other.lock_timeout(LONG).unwrap() += 1);
        a_moment();
        drop(guard);
        patient.join();
        assert_eq!(*mutex.try_lock().unwrap(), 1);
    });
}

#[test]
fn a_panic_poisons_until_cleared() {
    on_all(|world| {
        let mutex = Arc::new(Mutex::new(0));
        let other = mutex.clone();
        let agent = world.spawn(move || {
            let mut guard = other.lock().unwrap();
            *guard = 7;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(agent.panicked());
        assert!(mutex.is_poisoned());
        assert_eq!(*mutex.lock().unwrap_err().into_inner(), 7);
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
        assert!(matches!(mutex.lock_timeout(SHORT), Err(TryLockError::Poisoned(_))));
        mutex.clear_poison();
        assert_eq!(*mutex.lock().unwrap(), 7);
    });
}

#[test]
fn a_cancelled_waiter_unwinds_and_a_cancelled_holder_does_not_poison() {
    on_coroutines(|_| {
        let mutex = Arc::new(Mutex::new(0));
        let dropped = Arc::new(AtomicBool::new(false));
        struct OnDrop(Arc<AtomicBool>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (held, on_drop) = (mutex.clone(), OnDrop(dropped.clone()));
        let holder = silken::spawn(move || {
            let _on_drop = on_drop;
            let _guard = held.lock().unwrap();
            silken::sleep(LONG);
        });
        until(|| mutex.try_lock().is_err());
        let wanted = mutex.clone();
        let waiter = silken::spawn(move || drop(wanted.lock()));
        a_moment();
        waiter.cancel();
        assert!(waiter.join().unwrap_err().is_cancelled());
        assert!(!dropped.load(Ordering::SeqCst));
        holder.cancel();
        assert!(holder.join().unwrap_err().is_cancelled());
        assert!(dropped.load(Ordering::SeqCst));
        assert!(!mutex.is_poisoned());
        assert_eq!(*mutex.try_lock().unwrap(), 0);
    });
}

/// Not on light coroutines: they share std's panic count with their worker, so that one that waits while it unwinds
/// makes the others look as if they panicked.
#[test]
fn a_destructor_of_a_cancelled_one_may_still_wait() {
    on_isolated(|_| {
        let mutex = Arc::new(Mutex::new(0));
        struct CountsDown(Arc<Mutex<i32>>);
        impl Drop for CountsDown {
            fn drop(&mut self) {
                *self.0.lock().unwrap() -= 1;
            }
        }
        let guard = mutex.lock().unwrap();
        let counts = CountsDown(mutex.clone());
        let child = silken::spawn(move || {
            let _counts = counts;
            silken::sleep(LONG);
        });
        a_moment();
        child.cancel();
        a_moment();
        assert!(!child.is_finished());
        drop(guard);
        assert!(child.join().unwrap_err().is_cancelled());
        assert_eq!(*mutex.lock().unwrap(), -1);
    });
}

/// Barging must not keep somebody out for ever: one agent takes the mutex again as soon as it has let go.
#[test]
fn a_waiter_gets_its_turn_from_a_greedy_holder() {
    on_all(|world| {
        let mutex = Arc::new(Mutex::new(()));
        let stop = Arc::new(AtomicBool::new(false));
        let (greedy, until_stop) = (mutex.clone(), stop.clone());
        let agent = world.spawn(move || {
            while !until_stop.load(Ordering::Relaxed) {
                let _guard = greedy.lock().unwrap();
                silken::sleep(Duration::from_micros(300));
            }
        });
        a_moment();
        for _ in 0..5 {
            drop(mutex.lock_timeout(LONG).expect("a turn"));
        }
        stop.store(true, Ordering::Relaxed);
        agent.join();
    });
}

/// Locks, deadlines and cancellations at random: nobody is inside with another, and nobody stays behind.
#[test]
fn storm() {
    let seed = seed_of("mutex::storm");
    on_all(|world| storm_in(world, Rng::with_seed(seed)));
}

fn storm_in(world: &World, mut random: Rng) {
    let shared = Arc::new((Mutex::new(0_usize), AtomicUsize::new(0), AtomicUsize::new(0)));
    let agents: Vec<_> = (0..24)
        .map(|_| {
            let (shared, mut random) = (shared.clone(), random.fork());
            world.spawn(move || {
                let (mutex, inside, done) = &*shared;
                for _ in 0..100 {
                    let guard = match random.u64(..4) {
                        0 => mutex.try_lock().ok(),
                        1 => mutex.lock_timeout(Duration::from_micros(random.u64(..300))).ok(),
                        _ => Some(mutex.lock().unwrap()),
                    };
                    let Some(mut guard) = guard else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    *guard += 1;
                    match random.u64(..8) {
                        0 => silken::yield_now(),
                        1 => silken::sleep(Duration::from_micros(50)),
                        _ => {}
                    }
                    inside.fetch_sub(1, Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    agents.into_iter().for_each(super::Agent::join);
    assert_eq!(*shared.0.lock().unwrap(), shared.2.load(Ordering::Relaxed));
}

#[test]
fn cancellations_lose_no_wake() {
    let seed = seed_of("mutex::cancellations_lose_no_wake");
    on_coroutines(|_| {
        let mut random = Rng::with_seed(seed);
        let mutex = Arc::new(Mutex::new(0_usize));
        let children: Vec<_> = (0..200)
            .map(|_| {
                let mutex = mutex.clone();
                silken::spawn(move || {
                    for _ in 0..20 {
                        *mutex.lock().unwrap() += 1;
                        let _guard = mutex.lock().unwrap();
                        silken::yield_now();
                    }
                })
            })
            .collect();
        for child in &children {
            if random.u64(..2) == 0 {
                child.cancel();
            }
            if random.u64(..8) == 0 {
                silken::yield_now();
            }
        }
        for child in children {
            if let Err(error) = child.join() {
                assert!(error.is_cancelled(), "{error:?}");
            }
        }
        assert!(!mutex.is_poisoned());
        assert!(mutex.try_lock().is_ok());
    });
}

#[test]
fn parts_values_and_names() {
    let mut mutex = Mutex::<[u8]>::from_boxed_test();
    mutex.get_mut().unwrap()[0] = 9;
    assert_eq!(mutex.lock().unwrap()[0], 9);
    let pair = Mutex::from((1, String::from("x")));
    let name = MutexGuard::map(pair.lock().unwrap(), |pair| &mut pair.1);
    assert!(pair.try_lock().is_err());
    assert_eq!(
        format!("{name:?} {pair:?}"),
        "\"x\" Mutex { data: <locked>, poisoned: false, .. }"
    );
    drop(name);
    assert_eq!(
        format!("{:?}", Mutex::<u8>::default()),
        "Mutex { data: 0, poisoned: false, .. }"
    );
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = MutexGuard::map(pair.lock().unwrap(), |_| -> &mut i32 {
            std::panic::resume_unwind(Box::new(()))
        });
    }));
    assert!(panicked.is_err() && pair.is_poisoned());
    assert!(matches!(pair.try_lock(), Err(TryLockError::Poisoned(_))), "unlocked");
}

trait FromBoxed {
    fn from_boxed_test() -> Box<Mutex<[u8]>>;
}

impl FromBoxed for Mutex<[u8]> {
    fn from_boxed_test() -> Box<Mutex<[u8]>> {
        Box::new(Mutex::new([1, 2, 3]))
    }
}
