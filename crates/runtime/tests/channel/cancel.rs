//! Cancellation of those who wait, and the race with the hand-off.

use super::{Counted, in_runtimes, pause};
use silken::channel::*;
use silken::spawn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_cancelled_receiver_unwinds_and_leaves() {
    in_runtimes(|| {
        let (tx, rx) = bounded(1);
        let receiver = spawn({
            let rx = rx.clone();
            move || rx.recv()
        });
        pause();
        receiver.cancel();
        assert!(receiver.join().unwrap_err().is_cancelled());
        assert_eq!(rx.receiver_count(), 1);
        tx.send(1).unwrap();
        assert_eq!(rx.recv(), Ok(1));
    });
}

#[test]
fn a_cancelled_senders_message_is_dropped_once_and_never_received() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    in_runtimes(|| {
        for capacity in [0, 1] {
            DROPS.store(0, Ordering::SeqCst);
            let (tx, rx) = bounded(capacity);
            for _ in 0..capacity {
                tx.send(Counted(&DROPS)).unwrap();
            }
            let sender = spawn(move || tx.send(Counted(&DROPS)).is_ok());
            pause();
            sender.cancel();
            assert!(sender.join().unwrap_err().is_cancelled());
            assert_eq!(DROPS.load(Ordering::SeqCst), 1);
            assert_eq!(rx.iter().count(), capacity);
            assert_eq!(DROPS.load(Ordering::SeqCst), 1 + capacity);
        }
    });
}

#[test]
fn a_cancelled_select_leaves_every_channel() {
    in_runtimes(|| {
        let (tx1, rx1) = bounded::<u8>(0);
        let (tx2, rx2) = bounded::<u8>(0);
        let selector = spawn({
            let (rx1, tx2) = (rx1.clone(), tx2.clone());
            move || {
                silken::select! {
                    recv(rx1) -> _ => (),
                    send(tx2, 1) -> _ => (),
                }
            }
        });
        pause();
        selector.cancel();
        assert!(selector.join().unwrap_err().is_cancelled());
        assert!(tx1.try_send(1).unwrap_err().is_full());
        assert!(rx2.try_recv().unwrap_err().is_empty());
    });
}

/// Whatever a cancelled receiver does not return is still there for others: messages received and messages left add up.
#[test]
fn a_hand_off_wins_over_a_cancellation() {
    in_runtimes(|| {
        for round in 0..300 {
            let (tx, rx) = bounded(round % 3);
            let received = Arc::new(AtomicUsize::new(0));
            let receiver = spawn({
                let (rx, received) = (rx.clone(), received.clone());
                move || {
                    while rx.recv().is_ok() {
                        received.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
            let sender = spawn({
                let tx = tx.clone();
                move || (0..3).filter(|&n| tx.try_send(n).is_ok()).count()
            });
            if round % 2 == 0 {
                silken::yield_now();
            }
            receiver.cancel();
            let sent = sender.join().unwrap();
            assert!(receiver.join().unwrap_err().is_cancelled());
            let left = rx.try_iter().count();
            assert_eq!(received.load(Ordering::SeqCst) + left, sent);
        }
    });
}

/// While a coroutine unwinds, its destructors can still use channels.
#[test]
fn destructors_of_a_cancelled_coroutine_can_send_and_receive() {
    struct Farewell(Sender<u32>, Receiver<u32>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            self.0.send(1).unwrap();
            self.0.send(self.1.recv().unwrap()).unwrap();
        }
    }
    in_runtimes(|| {
        let (tx, rx) = bounded(0);
        let (answers, answers_rx) = bounded(0);
        let farewell = Farewell(tx, answers_rx);
        let coroutine = spawn(move || {
            let _farewell = farewell;
            silken::park();
        });
        pause();
        coroutine.cancel();
        assert_eq!(rx.recv(), Ok(1));
        pause();
        answers.send(2).unwrap();
        assert_eq!(rx.recv(), Ok(2));
        assert!(coroutine.join().unwrap_err().is_cancelled());
    });
}
