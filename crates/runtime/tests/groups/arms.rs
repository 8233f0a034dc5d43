//! Notifications, permits and groups as arms of a select: what an arm gets that is not chosen is not lost.

use super::{FAR, on_all};
use silken::channel::unbounded;
use silken::sync::{AcquireError, Notify, Semaphore, WaitGroup};
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

/// Selects with another arm that is often ready, and with deadlines, against notifiers: as many are received as were sent.
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
