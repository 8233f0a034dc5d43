//! silken::channel::watch: receivers see the latest value, and hear that it changed.

use crate::probe::{FAR, SHORT};
use crate::{Executor, join_all};
use silken::channel::watch::{RecvError, RecvTimeoutError, channel};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Instant;

/// A receiver that waits hears of a change and sees the new value.
pub fn change_is_heard(ex: &dyn Executor) {
    let (tx, mut rx) = channel(0);
    let unit = ex.start(move || {
        rx.changed().unwrap();
        *rx.borrow()
    });
    sleep(SHORT);
    tx.send(1).unwrap();
    assert_eq!(unit.join(), 1);
}

/// Of several changes a receiver sees the last, and hears of them once.
pub fn changes_coalesce(ex: &dyn Executor) {
    let (tx, mut rx) = channel(0);
    (1..=5).for_each(|number| tx.send(number).unwrap());
    ex.start(move || {
        assert_eq!(rx.changed(), Ok(()));
        assert_eq!(*rx.borrow_and_update(), 5);
        assert_eq!(rx.has_changed(), Ok(false));
        assert_eq!(rx.changed_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        tx.send(6).unwrap();
        assert_eq!(rx.has_changed(), Ok(true));
    })
    .join();
}

/// A look does not count as seen, unless it says so.
pub fn looking_is_not_seeing(ex: &dyn Executor) {
    let (tx, mut rx) = channel(0);
    tx.send(1).unwrap();
    ex.start(move || {
        assert!(rx.borrow().has_changed() && rx.borrow().has_changed());
        assert!(rx.borrow_and_update().has_changed());
        assert!(!rx.borrow_and_update().has_changed());
        rx.mark_changed();
        assert_eq!(rx.changed(), Ok(()));
        tx.send(2).unwrap();
        rx.mark_unchanged();
        assert_eq!(rx.has_changed(), Ok(false));
    })
    .join();
}

/// All receivers hear of every change, also those that wait at once.
pub fn everyone_hears(ex: &dyn Executor) {
    let (tx, rx) = channel(0);
    let units: Vec<_> = (0..10)
        .map(|_| {
            let mut rx = rx.clone();
            ex.start(move || *rx.wait_for(|number| *number == 3).unwrap())
        })
        .collect();
    for number in 1..=3 {
        sleep(SHORT / 4);
        tx.send(number).unwrap();
    }
    assert_eq!(join_all(units), [3; 10]);
}

/// The last change is heard after the senders have left, and then their end.
pub fn last_change_then_end(ex: &dyn Executor) {
    let (tx, mut rx) = channel("old");
    let mut other = rx.clone();
    let unit = ex.start(move || {
        let heard = other.wait_for(|word| *word == "new").is_ok();
        [heard, other.changed().is_ok()]
    });
    let clone = tx.clone();
    drop(tx);
    sleep(SHORT);
    clone.send("new").unwrap();
    drop(clone);
    assert_eq!(unit.join(), [true, false]);
    assert_eq!(rx.changed(), Ok(()));
    assert_eq!(rx.changed(), Err(RecvError));
    assert_eq!(*rx.borrow(), "new");
    assert!(rx.wait_for(|word| *word == "never").is_err());
}

/// Without receivers a send gives the value back; the value can be replaced all the same, and a new receiver sees it.
pub fn no_receivers(ex: &dyn Executor) {
    let (tx, rx) = channel(0);
    ex.start(move || drop(rx)).join();
    assert!(tx.is_closed());
    assert_eq!(tx.send(1).unwrap_err().0, 1);
    assert_eq!(tx.send_replace(2), 0);
    let rx = tx.subscribe();
    assert_eq!((*rx.borrow(), rx.has_changed()), (2, Ok(false)));
}

/// Changes in place; one that says that it was none is not heard.
pub fn silent_changes(ex: &dyn Executor) {
    let (tx, mut rx) = channel(vec![1]);
    ex.start(move || {
        tx.send_modify(|list| list.push(2));
        assert_eq!(rx.changed(), Ok(()));
        assert!(!tx.send_if_modified(|list| {
            list.push(3);
            false
        }));
        assert_eq!(rx.has_changed(), Ok(false));
        assert_eq!(*rx.borrow(), [1, 2, 3]);
    })
    .join();
}

/// A sender may wait for the last receiver to leave.
pub fn sender_waits_for_the_last_receiver(ex: &dyn Executor) {
    let (tx, rx) = channel(0);
    let started = Instant::now();
    let unit = ex.start(move || {
        tx.closed();
        started.elapsed()
    });
    let clone = rx.clone();
    drop(rx);
    sleep(SHORT);
    drop(clone);
    assert!(unit.join() >= SHORT);
}

/// A receiver that borrows all the time does not keep the sender out.
pub fn readers_do_not_starve_the_sender(ex: &dyn Executor) {
    let (tx, rx) = channel(0);
    let done = Arc::new(AtomicBool::new(false));
    let seen = done.clone();
    let readers = ex.start_each(4, move |_| {
        while !seen.load(SeqCst) {
            let value = rx.borrow();
            silken::yield_now();
            drop(value);
        }
    });
    for number in 1..=20 {
        tx.send(number).unwrap();
    }
    done.store(true, SeqCst);
    join_all(readers);
}

/// While a value changes fast, what a receiver sees never goes back, and it sees the last one.
pub fn values_only_go_forward(ex: &dyn Executor) {
    let (tx, rx) = channel((0, 0));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let mut rx = rx.clone();
            ex.start(move || {
                let mut last = 0;
                while rx.changed().is_ok() {
                    let (one, two) = *rx.borrow_and_update();
                    assert!(one == two && one >= last);
                    last = one;
                }
                last
            })
        })
        .collect();
    drop(rx);
    let writer = ex.start(move || {
        for number in 1..=300 {
            tx.send_modify(|pair| {
                pair.0 = number;
                pair.1 = number;
            });
            if number % 16 == 0 {
                silken::yield_now();
            }
        }
    });
    writer.join();
    assert_eq!(join_all(readers), [300; 4]);
}

/// A wait with a limit that is not used up ends with the change.
pub fn timeout_is_cut_short(ex: &dyn Executor) {
    let (tx, mut rx) = channel(0);
    let unit = ex.start(move || [rx.changed_timeout(FAR), rx.changed_timeout(FAR)]);
    sleep(SHORT);
    tx.send(1).unwrap();
    sleep(SHORT);
    drop(tx);
    assert_eq!(unit.join(), [Ok(()), Err(RecvTimeoutError::Disconnected)]);
}
