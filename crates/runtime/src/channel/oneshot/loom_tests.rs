//! Does the one-value channel deliver its value or give it back, exactly once; does a wait end in whichever way the
//! sender ends; does an expired deadline leave nothing behind?

use super::super::select::{Limit, Operation, Order, run};
use super::{RecvTimeoutError, channel};
use loom::thread;
use std::time::Duration;

#[test]
fn loom_send_against_recv() {
    loom::model(|| {
        let (sender, receiver) = channel();
        let sending = thread::spawn(move || sender.send(7));
        assert_eq!(receiver.recv(), Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn loom_drop_against_recv() {
    loom::model(|| {
        let (sender, receiver) = channel::<u8>();
        let dropping = thread::spawn(move || drop(sender));
        assert!(receiver.recv().is_err());
        dropping.join().unwrap();
    });
}

/// The value is received, or it comes back to the sender.
#[test]
fn loom_send_against_close() {
    loom::model(|| {
        let (sender, mut receiver) = channel();
        let sending = thread::spawn(move || sender.send(7).is_ok());
        receiver.close();
        let received = receiver.try_recv().is_ok();
        assert_eq!(sending.join().unwrap(), received || receiver.try_recv().is_ok());
    });
}

/// A wait expires while the sender is about to touch the wait cell, and a second wait follows.
#[test]
fn loom_a_deadline_and_a_second_wait() {
    loom::model(|| {
        let (sender, mut receiver) = channel();
        let sending = thread::spawn(move || sender.send(7));
        // Under loom a sleep with a deadline may end at any time.
        let first = receiver.recv_timeout(Duration::ZERO);
        if first == Err(RecvTimeoutError::Timeout) {
            assert_eq!(receiver.recv(), Ok(7));
        } else {
            assert_eq!(first, Ok(7));
        }
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

/// A select waits until the value comes or the sender is dropped.
#[test]
fn loom_select_against_the_sender() {
    for sends in [true, false] {
        loom::model(move || {
            let (sender, mut receiver) = channel();
            let ending = thread::spawn(move || if sends { sender.send(7).unwrap() } else { drop(sender) });
            let arm = receiver.recv_arm();
            assert_eq!(run(&[&arm], Order::Biased, Limit::Until(None)), Some(0));
            assert_eq!(arm.finish().is_ok(), sends);
            ending.join().unwrap();
        });
    }
}

/// A select expires and leaves while the sender may be looking at its wait cell.
#[test]
fn loom_a_select_that_gives_up() {
    loom::model(|| {
        let (sender, mut receiver) = channel();
        let sending = thread::spawn(move || sender.send(7).unwrap());
        let arm = receiver.recv_arm();
        let chosen = run(&[&arm], Order::Biased, Limit::Until(Some(0)));
        let first = arm.finish();
        assert_eq!(first.is_ok(), chosen.is_some());
        if first.is_err() {
            assert_eq!(receiver.recv(), Ok(7));
        }
        sending.join().unwrap();
    });
}
