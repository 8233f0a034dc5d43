//! silken::channel::broadcast: every receiver gets every value, or hears how many it lost.

use crate::probe::{FAR, SHORT, Tally};
use crate::{Executor, join_all};
use silken::channel::broadcast::{RecvError, RecvTimeoutError, TryRecvError, channel};
use std::sync::{Arc, Barrier};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// All receivers get all values, in order.
pub fn everyone_gets_everything(ex: &dyn Executor) {
    let (tx, rx) = channel(200);
    let units: Vec<_> = (0..8)
        .map(|_| {
            let mut rx = rx.resubscribe();
            ex.start(move || std::iter::from_fn(|| rx.recv().ok()).collect::<Vec<_>>())
        })
        .collect();
    drop(rx);
    (0..200).for_each(|number| assert_eq!(tx.send(number), Ok(8)));
    drop(tx);
    for seen in join_all(units) {
        assert!((0..200).eq(seen));
    }
}

/// Receivers that wait are all woken by one send.
pub fn one_send_wakes_all(ex: &dyn Executor) {
    let (tx, rx) = channel(1);
    let units: Vec<_> = (0..10)
        .map(|_| {
            let mut rx = rx.resubscribe();
            ex.start(move || rx.recv())
        })
        .collect();
    sleep(SHORT);
    assert_eq!(tx.send("all"), Ok(11));
    assert!(join_all(units).into_iter().all(|got| got == Ok("all")));
}

/// A slow receiver hears exactly how many values it lost, and goes on with the oldest that is kept.
pub fn lag_is_counted(ex: &dyn Executor) {
    let (tx, mut rx) = channel(4);
    ex.start(move || (0..10).for_each(|number| _ = tx.send(number).unwrap()))
        .join();
    assert_eq!(rx.recv(), Err(RecvError::Lagged(6)));
    assert!((6..10).eq(std::iter::from_fn(|| rx.try_recv().ok())));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(rx.recv_timeout(FAR), Err(RecvTimeoutError::Closed));
}

/// A receiver gets what is sent from its making on.
pub fn late_receiver(ex: &dyn Executor) {
    let (tx, mut first) = channel(8);
    tx.send(1).unwrap();
    let mut second = tx.subscribe();
    tx.send(2).unwrap();
    let mut third = first.resubscribe();
    tx.send(3).unwrap();
    drop(tx);
    ex.start(move || {
        assert!((1..4).eq(std::iter::from_fn(|| first.recv().ok())));
        assert!((2..4).eq(std::iter::from_fn(|| second.recv().ok())));
        assert!((3..4).eq(std::iter::from_fn(|| third.recv().ok())));
    })
    .join();
}

/// Without receivers a value comes back, and later receivers make the channel work again.
pub fn no_receivers(ex: &dyn Executor) {
    let (tx, rx) = channel(2);
    ex.start(move || drop(rx)).join();
    assert_eq!(tx.send(1).unwrap_err().0, 1);
    let mut rx = tx.subscribe();
    assert_eq!(tx.send(2), Ok(1));
    assert_eq!(rx.recv(), Ok(2));
}

/// A receiver that waits hears that the last sender left, after it has had everything.
pub fn senders_leave(ex: &dyn Executor) {
    let (tx, mut rx) = channel(4);
    let other = tx.clone();
    let unit = ex.start(move || [rx.recv(), rx.recv(), rx.recv()]);
    tx.send(1).unwrap();
    drop(tx);
    sleep(SHORT);
    other.send(2).unwrap();
    drop(other);
    assert_eq!(unit.join(), [Ok(1), Ok(2), Err(RecvError::Closed)]);
}

/// A receive with a limit gives up, and not before its time.
pub fn timeout_expires(ex: &dyn Executor) {
    let (tx, mut rx) = channel::<u8>(1);
    ex.start(move || {
        let started = Instant::now();
        assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        assert!(started.elapsed() >= SHORT);
        assert_eq!(rx.recv_deadline(started), Err(RecvTimeoutError::Timeout));
    })
    .join();
    drop(tx);
}

/// A sender may wait for the last receiver to leave.
pub fn sender_waits_for_the_last_receiver(ex: &dyn Executor) {
    let (tx, rx) = channel::<u8>(1);
    let other = rx.resubscribe();
    let started = Instant::now();
    let unit = ex.start(move || {
        tx.closed();
        started.elapsed()
    });
    drop(rx);
    sleep(SHORT);
    drop(other);
    assert!(unit.join() >= SHORT);
}

/// A value is dropped once, when the last receiver had it, when it is overwritten, or with the channel.
pub fn drops_are_exact(ex: &dyn Executor) {
    let tally = Tally::default();
    let (tx, mut one) = channel(3);
    let mut two = tx.subscribe();
    let value = || Arc::new(tally.value());
    for _ in 0..3 {
        tx.send(value()).unwrap();
    }
    drop(one.recv().unwrap());
    assert_eq!((tally.dropped(), tx.len()), (0, 3));
    drop(two.recv().unwrap());
    assert_eq!((tally.dropped(), tx.len()), (1, 2));
    tx.send(value()).unwrap();
    tx.send(value()).unwrap();
    assert_eq!(tally.dropped(), 2);
    ex.start(move || drop(one)).join();
    assert_eq!(tally.dropped(), 2);
    assert_eq!(two.recv().unwrap_err(), RecvError::Lagged(1));
    drop(two);
    assert_eq!(tally.dropped(), 5);
}

/// Receivers of different speeds, with senders at once: what each got and what it lost add up.
pub fn sums_add_up(ex: &dyn Executor) {
    let (tx, rx) = channel(16);
    let start = Arc::new(Barrier::new(3));
    let readers: Vec<_> = (0..4)
        .map(|unit| {
            let mut rx = rx.resubscribe();
            ex.start(move || {
                let (mut got, mut lost, mut last) = (0, 0, [None; 3]);
                loop {
                    match rx.recv() {
                        Ok((sender, number)) => {
                            assert!(last[sender] < Some(number), "in the sender's order");
                            last[sender] = Some(number);
                            got += 1;
                        }
                        Err(RecvError::Lagged(count)) => lost += count,
                        Err(RecvError::Closed) => return got + lost,
                    }
                    if unit % 2 == 0 && got % 16 == 0 {
                        silken::sleep(Duration::from_micros(100));
                    }
                }
            })
        })
        .collect();
    drop(rx);
    let writers = ex.start_each(3, move |unit| {
        start.wait();
        for number in 0..100 {
            tx.send((unit, number)).unwrap();
            if number % 8 == 0 {
                silken::yield_now();
            }
        }
    });
    join_all(writers);
    assert_eq!(join_all(readers), [300; 4]);
}
