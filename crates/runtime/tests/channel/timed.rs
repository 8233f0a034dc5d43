//! after, tick, never.

use super::{everywhere, in_runtimes, pause};
use silken::channel::*;
use silken::select;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn after_comes_once_and_not_before() {
    everywhere(|cast| {
        cast.spawn(|| {
            let begun = Instant::now();
            let timeout = after(SHORT);
            let clone = timeout.clone();
            assert!(timeout.same_channel(&clone) && !timeout.same_channel(&after(SHORT)));
            assert_eq!((timeout.len(), timeout.capacity()), (0, Some(1)));
            let early = timeout.recv_timeout(SHORT / 5);
            assert_eq!(early, Err(RecvTimeoutError::Timeout));
            let message = timeout.recv().unwrap();
            assert!(message >= begun + SHORT && Instant::now() >= message);
            assert_eq!(clone.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(clone.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
            assert!(!timeout.is_closed() && !timeout.close());
        })
        .join();
    });
}

#[test]
fn ticks_come_in_their_rhythm() {
    everywhere(|cast| {
        cast.spawn(|| {
            let ticks = tick(SHORT);
            let begun = Instant::now();
            let times: Vec<_> = ticks.iter().take(4).collect();
            assert!(begun.elapsed() >= 4 * SHORT - Duration::from_millis(1));
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= SHORT));
            silken::sleep(5 * SHORT);
            // Missed ones are skipped.
            assert_eq!((ticks.len(), ticks.try_iter().count()), (1, 1));
        })
        .join();
    });
}

#[test]
fn timers_are_arms() {
    everywhere(|cast| {
        cast.spawn(|| {
            let begun = Instant::now();
            let (ticks, end) = (tick(SHORT / 5), after(4 * SHORT));
            let (mut count, (_tx, rx)) = (0, unbounded::<()>());
            loop {
                select! {
                    recv(ticks) -> _ => count += 1,
                    recv(end) -> _ => break,
                    recv(rx) -> _ => unreachable!(),
                    recv(never::<u8>()) -> _ => unreachable!(),
                }
            }
            assert!(begun.elapsed() >= 4 * SHORT && (1..=20).contains(&count));
        })
        .join();
    });
}

#[test]
fn one_timer_for_many_receivers() {
    everywhere(|cast| {
        let timeout = after(SHORT);
        let receivers: Vec<_> = (0..8)
            .map(|_| {
                let timeout = timeout.clone();
                cast.spawn(move || timeout.recv_timeout(4 * SHORT).is_ok())
            })
            .collect();
        let received = receivers.into_iter().map(super::Player::join);
        assert_eq!(received.filter(|&got| got).count(), 1);
    });
}

#[test]
fn never_is_never() {
    let never = never::<u8>();
    assert_eq!(never.recv_timeout(SHORT / 5), Err(RecvTimeoutError::Timeout));
    assert_eq!(never.try_recv(), Err(TryRecvError::Empty));
    assert!(never.is_empty() && never.is_full() && never.same_channel(&silken::channel::never()));
}

#[test]
fn waiting_for_the_clock_can_be_cancelled() {
    in_runtimes(|| {
        let waits: [fn(); 3] = [
            || assert!(never::<u8>().recv().is_err()),
            || assert!(after(Duration::MAX).recv().is_err()),
            || select! { recv(tick(super::LONG)) -> _ => () },
        ];
        for wait in waits {
            let waiter = silken::spawn(wait);
            pause();
            waiter.cancel();
            assert!(waiter.join().unwrap_err().is_cancelled());
        }
    });
}
