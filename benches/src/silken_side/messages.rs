//! What do silken's own channels, locks, select and cancellation cost, through the public surface?

use super::run;
use crate::figure::{Options, Sample, Subject, sample};
use crate::machine::ns_per_operation;
use crate::messages::{CANCELLED, CONTENDERS, MPMC_CAPACITY, SIDES, WRITE_EVERY};
use silken::channel::{Receiver, Sender, bounded, unbounded};
use silken::sync::{Mutex, RwLock};
use std::sync::Arc;
use std::time::Instant;

const ROUND_TRIPS: usize = 1_000_000;
const MESSAGES: usize = 4_000_000;
const SELECTS: usize = 1_000_000;
const LOCKS: usize = 8_000_000;

/// Capacity of a round trip's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capacity {
    /// A send meets a receive.
    Rendezvous,
    /// Room for one.
    One,
    /// Room for all.
    Unbounded,
}

/// Silken's contestant for a figure of `messages`.
pub fn subject(figure: &str) -> Option<Subject> {
    Some(Subject::Process(match figure {
        "channel/rendezvous/one" => |_| round_trips(1, Capacity::Rendezvous),
        "channel/rendezvous/two" => |_| round_trips(2, Capacity::Rendezvous),
        "channel/capacity-1/one" => |_| round_trips(1, Capacity::One),
        "channel/capacity-1/two" => |_| round_trips(2, Capacity::One),
        "channel/unbounded/one" => |_| round_trips(1, Capacity::Unbounded),
        "channel/unbounded/two" => |_| round_trips(2, Capacity::Unbounded),
        "mpmc/bounded" => |_| mpmc(|| bounded(MPMC_CAPACITY)),
        "mpmc/unbounded" => |_| mpmc(unbounded),
        "lock/one" => |_| lock(1),
        "lock/two" => |_| lock(2),
        "rwlock/two" => rwlock,
        "select/four" => select,
        "cancel/parked" => cancel,
        _ => return None,
    }))
}

fn channel(capacity: Capacity) -> (Sender<usize>, Receiver<usize>) {
    match capacity {
        Capacity::Rendezvous => bounded(0),
        Capacity::One => bounded(1),
        Capacity::Unbounded => unbounded(),
    }
}

fn round_trips(workers: usize, capacity: Capacity) -> Sample {
    let work = move |count| {
        let ((there, at_there), (back, at_back)) = (channel(capacity), channel(capacity));
        let echo = silken::spawn(move || {
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
    };
    sample(run(workers, move || ns_per_operation(ROUND_TRIPS, work)))
}

fn mpmc(make: fn() -> (Sender<usize>, Receiver<usize>)) -> Sample {
    let work = move |count| {
        let (sender, receiver) = make();
        let send = |sender: Sender<usize>| {
            move || (0..count / SIDES).for_each(|number| sender.send(number).expect("a receiver"))
        };
        let senders: Vec<_> = (0..SIDES).map(|_| silken::spawn(send(sender.clone()))).collect();
        let receive = |receiver: Receiver<usize>| move || receiver.iter().count();
        let receivers: Vec<_> = (0..SIDES).map(|_| silken::spawn(receive(receiver.clone()))).collect();
        drop(sender);
        senders.into_iter().for_each(|handle| handle.join().expect("no panic"));
        let received: usize = receivers
            .into_iter()
            .map(|handle| handle.join().expect("no panic"))
            .sum();
        assert_eq!(received, count / SIDES * SIDES);
    };
    sample(run(2, move || ns_per_operation(MESSAGES, work)))
}

fn lock(workers: usize) -> Sample {
    let work = |count| {
        let sum = Arc::new(Mutex::new(0));
        let add =
            |sum: Arc<Mutex<usize>>| move || (0..count / CONTENDERS).for_each(|_| *sum.lock().expect("sane") += 1);
        let handles: Vec<_> = (0..CONTENDERS).map(|_| silken::spawn(add(sum.clone()))).collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        assert_eq!(*sum.lock().expect("sane"), count / CONTENDERS * CONTENDERS);
    };
    sample(run(workers, move || ns_per_operation(LOCKS, work)))
}

fn rwlock(_options: &Options) -> Sample {
    let work = |count: usize| {
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
        let handles: Vec<_> = (0..CONTENDERS).map(|_| silken::spawn(work(value.clone()))).collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        assert_eq!(
            *value.read().expect("sane"),
            (count / CONTENDERS).div_ceil(WRITE_EVERY) * CONTENDERS
        );
    };
    sample(run(2, move || ns_per_operation(LOCKS, work)))
}

fn select(_options: &Options) -> Sample {
    let work = |count| {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| bounded(1)).unzip();
        let server = silken::spawn(move || {
            (0..count).for_each(|number| senders[number % 4].send(number).expect("open"));
            senders
        });
        let [a, b, c, d] = <[Receiver<usize>; 4]>::try_from(receivers).expect("four");
        let mut sum = 0;
        for _ in 0..count {
            silken::select! {
                recv(a) -> number => sum += number.expect("open"),
                recv(b) -> number => sum += number.expect("open"),
                recv(c) -> number => sum += number.expect("open"),
                recv(d) -> number => sum += number.expect("open"),
            }
        }
        assert_eq!(sum, (0..count).sum());
        server.join().expect("no panic");
    };
    sample(run(1, move || ns_per_operation(SELECTS, work)))
}

fn cancel(_options: &Options) -> Sample {
    let work = || {
        let park_for_ever = || {
            loop {
                silken::park();
            }
        };
        let handles: Vec<_> = (0..CANCELLED).map(|_| silken::spawn(park_for_ever)).collect();
        silken::sleep(std::time::Duration::from_millis(100));
        let begin = Instant::now();
        handles.iter().for_each(|handle| handle.cancel());
        for handle in handles {
            let ending: Result<(), _> = handle.join();
            assert!(ending.expect_err("cancelled").is_cancelled());
        }
        begin.elapsed().as_nanos() as f64 / CANCELLED as f64
    };
    sample(run(1, work))
}
