//! silken::channel::oneshot: one value, given, taken or given back, whatever the other side does meanwhile.

use crate::probe::{FAR, SHORT, Tally};
use crate::{Executor, join_all};
use silken::channel::oneshot::{RecvError, RecvTimeoutError, TryRecvError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The value arrives, whoever comes first.
pub fn value_arrives(ex: &dyn Executor) {
    for waits in [false, true] {
        let (tx, rx) = channel();
        let receiver = ex.start(move || {
            if !waits {
                silken::sleep(SHORT);
            }
            rx.recv()
        });
        if waits {
            sleep(SHORT);
        }
        tx.send("here").unwrap();
        assert_eq!(receiver.join(), Ok("here"));
    }
}

/// A sender that leaves without sending ends the wait.
pub fn sender_leaves(ex: &dyn Executor) {
    let (tx, rx) = channel::<u8>();
    let receiver = ex.start(move || rx.recv());
    sleep(SHORT);
    drop(tx);
    assert_eq!(receiver.join(), Err(RecvError));
}

/// Without a receiver the value comes back.
pub fn receiver_leaves(ex: &dyn Executor) {
    let (tx, rx) = channel();
    ex.start(move || drop(rx)).join();
    assert!(tx.is_closed());
    assert_eq!(tx.send(5).unwrap_err().0, 5);
}

/// A receiver that closes lets the sender keep its value; one that was sent before can be taken.
pub fn receiver_closes(ex: &dyn Executor) {
    ex.start(|| {
        let (tx, mut rx) = channel();
        rx.close();
        assert!(tx.is_closed() && tx.send(1).is_err());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        let (tx, mut rx) = channel();
        tx.send(2).unwrap();
        rx.close();
        assert_eq!(rx.try_recv(), Ok(2));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert!(rx.is_terminated());
    })
    .join();
}

/// A receive with a limit gives up, not before its time, and may be tried again.
pub fn timeout_then_value(ex: &dyn Executor) {
    let (tx, mut rx) = channel();
    let (gave_up, hears) = channel();
    let receiver = ex.start(move || {
        let started = Instant::now();
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        assert!(started.elapsed() >= SHORT);
        gave_up.send(()).unwrap();
        let first = rx.recv_timeout(FAR);
        (first, rx.recv_timeout(FAR))
    });
    hears.recv().unwrap();
    tx.send(3).unwrap();
    assert_eq!(receiver.join(), (Ok(3), Err(RecvTimeoutError::Disconnected)));
}

/// A value that is sent while the receiver gives up and leaves is taken or comes back, and is dropped once.
pub fn races(ex: &dyn Executor) {
    let tally = Tally::default();
    for round in 0..100 {
        let (tx, mut rx) = channel();
        let value = tally.value();
        let sender = ex.start(move || {
            silken::sleep(Duration::from_micros(round));
            tx.send(value).map_err(|error| error.0.number)
        });
        let got = rx
            .recv_timeout(Duration::from_micros(60))
            .ok()
            .map(|value| value.number);
        let late = got.or_else(|| rx.try_recv().ok().map(|value| value.number));
        drop(rx);
        let back = sender.join().err();
        assert!(late.is_none() || back.is_none());
    }
    assert_eq!((tally.made(), tally.dropped()), (100, 100));
}

/// Thousands at once, each for its own pair.
pub fn many(ex: &dyn Executor) {
    let count = ex.many(1_000, 50);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| channel()).unzip();
    let waiters: Vec<_> = receivers
        .into_iter()
        .map(|rx| ex.start(move || rx.recv().unwrap()))
        .collect();
    for (number, tx) in senders.into_iter().enumerate() {
        tx.send(number).unwrap();
    }
    assert!((0..count).eq(join_all(waiters)));
}
