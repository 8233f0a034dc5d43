//! Every receiver gets every value.

use super::{everywhere, ms, on_coroutines};
use silken::channel::broadcast::{self, RecvError, RecvTimeoutError, SendError, TryRecvError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[test]
fn all_get_all_in_order() {
    const VALUES: usize = 500;
    everywhere(|world| {
        let (sender, receiver) = broadcast::channel(VALUES);
        let mut receivers: Vec<_> = (0..19).map(|_| sender.subscribe()).collect();
        receivers.push(receiver);
        let receiving: Vec<_> = receivers
            .into_iter()
            .map(|mut receiver| {
                world.spawn(move || {
                    let mut got = Vec::new();
                    while let Ok(value) = receiver.recv() {
                        got.push(value);
                    }
                    got
                })
            })
            .collect();
        let sending = world.spawn(move || {
            for value in 0..VALUES {
                assert_eq!(sender.send(value), Ok(20));
                if value % 50 == 0 {
                    silken::yield_now();
                }
            }
        });
        sending.join();
        for receiving in receiving {
            assert!(receiving.join().into_iter().eq(0..VALUES));
        }
    });
}

#[test]
fn several_senders_and_slow_receivers_lose_and_count() {
    const EACH: u64 = 2_000;
    everywhere(|world| {
        let (sender, first) = broadcast::channel(16);
        let receiving: Vec<_> = [first, sender.subscribe(), sender.subscribe()]
            .map(|mut receiver| {
                world.spawn(move || {
                    let (mut got, mut lost) = (0, 0);
                    loop {
                        match receiver.recv() {
                            Ok(_) => got += 1,
                            Err(RecvError::Lagged(count)) => lost += count,
                            Err(RecvError::Closed) => return got + lost,
                        }
                    }
                })
            })
            .into();
        let sending: Vec<_> = (0..3)
            .map(|_| {
                let sender = sender.clone();
                world.spawn(move || (0..EACH).for_each(|value| assert_eq!(sender.send(value).unwrap(), 3)))
            })
            .collect();
        sending.into_iter().for_each(super::Part::join);
        assert_eq!(sender.sender_count(), 1);
        drop(sender);
        for receiving in receiving {
            assert_eq!(receiving.join(), 3 * EACH);
        }
    });
}

#[test]
fn a_receiver_that_lags_gets_the_oldest_that_is_left() {
    everywhere(|_| {
        let (sender, mut receiver) = broadcast::channel(3);
        assert_eq!((sender.capacity(), sender.len(), receiver.len()), (3, 0, 0));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        for value in 0..5 {
            sender.send(value).unwrap();
        }
        assert_eq!((sender.len(), receiver.len()), (3, 5));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Lagged(2)));
        assert_eq!(receiver.try_recv(), Ok(2));
        assert_eq!((sender.len(), receiver.len()), (2, 2));
        drop(sender);
        assert_eq!(receiver.recv(), Ok(3));
        assert_eq!(receiver.try_recv(), Ok(4));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
    });
}

#[test]
fn without_receivers_the_value_comes_back() {
    everywhere(|_| {
        let (sender, receiver) = broadcast::channel(1);
        assert_eq!(sender.receiver_count(), 1);
        drop(receiver);
        assert_eq!(sender.send("mine"), Err(SendError("mine")));
        sender.closed();
        let mut receiver = sender.subscribe();
        assert_eq!(sender.send("yours"), Ok(1));
        let late = receiver.resubscribe();
        assert_eq!((receiver.len(), late.len()), (1, 0));
        assert_eq!(receiver.recv(), Ok("yours"));
        assert!(receiver.same_channel(&late) && sender.is_empty());
    });
}

#[test]
fn receive_with_a_deadline() {
    everywhere(|world| {
        let (sender, mut receiver) = broadcast::channel(1);
        let begun = Instant::now();
        assert_eq!(receiver.recv_timeout(ms(3)), Err(RecvTimeoutError::Timeout));
        assert_eq!(receiver.recv_deadline(begun + ms(5)), Err(RecvTimeoutError::Timeout));
        assert!(begun.elapsed() >= ms(5));
        let sending = world.spawn(move || sender.send(1));
        assert_eq!(receiver.recv_timeout(super::LONG), Ok(1));
        sending.join().unwrap();
        assert_eq!(receiver.recv_timeout(super::LONG), Err(RecvTimeoutError::Closed));
    });
}

/// Counts its clones and its drops.
struct Counted(Arc<[AtomicUsize; 2]>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0[0].fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0[1].fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_last_receiver_gets_the_value_itself_and_nothing_leaks() {
    everywhere(|_| {
        let counts = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let read = || [0, 1].map(|index| counts[index].load(Ordering::Relaxed));
        let (sender, mut one) = broadcast::channel(4);
        sender.send(Counted(counts.clone())).ok().unwrap();
        drop(one.recv());
        assert_eq!(read(), [0, 1], "one receiver: no clone");
        let mut other = sender.subscribe();
        sender.send(Counted(counts.clone())).ok().unwrap();
        drop(one.recv());
        assert_eq!(read(), [1, 2], "the first of two gets a clone");
        drop(other.recv());
        assert_eq!(read(), [1, 3]);
        for _ in 0..3 {
            sender.send(Counted(counts.clone())).ok().unwrap();
        }
        drop(one);
        assert_eq!(read(), [1, 3], "the other may still receive");
        drop(other);
        assert_eq!(read(), [1, 6], "who goes gives up its part");
        assert!(sender.is_empty());
    });
}

#[test]
fn a_cancelled_receiver_leaves_the_others_alone() {
    on_coroutines(|| {
        let (sender, mut receiver) = broadcast::channel(1);
        let mut cancelled = sender.subscribe();
        let cancelled = silken::spawn(move || cancelled.recv());
        let other = silken::spawn(move || receiver.recv());
        silken::yield_now();
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is_cancelled());
        assert_eq!(sender.send(1), Ok(1));
        assert_eq!(other.join().unwrap(), Ok(1));
    });
}
