//! RwLock: exclusion, both sides' fairness, deadlines, cancellation, poison, downgrade.

use super::{LONG, SHORT, World, a_moment, on_all, on_coroutines, seed_of, until};
use fastrand::Rng;
use silken::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn readers_share_and_writers_do_not() {
    let seed = seed_of("rwlock::readers_share_and_writers_do_not");
    on_all(|world| {
        let mut random = Rng::with_seed(seed);
        // Above zero: readers; below: a writer.
        let shared = Arc::new((RwLock::new(0_usize), AtomicIsize::new(0), AtomicUsize::new(0)));
        let agents: Vec<_> = (0..20)
            .map(|_| {
                let (shared, mut random) = (shared.clone(), random.fork());
                world.spawn(move || {
                    let (lock, inside, written) = &*shared;
                    let brief = Duration::from_micros(random.u64(..300));
                    for _ in 0..100 {
                        let pause = random.u64(..6);
                        let idle = || match pause {
                            0 => silken::yield_now(),
                            1 => silken::sleep(Duration::from_micros(30)),
                            _ => {}
                        };
                        let reader = match random.u64(..8) {
                            0..=3 => Some(lock.read().unwrap()),
                            4 => lock.try_read().ok(),
                            5 => lock.read_timeout(brief).ok(),
                            _ => None,
                        };
                        if let Some(guard) = reader {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) >= 0);
                            let before = *guard;
                            idle();
                            assert_eq!(*guard, before);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            continue;
                        }
                        let writer = match random.u64(..4) {
                            0 | 1 => Some(lock.write().unwrap()),
                            2 => lock.try_write().ok(),
                            _ => lock.write_timeout(brief).ok(),
                        };
                        let Some(mut guard) = writer else { continue };
                        assert_eq!(inside.swap(-1, Ordering::SeqCst), 0);
                        *guard += 1;
                        written.fetch_add(1, Ordering::SeqCst);
                        idle();
                        inside.store(0, Ordering::SeqCst);
                        if pause == 2 {
                            let guard = RwLockWriteGuard::downgrade(guard);
                            assert!(*guard > 0);
                            assert!(lock.try_write().is_err());
                        }
                    }
                })
            })
            .collect();
        agents.into_iter().for_each(super::Agent::join);
        assert_eq!(*shared.0.try_write().unwrap(), shared.2.load(Ordering::SeqCst));
    });
}

#[test]
fn a_waiting_writer_keeps_new_readers_out_and_is_not_starved() {
    on_all(|world| {
        let lock = Arc::new(RwLock::new(0));
        let first = lock.read().unwrap();
        let other = lock.clone();
        let writer = world.spawn(move || *other.write().unwrap() = 1);
        until(|| lock.try_read().is_err());
        let other = lock.clone();
        let late = world.spawn(move || *other.read().unwrap());
        a_moment();
        assert!(!late.is_finished());
        drop(first);
        writer.join();
        assert_eq!(late.join(), 1, "the writer was first");
        // A stream of readers that overlap.
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (lock, stop) = (lock.clone(), stop.clone());
                world.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let _guard = lock.read().unwrap();
                        silken::sleep(Duration::from_micros(200));
                    }
                })
            })
            .collect();
        a_moment();
        for _ in 0..3 {
            *lock.write_timeout(LONG).expect("a turn") += 1;
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(super::Agent::join);
        assert_eq!(*lock.read().unwrap(), 4);
    });
}

#[test]
fn after_a_writer_many_waiting_readers_go_together() {
    on_all(|world| many_readers_go_together(world, true));
}

/// They come while the writer leaves: some wait already, some join the queue while others are let in.
#[test]
fn after_a_writer_late_readers_go_too() {
    on_all(|world| (0..8).for_each(|_| many_readers_go_together(world, false)));
}

fn many_readers_go_together(world: &World, are_waiting: bool) {
    const READERS: usize = 40;
    let shared = Arc::new((RwLock::new(()), AtomicUsize::new(0)));
    let writer = shared.0.write().unwrap();
    let agents: Vec<_> = (0..READERS)
        .map(|_| {
            let shared = shared.clone();
            world.spawn(move || {
                let _guard = shared.0.read().unwrap();
                shared.1.fetch_add(1, Ordering::SeqCst);
                // All are in before the first leaves.
                until(|| shared.1.load(Ordering::SeqCst) == READERS);
            })
        })
        .collect();
    if are_waiting {
        a_moment();
    }
    drop(writer);
    agents.into_iter().for_each(super::Agent::join);
    assert!(shared.0.try_write().is_ok());
}

#[test]
fn deadlines_and_those_behind_who_gives_up() {
    on_all(|world| {
        let lock = Arc::new(RwLock::new(0));
        let reader = lock.read().unwrap();
        let (hasty, behind) = (lock.clone(), lock.clone());
        let begun = Instant::now();
        let hasty = world.spawn(move || matches!(hasty.write_timeout(SHORT * 4), Err(TryLockError::WouldBlock)));
        until(|| lock.try_read().is_err());
        let behind = world.spawn(move || behind.read_timeout(LONG).is_ok());
        assert!(hasty.join());
        assert!(begun.elapsed() >= SHORT * 4);
        // The first reader still reads: this one goes since the writer has given up.
        assert!(behind.join());
        let other = lock.clone();
        assert!(
            world
                .spawn(move || other.write_deadline(Instant::now() + SHORT).is_err())
                .join()
        );
        drop(reader);
        let writer = lock.try_write().unwrap();
        let other = lock.clone();
        assert!(
            world
                .spawn(move || other.read_deadline(Instant::now() + SHORT).is_err())
                .join()
        );
        drop(writer);
    });
}

#[test]
fn cancellation_leaves_no_trace() {
    on_coroutines(|_| {
        let lock = Arc::new(RwLock::new(0));
        let reader = lock.read().unwrap();
        let (other, behind) = (lock.clone(), lock.clone());
        let writer = silken::spawn(move || drop(other.write()));
        until(|| lock.try_read().is_err());
        let behind = silken::spawn(move || *behind.read().unwrap());
        a_moment();
        writer.cancel();
        assert!(writer.join().unwrap_err().is_cancelled());
        assert_eq!(behind.join().unwrap(), 0);
        drop(reader);
        let held = lock.clone();
        let holder = silken::spawn(move || {
            let _guard = held.write().unwrap();
            silken::sleep(LONG);
        });
        until(|| lock.try_read().is_err());
        holder.cancel();
        assert!(holder.join().unwrap_err().is_cancelled());
        assert!(!lock.is_poisoned() && lock.try_write().is_ok());
    });
}

#[test]
fn only_writers_poison() {
    on_all(|world| {
        let lock = Arc::new(RwLock::new((1, 2)));
        let other = lock.clone();
        let reader = world.spawn(move || {
            let _guard = other.read().unwrap();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(reader.panicked() && !lock.is_poisoned());
        let other = lock.clone();
        let writer = world.spawn(move || {
            let _guard = other.write().unwrap();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(writer.panicked() && lock.is_poisoned());
        assert!(lock.read().is_err() && lock.write().is_err());
        assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
        lock.clear_poison();
        let second = RwLockReadGuard::map(lock.read().unwrap(), |pair| &pair.1);
        assert_eq!(*second, 2);
        assert!(lock.try_write().is_err());
        drop(second);
        assert_eq!(Arc::into_inner(lock).unwrap().into_inner().unwrap(), (1, 2));
    });
}

/// A writer that gives up lets in all readers behind it, however many: more than one batch.
#[test]
fn a_writer_that_gives_up_lets_all_readers_in() {
    on_coroutines(|_| {
        const READERS: usize = 50;
        let lock = Arc::new(RwLock::new(()));
        let first = lock.read().unwrap();
        let of_writer = lock.clone();
        let writer = silken::spawn(move || of_writer.write_timeout(SHORT * 4).is_err());
        a_moment();
        let meet = Arc::new(silken::sync::Barrier::new(READERS));
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (lock, meet) = (lock.clone(), meet.clone());
                silken::spawn(move || {
                    let _guard = lock.read().unwrap();
                    // All of them are in at once.
                    meet.wait();
                })
            })
            .collect();
        assert!(writer.join().unwrap());
        for reader in readers {
            assert!(matches!(reader.join_timeout(LONG), Ok(Ok(()))), "a reader is shut out");
        }
        drop(first);
    });
}
