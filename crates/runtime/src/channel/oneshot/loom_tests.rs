//! Models of the one-value channel: the value arrives or comes back, exactly once; a wait ends however the sender ends; a deadline leaves nothing behind.

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

/// Either the value is received or it comes back.
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

/// A wait whose time is up, against the sender that is about to touch the cell, and a second wait after it.
#[test]
fn loom_a_deadline_and_a_second_wait() {
    loom::model(|| {
        let (sender, mut receiver) = channel();
        let sending = thread::spawn(move || sender.send(7));
        // Loom's kernel lets a sleep with a deadline end at any time.
        let first = receiver.recv_timeout(Duration::ZERO);
        if first == Err(RecvTimeoutError::Timeout) {
            assert_eq!(receiver.recv(), Ok(7));
        } else {
            assert_eq!(first, Ok(7));
        }
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}
