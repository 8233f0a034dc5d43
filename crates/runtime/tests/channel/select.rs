//! The macros.

use super::{Counted, LONG, everywhere, pause};
use silken::channel::*;
use silken::{loop_select, select};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn the_ready_arm_runs_and_the_others_do_not() {
    let (tx1, rx1) = unbounded::<u8>();
    let (tx2, rx2) = bounded::<&str>(1);
    tx1.send(7).unwrap();
    let _keep = &tx2;
    let chosen = select! {
        recv(rx1) -> message => message.unwrap(),
        recv(rx2) -> _ => unreachable!(),
    };
    assert_eq!(chosen, 7);
    let chosen = select! {
        recv(rx1) -> _ => unreachable!(),
        send(tx2, "sent") -> result => { result.unwrap(); 2 }
    };
    assert_eq!((chosen, rx2.recv()), (2, Ok("sent")));
    drop(tx1);
    select! { recv(rx1) -> message => assert_eq!(message, Err(RecvError)) }
    drop(rx2);
    select! { send(tx2, "lost") -> result => assert_eq!(result, Err(SendError("lost"))) }
}

#[test]
fn default_and_timeout() {
    let (tx, rx) = bounded::<u8>(0);
    assert!(select! { recv(rx) -> _ => false, default => true });
    assert!(select! { send(tx, 1) -> _ => false, default => true, });
    let begun = Instant::now();
    let short = Duration::from_millis(5);
    assert!(select! { recv(rx) -> _ => false, default(short) => true });
    assert!(select! { recv(rx) -> _ => false, timeout(short) => { true } });
    assert!(select! { default(short) => true });
    assert!(select! { default => true });
    assert!(select! { recv(rx) -> _ => false, recv(after(short)) -> _ => true });
    assert!(begun.elapsed() >= 4 * short);
}

#[test]
fn arms_may_be_anything_that_leads_to_an_end() {
    struct Ends {
        tx: Arc<Sender<u8>>,
        rx: Box<Receiver<u8>>,
    }
    let (tx, rx) = bounded(1);
    let ends = &Ends {
        tx: Arc::new(tx),
        rx: Box::new(rx),
    };
    select! { send(ends.tx, 1) -> sent => sent.unwrap(), default => unreachable!() }
    let rx = &&*ends.rx;
    select! { recv(rx) -> message => assert_eq!(message, Ok(1)), recv(never::<()>()) -> _ => unreachable!() }
    select! { on(ends.tx.send_arm(2)) -> sent => sent.unwrap(), on(rx.recv_arm()) -> _ => unreachable!() }
    let (_tx, std_rx) = silken::mpsc::channel::<u8>();
    select! { recv(std_rx) -> _ => unreachable!(), recv(rx) -> message => assert_eq!(message, Ok(2)) }
}

#[test]
fn bodies_leave_the_enclosing_function_and_loop() {
    fn question(rx: &Receiver<u8>) -> Result<u8, RecvError> {
        let message = select! { recv(rx) -> message => message? };
        Ok(message + 1)
    }
    fn returns(rx: &Receiver<u8>) -> u8 {
        select! { recv(rx) -> message => return message.unwrap(), default => {} }
        100
    }
    let (tx, rx) = unbounded();
    for n in 0..6 {
        tx.send(n).unwrap();
    }
    assert_eq!(question(&rx), Ok(1));
    assert_eq!(returns(&rx), 1);
    let mut seen = Vec::new();
    let broken = 'outer: loop {
        for _ in 0..10 {
            select! {
                recv(rx) -> message => match message.unwrap() {
                    2 => continue,
                    5 => break 'outer 50,
                    n => seen.push(n),
                },
            }
        }
    };
    assert_eq!((broken, seen), (50, vec![3, 4]));
    assert_eq!(returns(&rx), 100);
    drop(tx);
    assert_eq!(question(&rx), Err(RecvError));
}

/// The arms are gone when a body begins: it may move, drop and change what they borrowed.
#[test]
fn bodies_own_what_the_arms_borrowed() {
    let (tx, rx) = bounded(1);
    let mut count = 0;
    select! {
        send(tx, vec![1]) -> sent => { sent.unwrap(); count += 1; drop(tx) }
        recv(rx) -> _ => { count += 10; drop(tx); drop(rx) }
    }
    assert_eq!(count, 1);
}

#[test]
fn patterns_that_do_not_match_give_the_result_to_else() {
    let (tx, rx) = unbounded();
    tx.send(Some(1)).unwrap();
    tx.send(None).unwrap();
    tx.send(None).unwrap();
    let next = || {
        select! {
            Ok(Some(n)) = recv(rx) => n,
            else(other) => match other { Ok(_) => -1, Err(RecvError) => -2 },
            default => -3,
        }
    };
    assert_eq!((next(), next()), (1, -1));
    // Without an else nothing runs.
    select! { Ok(Some(_)) = recv(rx) => unreachable!(), }
    assert_eq!(next(), -3);
    drop(tx);
    assert_eq!(next(), -2);
    let (tx, rx) = bounded(1);
    select! {
        Err(_) = send(tx, 1) => unreachable!(),
        else(sent) => { sent.unwrap(); }
        Ok(_) = recv(rx) => unreachable!(),
    }
    assert_eq!(rx.len(), 1);
}

#[test]
fn biased_takes_the_first_and_fair_takes_each() {
    let (tx, rx) = unbounded();
    for _ in 0..2000 {
        tx.send(()).unwrap();
    }
    let others: Vec<_> = (0..2).map(|_| rx.clone()).collect();
    let mut counts = [0; 3];
    for _ in 0..900 {
        let chosen = select! {
            recv(rx) -> _ => 0,
            recv(others[0]) -> _ => 1,
            recv(others[1]) -> _ => 2,
        };
        counts[chosen] += 1;
    }
    assert!(counts.iter().all(|&n| n > 150), "{counts:?}");
    for _ in 0..100 {
        select! { biased; recv(rx) -> _ => (), recv(others[0]) -> _ => unreachable!() }
    }
}

#[test]
fn what_an_unchosen_arm_would_have_sent_is_dropped_before_the_body() {
    let drops = AtomicUsize::new(0);
    let (tx, rx) = bounded(0);
    let (full, _keep) = bounded(0);
    drop(tx);
    select! {
        send(full, Counted(&drops)) -> _ => unreachable!(),
        recv(rx) -> message => {
            let _: Result<(), _> = message;
            assert_eq!(drops.load(Ordering::Relaxed), 1);
        }
    }
}

#[test]
fn more_than_eight_arms() {
    let ends: Vec<_> = (0..10).map(|_| unbounded()).collect();
    let rx = |n: usize| &ends[n].1;
    for (n, (tx, _)) in ends.iter().enumerate() {
        tx.send(n).unwrap();
        let chosen = select! {
            recv(rx(0)) -> m => m, recv(rx(1)) -> m => m, recv(rx(2)) -> m => m, recv(rx(3)) -> m => m,
            recv(rx(4)) -> m => m, recv(rx(5)) -> m => m, recv(rx(6)) -> m => m, recv(rx(7)) -> m => m,
            recv(rx(8)) -> m => m, recv(rx(9)) -> m => m,
        };
        assert_eq!(chosen, Ok(n));
    }
}

#[test]
fn a_select_waits_for_either() {
    everywhere(|cast| {
        let (tx1, rx1) = bounded(0);
        let (tx2, rx2) = bounded(0);
        let _keep = rx2.clone();
        let selector = cast.spawn(move || {
            let mut sums = (0, 0);
            loop_select! {
                Ok(n) = recv(rx1) => sums.0 += n,
                else(_) => break,
                send(tx2, 1) -> sent => { sent.unwrap(); sums.1 += 1; }
            }
            sums
        });
        let receiver = cast.spawn(move || (0..100).map(|_| rx2.recv().unwrap()).sum::<i32>());
        for n in 0..100 {
            tx1.send(n).unwrap();
        }
        assert_eq!(receiver.join(), 100);
        drop(tx1);
        assert_eq!(selector.join(), (4950, 100));
    });
}

/// A disconnection is an event that a waiting select hears of.
#[test]
fn a_waiting_select_hears_of_the_end() {
    everywhere(|cast| {
        let (tx, rx) = bounded::<u8>(0);
        let (full, full_rx) = bounded::<u8>(0);
        let selectors: Vec<_> = (0..20)
            .map(|_| {
                let (rx, full) = (rx.clone(), full.clone());
                cast.spawn(move || {
                    let received = select! { recv(rx) -> message => message, recv(after(LONG)) -> _ => Ok(0) };
                    let sent = select! { send(full, 7) -> sent => sent, recv(after(LONG)) -> _ => Ok(()) };
                    (received, sent)
                })
            })
            .collect();
        pause();
        drop(tx);
        pause();
        drop(full_rx);
        for selector in selectors {
            assert_eq!(selector.join(), (Err(RecvError), Err(SendError(7))));
        }
    });
}

/// Selects on both sides of a rendezvous, and in both directions at once: no deadlock, no message lost or doubled.
#[test]
fn selects_meet_selects() {
    everywhere(|cast| {
        const ROUNDS: u64 = 300;
        let (tx1, rx1) = bounded::<u64>(0);
        let (tx2, rx2) = bounded::<u64>(0);
        let play = move |tx: Sender<u64>, rx: Receiver<u64>| {
            let (mut sent, mut received, mut sum) = (0, 0, 0);
            while sent < ROUNDS || received < ROUNDS {
                if sent < ROUNDS && received < ROUNDS {
                    select! {
                        send(tx, sent) -> result => { result.unwrap(); sent += 1; }
                        recv(rx) -> message => { sum += message.unwrap(); received += 1; }
                    }
                } else if sent < ROUNDS {
                    tx.send(sent).unwrap();
                    sent += 1;
                } else {
                    sum += rx.recv().unwrap();
                    received += 1;
                }
            }
            sum
        };
        let one = cast.spawn(move || play(tx1, rx2));
        let other = cast.spawn(move || play(tx2, rx1));
        assert_eq!(one.join(), ROUNDS * (ROUNDS - 1) / 2);
        assert_eq!(other.join(), ROUNDS * (ROUNDS - 1) / 2);
    });
}

/// A select that both sends to and receives from one channel does not meet itself, and two of them meet each other.
#[test]
fn a_select_does_not_meet_itself() {
    everywhere(|cast| {
        let (tx, rx) = bounded(0);
        let mine = select! {
            send(tx, 1) -> _ => "sent",
            recv(rx) -> _ => "received",
            default(Duration::from_millis(5)) => "alone",
        };
        assert_eq!(mine, "alone");
        let players = [1, 2].map(|number| {
            let (tx, rx) = (tx.clone(), rx.clone());
            cast.spawn(move || {
                select! {
                    send(tx, number) -> sent => { sent.unwrap(); 0 }
                    recv(rx) -> message => message.unwrap(),
                }
            })
        });
        let mut results = players.map(super::Player::join);
        results.sort_unstable();
        assert!(results == [0, 1] || results == [0, 2], "{results:?}");
    });
}

/// Exactly one operation per select: several ready channels, several selects, and every message accounted for.
#[test]
fn exactly_one_operation_happens() {
    everywhere(|cast| {
        const COUNT: usize = 300;
        let ends: Vec<_> = [0, 1, usize::MAX].map(bounded::<usize>).into_iter().collect();
        let senders: Vec<_> = ends
            .iter()
            .map(|(tx, _)| {
                let tx = tx.clone();
                cast.spawn(move || (0..COUNT).for_each(|n| tx.send(n).unwrap()))
            })
            .collect();
        let bodies = Arc::new(AtomicUsize::new(0));
        let selectors: Vec<_> = (0..3)
            .map(|_| {
                let [a, b, c] = [0, 1, 2].map(|n: usize| ends[n].1.clone());
                let bodies = bodies.clone();
                cast.spawn(move || {
                    for _ in 0..COUNT {
                        let message = select! { recv(a) -> m => m, recv(b) -> m => m, recv(c) -> m => m };
                        message.unwrap();
                        bodies.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for player in senders.into_iter().chain(selectors) {
            player.join();
        }
        assert_eq!(bodies.load(Ordering::Relaxed), 3 * COUNT);
        assert!(ends.iter().all(|(_, rx)| rx.try_recv().is_err()));
    });
}

#[test]
fn an_arm_that_is_given_twice_is_one() {
    use silken::channel::select::{Arm, Limit, Operation, Order, run};

    everywhere(|cast| {
        let (tx, rx) = unbounded::<Box<u32>>();
        let (go, goes) = unbounded();
        let sender = cast.spawn(move || {
            while let Ok(n) = goes.recv() {
                tx.send(Box::new(n)).unwrap();
            }
        });
        let other = never::<()>();
        for repeats in [1, 2, 7, 8, 9, 20] {
            for n in 0..20 {
                let (arm, never) = (rx.recv_arm(), other.recv_arm());
                let mut arms: Vec<&dyn Arm> = vec![&never; repeats];
                arms.resize(repeats * 2, &arm);
                go.send(n).unwrap();
                let order = if n % 2 == 0 { Order::Fair } else { Order::Biased };
                assert_eq!(run(&arms, order, Limit::Until(None)), Some(repeats));
                assert_eq!(arm.finish(), Ok(Box::new(n)));
            }
        }
        // One that has been chosen and not finished has nothing left for the next.
        let arm = rx.recv_arm();
        go.send(1).unwrap();
        assert_eq!(run(&[&arm, &arm], Order::Fair, Limit::Until(None)), Some(0));
        drop(go);
        sender.join();
        assert_eq!(run(&[&arm, &arm], Order::Biased, Limit::Until(None)), Some(0));
        assert_eq!(arm.finish(), Err(RecvError));

        let (tx, rx) = bounded(1);
        let arm = tx.send_arm(7);
        assert_eq!(run(&[&arm, &arm], Order::Biased, Limit::Until(None)), Some(0));
        assert_eq!(rx.recv(), Ok(7));
        // It has no message any more.
        assert_eq!(
            run(
                &[&arm],
                Order::Biased,
                Limit::within(std::time::Duration::from_millis(1))
            ),
            None
        );
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    });
}

/// An arm that is used again drops the message of its first use before any arm is listed: its destructor may unwind,
/// wait or select.
#[test]
fn an_arm_that_is_used_again() {
    use silken::channel::select::{Arm, Limit, Order, run};

    /// Panics, or sends, when it is dropped.
    enum Message {
        Plain,
        Panics,
        Sends(Sender<Message>),
    }

    impl Drop for Message {
        fn drop(&mut self) {
            match self {
                Message::Plain => {}
                Message::Panics => std::panic::resume_unwind(Box::new(())),
                Message::Sends(tx) => tx.send(Message::Plain).unwrap(),
            }
        }
    }

    /// The first arm would wait; the second one has been used, and holds a message.
    fn twice(message: Message, rx1: &Receiver<Message>) -> Option<usize> {
        let (tx2, rx2) = unbounded();
        tx2.send(message).unwrap();
        let used = rx2.recv_arm();
        assert_eq!(run(&[&used as &dyn Arm], Order::Biased, Limit::Try), Some(0));
        let first = rx1.recv_arm();
        run(&[&first as &dyn Arm, &used], Order::Biased, Limit::within(LONG))
    }

    everywhere(|cast| {
        let (tx1, rx1) = unbounded();
        let player = cast.spawn(move || {
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| twice(Message::Panics, &rx1)));
            assert!(unwound.is_err());
            // Would go to an arm that is not there any more.
            tx1.send(Message::Plain).unwrap();
            assert!(rx1.try_recv().is_ok());
            assert_eq!(twice(Message::Sends(tx1), &rx1), Some(0));
        });
        player.join();
    });
}

/// An arm that is switched off is never ready, and keeps no other from being so.
#[test]
fn an_optional_arm() {
    use silken::channel::oneshot;

    everywhere(|cast| {
        let (_open, idle) = oneshot::channel::<u32>();
        let (mut idle, mut first) = (Some(idle), None);
        let (tx, rx) = unbounded();
        let sender = cast.spawn(move || {
            pause();
            tx.send(3).unwrap();
        });
        let said = select! {
            on(first.as_mut().map(|rx: &mut oneshot::Receiver<u32>| rx.recv_arm())) -> _ => unreachable!("it is off"),
            on(idle.as_mut().map(|rx| rx.recv_arm())) -> _ => unreachable!("nobody sends"),
            recv(rx) -> number => number.unwrap(),
        };
        assert_eq!(said, 3);
        sender.join();
        let (tx, rx) = oneshot::channel();
        first = Some(rx);
        tx.send(8).unwrap();
        let said = select! {
            on(first.as_mut().map(|rx| rx.recv_arm())) -> number => number.unwrap(),
            default => unreachable!("it is there"),
        };
        assert_eq!(said, 8);
        select! {
            on(None::<silken::JoinArm<'_, ()>>) -> () => unreachable!("it is off"),
            default(Duration::from_millis(1)) => {}
        }
    });
}
