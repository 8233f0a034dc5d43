//! One value, once.

use super::{LONG, everywhere, ms, on_coroutines};
use silken::channel::oneshot::{self, RecvTimeoutError, SendError, TryRecvError};
use std::sync::Arc;
use std::time::Instant;

#[test]
fn values_arrive_in_any_order_of_events() {
    everywhere(|world| {
        for round in 0..200 {
            let (sender, receiver) = oneshot::channel();
            let receiving = world.spawn(move || receiver.recv());
            let sending = world.spawn(move || sender.send(round));
            assert_eq!(receiving.join(), Ok(round));
            assert_eq!(sending.join(), Ok(()));
        }
    });
}

#[test]
fn a_dropped_sender_ends_the_wait() {
    everywhere(|world| {
        let (sender, receiver) = oneshot::channel::<u8>();
        let receiving = world.spawn(move || receiver.recv());
        silken::sleep(ms(1));
        drop(sender);
        assert!(receiving.join().is_err());
    });
}

#[test]
fn the_value_comes_back_from_a_receiver_that_is_gone() {
    everywhere(|_| {
        let (sender, receiver) = oneshot::channel();
        assert!(!sender.is_closed());
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send("mine"), Err(SendError("mine")));
    });
}

#[test]
fn a_closed_receiver_takes_what_was_sent_before() {
    everywhere(|_| {
        let (sender, mut receiver) = oneshot::channel();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert!(receiver.is_empty() && !receiver.is_terminated());
        sender.send(1).unwrap();
        receiver.close();
        assert!(!receiver.is_empty());
        assert_eq!(receiver.try_recv(), Ok(1));
        assert!(receiver.is_terminated());
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(receiver.recv_timeout(ms(0)), Err(RecvTimeoutError::Disconnected));

        let (sender, mut receiver) = oneshot::channel();
        receiver.close();
        assert_eq!(sender.send(2), Err(SendError(2)));
        assert!(receiver.recv().is_err());
    });
}

#[test]
fn a_wait_can_be_given_up_and_repeated() {
    everywhere(|world| {
        let (sender, mut receiver) = oneshot::channel();
        let begun = Instant::now();
        assert_eq!(receiver.recv_timeout(ms(3)), Err(RecvTimeoutError::Timeout));
        assert_eq!(receiver.recv_deadline(begun + ms(6)), Err(RecvTimeoutError::Timeout));
        assert!(begun.elapsed() >= ms(6));
        let sending = world.spawn(move || sender.send(5));
        assert_eq!(receiver.recv_timeout(LONG), Ok(5));
        sending.join().unwrap();
    });
}

#[test]
fn deadlines_and_sends_race() {
    everywhere(|world| {
        for round in 0..100 {
            let (sender, mut receiver) = oneshot::channel();
            let sending = world.spawn(move || {
                silken::sleep(std::time::Duration::from_micros(round % 7 * 20));
                sender.send(round)
            });
            let received = match receiver.recv_timeout(std::time::Duration::from_micros(60)) {
                Err(RecvTimeoutError::Timeout) => receiver.recv_timeout(LONG),
                received => received,
            };
            assert_eq!(received, Ok(round));
            sending.join().unwrap();
        }
    });
}

#[test]
fn a_value_that_nobody_takes_is_dropped_once() {
    everywhere(|_| {
        let value = Arc::new(());
        let (sender, receiver) = oneshot::channel();
        sender.send(value.clone()).unwrap();
        assert_eq!(Arc::strong_count(&value), 2);
        drop(receiver);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn a_cancelled_receiver_unwinds_and_the_sender_keeps_its_value() {
    on_coroutines(|| {
        let (sender, receiver) = oneshot::channel();
        let receiving = silken::spawn(move || receiver.recv());
        silken::yield_now();
        receiving.cancel();
        assert!(receiving.join().unwrap_err().is_cancelled());
        assert_eq!(sender.send(9), Err(SendError(9)));
    });
}
