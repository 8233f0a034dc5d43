//! `Select`.

use super::{Counted, everywhere};
use silken::channel::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn one_of_twenty() {
    everywhere(|cast| {
        let ends: Vec<_> = (0..20).map(|n: usize| bounded::<usize>(n % 3)).collect();
        let senders: Vec<_> = ends
            .iter()
            .enumerate()
            .map(|(number, (tx, _))| {
                let tx = tx.clone();
                cast.spawn(move || (0..10).for_each(|_| tx.send(number).unwrap()))
            })
            .collect();
        let mut select = Select::new();
        for (number, (_, rx)) in ends.iter().enumerate() {
            assert_eq!(select.recv(rx), number);
        }
        let mut counts = [0; 20];
        for _ in 0..200 {
            let operation = select.select();
            let index = operation.index();
            assert_eq!(operation.recv(&ends[index].1), Ok(index));
            counts[index] += 1;
        }
        assert_eq!(counts, [10; 20]);
        assert_eq!(select.try_select().map(|_| ()), Err(TrySelectError));
        let timeout = select.select_timeout(Duration::from_millis(1)).map(|_| ());
        assert_eq!(timeout, Err(SelectTimeoutError));
        for sender in senders {
            sender.join();
        }
    });
}

#[test]
fn messages_of_any_size_and_alignment() {
    #[derive(Debug, PartialEq)]
    #[repr(align(128))]
    struct Big([u8; 300]);
    let (tx1, rx1) = bounded(1);
    let (tx2, rx2) = bounded(1);
    let mut select = Select::new_biased();
    let big = select.send(&tx1, Big([7; 300]));
    let small = select.send(&tx2, ());
    let operation = select.select();
    assert_eq!(operation.index(), big);
    operation.send(&tx1).unwrap();
    let operation = select.select();
    assert_eq!(operation.index(), small);
    operation.send(&tx2).unwrap();
    let mut select = Select::new_biased();
    select.recv(&rx1);
    select.recv(&rx2);
    assert_eq!(select.select().recv(&rx1), Ok(Big([7; 300])));
    assert_eq!(select.select().recv(&rx2), Ok(()));
}

#[test]
fn what_was_not_sent_comes_back_or_is_dropped() {
    let drops = AtomicUsize::new(0);
    let (tx, rx) = bounded(0);
    let mut select = Select::new();
    let first = select.send(&tx, Counted(&drops));
    let second = select.send(&tx, Counted(&drops));
    assert!(select.try_select().is_err());
    drop(select.take(first, &tx).unwrap());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    assert!(select.take(first, &tx).is_none());
    drop(rx);
    let operation = select.select();
    assert_eq!(operation.index(), second);
    drop(operation.send(&tx).unwrap_err().into_inner());
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    select.send(&tx, Counted(&drops));
    drop(select);
    assert_eq!(drops.load(Ordering::Relaxed), 3);
}

#[test]
fn an_operation_that_nobody_asks_about_has_happened() {
    let (tx, rx) = bounded(2);
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    let mut select = Select::new();
    select.recv(&rx);
    drop(select.select());
    assert_eq!(select.select().recv(&rx), Ok(2));
    select.remove(0);
    let sends = select.send(&tx, 3);
    assert_eq!(select.select().index(), sends);
    assert_eq!(rx.recv(), Ok(3));
}

#[test]
fn misuse_panics() {
    fn panics(misuse: impl FnOnce() + std::panic::UnwindSafe) {
        assert!(std::panic::catch_unwind(misuse).is_err());
    }
    panics(|| drop(Select::new().select()));
    panics(|| Select::new().remove(0));
    panics(|| {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let mut select = Select::new();
        select.recv(&rx);
        let other = rx.clone();
        let _ = select.select().recv(&other);
    });
}

#[test]
fn a_leaked_operation_is_over() {
    everywhere(|_| {
        let (tx, rx) = unbounded();
        let ((other_tx, other_rx), never) = (bounded(1), never::<()>());
        tx.send(Box::new(1)).unwrap();
        let mut select = Select::new();
        let receives = select.recv(&rx);
        std::mem::forget(select.select());
        // What it received is gone, and is no message of a channel that has been closed.
        drop(tx);
        let operation = select.select();
        assert_eq!(operation.index(), receives);
        assert_eq!(operation.recv(&rx), Err(RecvError));
        select.remove(receives);

        let sends = select.send(&other_tx, Box::new(2));
        std::mem::forget(select.select());
        assert_eq!(other_rx.try_recv().map(|message| *message), Ok(2));
        // The arm went with its message: nobody gets a second one, or an empty one.
        assert!(select.try_select().is_err());
        select.recv(&never);
        assert!(select.select_timeout(Duration::from_millis(2)).is_err());
        assert!(other_rx.try_recv().is_err());
        drop(other_rx);
        assert!(select.select_timeout(Duration::from_millis(2)).is_err());
        assert_eq!(select.take(sends, &other_tx), None);
    });
}

#[test]
fn a_leaked_operation_of_a_closed_channel_keeps_nothing_back() {
    everywhere(|_| {
        let dropped = AtomicUsize::new(0);
        let (tx, rx) = bounded(1);
        drop(rx);
        let mut select = Select::new();
        select.send(&tx, Counted(&dropped));
        std::mem::forget(select.select());
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        assert!(select.try_select().is_err());
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}
