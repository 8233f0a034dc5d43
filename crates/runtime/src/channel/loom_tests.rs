//! Models of the channel and of select, with OS threads as waiters: no wake is lost (loom reports a deadlock), no message is lost or doubled, and nobody
//! touches a node whose waiter has returned (loom checks the slot's cell).
//!
//! Timers and cancellation settle a cell and nothing else, so a thread that settles it stands for them.

use super::core::{Channel, Listed};
use super::select::{Arm, Limit, Order, run};
use super::waiter::{SOLE, Ticket, Waiter};
use super::{Receiver, RecvError, Sender, bounded, unbounded};
use crate::coroutine::{Outcome, WaitReason};
use crate::driver::timers;
use loom::thread;
use std::sync::Arc;

/// A send and a receive, each of which may come first and wait.
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

/// The second message waits for room, and moves up when the first is taken.
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

/// Two receivers, two messages: each gets one.
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

/// A receiver's timer against the hand-off: a message that was sent is received, or is there for the next.
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
        // The timer of a thread wakes nobody; one of a coroutine does.
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

/// A sender's timer against its receiver: the message is received or comes back.
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

fn select_one(arms: &[&dyn Arm]) -> usize {
    run(arms, Order::Biased, Limit::Until(None)).unwrap()
}

/// Two senders in two channels claim one select: one message is received, the other stays.
#[test]
fn loom_channel_a_select_commits_once() {
    loom::model(|| {
        let (tx1, rx1) = bounded(1);
        let (tx2, rx2) = bounded(1);
        let senders = [tx1, tx2].map(|tx| thread::spawn(move || tx.send(1).unwrap()));
        let (arm1, arm2) = (rx1.recv_arm(), rx2.recv_arm());
        let chosen = select_one(&[&arm1, &arm2]);
        let results = [arm1, arm2].map(super::select::Operation::finish);
        assert_eq!(results[chosen], Ok(1));
        assert_eq!(results[1 - chosen], Err(RecvError));
        senders.map(|sender| sender.join().unwrap());
        let left = [rx1, rx2].map(|rx| rx.try_recv().ok());
        assert_eq!(left[chosen], None);
        assert_eq!(left[1 - chosen], Some(1));
    });
}

/// A select's sending arm and its receiving arm, each with a partner in another thread.
#[test]
fn loom_channel_a_select_sends_or_receives() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let (offers, requests) = bounded(0);
        let partner = thread::spawn(move || {
            let sent = tx.try_send(1).is_ok();
            (sent, requests.try_recv().ok(), (tx, requests))
        });
        let (receive, send, never) = (rx.recv_arm(), offers.send_arm(2), super::never::<u8>());
        let never = never.recv_arm();
        let chosen = run(&[&receive, &never, &send], Order::Biased, Limit::Try);
        let ticketed = chosen.or_else(|| {
            // Waits at most until the partner has gone.
            run(&[&receive, &never, &send], Order::Biased, Limit::Until(None))
        });
        let received = super::select::Operation::finish(receive);
        let (sent, taken, ends) = partner.join().unwrap();
        match ticketed {
            Some(0) => assert!(sent && received == Ok(1) && taken.is_none()),
            Some(2) => assert!(!sent && taken == Some(2)),
            other => panic!("{other:?}"),
        }
        drop(ends);
    });
}

/// Two selects crosswise over two rendezvous: both commit, and to the same channel.
#[test]
fn loom_channel_selects_meet_crosswise() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let other = thread::spawn({
            let (tx, rx) = (tx.clone(), rx.clone());
            move || {
                let (send, receive) = (tx.send_arm(1), rx.recv_arm());
                select_one(&[&send, &receive])
            }
        });
        let (send, receive) = (tx.send_arm(2), rx.recv_arm());
        let mine = select_one(&[&receive, &send]);
        let theirs = other.join().unwrap();
        // Mine counts from the other end: one has sent and one has received.
        assert_eq!(mine, theirs);
        if mine == 0 {
            assert_eq!(super::select::Operation::finish(receive), Ok(1));
        }
    });
}

/// A timer against the claim of an arm: as for a plain receive.
#[test]
fn loom_channel_a_claim_wins_over_the_timer() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let ticket = Arc::new(Ticket::new());
        let arm = rx.recv_arm();
        // SAFETY: S8: withdrawn below.
        assert!(unsafe { arm.enlist(&ticket, 0) });
        let sender = thread::spawn(move || tx.send(1).unwrap());
        let timer = thread::spawn({
            let ticket = ticket.clone();
            move || {
                if ticket.cell().settle(Outcome::TimedOut) {
                    ticket.cell().unparker().unpark();
                }
            }
        });
        timers::wait(ticket.cell(), WaitReason::Select, None, false);
        arm.withdraw();
        let received = super::select::Operation::finish(arm).ok();
        assert_eq!(ticket.winner().is_some(), received.is_some());
        sender.join().unwrap();
        timer.join().unwrap();
        assert_eq!(received.or(rx.try_recv().ok()), Some(1));
    });
}
