//! Does a channel lose no wake, lose or double no message, and never touch a node whose waiter has returned? In these
//! models OS threads are the waiters; loom reports a lost wake as a deadlock, and checks accesses to a node by the cell
//! of its slot.
//!
//! A timer or a cancellation settles a wait cell and does nothing else, so a thread that settles the cell stands for
//! it.

use super::core::{Channel, Listed};
use super::waiter::{SOLE, Ticket, Waiter};
use super::{Receiver, RecvError, Sender, bounded, unbounded};
use crate::coroutine::Outcome;
use loom::thread;
use std::sync::Arc;

/// A send and a receive; either may come first and wait.
fn meet(ends: (Sender<u8>, Receiver<u8>)) {
    let (tx, rx) = ends;
    let sender = thread::spawn(move || tx.send(1));
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(sender.join().unwrap(), Ok(()));
    assert_eq!(rx.recv(), Err(RecvError));
}

#[test]
fn loom_channel_a_rendezvous_meets() {
    loom::model(|| meet(bounded(0)));
}

#[test]
fn loom_channel_a_ring_delivers() {
    loom::model(|| meet(bounded(1)));
}

#[test]
fn loom_channel_a_chain_delivers() {
    loom::model(|| meet(unbounded()));
}

/// The second message waits for room, and moves into the queue when the first is taken.
#[test]
fn loom_channel_a_waiting_sender_moves_up() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let sender = thread::spawn(move || {
            tx.send(1).unwrap();
            tx.send(2).unwrap();
        });
        assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
        sender.join().unwrap();
    });
}

/// There are two receivers and two messages: each receiver gets one.
#[test]
fn loom_channel_receivers_share() {
    loom::model(|| {
        let (tx, rx) = unbounded();
        let receiver = thread::spawn({
            let rx = rx.clone();
            move || rx.recv().unwrap()
        });
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        assert_eq!(receiver.join().unwrap() + rx.recv().unwrap(), 3);
    });
}

#[test]
fn loom_channel_the_last_receiver_sends_the_sender_home() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let receiver = thread::spawn(move || drop(rx));
        assert_eq!(tx.send(1).unwrap_err().0, 1);
        receiver.join().unwrap();
    });
}

#[test]
fn loom_channel_a_close_sends_the_receiver_home() {
    loom::model(|| {
        let (tx, rx) = unbounded::<u8>();
        let closer = thread::spawn(move || assert!(tx.close()));
        assert_eq!(rx.recv(), Err(RecvError));
        closer.join().unwrap();
    });
}

/// A receiver's timer races against the hand-over: a message that was sent is received, or stays for the next receive.
#[test]
fn loom_channel_a_timeout_loses_no_message() {
    loom::model(|| {
        let channel = Arc::new(Channel::new(1));
        let ticket = Arc::new(Ticket::new());
        let waiter = Waiter::new(None);
        // SAFETY: S8: withdrawn below, or claimed.
        let listed = unsafe { channel.list_receiver(&waiter, &ticket, SOLE) };
        assert!(matches!(listed, Listed::Waits));
        let sender = thread::spawn({
            let channel = channel.clone();
            move || channel.try_send(7).unwrap()
        });
        let timer = thread::spawn({
            let ticket = ticket.clone();
            move || ticket.cell().settle(Outcome::TimedOut)
        });
        // The timer of a thread wakes no one; the timer of a coroutine unparks it.
        let outcome = loop {
            match ticket.cell().outcome() {
                Some(outcome) => break outcome,
                None => thread::yield_now(),
            }
        };
        let received = channel.receiver_has_ended(&waiter, outcome);
        // SAFETY: S8: in no list.
        let message = unsafe { waiter.with_slot(Option::take) };
        assert_eq!(message, received.then_some(7));
        sender.join().unwrap();
        timer.join().unwrap();
        assert_eq!(channel.try_recv().ok(), (!received).then_some(7));
    });
}

/// A sender's cancellation races against its receiver: the message is received or comes back.
#[test]
fn loom_channel_a_timeout_doubles_no_message() {
    loom::model(|| {
        let channel = Arc::new(Channel::new(0));
        let ticket = Arc::new(Ticket::new());
        let waiter = Waiter::new(Some(7));
        // SAFETY: S8: withdrawn below, or claimed.
        let listed = unsafe { channel.list_sender(&waiter, &ticket, SOLE) };
        assert!(matches!(listed, Listed::Waits));
        let receiver = thread::spawn({
            let channel = channel.clone();
            move || channel.try_recv().ok()
        });
        let timer = thread::spawn({
            let ticket = ticket.clone();
            move || ticket.cell().settle(Outcome::Cancelled)
        });
        let outcome = loop {
            match ticket.cell().outcome() {
                Some(outcome) => break outcome,
                None => thread::yield_now(),
            }
        };
        let sent = channel.sender_has_ended(&waiter, outcome);
        // SAFETY: S8: in no list.
        let left = unsafe { waiter.with_slot(Option::take) };
        assert_eq!(left, (!sent).then_some(7));
        assert_eq!(receiver.join().unwrap(), sent.then_some(7));
        timer.join().unwrap();
    });
}
