//! std::sync::mpsc: order, back pressure, rendezvous, time-outs and both ways to disconnect.
//!
//! Its blocking side waits on `thread::park` and tells waiters apart by thread, so all of it needs an identity.

use crate::{Executor, join_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(10);

/// One producer's messages arrive in order.
pub fn async_fifo_order(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    let producer = ex.start(move || (0..10_000).for_each(|number| sender.send(number).unwrap()));
    assert!((0..10_000).eq(receiver.iter()));
    producer.join();
}

/// Nothing is lost or doubled with many producers.
pub fn async_many_producers(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    let producers = ex.start_each(16, move |unit| {
        for number in 0..500 {
            sender.send(unit * 500 + number).unwrap();
        }
    });
    let mut seen: Vec<_> = (0..8_000).map(|_| receiver.recv().unwrap()).collect();
    seen.sort_unstable();
    assert!((0..8_000).eq(seen));
    join_all(producers);
}

/// What was sent before the senders went away is still delivered, then recv fails.
pub fn recv_after_senders_dropped(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    ex.start(move || sender.send(7).unwrap()).join();
    assert_eq!(receiver.recv(), Ok(7));
    assert!(receiver.recv().is_err());
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
}

/// A send without a receiver gives the value back.
pub fn send_after_receiver_dropped(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    ex.start(move || drop(receiver)).join();
    assert_eq!(sender.send(String::from("back")).unwrap_err().0, "back");
}

/// A receiver that is parked wakes up when the last sender goes away.
pub fn parked_receiver_sees_disconnect(ex: &dyn Executor) {
    let (sender, receiver) = channel::<u8>();
    let waiter = ex.start(move || receiver.recv().is_err());
    sleep(SHORT);
    drop(sender);
    assert!(waiter.join());
}

/// A sender that is parked on a full channel wakes up when the receiver goes away.
pub fn parked_sender_sees_disconnect(ex: &dyn Executor) {
    let (sender, receiver) = sync_channel(1);
    sender.send(1).unwrap();
    let waiter = ex.start(move || sender.send(2).unwrap_err().0);
    sleep(SHORT);
    drop(receiver);
    assert_eq!(waiter.join(), 2);
}

/// A bounded channel lets the producer run ahead by its capacity and no further.
pub fn sync_back_pressure(ex: &dyn Executor) {
    let (sender, receiver) = sync_channel(4);
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let producer = ex.start(move || {
        for number in 0..100 {
            sender.send(number).unwrap();
            count.fetch_add(1, SeqCst);
        }
    });
    for number in 0..100 {
        if number % 10 == 0 {
            sleep(Duration::from_millis(2));
        }
        assert!(sent.load(SeqCst) <= number + 4);
        assert_eq!(receiver.recv(), Ok(number));
    }
    producer.join();
}

/// try_send tells full from disconnected.
pub fn sync_try_send(ex: &dyn Executor) {
    let (sender, receiver) = sync_channel(1);
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    ex.start(move || assert_eq!(receiver.recv(), Ok(1))).join();
    assert_eq!(sender.try_send(3), Err(TrySendError::Disconnected(3)));
}

/// With capacity zero a send returns only after its value was taken.
pub fn rendezvous_waits_for_receiver(ex: &dyn Executor) {
    let (sender, receiver) = sync_channel(0);
    let started = Instant::now();
    let producer = ex.start(move || {
        sender.send(1).unwrap();
        started.elapsed()
    });
    sleep(Duration::from_millis(30));
    assert_eq!(receiver.recv(), Ok(1));
    assert!(producer.join() >= Duration::from_millis(30));
}

/// Two units hand a number to and fro.
pub fn rendezvous_ping_pong(ex: &dyn Executor) {
    let (ping, ping_receiver) = sync_channel(0);
    let (pong, pong_receiver) = sync_channel(0);
    let other = ex.start(move || {
        for number in ping_receiver {
            pong.send(number + 1).unwrap();
        }
    });
    for number in 0..1_000 {
        ping.send(number).unwrap();
        assert_eq!(pong_receiver.recv(), Ok(number + 1));
    }
    drop(ping);
    other.join();
}

/// Many parked senders on a rendezvous channel are all served.
pub fn rendezvous_many_producers(ex: &dyn Executor) {
    let (sender, receiver) = sync_channel(0);
    let producers = ex.start_each(32, move |unit| (0..20).for_each(|_| sender.send(unit).unwrap()));
    let mut counts = [0; 32];
    for _ in 0..640 {
        counts[receiver.recv().unwrap()] += 1;
    }
    assert_eq!(counts, [20; 32]);
    join_all(producers);
}

/// recv_timeout gives up, and not before its time.
pub fn recv_timeout_expires(ex: &dyn Executor) {
    let (sender, receiver) = channel::<u8>();
    ex.start(move || {
        let started = Instant::now();
        assert_eq!(
            receiver.recv_timeout(Duration::from_millis(30)),
            Err(RecvTimeoutError::Timeout)
        );
        assert!(started.elapsed() >= Duration::from_millis(30));
    })
    .join();
    drop(sender);
}

/// recv_timeout delivers what comes in time, and tells a disconnect from a time-out.
pub fn recv_timeout_delivers(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    let waiter = ex.start(move || {
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(5));
        assert_eq!(
            receiver.recv_timeout(Duration::from_secs(20)),
            Err(RecvTimeoutError::Disconnected)
        );
    });
    sleep(SHORT);
    sender.send(5).unwrap();
    sleep(SHORT);
    drop(sender);
    waiter.join();
}

/// recv_timeout that loses and wins many races keeps every message.
pub fn recv_timeout_races(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    let producer = ex.start(move || {
        for number in 0..200 {
            sleep(Duration::from_micros(300));
            sender.send(number).unwrap();
        }
    });
    let mut expected = 0;
    loop {
        match receiver.recv_timeout(Duration::from_micros(200)) {
            Ok(number) => {
                assert_eq!(number, expected);
                expected += 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    assert_eq!(expected, 200);
    producer.join();
}

/// try_iter takes what is there and does not wait.
pub fn try_iter_does_not_wait(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    let keep = sender.clone();
    ex.start(move || (0..5).for_each(|number| sender.send(number).unwrap()))
        .join();
    assert!((0..5).eq(receiver.try_iter()));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    drop(keep);
}

/// Messages nobody received are dropped with the channel, once each.
pub fn unreceived_values_are_dropped(ex: &dyn Executor) {
    let value = Arc::new(());
    let (sender, receiver) = channel();
    let sent = Arc::clone(&value);
    ex.start(move || (0..50).for_each(|_| sender.send(Arc::clone(&sent)).unwrap()))
        .join();
    assert_eq!(Arc::strong_count(&value), 51);
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
}

fn stage(input: Receiver<u32>, output: SyncSender<u32>) {
    for number in input {
        output.send(number + 1).unwrap();
    }
}

/// A chain of 100 units passes messages along and shuts down from its head.
pub fn pipeline(ex: &dyn Executor) {
    let (head, mut tail) = sync_channel(2);
    let mut units = Vec::new();
    for _ in 0..100 {
        let (output, next) = sync_channel(2);
        let input = std::mem::replace(&mut tail, next);
        units.push(ex.start(move || stage(input, output)));
    }
    let feeder = ex.start(move || (0..50).for_each(|number| head.send(number).unwrap()));
    assert!((100..150).eq(tail.iter()));
    feeder.join();
    join_all(units);
}

/// Requests carry the channel for their reply.
pub fn request_and_reply(ex: &dyn Executor) {
    let (requests, inbox) = channel::<(u64, SyncSender<u64>)>();
    let server = ex.start(move || inbox.iter().for_each(|(number, reply)| reply.send(number * 2).unwrap()));
    let clients = ex.start_each(20, move |unit| {
        for number in 0..20 {
            let (reply, answer) = sync_channel(1);
            requests.send((unit as u64 + number, reply)).unwrap();
            assert_eq!(answer.recv(), Ok((unit as u64 + number) * 2));
        }
    });
    join_all(clients);
    server.join();
}
