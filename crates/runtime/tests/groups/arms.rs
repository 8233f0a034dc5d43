//! Notifications, permits, groups and locks as arms of a select: what an arm gets that is not chosen is not lost.

use super::{FAR, on_all};
use silken::channel::{bounded, unbounded};
use silken::sync::{AcquireError, Mutex, Notify, RwLock, Semaphore, WaitGroup};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn each_is_chosen_when_it_is_ready_and_when_it_becomes_so() {
    on_all(|| {
        let (news, places, group) = (Notify::new(), Semaphore::new(1), WaitGroup::new());
        let permit = places.acquire().unwrap();
        let member = group.clone();
        let next = || {
            silken::select! {
                on(news.notified_arm()) -> () => "news",
                on(places.acquire_arm()) -> permit => {
                    permit.unwrap().forget();
                    "permit"
                },
                on(group.wait_others_arm()) -> () => "alone",
                default(Duration::from_millis(1)) => "nothing",
            }
        };
        assert_eq!(next(), "nothing");
        news.notify_one();
        assert_eq!((next(), next()), ("news", "nothing"));
        drop(permit);
        assert_eq!((next(), next()), ("permit", "nothing"));
        drop(member);
        assert_eq!(next(), "alone");
        let wait = || {
            silken::select! {
                on(news.notified_arm()) -> () => {},
                default(FAR) => unreachable!(),
            }
        };
        silken::scope(|s| {
            let waiters = [s.spawn(wait), s.spawn(wait)];
            silken::sleep(Duration::from_millis(2));
            news.notify_waiters();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
        // All who waited were told, and nothing is kept.
        assert!(!news.notified_timeout(Duration::from_millis(1)));
        silken::scope(|s| {
            let closed = s.spawn(|| {
                silken::select! {
                    on(places.acquire_many_arm(2)) -> permits => permits.map(drop),
                    default(FAR) => unreachable!(),
                }
            });
            silken::sleep(Duration::from_millis(1));
            places.close();
            assert_eq!(closed.join().unwrap(), Err(AcquireError::Closed));
        });
    });
}

/// Selects with another arm that is often ready, and with deadlines, against notifiers: as many are received as were
/// sent.
#[test]
fn no_notification_is_lost() {
    on_all(|| {
        let (news, received) = (Notify::new(), AtomicUsize::new(0));
        let (noise, noises) = unbounded::<()>();
        let sent = 300;
        silken::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    while received.load(Ordering::SeqCst) < sent {
                        silken::select! {
                            on(news.notified_arm()) -> () => drop(received.fetch_add(1, Ordering::SeqCst).to_string()),
                            recv(noises) -> _ => {},
                            default(Duration::from_micros(50)) => {},
                        }
                    }
                });
            }
            for n in 0..sent {
                news.notify_one();
                noise.send(()).unwrap();
                // Two at once may be kept as one.
                while received.load(Ordering::SeqCst) <= n {
                    silken::yield_now();
                }
            }
        });
        assert_eq!(received.into_inner(), sent);
    });
}

#[test]
fn no_permit_is_lost() {
    on_all(|| {
        let (places, inside) = (Semaphore::new(3), AtomicUsize::new(0));
        let (noise, noises) = unbounded::<()>();
        silken::scope(|s| {
            for worker in 0..6 {
                let (places, inside, noise, noises) = (&places, &inside, noise.clone(), noises.clone());
                s.spawn(move || {
                    for _ in 0..200 {
                        let wanted = 1 + worker % 2;
                        silken::select! {
                            on(places.acquire_many_arm(wanted)) -> permits => {
                                let _permits = permits.unwrap();
                                assert!(inside.fetch_add(wanted, Ordering::SeqCst) + wanted <= 3);
                                silken::yield_now();
                                inside.fetch_sub(wanted, Ordering::SeqCst);
                            },
                            recv(noises) -> _ => {},
                            default(Duration::from_micros(20)) => {},
                        }
                        let _ = noise.send(());
                    }
                });
            }
        });
        assert_eq!(places.available_permits(), 3);
    });
}

#[test]
fn a_lock_is_chosen_when_it_is_free_and_when_it_becomes_so() {
    on_all(|| {
        let (mutex, table) = (Mutex::new(0), RwLock::new(0));
        let next = |how_long| {
            silken::select_biased! {
                on(mutex.lock_arm()) -> guard => {
                    *guard.unwrap() += 1;
                    "mutex"
                },
                on(table.write_arm()) -> guard => {
                    *guard.unwrap() += 1;
                    "write"
                },
                on(table.read_arm()) -> guard => {
                    assert_eq!(*guard.unwrap(), 0);
                    "read"
                },
                default(how_long) => "nothing",
            }
        };
        let soon = Duration::from_millis(1);
        let (held, written) = (mutex.lock().unwrap(), table.write().unwrap());
        assert_eq!(next(soon), "nothing");
        drop(written);
        assert_eq!(next(soon), "write");
        *table.write().unwrap() = 0;
        let read = table.read().unwrap();
        assert_eq!(next(soon), "read");
        drop(held);
        assert_eq!(next(soon), "mutex");
        drop(read);
        // Both are held; whoever lets go wakes the select. After a writer it is the readers' turn.
        for (frees_mutex, name) in [(true, "mutex"), (false, "read")] {
            let (held, written) = (mutex.lock().unwrap(), table.write().unwrap());
            silken::scope(|s| {
                let selects = s.spawn(|| next(FAR));
                silken::sleep(Duration::from_millis(2));
                if frees_mutex {
                    drop(held);
                    assert_eq!(selects.join().unwrap(), name);
                    drop(written);
                } else {
                    drop(written);
                    assert_eq!(selects.join().unwrap(), name);
                    drop(held);
                }
            });
        }
        // Nobody is left in a queue, and nothing is held.
        assert!(mutex.try_lock().is_ok() && table.try_write().is_ok());
    });
}

/// A poisoned lock says so in an arm, and a panic under an arm's guard poisons.
#[test]
fn a_lock_of_an_arm_is_poisoned_as_ever() {
    on_all(|| {
        let mutex = Mutex::new(0);
        let poisons = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            silken::select! {
                on(mutex.lock_arm()) -> guard => {
                    let _guard = guard.unwrap();
                    std::panic::resume_unwind(Box::new(()));
                },
                default => {},
            }
        }));
        assert!(poisons.is_err() && mutex.is_poisoned());
        silken::select! {
            on(mutex.lock_arm()) -> guard => assert!(guard.is_err()),
            default => panic!("it is free"),
        }
    });
}

/// Selects over locks with other arms and deadlines, against those who lock plainly: nobody waits for ever, and two
/// never have a lock at once.
#[test]
fn no_lock_is_lost() {
    on_all(|| {
        let (mutex, table) = (Mutex::new(0), RwLock::new(0));
        let (noise, noises) = unbounded::<()>();
        let (by_mutex, by_table) = (AtomicUsize::new(0), AtomicUsize::new(0));
        silken::scope(|s| {
            for worker in 0..6 {
                let (mutex, table, by_mutex, by_table) = (&mutex, &table, &by_mutex, &by_table);
                let (noise, noises) = (noise.clone(), noises.clone());
                s.spawn(move || {
                    for round in 0..200 {
                        if (worker + round) % 3 == 0 {
                            *mutex.lock().unwrap() += 1;
                            *table.write().unwrap() += 1;
                            by_mutex.fetch_add(1, Ordering::SeqCst);
                            by_table.fetch_add(1, Ordering::SeqCst);
                        }
                        silken::select! {
                            on(mutex.lock_arm()) -> guard => {
                                let mut guard = guard.unwrap();
                                let seen = *guard;
                                silken::yield_now();
                                *guard = seen + 1;
                                by_mutex.fetch_add(1, Ordering::SeqCst);
                            },
                            on(table.write_arm()) -> guard => {
                                let mut guard = guard.unwrap();
                                let seen = *guard;
                                silken::yield_now();
                                *guard = seen + 1;
                                by_table.fetch_add(1, Ordering::SeqCst);
                            },
                            on(table.read_arm()) -> guard => drop(guard.unwrap()),
                            recv(noises) -> _ => {},
                            default(Duration::from_micros(20)) => {},
                        }
                        let _ = noise.send(());
                    }
                });
            }
        });
        assert_eq!(*mutex.lock().unwrap(), by_mutex.into_inner());
        assert_eq!(*table.read().unwrap(), by_table.into_inner());
    });
}

/// A sender that has claimed the receiving arm still writes while another arm's waker, which claims nothing, wakes the
/// select: the message is whole all the same, and nobody is told of a disconnect that was none.
#[test]
fn a_message_is_whole_beside_arms_that_claim_nothing() {
    const WORDS: usize = 2048;
    let (tx, rx) = bounded::<([u64; WORDS], Box<u64>)>(0);
    let (news, rounds) = (Notify::new(), 300);
    std::thread::scope(|s| {
        s.spawn(|| {
            for round in 1..=rounds {
                tx.send(([round; WORDS], Box::new(round))).unwrap();
            }
        });
        for round in 1..=rounds {
            let child = silken::spawn(move || {
                for _ in 0..(round * 977) % 3000 {
                    std::hint::spin_loop();
                }
            });
            let (mut got, mut joined) = (None, false);
            while got.is_none() && !joined {
                silken::select! {
                    recv(rx) -> message => got = Some(message.expect("connected")),
                    on(child.join_arm()) -> () => joined = true,
                    on(news.notified_arm()) -> () => {},
                }
            }
            let (words, last) = got.unwrap_or_else(|| rx.recv().expect("connected"));
            assert!(words.into_iter().all(|word| word == round) && *last == round, "torn");
            news.notify_one();
        }
    });
}

/// An arm that was granted a lock and is not chosen lets go of it before a destructor of the user's runs, which may
/// want it.
#[test]
fn an_arm_that_is_not_chosen_lets_go_first() {
    static LOCK: Mutex<u32> = Mutex::new(0);

    struct Locks;

    impl Drop for Locks {
        fn drop(&mut self) {
            *LOCK.lock().unwrap() += 1;
        }
    }

    on_all(|| {
        let (tx, rx) = bounded::<()>(1);
        let (full, _keep) = bounded::<Locks>(0);
        let guard = LOCK.lock().unwrap();
        let selects = silken::spawn(move || {
            silken::select! {
                on(LOCK.lock_arm()) -> guard => drop(guard.unwrap()),
                recv(rx) -> _ => {},
                send(full, Locks) -> _ => {},
            }
        });
        silken::sleep(Duration::from_millis(2));
        drop(guard);
        tx.send(()).unwrap();
        assert!(matches!(selects.join_timeout(FAR), Ok(Ok(()))), "it waits for itself");
    });
}
