//! may's channels and read-write lock. Its `select!` spawns a coroutine per arm and cancels the losers, who may have
//! taken a message: it is not measured, since it does less than the others promise.

use super::{CONTENDERS, SIDES, WRITE_EVERY};
use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use crate::peers::may::run;
use may::go;
use may::sync::{RwLock, mpmc, mpsc};
use std::sync::Arc;

const ROUND_TRIPS: usize = 500_000;
const MESSAGES: usize = 2_000_000;
const LOCKS: usize = 1_000_000;

fn unbounded(workers: usize) -> Sample {
    sample(ns_per_operation(ROUND_TRIPS, |count| {
        run(workers, move || {
            let ((there, at_there), (back, at_back)) = (mpsc::channel(), mpsc::channel());
            let echo = go!(move || at_there
                .iter()
                .for_each(|number| back.send(number).expect("a receiver")));
            for number in 0..count {
                there.send(number).expect("a receiver");
                assert_eq!(at_back.recv(), Ok(number));
            }
            drop(there);
            echo.join().expect("no panic");
        });
    }))
}

/// One message to and fro, one worker.
pub fn unbounded_one(_options: &Options) -> Sample {
    unbounded(1)
}

/// One message to and fro, two workers.
pub fn unbounded_two(_options: &Options) -> Sample {
    unbounded(2)
}

/// Four senders, four receivers.
pub fn mpmc_unbounded(_options: &Options) -> Sample {
    sample(ns_per_operation(MESSAGES, |count| {
        run(2, move || {
            let (sender, receiver) = mpmc::channel();
            let send = |sender: mpmc::Sender<usize>| {
                move || (0..count / SIDES).for_each(|number| sender.send(number).expect("a receiver"))
            };
            let senders: Vec<_> = (0..SIDES).map(|_| go!(send(sender.clone()))).collect();
            let receive = |receiver: mpmc::Receiver<usize>| move || receiver.iter().count();
            let receivers: Vec<_> = (0..SIDES).map(|_| go!(receive(receiver.clone()))).collect();
            drop(sender);
            senders.into_iter().for_each(|handle| handle.join().expect("no panic"));
            let received: usize = receivers
                .into_iter()
                .map(|handle| handle.join().expect("no panic"))
                .sum();
            assert_eq!(received, count / SIDES * SIDES);
        });
    }))
}

/// Eight coroutines, two workers.
pub fn rwlock(_options: &Options) -> Sample {
    sample(ns_per_operation(LOCKS, |count| {
        run(2, move || {
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
            let handles: Vec<_> = (0..CONTENDERS).map(|_| go!(work(value.clone()))).collect();
            handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        });
    }))
}
