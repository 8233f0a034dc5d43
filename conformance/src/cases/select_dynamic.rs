//! Select, whose arms are known when it runs: many of them, taken away, used again, and in storms.

use crate::probe::{SHORT, Tally};
use crate::rng;
use crate::{Executor, join_all};
use silken::channel::{
    Receiver, RecvError, Select, SelectTimeoutError, Sender, TrySelectError, after, bounded, never, unbounded,
};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Twenty arms, of which one is ready.
pub fn many_arms(ex: &dyn Executor) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..20).map(|_| bounded(1)).unzip();
    let chooser = ex.start(move || {
        let mut select = Select::new();
        receivers.iter().for_each(|rx| _ = select.recv(rx));
        (0..20)
            .map(|_| {
                let operation = select.select();
                let index = operation.index();
                assert_eq!(operation.recv(&receivers[index]), Ok(index));
                index
            })
            .collect::<Vec<_>>()
    });
    let order: Vec<_> = (0..20).map(|number| number * 7 % 20).collect();
    for index in &order {
        senders[*index].send(*index).unwrap();
        sleep(Duration::from_micros(300));
    }
    let mut seen = chooser.join();
    seen.sort_unstable();
    assert!((0..20).eq(seen));
}

/// A select of twenty arms that waits is woken by each of them.
pub fn every_arm_wakes(ex: &dyn Executor) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..20).map(|_| bounded(0)).unzip();
    let senders: Arc<[Sender<usize>]> = senders.into();
    let units = ex.start_each(20, move |unit| senders[unit].send(unit).unwrap());
    let mut seen = [0; 20];
    for _ in 0..20 {
        let mut select = Select::new();
        receivers.iter().for_each(|rx| _ = select.recv(rx));
        let operation = select.select();
        let index = operation.index();
        assert_eq!(operation.recv(&receivers[index]), Ok(index));
        seen[index] += 1;
    }
    assert_eq!(seen, [1; 20]);
    join_all(units);
}

/// Of arms that are always ready each has its share.
pub fn fair_among_ready(ex: &dyn Executor) {
    ex.start(|| {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..12).map(|_| unbounded()).unzip();
        (0..600).for_each(|_| senders.iter().for_each(|tx: &Sender<()>| tx.send(()).unwrap()));
        let mut select = Select::new();
        receivers.iter().for_each(|rx| _ = select.recv(rx));
        let mut counts = [0; 12];
        for _ in 0..1_200 {
            let operation = select.select();
            let index = operation.index();
            operation.recv(&receivers[index]).unwrap();
            counts[index] += 1;
        }
        assert!(counts.iter().all(|count| *count > 30), "{counts:?}");
    })
    .join();
}

/// The biased form prefers the arm that was added first.
pub fn biased_takes_the_first(ex: &dyn Executor) {
    ex.start(|| {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..10).map(|_| bounded(1)).unzip();
        senders.iter().skip(4).for_each(|tx: &Sender<()>| tx.send(()).unwrap());
        let mut select = Select::new_biased();
        receivers.iter().for_each(|rx| _ = select.recv(rx));
        for (index, rx) in receivers.iter().enumerate().skip(4) {
            let operation = select.select();
            assert_eq!(operation.index(), index);
            operation.recv(rx).unwrap();
        }
        assert_eq!(select.try_select().unwrap_err(), TrySelectError);
    })
    .join();
}

/// A message that was not sent can be had back, and is dropped once otherwise.
pub fn unsent_messages_come_back(ex: &dyn Executor) {
    ex.start(|| {
        let tally = Tally::default();
        let ((full, _full_rx), (tx, rx)) = (bounded(0), bounded(1));
        let mut select = Select::new();
        let back = select.send(&full, tally.value());
        let dropped = select.send(&full, tally.value());
        let sent = select.send(&tx, tally.value());
        let operation = select.select();
        assert_eq!(operation.index(), sent);
        assert!(operation.send(&tx).is_ok());
        assert_eq!(select.take(back, &full).expect("not sent").number, 0);
        assert_eq!(tally.dropped(), 1);
        assert!(select.take(dropped, &tx).is_none(), "it is another sender's");
        drop(select);
        assert_eq!((tally.dropped(), rx.recv().unwrap().number), (2, 2));
        assert_eq!(tally.dropped(), 3);
    })
    .join();
}

/// Sending arms wait, and a disconnect gives the message back.
pub fn send_arms_wait(ex: &dyn Executor) {
    let ((a_tx, a), (b_tx, b)) = (bounded(0), bounded(0));
    let chooser = ex.start(move || {
        let mut select = Select::new();
        let arms = [select.send(&a_tx, 1), select.send(&b_tx, 2)];
        let operation = select.select();
        assert_eq!(operation.index(), arms[1]);
        assert!(operation.send(&b_tx).is_ok());
        let operation = select.select();
        assert_eq!(operation.index(), arms[0]);
        operation.send(&a_tx).unwrap_err().into_inner()
    });
    sleep(SHORT);
    assert_eq!(b.recv(), Ok(2));
    drop(a);
    assert_eq!(chooser.join(), 1);
}

/// An arm that was taken away is not selected; the others keep their numbers.
pub fn removed_arm_is_gone(ex: &dyn Executor) {
    ex.start(|| {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..10).map(|_| bounded(1)).unzip();
        let mut select = Select::new();
        receivers.iter().for_each(|rx| _ = select.recv(rx));
        senders.iter().for_each(|tx: &Sender<u8>| tx.send(0).unwrap());
        (0..10)
            .filter(|index| *index != 9)
            .for_each(|index| select.remove(index));
        let operation = select.select();
        assert_eq!(operation.index(), 9);
        operation.recv(&receivers[9]).unwrap();
        assert!(select.try_select().is_err());
    })
    .join();
}

/// The limits run out, not before their time; then nothing has happened.
pub fn limits_expire(ex: &dyn Executor) {
    ex.start(|| {
        let ((_tx, rx), (full, full_rx)) = (bounded::<u8>(0), bounded(0));
        let mut select = Select::new();
        select.recv(&rx);
        let sends = select.send(&full, 5);
        let started = Instant::now();
        let late = select.select_timeout(Duration::from_millis(10)).unwrap_err();
        assert_eq!(late, SelectTimeoutError);
        assert!(started.elapsed() >= Duration::from_millis(10));
        let deadline = started + Duration::from_millis(20);
        assert!(select.select_deadline(deadline).is_err() && Instant::now() >= deadline);
        assert!(full_rx.try_recv().is_err());
        assert_eq!(select.take(sends, &full), Some(5));
    })
    .join();
}

/// An operation that nobody asks about has happened: the message is dropped.
pub fn unasked_operation_drops(ex: &dyn Executor) {
    ex.start(|| {
        let tally = Tally::default();
        let (tx, rx) = bounded(2);
        tx.send(tally.value()).unwrap();
        tx.send(tally.value()).unwrap();
        let mut select = Select::new();
        select.recv(&rx);
        drop(select.select());
        assert_eq!((tally.dropped(), rx.len()), (1, 1));
        assert_eq!(select.select().recv(&rx).unwrap().number, 1);
        drop(tx);
        assert!(select.select().recv(&rx).is_err());
    })
    .join();
}

/// The clock's receivers among the arms.
pub fn clock_arms(ex: &dyn Executor) {
    ex.start(|| {
        let (soon, never) = (after(Duration::from_millis(10)), never::<()>());
        let started = Instant::now();
        let mut select = Select::new();
        select.recv(&never);
        let index = select.recv(&soon);
        let operation = select.select();
        assert_eq!(operation.index(), index);
        operation.recv(&soon).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(9));
        assert!(select.select_timeout(Duration::from_millis(2)).is_err());
    })
    .join();
}

/// Arms that have ended are taken away one by one, as a server of many clients does.
pub fn multiplexer(ex: &dyn Executor) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..16).map(|_| bounded(1)).unzip();
    let senders: Vec<_> = senders
        .into_iter()
        .map(|tx: Sender<usize>| std::sync::Mutex::new(Some(tx)))
        .collect();
    let producers = ex.start_each(16, move |unit| {
        let tx = senders[unit].lock().unwrap().take().unwrap();
        (0..=unit).for_each(|number| tx.send(number).unwrap());
    });
    let mut select = Select::new();
    receivers.iter().for_each(|rx| _ = select.recv(rx));
    let (mut next, mut open) = ([0; 16], 16);
    while open > 0 {
        let operation = select.select();
        let index = operation.index();
        match operation.recv(&receivers[index]) {
            Ok(number) => {
                assert_eq!(number, next[index]);
                next[index] += 1;
            }
            Err(RecvError) => {
                select.remove(index);
                open -= 1;
            }
        }
    }
    assert!(next.iter().enumerate().all(|(unit, count)| *count == unit + 1));
    join_all(producers);
}

/// Units that each send and receive on random channels of four, by select: every message sent is received once.
pub fn storm(ex: &dyn Executor) {
    let seed = rng::seed_of("select_storm");
    for capacity in [0, 2] {
        let channels: Arc<Vec<(Sender<u64>, Receiver<u64>)>> = Arc::new((0..4).map(|_| bounded(capacity)).collect());
        let shared = channels.clone();
        let units = ex.start_each(6, move |unit| {
            let mut rng = rng::of_unit(seed, unit);
            let (mut sent, mut received) = ((0, 0), (0, 0));
            for _ in 0..80 {
                let value = rng.u64(..1_000);
                let to = &shared[rng.usize(..4)].0;
                let mut select = Select::new();
                let sends = select.send(to, value);
                shared.iter().for_each(|(_, rx)| _ = select.recv(rx));
                let Ok(operation) = select.select_timeout(Duration::from_micros(500)) else {
                    continue;
                };
                let index = operation.index();
                if index == sends {
                    operation.send(to).unwrap();
                    sent = (sent.0 + 1, sent.1 + value);
                } else {
                    let value = operation.recv(&shared[index - 1].1).unwrap();
                    received = (received.0 + 1, received.1 + value);
                }
            }
            (sent, received)
        });
        let done = join_all(units);
        let rest: Vec<u64> = channels.iter().flat_map(|(_, rx)| rx.try_iter()).collect();
        let add = |one: (u64, u64), other: (u64, u64)| (one.0 + other.0, one.1 + other.1);
        let left = (rest.len() as u64, rest.iter().sum());
        let sent = done.iter().map(|unit| unit.0).fold((0, 0), add);
        assert_eq!(sent, done.iter().map(|unit| unit.1).fold(left, add));
    }
}
