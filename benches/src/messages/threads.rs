//! OS threads with crossbeam-channel and with std: the libraries whose names and semantics silken's channels have.

use super::{CONTENDERS, MPMC_CAPACITY, SIDES, WRITE_EVERY};
use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded as unbounded_channel};
use std::sync::{Arc, RwLock, mpsc};
use std::thread;

const ROUND_TRIPS: usize = 100_000;
const MESSAGES: usize = 2_000_000;
const SELECTS: usize = 200_000;
const LOCKS: usize = 4_000_000;

fn round_trips(make: fn() -> (Sender<usize>, Receiver<usize>)) -> Sample {
    sample(ns_per_operation(ROUND_TRIPS, |count| {
        let ((there, at_there), (back, at_back)) = (make(), make());
        let echo = thread::spawn(move || {
            at_there
                .iter()
                .for_each(|number| back.send(number).expect("a receiver"))
        });
        for number in 0..count {
            there.send(number).expect("a receiver");
            assert_eq!(at_back.recv(), Ok(number));
        }
        drop(there);
        echo.join().expect("no panic");
    }))
}

/// One message to and fro, without room.
pub fn rendezvous(_options: &Options) -> Sample {
    round_trips(|| bounded(0))
}

/// One message to and fro, room for one.
pub fn capacity_one(_options: &Options) -> Sample {
    round_trips(|| bounded(1))
}

/// One message to and fro, room for all.
pub fn unbounded(_options: &Options) -> Sample {
    round_trips(unbounded_channel)
}

/// The same with std's bounded channel.
pub fn std_capacity_one(_options: &Options) -> Sample {
    sample(ns_per_operation(ROUND_TRIPS, |count| {
        let ((there, at_there), (back, at_back)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
        let echo = thread::spawn(move || {
            at_there
                .iter()
                .for_each(|number| back.send(number).expect("a receiver"))
        });
        for number in 0..count {
            there.send(number).expect("a receiver");
            assert_eq!(at_back.recv(), Ok(number));
        }
        drop(there);
        echo.join().expect("no panic");
    }))
}

/// The same with std's unbounded channel.
pub fn std_unbounded(_options: &Options) -> Sample {
    sample(ns_per_operation(ROUND_TRIPS, |count| {
        let ((there, at_there), (back, at_back)) = (mpsc::channel(), mpsc::channel());
        let echo = thread::spawn(move || {
            at_there
                .iter()
                .for_each(|number| back.send(number).expect("a receiver"))
        });
        for number in 0..count {
            there.send(number).expect("a receiver");
            assert_eq!(at_back.recv(), Ok(number));
        }
        drop(there);
        echo.join().expect("no panic");
    }))
}

fn mpmc(make: fn() -> (Sender<usize>, Receiver<usize>)) -> Sample {
    sample(ns_per_operation(MESSAGES, |count| {
        let (sender, receiver) = make();
        let senders = (0..SIDES).map(|_| {
            let sender = sender.clone();
            thread::spawn(move || (0..count / SIDES).for_each(|number| sender.send(number).expect("a receiver")))
        });
        let senders: Vec<_> = senders.collect();
        let receivers = (0..SIDES).map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().count())
        });
        let receivers: Vec<_> = receivers.collect();
        drop(sender);
        senders.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let received: usize = receivers
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum();
        assert_eq!(received, count / SIDES * SIDES);
    }))
}

/// Four senders, four receivers, room for a thousand.
pub fn mpmc_bounded(_options: &Options) -> Sample {
    mpmc(|| bounded(MPMC_CAPACITY))
}

/// Four senders, four receivers, room for all.
pub fn mpmc_unbounded(_options: &Options) -> Sample {
    mpmc(unbounded_channel)
}

/// Eight threads on std's read-write lock.
pub fn rwlock(_options: &Options) -> Sample {
    sample(ns_per_operation(LOCKS, |count| {
        let value = Arc::new(RwLock::new(0usize));
        let work = |value: Arc<RwLock<usize>>| {
            move || {
                for number in 0..count / CONTENDERS {
                    if number % WRITE_EVERY == 0 {
                        *value.write().expect("sane") += 1;
                    } else {
                        std::hint::black_box(*value.read().expect("sane"));
                    }
                }
            }
        };
        let threads: Vec<_> = (0..CONTENDERS).map(|_| thread::spawn(work(value.clone()))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(
            *value.read().expect("sane"),
            (count / CONTENDERS).div_ceil(WRITE_EVERY) * CONTENDERS
        );
    }))
}

/// Four channels served in turn.
pub fn select(_options: &Options) -> Sample {
    sample(ns_per_operation(SELECTS, |count| {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| bounded(1)).unzip();
        // The senders come back by the join: a closed channel would be ready as well.
        let server = thread::spawn(move || {
            (0..count).for_each(|number| senders[number % 4].send(number).expect("open"));
            senders
        });
        let [a, b, c, d] = <[Receiver<usize>; 4]>::try_from(receivers).expect("four");
        let mut sum = 0;
        for _ in 0..count {
            crossbeam_channel::select! {
                recv(a) -> number => sum += number.expect("open"),
                recv(b) -> number => sum += number.expect("open"),
                recv(c) -> number => sum += number.expect("open"),
                recv(d) -> number => sum += number.expect("open"),
            }
        }
        assert_eq!(sum, (0..count).sum());
        drop(server.join().expect("no panic"));
    }))
}
