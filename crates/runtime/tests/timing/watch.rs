//! The latest value.

use super::{LONG, everywhere, ms, on_coroutines};
use silken::channel::watch::{self, RecvTimeoutError, SendError};
use std::time::Instant;

#[test]
fn receivers_see_ascending_values_and_the_last() {
    const CHANGES: u64 = 1_000;
    everywhere(|world| {
        let (sender, receiver) = watch::channel(0);
        let watching: Vec<_> = (0..8)
            .map(|_| {
                let mut receiver = receiver.clone();
                world.spawn(move || {
                    let mut last = 0;
                    while receiver.changed().is_ok() {
                        let value = *receiver.borrow_and_update();
                        assert!(value >= last);
                        last = value;
                    }
                    assert_eq!(*receiver.borrow(), last);
                    last
                })
            })
            .collect();
        drop(receiver);
        let other = sender.clone();
        let senders = [sender, other].map(|sender| {
            world.spawn(move || {
                for _ in 0..CHANGES {
                    sender.send_modify(|value| *value += 1);
                }
            })
        });
        senders.into_iter().for_each(super::Part::join);
        for watching in watching {
            assert_eq!(watching.join(), 2 * CHANGES);
        }
    });
}

#[test]
fn what_counts_as_seen() {
    everywhere(|_| {
        let (sender, mut receiver) = watch::channel("a");
        assert_eq!(receiver.has_changed(), Ok(false));
        sender.send("b").unwrap();
        assert_eq!(receiver.has_changed(), Ok(true));
        assert!(receiver.borrow().has_changed());
        assert_eq!(receiver.has_changed(), Ok(true), "a borrow leaves it unseen");
        let unseen = receiver.clone();
        assert!(receiver.borrow_and_update().has_changed());
        assert!(!receiver.borrow_and_update().has_changed());
        assert_eq!((receiver.has_changed(), unseen.has_changed()), (Ok(false), Ok(true)));
        receiver.mark_changed();
        assert_eq!(receiver.changed(), Ok(()));
        assert_eq!(sender.subscribe().has_changed(), Ok(false));
        assert!(!sender.send_if_modified(|_| false));
        assert_eq!(receiver.has_changed(), Ok(false));
        assert_eq!(sender.send_replace("c"), "b");
        receiver.mark_unchanged();
        assert_eq!(receiver.changed_timeout(ms(1)), Err(RecvTimeoutError::Timeout));
        assert_eq!(*sender.borrow(), "c");
        sender.send("d").unwrap();
        drop(sender);
        assert!(receiver.has_changed().is_err());
        assert_eq!(receiver.changed(), Ok(()), "the last change is reported first");
        assert!(receiver.changed().is_err());
        assert_eq!(*receiver.borrow(), "d");
    });
}

#[test]
fn senders_without_receivers() {
    everywhere(|world| {
        let (sender, receiver) = watch::channel(1);
        let waiting = world.spawn({
            let sender = sender.clone();
            move || sender.closed()
        });
        assert!(!sender.is_closed());
        drop(receiver);
        waiting.join();
        assert_eq!((sender.receiver_count(), sender.sender_count()), (0, 1));
        assert_eq!(sender.send(2), Err(SendError(2)));
        assert_eq!(*sender.borrow(), 1);
        sender.send_replace(3);
        assert_eq!(*sender.subscribe().borrow(), 3);
    });
}

#[test]
fn waits_for_a_value() {
    everywhere(|world| {
        let (sender, mut receiver) = watch::channel(0);
        let begun = Instant::now();
        assert_eq!(receiver.changed_deadline(begun + ms(3)), Err(RecvTimeoutError::Timeout));
        assert!(begun.elapsed() >= ms(3));
        let sending = world.spawn(move || {
            for value in 1..=50 {
                sender.send(value).unwrap();
                silken::yield_now();
            }
        });
        assert!(*receiver.wait_for(|value| *value >= 30).unwrap() >= 30);
        assert!(receiver.wait_for(|value| *value > 50).is_err());
        sending.join();
    });
}

#[test]
fn a_change_waits_for_borrows_and_may_park() {
    everywhere(|world| {
        let (sender, receiver) = watch::channel(0);
        let (entered, has_entered) = silken::channel::oneshot::channel();
        let changing = world.spawn(move || {
            sender.send_modify(|value| {
                entered.send(()).unwrap();
                silken::sleep(ms(5));
                *value = 7;
            });
            sender
        });
        has_entered.recv().unwrap();
        assert_eq!(*receiver.borrow(), 7, "a look waits for the change to end");
        let sender = changing.join();
        let borrow = receiver.borrow();
        let changing = world.spawn(move || sender.send(8));
        silken::sleep(ms(2));
        assert_eq!(*borrow, 7);
        drop(borrow);
        changing.join().unwrap();
        assert_eq!(*receiver.borrow(), 8);
    });
}

#[test]
fn a_panic_in_a_change_leaves_the_value_usable() {
    everywhere(|_| {
        let (sender, receiver) = watch::channel(0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sender.send_modify(|value| {
                *value = 1;
                std::panic::resume_unwind(Box::new(()));
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(receiver.has_changed(), Ok(false));
        assert_eq!(*receiver.borrow(), 1);
        sender.send(2).unwrap();
    });
}

#[test]
fn a_cancelled_writer_lets_readers_in() {
    on_coroutines(|| {
        let (sender, mut receiver) = watch::channel(0);
        let other = receiver.clone();
        let borrow = receiver.borrow();
        let writer = silken::spawn(move || sender.send(1));
        silken::sleep(ms(1));
        writer.cancel();
        assert!(writer.join().unwrap_err().is_cancelled());
        assert_eq!(*other.borrow(), 0);
        drop(borrow);
        assert!(receiver.changed_timeout(LONG).is_err());
    });
}
