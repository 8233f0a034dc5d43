//! select!: exactly one operation happens, wholly; which one, how long it waits, and what bodies may do.

use super::chan::flavours;
use crate::probe::{FAR, SHORT, Tally};
use crate::{Executor, join_all};
use silken::channel::{Receiver, RecvError, SendError, Sender, after, at, bounded, never, tick, unbounded};
use silken::{loop_select, mpsc, select, spsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// An arm that is ready is taken without waiting, on either side.
pub fn ready_arm_is_taken(ex: &dyn Executor) {
    ex.start(|| {
        let ((one_tx, one), (_two_tx, two)) = (bounded(1), bounded::<i32>(1));
        one_tx.send(7).unwrap();
        assert_eq!(select! { recv(one) -> got => got, recv(two) -> got => got }, Ok(7));
        let sent = select! { recv(two) -> _ => false, send(one_tx, 8) -> result => result.is_ok() };
        assert!(sent && one.recv() == Ok(8));
    })
    .join();
}

/// A select waits for whichever arm comes first.
pub fn waits_for_the_first(ex: &dyn Executor) {
    for flavour in 0..3 {
        for winner in 0..2 {
            let [(one_tx, one), (two_tx, two)] =
                [(); 2].map(|()| flavours().into_iter().nth(flavour).expect("there are three"));
            let chooser = ex.start(move || select! { recv(one) -> got => (0, got), recv(two) -> got => (1, got) });
            sleep(Duration::from_millis(5));
            [&one_tx, &two_tx][winner].send(42).unwrap();
            assert_eq!(chooser.join(), (winner, Ok(42)));
        }
    }
}

/// Where several arms are ready one operation happens and the others do not.
pub fn exactly_one_happens(ex: &dyn Executor) {
    ex.start(|| {
        for _ in 0..50 {
            let ((a_tx, a), (b_tx, b), (c_tx, c)) = (bounded(1), bounded(1), bounded(1));
            a_tx.send(0).unwrap();
            b_tx.send(0).unwrap();
            select! {
                recv(a) -> got => assert_eq!(got, Ok(0)),
                recv(b) -> got => assert_eq!(got, Ok(0)),
                send(c_tx, 0) -> sent => assert_eq!(sent, Ok(())),
            }
            // One of the two that were sent is gone, or the third was added.
            assert!(matches!((a.len(), b.len(), c.len()), (0, 1, 0) | (1, 0, 0) | (1, 1, 1)));
        }
    })
    .join();
}

/// One body runs, also where partners for several arms come while the select waits.
pub fn exactly_one_happens_after_a_wait(ex: &dyn Executor) {
    for _ in 0..20 {
        let ((a_tx, a), (b_tx, b)) = (bounded(1), bounded(1));
        let (keep_a, keep_b) = (a.clone(), b.clone());
        let chooser = ex.start(move || select! { recv(a) -> got => got, recv(b) -> got => got });
        let senders = [ex.start(move || a_tx.send(1)), ex.start(move || b_tx.send(2))];
        let got = chooser.join().unwrap();
        for sender in senders {
            assert_eq!(sender.join(), Ok(()));
        }
        assert_eq!(got + keep_a.try_iter().sum::<i32>() + keep_b.try_iter().sum::<i32>(), 3);
    }
}

/// One selector over four busy channels gets every message, and each channel's in order.
pub fn no_message_is_lost(ex: &dyn Executor) {
    for flavour in 0..3 {
        let channels: Vec<_> = (0..4)
            .map(|_| flavours().into_iter().nth(flavour).expect("there are three"))
            .collect();
        let (senders, receivers): (Vec<Sender<u32>>, Vec<Receiver<u32>>) = channels.into_iter().unzip();
        // A channel that has ended would be ready as well.
        let keep = senders.clone();
        let producers = ex.start_each(4, move |unit| {
            (0..100).for_each(|number| senders[unit].send(number).unwrap())
        });
        let [a, b, c, d] = &receivers[..] else {
            unreachable!("there are four");
        };
        let mut next = [0; 4];
        for _ in 0..400 {
            let (index, number) = select! {
                recv(a) -> got => (0, got),
                recv(b) -> got => (1, got),
                recv(c) -> got => (2, got),
                recv(d) -> got => (3, got),
            };
            assert_eq!(number, Ok(next[index]));
            next[index] += 1;
        }
        join_all(producers);
        drop(keep);
    }
}

/// Many selectors over the same channels share the messages: each arrives once.
pub fn many_selectors(ex: &dyn Executor) {
    for flavour in 0..3 {
        let [(a_tx, a), (b_tx, b)] = [(); 2].map(|()| flavours().into_iter().nth(flavour).expect("there are three"));
        let selectors = ex.start_each(4, move |_| {
            let (mut seen, mut open) = (Vec::new(), [true; 2]);
            while open.contains(&true) {
                select! {
                    recv(a) -> got => got.map_or_else(|_| open[0] = false, |number: usize| seen.push(number)),
                    recv(b) -> got => got.map_or_else(|_| open[1] = false, |number| seen.push(number)),
                }
            }
            seen
        });
        let producers = ex.start_each(2, move |unit| {
            let tx = [&a_tx, &b_tx][unit];
            (0..100).for_each(|number| tx.send(unit * 100 + number).unwrap());
        });
        join_all(producers);
        let mut seen = join_all(selectors).concat();
        seen.sort_unstable();
        assert!((0..200).eq(seen));
    }
}

/// Of arms that are always ready each has its share.
pub fn fair_among_ready(ex: &dyn Executor) {
    ex.start(|| {
        let ((a_tx, a), (b_tx, b), (c_tx, _c)) = (unbounded(), unbounded(), unbounded());
        let mut counts = [0; 3];
        for _ in 0..900 {
            a_tx.send(()).unwrap();
            b_tx.send(()).unwrap();
            select! {
                recv(a) -> _ => counts[0] += 1,
                recv(b) -> _ => counts[1] += 1,
                send(c_tx, ()) -> _ => counts[2] += 1,
            }
        }
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    })
    .join();
}

/// A biased select takes the first arm that is ready.
pub fn biased_takes_the_first(ex: &dyn Executor) {
    ex.start(|| {
        let ((_a_tx, a), (b_tx, b), (c_tx, c)) = (unbounded::<()>(), unbounded(), unbounded());
        for _ in 0..100 {
            b_tx.send(()).unwrap();
            c_tx.send(()).unwrap();
        }
        for _ in 0..100 {
            select! {
                biased;
                recv(a) -> _ => panic!("never sent"),
                recv(b) -> got => got.unwrap(),
                recv(c) -> _ => panic!("after another that is ready"),
            }
        }
        assert_eq!((b.len(), c.len()), (0, 100));
    })
    .join();
}

/// A default runs if no arm is ready, and only then.
pub fn default_runs_if_nothing_is_ready(ex: &dyn Executor) {
    ex.start(|| {
        let (tx, rx) = bounded(1);
        let look = || select! { recv(rx) -> got => got.ok(), default => None };
        assert_eq!(look(), None);
        tx.send(1).unwrap();
        let sent = select! { send(tx, 2) -> _ => true, default => false };
        assert!(!sent);
        assert_eq!((look(), look()), (Some(1), None));
        assert_eq!(select! { default => 5 }, 5);
    })
    .join();
}

/// A time limit runs out, not before its time; then nothing has happened.
pub fn timeout_expires(ex: &dyn Executor) {
    let ((a_tx, a), (b_tx, b)) = (bounded::<u8>(0), bounded(0));
    ex.start(move || {
        let started = Instant::now();
        select! {
            recv(a) -> _ => panic!("never sent"),
            send(b_tx, 1) -> _ => panic!("never received"),
            default(Duration::from_millis(15)) => {}
        }
        assert!(started.elapsed() >= Duration::from_millis(15));
        assert!(select! { recv(a) -> _ => false, timeout(Duration::from_millis(1)) => true });
        assert!(b_tx.try_send(2).is_err());
    })
    .join();
    assert!(b.try_recv().is_err() && a_tx.try_send(1).is_err());
}

/// A message that comes within the limit is received.
pub fn timeout_is_cut_short(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let chooser = ex.start(move || select! { recv(rx) -> got => got.ok(), default(FAR) => None });
    sleep(SHORT);
    tx.send(3).unwrap();
    assert_eq!(chooser.join(), Some(3));
}

/// Selects that give up while a message comes lose none.
pub fn timeouts_race_messages(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let producer = ex.start(move || {
            for number in 0..60 {
                silken::sleep(Duration::from_micros(150));
                tx.send(number).unwrap();
            }
        });
        let mut expected = 0;
        loop_select! {
            recv(rx) -> got => match got {
                Ok(number) => {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                Err(RecvError) => break,
            },
            default(Duration::from_micros(100)) => {}
        }
        assert_eq!(expected, 60);
        producer.join();
    }
}

/// A sending arm waits for room and for a receiver.
pub fn send_arm_waits(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|_| tx.send(0).unwrap());
        let chooser = ex.start(move || select! { send(tx, 1) -> sent => sent, recv(never()) -> got => got.unwrap() });
        sleep(SHORT);
        assert_eq!(rx.iter().last(), Some(1));
        assert_eq!(chooser.join(), Ok(()));
    }
}

/// The message of an arm that is not taken is dropped, once, before the body runs.
pub fn unsent_message_is_dropped(ex: &dyn Executor) {
    ex.start(|| {
        let tally = Tally::default();
        let ((full, _full_rx), (tx, rx)) = (bounded(0), bounded(1));
        for round in 0..10 {
            tx.send(tally.value()).unwrap();
            select! {
                send(full, tally.value()) -> _ => panic!("nobody receives"),
                recv(rx) -> got => assert_eq!((tally.dropped(), got.unwrap().number), (2 * round + 1, 2 * round)),
            }
        }
        assert_eq!((tally.made(), tally.dropped()), (20, 20));
    })
    .join();
}

/// Two selects send to each other, and receive, on two rendezvous channels crosswise: both get on.
pub fn crosswise_rendezvous(ex: &dyn Executor) {
    let ((a_tx, a), (b_tx, b)) = (bounded(0), bounded(0));
    let play = |to: &Sender<u32>, from: &Receiver<u32>| {
        let (mut sent, mut received) = (0, 0);
        while sent < 200 || received < 200 {
            match (sent < 200, received < 200) {
                (true, true) => select! {
                    send(to, sent) -> result => { result.unwrap(); sent += 1 }
                    recv(from) -> got => { assert_eq!(got, Ok(received)); received += 1 }
                },
                (true, false) => {
                    to.send(sent).unwrap();
                    sent += 1;
                }
                _ => {
                    assert_eq!(from.recv(), Ok(received));
                    received += 1;
                }
            }
        }
    };
    let other = ex.start(move || play(&a_tx, &b));
    ex.start(move || play(&b_tx, &a)).join();
    other.join();
}

/// Two units select between sending to and receiving from one rendezvous channel: in every round one sends and the
/// other receives.
pub fn one_channel_against_each_other(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        let units = ex.start_each(2, move |unit| {
            let (mut sent, mut received) = (0, 0);
            for _ in 0..300 {
                select! {
                    send(tx, unit) -> result => { result.unwrap(); sent += 1 }
                    recv(rx) -> got => {
                        received += 1;
                        assert!(capacity == 1 || got == Ok(1 - unit), "it met itself");
                    }
                }
            }
            (sent, received)
        });
        let counts = join_all(units);
        let (sent, received) = (counts[0].0 + counts[1].0, counts[0].1 + counts[1].1);
        assert_eq!(sent + received, 600);
        if capacity == 0 {
            assert_eq!((counts[0].0, counts[0].1), (counts[1].1, counts[1].0));
        } else {
            assert_eq!(sent, received);
        }
    }
}

/// A select that would send to itself does not.
pub fn does_not_meet_itself(ex: &dyn Executor) {
    ex.start(|| {
        let (tx, rx) = bounded(0);
        let met = select! {
            send(tx, 1) -> _ => true,
            recv(rx) -> _ => true,
            default(Duration::from_millis(5)) => false,
        };
        assert!(!met);
    })
    .join();
}

/// An arm whose channel is disconnected is ready: a receive fails, a send gives its value back.
pub fn disconnected_arm_is_ready(ex: &dyn Executor) {
    ex.start(|| {
        let (tx, rx) = bounded::<u8>(0);
        drop(tx);
        assert_eq!(select! { recv(rx) -> got => got, default => Ok(9) }, Err(RecvError));
        let (tx, rx) = bounded(0);
        drop(rx);
        assert_eq!(
            select! { send(tx, 3) -> sent => sent, default => Ok(()) },
            Err(SendError(3))
        );
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        tx.close();
        assert_eq!(select! { recv(rx) -> got => got, default => Err(RecvError) }, Ok(1));
    })
    .join();
}

/// A select that waits hears that a channel was disconnected or closed, on either side.
pub fn disconnect_wakes(ex: &dyn Executor) {
    for closes in [false, true] {
        let (tx, rx) = bounded::<u8>(0);
        let receiver = ex.start(move || select! { recv(rx) -> got => got, recv(never()) -> got => got });
        sleep(SHORT);
        if closes {
            assert!(tx.clone().close())
        } else {
            drop(tx)
        }
        assert_eq!(receiver.join(), Err(RecvError));
        let (tx, rx) = bounded(0);
        let sender = ex.start(move || select! { send(tx, 4) -> sent => sent, recv(never::<()>()) -> _ => Ok(()) });
        sleep(SHORT);
        if closes {
            assert!(rx.clone().close())
        } else {
            drop(rx)
        }
        assert_eq!(sender.join(), Err(SendError(4)));
    }
}

/// The clock's receivers are arms: not early, in their order, and `never` is never taken.
pub fn clock_arms(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        let first = select! {
            recv(after(FAR)) -> _ => "far",
            recv(never::<()>()) -> _ => "never",
            recv(after(Duration::from_millis(10))) -> due => {
                assert!(due.unwrap() >= started + Duration::from_millis(10));
                "soon"
            }
        };
        assert_eq!(first, "soon");
        assert!(started.elapsed() >= Duration::from_millis(10));
        let ticks = tick(Duration::from_millis(2));
        let end = at(Instant::now() + FAR);
        for _ in 0..3 {
            select! { recv(ticks) -> due => drop(due.unwrap()), recv(end) -> _ => panic!("too late") }
        }
        assert!(started.elapsed() >= Duration::from_millis(16));
    })
    .join();
}

/// Both arms may be of one channel.
pub fn same_channel_twice(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let producer = ex.start(move || (0..100).for_each(|number| tx.send(number).unwrap()));
    for expected in 0..100 {
        let number = select! { recv(rx) -> got => got, recv(rx) -> got => got };
        assert_eq!(number, Ok(expected));
    }
    producer.join();
    ex.start(|| {
        let (tx, rx) = bounded(1);
        select! { send(tx, 1) -> _ => {} send(tx, 2) -> _ => {} }
        assert_eq!(rx.len(), 1);
    })
    .join();
}

fn first_above(limit: u32, numbers: &Receiver<u32>) -> Result<u32, RecvError> {
    let mut skipped = 0;
    loop {
        let number = select! {
            recv(numbers) -> got => got?,
            default(FAR) => break,
        };
        if number <= limit {
            skipped += 1;
            continue;
        }
        select! { default => return Ok(number + 1000 * skipped) }
    }
    Err(RecvError)
}

/// `return`, `?`, `break` and `continue` in a body are those of the function around it.
pub fn bodies_leave(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let seeker = ex.start(move || [first_above(2, &rx), first_above(9, &rx)]);
    (0..4).for_each(|number| tx.send(number).unwrap());
    drop(tx);
    assert_eq!(seeker.join(), [Ok(3003), Err(RecvError)]);
}

/// A pattern may refuse what was received: the message goes to the `else`, or is dropped, and is not lost otherwise.
pub fn patterns_refuse(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let chooser = ex.start(move || {
        let (mut even, mut odd) = (0, 0);
        loop_select! {
            Ok(number @ (0 | 2 | 4)) = recv(rx) => even += number,
            else(other) => match other {
                Ok(number) => odd += number,
                Err(RecvError) => return (even, odd),
            },
        }
    });
    (0..6).for_each(|number| tx.send(number).unwrap());
    drop(tx);
    assert_eq!(chooser.join(), (6, 9));
    ex.start(|| {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let mut ran = false;
        select! { Ok(2) = recv(rx) => ran = true }
        assert!(!ran && rx.is_empty());
    })
    .join();
}

/// loop_select! runs until a body leaves it, here when both channels have ended.
pub fn loop_until_both_end(ex: &dyn Executor) {
    let ((a_tx, a), (b_tx, b)) = (bounded(0), unbounded());
    let producers = [
        ex.start(move || (0..50).for_each(|number| a_tx.send(number).unwrap())),
        ex.start(move || (50..100).for_each(|number| b_tx.send(number).unwrap())),
    ];
    let mut sum = 0;
    loop_select! {
        Ok(number) = recv(a) => sum += number,
        else(_) => { sum += b.iter().sum::<i32>(); break }
        Ok(number) = recv(b) => sum += number,
        else(_) => { sum += a.iter().sum::<i32>(); break }
    }
    assert_eq!(sum, 4950);
    producers.into_iter().for_each(|unit| unit.join());
}

/// A body may select again.
pub fn nested(ex: &dyn Executor) {
    let ((a_tx, a), (b_tx, b)) = (bounded(0), bounded(0));
    let producers = [ex.start(move || a_tx.send(1)), ex.start(move || b_tx.send(2))];
    let both = ex.start(move || {
        select! {
            recv(a) -> one => select! { recv(b) -> two => (one, two) },
            recv(b) -> two => select! { recv(a) -> one => (one, two) },
        }
    });
    assert_eq!(both.join(), (Ok(1), Ok(2)));
    producers.into_iter().for_each(|unit| unit.join().unwrap());
}

/// What the arms are made of is evaluated once each, in order, whichever is taken.
pub fn evaluated_once_in_order(ex: &dyn Executor) {
    ex.start(|| {
        let ((tx, rx), (_other_tx, other)) = (bounded(1), bounded::<i32>(1));
        let mut order = Vec::new();
        let mut note = |number: i32| {
            order.push(number);
            number
        };
        select! {
            recv({ note(1); &other }) -> _ => panic!("never sent"),
            send(tx, note(2)) -> sent => sent.unwrap(),
            recv({ note(3); &other }) -> _ => panic!("never sent"),
        }
        assert_eq!((order, rx.recv()), (vec![1, 2, 3], Ok(2)));
    })
    .join();
}

/// The ends of the std-named channels are arms as well.
pub fn std_named_arms(ex: &dyn Executor) {
    let ((a_tx, a), (b_tx, b)) = (mpsc::sync_channel(0), spsc::channel());
    let producers = [
        ex.start(move || (0..20).for_each(|_| select! { send(a_tx, 1) -> sent => sent.unwrap() })),
        ex.start(move || (0..20).for_each(|_| b_tx.send(100).unwrap())),
    ];
    let total = ex.start(move || {
        let mut total = 0;
        for _ in 0..40 {
            total += select! {
                Ok(number) = recv(a) => number,
                else(_) => b.recv().unwrap(),
                Ok(number) = recv(b) => number,
                else(_) => a.recv().unwrap(),
            };
        }
        total
    });
    assert_eq!(total.join(), 2020);
    producers.into_iter().for_each(|unit| unit.join());
}
