//! Waiting for room, for a message, for a partner; and the ends of such waits.

use super::{Counted, LONG, everywhere, pause};
use silken::channel::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_receiver_waits_for_its_message() {
    everywhere(|cast| {
        for (tx, rx) in [bounded(0), bounded(1), unbounded()] {
            let receiver = cast.spawn(move || (rx.recv(), rx.recv_timeout(LONG), rx.recv()));
            pause();
            tx.send(1).unwrap();
            pause();
            tx.send(2).unwrap();
            drop(tx);
            assert_eq!(receiver.join(), (Ok(1), Ok(2), Err(RecvError)));
        }
    });
}

#[test]
fn a_sender_waits_for_room() {
    everywhere(|cast| {
        let (tx, rx) = bounded(2);
        let sender = cast.spawn(move || (0..100).for_each(|n| tx.send(n).unwrap()));
        while rx.len() < 2 {
            pause();
        }
        pause();
        assert_eq!(rx.len(), 2);
        assert_eq!(rx.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        sender.join();
    });
}

/// In a rendezvous a send is over when its message has been taken, not before.
#[test]
fn a_rendezvous_is_one() {
    everywhere(|cast| {
        let (tx, rx) = bounded(0);
        let sent = Arc::new(AtomicUsize::new(0));
        let sender = cast.spawn({
            let sent = sent.clone();
            move || {
                for n in 0..10 {
                    tx.send(n).unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        for n in 0..10 {
            pause();
            assert_eq!(sent.load(Ordering::SeqCst), n);
            assert_eq!((rx.len(), rx.recv()), (0, Ok(n)));
            while sent.load(Ordering::SeqCst) == n {
                silken::yield_now();
            }
        }
        sender.join();
    });
}

#[test]
fn a_rendezvous_can_be_tried_from_either_side() {
    everywhere(|cast| {
        let (tx, rx) = bounded(0);
        assert_eq!(tx.try_send(0), Err(TrySendError::Full(0)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        let sender = cast.spawn({
            let tx = tx.clone();
            move || tx.send(1)
        });
        let received = loop {
            match rx.try_recv() {
                Ok(n) => break n,
                Err(_) => silken::yield_now(),
            }
        };
        assert_eq!((received, sender.join()), (1, Ok(())));
        let receiver = cast.spawn(move || rx.recv());
        while tx.try_send(2).is_err() {
            silken::yield_now();
        }
        assert_eq!(receiver.join(), Ok(2));
    });
}

/// A sender that waits gets its message back when the last receiver leaves (one peer's senders sleep for ever), or when
/// the channel is closed.
#[test]
fn senders_that_wait_are_sent_home() {
    everywhere(|cast| {
        for capacity in [0, 1] {
            for closes in [false, true] {
                let (tx, rx) = bounded(capacity);
                for n in 0..capacity {
                    tx.send(n).unwrap();
                }
                let senders: Vec<_> = (10..50)
                    .map(|n| {
                        let tx = tx.clone();
                        cast.spawn(move || (n, tx.send(n), tx.send_timeout(n, LONG)))
                    })
                    .collect();
                pause();
                if closes {
                    rx.close();
                    assert_eq!(rx.try_iter().count(), capacity);
                }
                drop(rx);
                for sender in senders {
                    let (n, sent, timed) = sender.join();
                    assert_eq!(sent, Err(SendError(n)));
                    assert_eq!(timed, Err(SendTimeoutError::Disconnected(n)));
                }
            }
        }
    });
}

#[test]
fn receivers_that_wait_are_sent_home() {
    everywhere(|cast| {
        for closes in [false, true] {
            let (tx, rx) = bounded::<()>(1);
            let receivers: Vec<_> = (0..40)
                .map(|_| {
                    let rx = rx.clone();
                    cast.spawn(move || (rx.recv(), rx.recv_timeout(LONG)))
                })
                .collect();
            pause();
            if closes {
                rx.close();
            } else {
                drop(tx);
            }
            for receiver in receivers {
                assert_eq!(receiver.join(), (Err(RecvError), Err(RecvTimeoutError::Disconnected)));
            }
        }
    });
}

#[test]
fn deadlines_come_in_time_and_leave_nothing_behind() {
    everywhere(|cast| {
        let (tx, rx) = bounded(1);
        let (tx2, rx2) = (tx.clone(), rx.clone());
        let waiter = cast.spawn(move || {
            let begun = Instant::now();
            let short = Duration::from_millis(5);
            assert_eq!(rx2.recv_timeout(short), Err(RecvTimeoutError::Timeout));
            assert_eq!(rx2.recv_deadline(begun + 2 * short), Err(RecvTimeoutError::Timeout));
            tx2.send(0).unwrap();
            assert_eq!(tx2.send_timeout(1, short), Err(SendTimeoutError::Timeout(1)));
            assert_eq!(
                tx2.send_deadline(1, begun + 4 * short),
                Err(SendTimeoutError::Timeout(1))
            );
            assert!(begun.elapsed() >= 4 * short);
        });
        waiter.join();
        // Those who gave up are not served.
        assert_eq!(rx.try_recv(), Ok(0));
        tx.send(2).unwrap();
        assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(2), Err(TryRecvError::Empty)));
    });
}

/// Waiting senders are served in the order in which they came.
#[test]
fn senders_queue_up() {
    everywhere(|cast| {
        let (tx, rx) = bounded(1);
        tx.send(0).unwrap();
        let senders: Vec<_> = (1..5)
            .map(|n| {
                let tx = tx.clone();
                let sender = cast.spawn(move || tx.send(n).unwrap());
                silken::sleep(Duration::from_millis(25));
                sender
            })
            .collect();
        assert_eq!(rx.iter().take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for sender in senders {
            sender.join();
        }
    });
}

/// The capacity holds at every moment, whoever looks.
#[test]
fn the_bound_is_never_exceeded() {
    everywhere(|cast| {
        for capacity in [0, 1, 3] {
            let (tx, rx) = bounded(capacity);
            let senders: Vec<_> = (0..4)
                .map(|_| {
                    let tx = tx.clone();
                    cast.spawn(move || {
                        for n in 0..200 {
                            tx.send(n).unwrap();
                            assert!(tx.len() <= capacity);
                        }
                    })
                })
                .collect();
            drop(tx);
            let mut received = 0;
            while rx.recv().is_ok() {
                assert!(rx.len() <= capacity);
                received += 1;
            }
            assert_eq!(received, 800);
            for sender in senders {
                sender.join();
            }
        }
    });
}

#[test]
fn each_message_is_dropped_once() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    everywhere(|cast| {
        for capacity in [0, 2, usize::MAX] {
            DROPS.store(0, Ordering::SeqCst);
            let (tx, rx) = bounded(capacity);
            let senders: Vec<_> = (0..4)
                .map(|_| {
                    let tx = tx.clone();
                    cast.spawn(move || (0..50).for_each(|_| drop(tx.send(Counted(&DROPS)))))
                })
                .collect();
            drop(tx);
            let receiver = cast.spawn(move || rx.iter().take(80).count());
            assert_eq!(receiver.join(), 80);
            for sender in senders {
                sender.join();
            }
            assert_eq!(DROPS.load(Ordering::SeqCst), 200);
        }
    });
}
