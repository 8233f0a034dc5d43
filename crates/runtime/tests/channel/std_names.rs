//! `mpsc`, `mpmc` and `spsc`: code written for std compiles with another `use`.

use super::everywhere;
use std::time::Duration;

macro_rules! as_std {
    ($name:ident, $($path:tt)*) => {
        mod $name {
            use std::time::Duration;
            use $($path)*::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError, channel, sync_channel};

            #[test]
            fn behaves_as_std() {
                let (tx, rx) = channel();
                tx.send(1).unwrap();
                tx.send(2).unwrap();
                assert_eq!((rx.recv(), rx.try_recv()), (Ok(1), Ok(2)));
                assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
                tx.send(3).unwrap();
                tx.send(4).unwrap();
                assert_eq!(rx.try_iter().collect::<Vec<_>>(), [3, 4]);
                drop(tx);
                assert_eq!((rx.recv(), rx.try_recv()), (Err(RecvError), Err(TryRecvError::Disconnected)));
                let (tx, rx) = sync_channel(1);
                assert_eq!(tx.try_send('a'), Ok(()));
                assert_eq!(tx.try_send('b'), Err(TrySendError::Full('b')));
                for letter in &rx {
                    assert_eq!(letter, 'a');
                    break;
                }
                drop(rx);
                assert_eq!(tx.send('c'), Err(SendError('c')));
                assert_eq!(tx.try_send('d'), Err(TrySendError::Disconnected('d')));
            }
        }
    };
}

// The case, against std itself, and against ours.
as_std!(std_mpsc, std::sync::mpsc);
as_std!(mpsc, silken::mpsc);
as_std!(spsc, silken::spsc);
as_std!(mpmc, silken::mpmc);

#[test]
fn senders_of_an_mpsc_channel_are_cloned() {
    everywhere(|cast| {
        let (tx, rx) = silken::mpsc::sync_channel(0);
        let senders: Vec<_> = (0..5)
            .map(|n| {
                let tx = tx.clone();
                cast.spawn(move || tx.send(n).unwrap())
            })
            .collect();
        drop(tx);
        assert_eq!(rx.into_iter().sum::<i32>(), 10);
        for sender in senders {
            sender.join();
        }
    });
}

#[test]
fn a_single_producer_and_a_single_consumer() {
    everywhere(|cast| {
        let (tx, rx) = silken::spsc::sync_channel(3);
        let sender = cast.spawn(move || (0..100).for_each(|n| tx.send(n).unwrap()));
        let mut received = Vec::new();
        while let Ok(n) = rx.recv_timeout(Duration::from_secs(60)) {
            received.push(n);
        }
        assert_eq!(received, (0..100).collect::<Vec<_>>());
        sender.join();
    });
}
