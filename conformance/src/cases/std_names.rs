//! silken's mpsc, mpmc and spsc: the behaviours of std::sync::mpsc under its names, and its error types.

use crate::probe::{FAR, SHORT, Tally};
use crate::{Executor, join_all};
use silken::mpsc::{Receiver, SyncSender, channel, sync_channel};
use silken::{mpmc, spsc};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Many producers and one consumer: nothing is lost, and each producer's order is kept.
pub fn many_producers(ex: &dyn Executor) {
    let (tx, rx) = channel();
    let producers: Vec<_> = (0..8)
        .map(|unit| {
            let tx = tx.clone();
            ex.start(move || (0..200).for_each(|number| tx.send((unit, number)).unwrap()))
        })
        .collect();
    drop(tx);
    let mut next = [0; 8];
    for (unit, number) in rx {
        assert_eq!(number, next[unit]);
        next[unit] += 1;
    }
    assert_eq!(next, [200; 8]);
    join_all(producers);
}

/// A parked receiver hears of the last sender's end, after the messages; the errors are std's.
pub fn senders_leave(ex: &dyn Executor) {
    let (tx, rx) = channel();
    let receiver = ex.start(move || {
        let got = [rx.recv(), rx.recv()];
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(rx.recv_timeout(FAR), Err(RecvTimeoutError::Disconnected));
        got
    });
    tx.send(7).unwrap();
    sleep(SHORT);
    drop(tx);
    assert_eq!(receiver.join(), [Ok(7), Err(RecvError)]);
}

/// A send without a receiver gives the value back, also one that waits for room.
pub fn receiver_leaves(ex: &dyn Executor) {
    let (tx, rx) = channel();
    ex.start(move || drop(rx)).join();
    assert_eq!(tx.send("back"), Err(SendError("back")));
    let (tx, rx) = sync_channel(1);
    tx.send(1).unwrap();
    let other = tx.clone();
    let sender = ex.start(move || other.send(2));
    sleep(SHORT);
    drop(rx);
    assert_eq!(sender.join(), Err(SendError(2)));
    assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
}

/// A synchronous channel lets senders run ahead by its bound; with 0 a send waits for its receiver.
pub fn back_pressure(ex: &dyn Executor) {
    for bound in [0, 4] {
        let (tx, rx) = sync_channel(bound);
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let producer = ex.start(move || {
            for number in 0..60 {
                tx.send(number).unwrap();
                count.fetch_add(1, SeqCst);
            }
        });
        for number in 0..60 {
            if number % 20 == 0 {
                sleep(Duration::from_millis(1));
            }
            assert!(sent.load(SeqCst) <= number + bound);
            assert_eq!(rx.recv(), Ok(number));
        }
        producer.join();
    }
}

/// try_send and try_recv do not wait.
pub fn try_forms(ex: &dyn Executor) {
    let (tx, rx) = sync_channel(1);
    ex.start(move || {
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        tx.try_send(1).unwrap();
        assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1]);
        let (tx, rx) = sync_channel(0);
        assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
        drop(rx);
    })
    .join();
}

/// recv_timeout gives up, not before its time.
pub fn recv_timeout_expires(ex: &dyn Executor) {
    let (tx, rx) = channel::<u8>();
    ex.start(move || {
        let started = Instant::now();
        assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        assert_eq!(rx.recv_deadline(started), Err(RecvTimeoutError::Timeout));
        assert!(started.elapsed() >= SHORT);
    })
    .join();
    drop(tx);
}

/// Messages that nobody received are dropped with the receiver.
pub fn unreceived_values_are_dropped(ex: &dyn Executor) {
    let tally = Tally::default();
    let ((tx, rx), values) = (channel(), tally.clone());
    let tx = ex.start(move || {
        (0..50).for_each(|_| assert!(tx.send(values.value()).is_ok()));
        tx
    });
    let tx = tx.join();
    drop(rx);
    assert_eq!(tally.dropped(), 50);
    drop(tx);
}

/// Requests carry the sender for their reply.
pub fn request_and_reply(ex: &dyn Executor) {
    let (requests, inbox): (SyncSender<(usize, SyncSender<usize>)>, Receiver<_>) = sync_channel(0);
    let server = ex.start(move || inbox.iter().for_each(|(number, reply)| reply.send(number + 1).unwrap()));
    let clients = ex.start_each(10, move |unit| {
        for number in 0..10 {
            let (reply, answer) = sync_channel(1);
            requests.send((unit + number, reply)).unwrap();
            assert_eq!(answer.recv(), Ok(unit + number + 1));
        }
    });
    join_all(clients);
    server.join();
}

/// One producer, one consumer, bounded and not.
pub fn spsc_order_and_ends(ex: &dyn Executor) {
    let (tx, rx) = spsc::channel();
    let producer = ex.start(move || (0..1_000).for_each(|number| tx.send(number).unwrap()));
    assert!((0..1_000).eq(rx.iter()));
    producer.join();
    for bound in [0, 2] {
        let (tx, rx) = spsc::sync_channel(bound);
        let consumer = ex.start(move || rx.into_iter().take(100).sum::<i32>());
        let sent = (0..).take_while(|number| tx.send(*number).is_ok()).count();
        assert!(sent >= 100 && sent <= 100 + bound);
        assert_eq!(consumer.join(), 4950);
    }
}

/// Many consumers share the messages.
pub fn mpmc_consumers_share(ex: &dyn Executor) {
    for (tx, rx) in [mpmc::channel(), mpmc::sync_channel(0), mpmc::sync_channel(2)] {
        let consumers = ex.start_each(4, move |_| rx.iter().collect::<Vec<_>>());
        let producers = ex.start_each(4, move |unit| {
            (0..50).for_each(|number| tx.send(unit * 50 + number).unwrap())
        });
        join_all(producers);
        let mut all = join_all(consumers).concat();
        all.sort_unstable();
        assert!((0..200).eq(all));
    }
}
