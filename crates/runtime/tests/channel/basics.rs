//! What can be told without waiting.

use super::Counted;
use silken::channel::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn messages_keep_their_order_and_none_is_lost() {
    for (tx, rx) in [unbounded(), bounded(5000), bounded(1000)] {
        for n in 0..1000 {
            tx.send(n).unwrap();
        }
        assert_eq!((tx.len(), rx.len()), (1000, 1000));
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    }
}

#[test]
fn the_bound_is_exact() {
    for capacity in [0, 1, 3, 1024, 1025, 3000] {
        let (tx, rx) = bounded(capacity);
        assert_eq!((tx.capacity(), rx.capacity()), (Some(capacity), Some(capacity)));
        assert_eq!(tx.is_full(), capacity == 0);
        for n in 0..capacity {
            assert_eq!(tx.try_send(n), Ok(()));
        }
        assert!(tx.is_full() && rx.is_full());
        assert_eq!(tx.try_send(7), Err(TrySendError::Full(7)));
        if capacity > 0 {
            assert_eq!(rx.try_recv(), Ok(0));
            assert!(!tx.is_full());
            assert_eq!(tx.try_send(7), Ok(()));
        }
        assert_eq!(rx.len(), capacity);
    }
    let (tx, _rx) = unbounded::<()>();
    assert_eq!((tx.capacity(), tx.is_full()), (None, false));
    let (tx, _rx) = bounded::<[u8; 1 << 10]>(usize::MAX / 2);
    assert_eq!(tx.capacity(), Some(usize::MAX / 2));
}

#[test]
fn every_error_gives_the_value_back() {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        if capacity == 1 {
            tx.send(0).unwrap();
        }
        assert_eq!(tx.try_send(1).unwrap_err(), TrySendError::Full(1));
        let short = Duration::from_millis(1);
        assert_eq!(tx.send_timeout(2, short).unwrap_err(), SendTimeoutError::Timeout(2));
        let past = Instant::now();
        assert_eq!(tx.send_deadline(2, past).unwrap_err(), SendTimeoutError::Timeout(2));
        drop(rx);
        assert_eq!(tx.try_send(3).unwrap_err(), TrySendError::Disconnected(3));
        assert_eq!(
            tx.send_timeout(4, short).unwrap_err(),
            SendTimeoutError::Disconnected(4)
        );
        assert_eq!(tx.send(5).unwrap_err().into_inner(), 5);
    }
}

#[test]
fn receivers_drain_what_is_left_when_the_senders_have_gone() {
    let (tx, rx) = unbounded();
    let other = tx.clone();
    tx.send(1).unwrap();
    drop(tx);
    other.send(2).unwrap();
    drop(other);
    assert!(rx.is_closed());
    assert_eq!((rx.recv(), rx.recv_timeout(Duration::ZERO)), (Ok(1), Ok(2)));
    assert_eq!(rx.recv(), Err(RecvError));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(rx.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn queued_messages_are_dropped_at_once_when_the_last_receiver_leaves() {
    for capacity in [8, 2000, usize::MAX] {
        let drops = AtomicUsize::new(0);
        let (tx, rx) = bounded(capacity);
        for _ in 0..5 {
            tx.send(Counted(&drops)).unwrap();
        }
        let other = rx.clone();
        drop(rx);
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        drop(other);
        assert_eq!(drops.load(Ordering::Relaxed), 5);
        assert_eq!(tx.len(), 0);
        drop(tx.send(Counted(&drops)).unwrap_err());
        assert_eq!(drops.load(Ordering::Relaxed), 6);
    }
}

/// A message's destructor may use the channel: no lock is held.
#[test]
fn destructors_run_outside_the_lock() {
    struct Nosy(Option<Sender<Nosy>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(tx) = &self.0 {
                let error = tx.try_send(Nosy(None)).unwrap_err();
                assert!(error.is_disconnected() && tx.is_closed());
            }
        }
    }
    let (tx, rx) = unbounded();
    tx.send(Nosy(Some(tx.clone()))).unwrap();
    drop(rx);
    assert_eq!(tx.sender_count(), 1);
}

#[test]
fn ends_are_counted_and_compared() {
    let (tx, rx) = bounded::<u8>(1);
    let (other_tx, other_rx) = bounded::<u8>(1);
    let (tx2, rx2) = (tx.clone(), rx.clone());
    assert_eq!((tx.sender_count(), rx.receiver_count()), (2, 2));
    assert_eq!((rx.sender_count(), tx.receiver_count()), (2, 2));
    assert!(tx.same_channel(&tx2) && rx.same_channel(&rx2));
    assert!(!tx.same_channel(&other_tx) && !rx.same_channel(&other_rx));
    drop((tx2, rx2));
    assert_eq!((tx.sender_count(), rx.receiver_count()), (1, 1));
}

#[test]
fn a_closed_channel_can_still_be_drained() {
    let (tx, rx) = bounded(3);
    tx.send(1).unwrap();
    assert!(!tx.is_closed() && rx.close() && !tx.close());
    assert!(tx.is_closed() && rx.is_closed());
    assert_eq!(tx.try_send(2), Err(TrySendError::Disconnected(2)));
    assert_eq!(rx.into_iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn both_ends_go_between_threads_and_are_shared() {
    fn check<T: Send + Sync + Clone + std::panic::UnwindSafe + std::panic::RefUnwindSafe>(_: &T) {}
    let (tx, rx) = unbounded::<std::cell::Cell<u8>>();
    check(&tx);
    check(&rx);
}

#[test]
fn errors_speak_and_convert() {
    fn text(error: impl std::error::Error) -> String {
        error.to_string()
    }
    struct NotDebug;
    assert_eq!(text(SendError(NotDebug)), "sending on a disconnected channel");
    assert_eq!(text(TrySendError::Full(NotDebug)), "sending on a full channel");
    assert_eq!(text(SendTimeoutError::Timeout(NotDebug)), "timed out waiting to send");
    assert_eq!(text(RecvError), "receiving on an empty and disconnected channel");
    assert_eq!(text(TryRecvError::Empty), "receiving on an empty channel");
    assert_eq!(text(RecvTimeoutError::Timeout), "timed out waiting to receive");
    assert_eq!(TrySendError::from(SendError(1)), TrySendError::Disconnected(1));
    assert_eq!(SendTimeoutError::from(SendError(1)), SendTimeoutError::Disconnected(1));
    assert_eq!(TryRecvError::from(RecvError), TryRecvError::Disconnected);
    assert_eq!(RecvTimeoutError::from(RecvError), RecvTimeoutError::Disconnected);
}
