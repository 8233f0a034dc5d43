//! Does each value of the broadcast channel reach every receiver? The models use OS threads.

use super::{RecvError, RecvTimeoutError, channel};
use loom::thread;
use std::time::Duration;

/// A value reaches the receiver that waits and the receiver that comes late; the end of the channel reaches both after
/// it.
#[test]
fn loom_a_value_reaches_all() {
    loom::model(|| {
        let (sender, mut early) = channel(2);
        let mut late = sender.subscribe();
        let waiter = thread::spawn(move || (early.recv(), early.recv()));
        assert_eq!(sender.send(7), Ok(2));
        drop(sender);
        assert_eq!(waiter.join().unwrap(), (Ok(7), Err(RecvError::Closed)));
        assert_eq!((late.recv(), late.recv()), (Ok(7), Err(RecvError::Closed)));
    });
}

/// A deadline races against a send: the value is received or still in the channel.
#[test]
fn loom_a_deadline_loses_no_value() {
    loom::model(|| {
        let (sender, mut receiver) = channel(1);
        let hasty = thread::spawn(move || {
            let first = receiver.recv_timeout(Duration::ZERO);
            (first, receiver)
        });
        sender.send(7).unwrap();
        let (first, mut receiver) = hasty.join().unwrap();
        match first {
            Ok(value) => assert_eq!((value, receiver.try_recv().is_ok()), (7, false)),
            Err(error) => assert_eq!((error, receiver.try_recv()), (RecvTimeoutError::Timeout, Ok(7))),
        }
    });
}
