//! Does each select commit exactly one operation, whichever partner it meets, and is no message lost or doubled?

use super::super::{RecvError, bounded};
use super::{Arm, Limit, Operation, Order, Ticket, run};
use crate::coroutine::{Outcome, WaitReason};
use crate::wait;
use loom::thread;
use std::ptr::NonNull;
use std::sync::Arc;

fn select_one(arms: &[&dyn Arm]) -> usize {
    run(arms, Order::Biased, Limit::Until(None)).unwrap()
}

/// Two senders in two channels claim one select: one message is received, the other stays in its channel.
#[test]
fn loom_channel_a_select_commits_once() {
    loom::model(|| {
        let (tx1, rx1) = bounded(1);
        let (tx2, rx2) = bounded(1);
        let senders = [tx1, tx2].map(|tx| thread::spawn(move || tx.send(1).unwrap()));
        let (arm1, arm2) = (rx1.recv_arm(), rx2.recv_arm());
        let chosen = select_one(&[&arm1, &arm2]);
        let results = [arm1, arm2].map(Operation::finish);
        assert_eq!(results[chosen], Ok(1));
        assert_eq!(results[1 - chosen], Err(RecvError));
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let left = [rx1, rx2].map(|rx| rx.try_recv().ok());
        assert_eq!(left[chosen], None);
        assert_eq!(left[1 - chosen], Some(1));
    });
}

/// A select has a sending arm and a receiving arm; the partner of each tries once and leaves.
#[test]
fn loom_channel_a_select_sends_or_receives() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let (offers, requests) = bounded(0);
        let partner = thread::spawn(move || {
            let sent = tx.try_send(1).is_ok();
            (sent, requests.try_recv().ok())
        });
        let (receive, send) = (rx.recv_arm(), offers.send_arm(2));
        let chosen = select_one(&[&receive, &send]);
        let received = Operation::finish(receive).ok();
        let was_sent = chosen == 1 && Operation::finish(send).is_ok();
        let (sent, taken) = partner.join().unwrap();
        assert_eq!(received, sent.then_some(1));
        assert_eq!(taken, was_sent.then_some(2));
        assert!(!(sent && was_sent));
    });
}

/// Two selects meet crosswise over one rendezvous channel: both commit, one by sending and the other by receiving.
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
        // The two selects list their arms in opposite order: equal indices mean that one has sent and one has received.
        assert_eq!(mine, theirs);
        if mine == 0 {
            assert_eq!(Operation::finish(receive), Ok(1));
        }
    });
}

/// A timer races against the claim of an arm: the message is received or stays in the channel, as for a plain receive.
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
        wait::wait(ticket.cell(), WaitReason::Select, None, false);
        arm.withdraw();
        let received = Operation::finish(arm).ok();
        assert_eq!(ticket.winner().is_some(), received.is_some());
        sender.join().unwrap();
        timer.join().unwrap();
        assert_eq!(received.or(rx.try_recv().ok()), Some(1));
    });
}

/// The waker of an arm that claims nothing wakes the select while a sender completes its claim of another arm: the
/// message arrives whole, and nobody touches the node afterwards.
#[test]
fn loom_channel_a_waker_that_does_not_claim_hides_no_claim() {
    /// Is settled by a plain waker, as locks and joins are.
    struct Plain(Arc<loom::sync::Mutex<Option<Shared>>>);

    /// The ticket of the select, while the arm is enlisted.
    struct Shared(NonNull<Ticket>);

    // SAFETY: S8: used under the mutex, and taken out before the ticket ends.
    unsafe impl Send for Shared {}

    // SAFETY: S8: the mutex is held to publish the ticket and to take it back.
    unsafe impl Arm for Plain {
        fn try_now(&self) -> bool {
            false
        }

        unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
            *self.0.lock().unwrap() = Some(Shared(NonNull::from(ticket)));
            true
        }

        fn withdraw(&self) {
            *self.0.lock().unwrap() = None;
        }
    }

    loom::model(|| {
        let (tx, rx) = bounded(1);
        let listed = Arc::new(loom::sync::Mutex::new(None));
        let plain = Plain(listed.clone());
        let sender = thread::spawn(move || tx.send(1).unwrap());
        let waker = thread::spawn(move || {
            let unparker = listed.lock().unwrap().as_ref().and_then(|Shared(ticket): &Shared| {
                // SAFETY: S8: the arm is enlisted, and the lock is held.
                let cell = unsafe { ticket.as_ref() }.cell();
                let unparker = cell.unparker();
                cell.settle(Outcome::Woken).then_some(unparker)
            });
            if let Some(unparker) = unparker {
                unparker.unpark();
            }
        });
        let arm = rx.recv_arm();
        assert_eq!(select_one(&[&plain, &arm]), 1);
        assert_eq!(Operation::finish(arm), Ok(1));
        sender.join().unwrap();
        waker.join().unwrap();
    });
}
