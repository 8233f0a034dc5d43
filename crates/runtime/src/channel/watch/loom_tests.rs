//! Does the watch wake its receivers for each change and for the end of the last sender, do version and value belong
//! together, and do readers and writers exclude each other?
//!
//! Loom's cell checks the accesses to the value; loom reports a lost wake as a deadlock.

use super::channel;
use loom::thread;

#[test]
fn loom_a_change_is_heard() {
    loom::model(|| {
        let (sender, mut receiver) = channel(0);
        let sending = thread::spawn(move || sender.send(1).unwrap());
        receiver.changed().unwrap();
        assert_eq!(*receiver.borrow_and_update(), 1);
        sending.join().unwrap();
    });
}

#[test]
fn loom_the_last_sender_is_heard_to_go() {
    loom::model(|| {
        let (sender, mut receiver) = channel(0);
        let going = thread::spawn(move || drop(sender));
        assert!(receiver.changed().is_err());
        going.join().unwrap();
    });
}

/// A receiver that has seen an old value is woken for the new one.
#[test]
fn loom_version_and_value_belong_together() {
    loom::model(|| {
        let (sender, mut receiver) = channel(0);
        let sending = thread::spawn(move || sender.send_modify(|value| *value += 1));
        if *receiver.borrow_and_update() == 0 {
            receiver.changed().unwrap();
        }
        assert_eq!(*receiver.borrow(), 1);
        assert!(receiver.changed().is_err());
        sending.join().unwrap();
    });
}
