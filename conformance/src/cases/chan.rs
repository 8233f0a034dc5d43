//! silken::channel, bounded, unbounded and rendezvous: order, bounds, both ways to disconnect, and what becomes of each
//! value.

use crate::harness::deliberate_panic;
use crate::probe::{FAR, SHORT, Tally};
use crate::{Executor, join_all};
use silken::channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError, TrySendError, bounded,
    unbounded,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A rendezvous, a bounded and an unbounded channel.
pub(super) fn flavours<T>() -> [(Sender<T>, Receiver<T>); 3] {
    [bounded(0), bounded(3), unbounded()]
}

/// One sender's messages arrive in order.
pub fn fifo_order(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let producer = ex.start(move || (0..1_000).for_each(|number| tx.send(number).unwrap()));
        assert!((0..1_000).eq(rx.iter()));
        producer.join();
    }
}

/// With many senders, each one's messages arrive in its order.
pub fn fifo_per_sender(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let producers = ex.start_each(8, move |unit| {
            (0..100).for_each(|number| tx.send((unit, number)).unwrap())
        });
        let mut next = [0; 8];
        for _ in 0..800 {
            let (unit, number) = rx.recv().unwrap();
            assert_eq!(next[unit], number);
            next[unit] += 1;
        }
        join_all(producers);
    }
}

/// With many senders and many receivers, each message arrives once, and every receiver sees each sender's in order.
pub fn many_to_many(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let producers = ex.start_each(6, move |unit| {
            (0..100).for_each(|number| tx.send(unit * 100 + number).unwrap())
        });
        let consumers = ex.start_each(4, move |_| rx.iter().collect::<Vec<usize>>());
        join_all(producers);
        let mut all = Vec::new();
        for seen in join_all(consumers) {
            for unit in 0..6 {
                assert!(seen.iter().filter(|number| *number / 100 == unit).is_sorted());
            }
            all.extend(seen);
        }
        all.sort_unstable();
        assert!((0..600).eq(all));
    }
}

/// A channel without room works: a send returns when its message was taken, and not before.
pub fn rendezvous_sender_waits(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let sender = ex.start(move || {
        for number in 0..20 {
            tx.send(number).unwrap();
            assert!(count.load(SeqCst) >= number);
        }
    });
    for number in 0..20 {
        if number % 10 == 0 {
            sleep(Duration::from_millis(2));
        }
        // A send that were done already would belong to a message that nobody took.
        taken.store(number, SeqCst);
        assert_eq!(rx.recv(), Ok(number));
    }
    sender.join();
}

/// A receiver that came first gets the message of a channel without room.
pub fn rendezvous_receiver_waits(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let receiver = ex.start(move || rx.recv());
    sleep(SHORT);
    tx.send("met").unwrap();
    assert_eq!(receiver.join(), Ok("met"));
}

/// Two units hand a number to and fro.
pub fn rendezvous_ping_pong(ex: &dyn Executor) {
    let (ping, ping_rx) = bounded(0);
    let (pong, pong_rx) = bounded(0);
    let other = ex.start(move || ping_rx.iter().for_each(|number| pong.send(number + 1).unwrap()));
    for number in 0..500 {
        ping.send(number).unwrap();
        assert_eq!(pong_rx.recv(), Ok(number + 1));
    }
    drop(ping);
    other.join();
}

/// On a channel without room the forms that do not wait succeed if the partner waits, and only then.
pub fn rendezvous_try_forms(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    let other = rx.clone();
    let receiver = ex.start(move || other.recv());
    while tx.try_send(2).is_err() {
        silken::yield_now();
    }
    assert_eq!(receiver.join(), Ok(2));
    let sender = ex.start(move || tx.send(3));
    let three = loop {
        match rx.try_recv() {
            Ok(three) => break three,
            Err(TryRecvError::Empty) => silken::yield_now(),
            Err(TryRecvError::Disconnected) => panic!("the sender waits"),
        }
    };
    assert_eq!((three, sender.join()), (3, Ok(())));
}

/// A sender that waits adds nothing to the length, and no message overtakes those that are queued.
pub fn waiting_message_comes_after_queued(ex: &dyn Executor) {
    let (tx, rx) = bounded(2);
    tx.send(0).unwrap();
    tx.send(1).unwrap();
    let sender = ex.start(move || tx.send(2));
    sleep(SHORT);
    assert_eq!((rx.len(), rx.is_full()), (2, true));
    assert!((0..3).eq(rx.iter()));
    assert_eq!(sender.join(), Ok(()));
}

/// Senders run ahead of the receiver by the bound and no further, however many there are.
pub fn bound_is_never_exceeded(ex: &dyn Executor) {
    let (tx, rx) = bounded(3);
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let producers = ex.start_each(8, move |_| {
        for _ in 0..50 {
            tx.send(()).unwrap();
            count.fetch_add(1, SeqCst);
        }
    });
    for received in 0..400 {
        assert!(sent.load(SeqCst) <= received + 3);
        assert!(rx.len() <= 3);
        rx.recv().unwrap();
        if received % 40 == 0 {
            sleep(Duration::from_micros(200));
        }
    }
    join_all(producers);
}

/// Of many who try at once, as many succeed as there is room for.
pub fn bound_holds_for_try_send(ex: &dyn Executor) {
    for _ in 0..20 {
        let (tx, rx) = bounded(5);
        let sent = join_all(ex.start_each(8, move |unit| (0..3).filter(|_| tx.try_send(unit).is_ok()).count()));
        assert_eq!(sent.iter().sum::<usize>(), 5);
        assert_eq!(rx.len(), 5);
    }
}

/// A sender that waits for room gets its value back when the last receiver leaves.
pub fn blocked_sender_gets_value_back(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|_| tx.send(String::new()).unwrap());
        let sender = ex.start(move || tx.send(String::from("back")));
        sleep(SHORT);
        drop(rx);
        assert_eq!(sender.join().unwrap_err().into_inner(), "back");
    }
}

/// So do all senders that wait.
pub fn all_blocked_senders_get_values_back(ex: &dyn Executor) {
    let (tx, rx) = bounded(1);
    let senders = ex.start_each(10, move |unit| tx.send(unit));
    sleep(SHORT);
    drop(rx);
    let mut back: Vec<_> = join_all(senders)
        .into_iter()
        .filter_map(Result::err)
        .map(|error| error.0)
        .collect();
    back.sort_unstable();
    // One of them found room.
    assert!(
        back.len() >= 9 && back.windows(2).all(|pair| pair[0] < pair[1]),
        "{back:?}"
    );
}

/// Receivers that wait wake up, all of them, when the last sender leaves.
pub fn blocked_receivers_see_disconnect(ex: &dyn Executor) {
    for (tx, rx) in flavours::<u8>() {
        let receivers = ex.start_each(10, move |_| rx.recv());
        sleep(SHORT);
        drop(tx);
        assert!(join_all(receivers).into_iter().all(|result| result == Err(RecvError)));
    }
}

/// A channel is connected as long as one clone of the other side is left.
pub fn disconnect_takes_the_last(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let others: Vec<_> = (0..5).map(|_| (tx.clone(), rx.clone())).collect();
        ex.start(move || drop(others)).join();
        let sender = ex.start(move || tx.send(1));
        assert_eq!(rx.recv(), Ok(1));
        assert_eq!(sender.join(), Ok(()));
        assert_eq!(rx.recv(), Err(RecvError));
    }
}

/// What was sent before the senders left is received, then every form says so.
pub fn drain_after_senders_left(ex: &dyn Executor) {
    for (tx, rx) in [bounded(3), unbounded()] {
        ex.start(move || (0..3).for_each(|number| tx.send(number).unwrap()))
            .join();
        assert!(rx.is_closed());
        assert!((0..3).eq(rx.iter()));
        assert_eq!(rx.recv(), Err(RecvError));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(rx.recv_timeout(FAR), Err(RecvTimeoutError::Disconnected));
    }
}

/// Without a receiver every form of sending gives the value back.
pub fn send_without_receiver(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        ex.start(move || drop(rx)).join();
        assert!(tx.is_closed());
        assert_eq!(tx.send(1), Err(SendError(1)));
        assert_eq!(tx.try_send(2), Err(TrySendError::Disconnected(2)));
        assert_eq!(tx.send_timeout(3, FAR), Err(SendTimeoutError::Disconnected(3)));
    }
}

/// Messages that nobody received are dropped, once, when the last receiver leaves, though senders are left.
pub fn receivers_end_drops_messages(ex: &dyn Executor) {
    for (tx, rx) in [bounded(64), unbounded()] {
        let tally = Tally::default();
        let (numbers, kept) = (tally.clone(), tx.clone());
        ex.start(move || (0..50).for_each(|_| tx.send(numbers.value()).unwrap()))
            .join();
        assert_eq!(tally.dropped(), 0);
        drop(rx);
        assert_eq!(tally.dropped(), 50);
        drop(kept.send(tally.value()));
        assert_eq!(tally.dropped(), 51);
    }
}

/// Each message is dropped once, whether it was received, left in the channel, or could not be sent.
pub fn drops_are_exact(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let tally = Tally::default();
        let values = tally.clone();
        let producers = ex.start_each(4, move |_| {
            _ = (0..100).take_while(|_| tx.send(values.value()).is_ok()).count()
        });
        let consumers = ex.start_each(3, move |unit| rx.iter().take(20 * (unit + 1)).count());
        assert_eq!(join_all(consumers).iter().sum::<usize>(), 120);
        join_all(producers);
        assert!(tally.made() >= 120);
        assert_eq!(tally.dropped(), tally.made());
    }
}

/// A message's destructor may use the channel that it was in.
pub fn message_drop_uses_the_channel(ex: &dyn Executor) {
    struct Sends(Sender<Option<Sends>>);
    impl Drop for Sends {
        fn drop(&mut self) {
            assert!(self.0.send(None).is_err());
            assert_eq!(self.0.len(), 0);
        }
    }
    let (tx, rx) = unbounded();
    ex.start(move || {
        (0..3).for_each(|_| tx.send(Some(Sends(tx.clone()))).unwrap());
        drop(rx);
        assert_eq!(tx.sender_count(), 1);
    })
    .join();
}

/// After a close sends fail, and what is queued is still received.
pub fn close_lets_drain(ex: &dyn Executor) {
    for from_sender in [true, false] {
        let (tx, rx) = bounded(4);
        (0..3).for_each(|number| tx.send(number).unwrap());
        assert!(if from_sender { tx.close() } else { rx.close() });
        assert!(tx.is_closed() && rx.is_closed());
        assert!(!tx.close() && !rx.close());
        assert_eq!(tx.send(9), Err(SendError(9)));
        assert_eq!(tx.try_send(9), Err(TrySendError::Disconnected(9)));
        let drained = ex.start(move || rx.iter().collect::<Vec<_>>());
        assert_eq!(drained.join(), [0, 1, 2]);
    }
}

/// A close wakes senders and receivers that wait, though no clone was dropped.
pub fn close_wakes_both_sides(ex: &dyn Executor) {
    let (tx, rx) = bounded::<usize>(0);
    let other = rx.clone();
    let receivers = ex.start_each(5, move |_| other.recv());
    sleep(SHORT);
    assert!(tx.close());
    assert_eq!(join_all(receivers), [Err(RecvError); 5]);
    let (tx, rx) = bounded(0);
    let other = tx.clone();
    let senders = ex.start_each(5, move |unit| other.send(unit));
    sleep(SHORT);
    assert!(rx.close());
    for (unit, result) in join_all(senders).into_iter().enumerate() {
        assert_eq!(result, Err(SendError(unit)));
    }
}

/// Of many who close at once one has closed.
pub fn close_happens_once(ex: &dyn Executor) {
    for _ in 0..20 {
        let (tx, _rx) = unbounded::<()>();
        assert_eq!(
            join_all(ex.start_each(4, move |_| usize::from(tx.close())))
                .iter()
                .sum::<usize>(),
            1
        );
    }
}

/// A unit that panics lets go of its end.
pub fn panic_disconnects(ex: &dyn Executor) {
    let (tx, rx) = bounded(1);
    let sender = ex.start(move || {
        tx.send(1).unwrap();
        deliberate_panic();
    });
    assert_eq!(rx.iter().collect::<Vec<i32>>(), [1]);
    assert!(sender.try_join().is_err());
    let (tx, rx) = bounded(0);
    let receiver = ex.start(move || {
        rx.recv().unwrap();
        deliberate_panic();
    });
    tx.send(1).unwrap();
    assert_eq!(tx.send(2), Err(SendError(2)));
    assert!(receiver.try_join().is_err());
}

/// Receivers that wait get one message each.
pub fn one_message_per_receiver(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let receivers = ex.start_each(16, move |_| rx.recv().unwrap());
        sleep(SHORT);
        (0..16).for_each(|number| tx.send(number).unwrap());
        let mut seen = join_all(receivers);
        seen.sort_unstable();
        assert!((0..16).eq(seen));
    }
}

/// send_timeout gives up, not before its time, and leaves nothing in the channel.
pub fn send_timeout_expires(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|_| tx.send(0).unwrap());
        ex.start(move || {
            let started = Instant::now();
            let error = tx.send_timeout(7, Duration::from_millis(15)).unwrap_err();
            assert_eq!(error, SendTimeoutError::Timeout(7));
            assert!(started.elapsed() >= Duration::from_millis(15));
        })
        .join();
        assert_eq!(rx.iter().count(), capacity);
    }
}

/// recv_timeout gives up, and not before its time.
pub fn recv_timeout_expires(ex: &dyn Executor) {
    for (tx, rx) in flavours::<u8>() {
        ex.start(move || {
            let started = Instant::now();
            assert_eq!(
                rx.recv_timeout(Duration::from_millis(15)),
                Err(RecvTimeoutError::Timeout)
            );
            assert!(started.elapsed() >= Duration::from_millis(15));
            assert_eq!(rx.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        })
        .join();
        drop(tx);
    }
}

/// What comes in time is sent and received, and a disconnect is told from a time-out.
pub fn timeouts_deliver(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let receiver = ex.start(move || [rx.recv_timeout(FAR), rx.recv_timeout(FAR)]);
        sleep(SHORT);
        assert_eq!(tx.send_timeout(1, FAR), Ok(()));
        sleep(SHORT);
        drop(tx);
        assert_eq!(receiver.join(), [Ok(1), Err(RecvTimeoutError::Disconnected)]);
    }
    let (tx, rx) = bounded(0);
    let sender = ex.start(move || tx.send_timeout(2, FAR));
    sleep(SHORT);
    drop(rx);
    assert_eq!(sender.join(), Err(SendTimeoutError::Disconnected(2)));
}

/// A deadline that is past already does not wait, and takes what is there.
pub fn deadline_in_the_past(ex: &dyn Executor) {
    let past = Instant::now();
    let (tx, rx) = bounded(1);
    ex.start(move || {
        assert_eq!(rx.recv_deadline(past), Err(RecvTimeoutError::Timeout));
        assert_eq!(tx.send_deadline(1, past), Ok(()));
        assert_eq!(tx.send_deadline(2, past), Err(SendTimeoutError::Timeout(2)));
        assert_eq!(rx.recv_deadline(past), Ok(1));
        assert_eq!(rx.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        assert_eq!(tx.send_timeout(3, Duration::MAX), Ok(()));
        assert_eq!(rx.recv_timeout(Duration::MAX), Ok(3));
    })
    .join();
}

/// Length, emptiness, fullness and capacity, seen from both sides.
pub fn lengths(ex: &dyn Executor) {
    let (tx, rx) = bounded(2);
    assert_eq!((tx.capacity(), rx.capacity()), (Some(2), Some(2)));
    for length in 0..=2 {
        assert_eq!((tx.len(), rx.len()), (length, length));
        assert_eq!((tx.is_empty(), rx.is_empty()), (length == 0, length == 0));
        assert_eq!((tx.is_full(), rx.is_full()), (length == 2, length == 2));
        let other = tx.clone();
        _ = ex.start(move || other.try_send(length)).join();
    }
    let (tx, rx) = bounded::<u8>(0);
    assert_eq!(
        (tx.capacity(), rx.len(), tx.is_full(), rx.is_empty()),
        (Some(0), 0, true, true)
    );
    let (tx, rx) = unbounded();
    ex.start(move || (0..1_000).for_each(|number| tx.send(number).unwrap()))
        .join();
    assert_eq!((rx.capacity(), rx.len(), rx.is_full()), (None, 1_000, false));
}

/// The counts of both sides follow clones and drops, on whatever unit they happen.
pub fn counts_follow_clones(ex: &dyn Executor) {
    let (tx, rx) = unbounded::<()>();
    let (keep_tx, keep_rx) = (tx.clone(), rx.clone());
    join_all(ex.start_each(4, move |_| {
        let clones: Vec<_> = (0..10).map(|_| (tx.clone(), rx.clone())).collect();
        assert!(tx.sender_count() >= 12 && rx.receiver_count() >= 12);
        drop(clones);
    }));
    // The closure's own ends go with the last unit, which may be a little after its result.
    let deadline = Instant::now() + Duration::from_secs(10);
    while keep_tx.sender_count() + keep_rx.receiver_count() > 2 {
        assert!(Instant::now() < deadline);
        silken::yield_now();
    }
    assert_eq!((keep_rx.sender_count(), keep_tx.receiver_count()), (1, 1));
}

/// Ends know their channel.
pub fn same_channel(ex: &dyn Executor) {
    let ((tx, rx), (other_tx, other_rx)) = (bounded::<u8>(1), bounded::<u8>(1));
    ex.start(move || {
        assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
        assert!(!tx.same_channel(&other_tx) && !rx.same_channel(&other_rx));
    })
    .join();
}

/// The iterators wait for messages and end with the senders.
pub fn iterators_end(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let producer = ex.start(move || (0..30).for_each(|number| tx.send(number).unwrap()));
        assert!((0..10).eq(rx.iter().take(10)));
        let mut expected = 10;
        for number in &rx {
            assert_eq!(number, expected);
            expected += 1;
            if expected == 20 {
                break;
            }
        }
        let mut rest = rx.into_iter();
        assert!((20..30).eq(rest.by_ref()));
        assert_eq!(rest.next(), None);
        producer.join();
    }
}

/// try_iter takes what is there and does not wait.
pub fn try_iter_does_not_wait(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    let other = tx.clone();
    ex.start(move || (0..5).for_each(|number| other.send(number).unwrap()))
        .join();
    assert!((0..5).eq(rx.try_iter()));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    drop(tx);
}

/// Messages without a size are counted like others.
pub fn zero_sized_messages(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let senders = ex.start_each(4, move |_| (0..100).for_each(|_| tx.send(()).unwrap()));
        assert_eq!(rx.iter().count(), 400);
        join_all(senders);
    }
}

/// Messages of some kilobytes arrive whole, through the queue and from hand to hand.
pub fn large_messages(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let sender = ex.start(move || (0..20u64).for_each(|number| tx.send([number; 256]).unwrap()));
        for number in 0..20 {
            assert_eq!(rx.recv().unwrap(), [number; 256]);
        }
        sender.join();
    }
}

/// The macro's forms.
pub fn macro_forms(ex: &dyn Executor) {
    let (tx, rx) = silken::chan!();
    let (bounded_tx, bounded_rx) = silken::chan!(1);
    let (typed_tx, typed_rx) = silken::chan!(u64, 0);
    let units = [
        ex.start(move || tx.send(1u64).unwrap()),
        ex.start(move || bounded_tx.send(2u64).unwrap()),
        ex.start(move || typed_tx.send(3).unwrap()),
    ];
    assert_eq!((bounded_rx.capacity(), typed_rx.capacity()), (Some(1), Some(0)));
    assert_eq!([rx.recv(), bounded_rx.recv(), typed_rx.recv()], [Ok(1), Ok(2), Ok(3)]);
    units.into_iter().for_each(|unit| unit.join());
}
