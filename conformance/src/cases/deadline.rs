//! silken::timeout: every wait of silken's ends with the time, on coroutines and on OS threads; nested and inherited.

use crate::harness::deliberate_panic;
use crate::probe::{FAR, SHORT, Tally};
use crate::{Executor, join_all};
use silken::channel::{RecvTimeoutError, bounded, broadcast, never, oneshot, unbounded, watch};
use silken::time::Ticker;
use silken::{Elapsed, timeout, timeout_at};
use std::panic::catch_unwind;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time runs out, not early, and destructors run.
pub fn expires(ex: &dyn Executor) {
    ex.start(|| {
        let tally = Tally::default();
        let value = tally.value();
        let started = Instant::now();
        let late = timeout(SHORT, move || {
            let _value = value;
            silken::sleep(FAR);
        });
        assert_eq!(late, Err(Elapsed));
        assert!(started.elapsed() >= SHORT);
        assert_eq!(tally.dropped(), 1);
        silken::sleep(Duration::from_millis(1));
    })
    .join();
}

/// What ends in time is the answer, also what ends late without having waited.
pub fn value_is_the_answer(ex: &dyn Executor) {
    ex.start(|| {
        assert_eq!(timeout(FAR, || 1), Ok(1));
        assert_eq!(timeout(Duration::ZERO, || 2), Ok(2));
        let computes = || {
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(2) {}
            3
        };
        assert_eq!(timeout(Duration::from_millis(1), computes), Ok(3));
        assert_eq!(timeout(FAR, || silken::sleep(Duration::from_millis(1))), Ok(()));
    })
    .join();
}

fn ends<T>(body: impl FnOnce() -> T) {
    let started = Instant::now();
    assert!(timeout(Duration::from_millis(3), body).is_err());
    assert!(started.elapsed() >= Duration::from_millis(3));
}

/// Each wait on a channel ends.
pub fn channel_waits_end(ex: &dyn Executor) {
    ex.start(|| {
        let ((full, rx), (_empty_tx, empty)) = (bounded(0), unbounded::<u8>());
        ends(|| full.send(1));
        ends(|| empty.recv());
        ends(|| empty.recv_timeout(FAR));
        ends(|| never::<u8>().recv());
        ends(|| silken::select! { send(full, 2) -> _ => {} recv(empty) -> _ => {} });
        assert!(rx.try_recv().is_err(), "nothing is left of the sends");
        let (_tx, rx) = oneshot::channel::<u8>();
        ends(|| rx.recv());
        let (tx, mut rx) = broadcast::channel::<u8>(1);
        ends(|| rx.recv());
        ends(|| tx.closed());
        let (_tx, mut rx) = watch::channel(0);
        ends(|| rx.changed());
    })
    .join();
}

/// The other waits end.
pub fn other_waits_end(ex: &dyn Executor) {
    ex.start(|| {
        ends(|| silken::sleep(FAR));
        ends(|| {
            loop {
                silken::park();
            }
        });
        ends(|| {
            loop {
                silken::park_timeout(FAR);
            }
        });
        ends(|| Ticker::new(FAR).tick());
        ends(|| {
            loop {
                silken::yield_now();
            }
        });
        ends(|| {
            loop {
                silken::check_cancelled();
            }
        });
        let other = silken::spawn(|| silken::sleep(FAR));
        ends(|| other.wait());
        other.cancel();
        assert!(other.join().unwrap_err().is_cancelled());
    })
    .join();
}

/// A message that comes after the time was up is for the next receive.
pub fn message_is_not_lost(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let receiver = ex.start(move || {
        assert_eq!(timeout(Duration::from_millis(2), || rx.recv()), Err(Elapsed));
        rx.recv()
    });
    sleep(SHORT);
    tx.send(1).unwrap();
    assert_eq!(receiver.join(), Ok(1));
}

/// Time that runs out while messages come loses none.
pub fn races_with_messages(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let producer = ex.start(move || {
        for number in 0..50 {
            silken::sleep(Duration::from_micros(150));
            tx.send(number).unwrap();
        }
    });
    let receiver = ex.start(move || {
        let mut expected = 0;
        loop {
            match timeout(Duration::from_micros(200), || rx.recv()) {
                Ok(Ok(number)) => {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                Ok(Err(_)) => return expected,
                Err(Elapsed) => {}
            }
        }
    });
    producer.join();
    assert_eq!(receiver.join(), 50);
}

/// The earliest of nested limits counts, and the one that set it gets the answer.
pub fn nested(ex: &dyn Executor) {
    ex.start(|| {
        let inner = timeout(FAR, || timeout(SHORT, || silken::sleep(FAR)));
        assert_eq!(inner, Ok(Err(Elapsed)));
        let outer = timeout(SHORT, || timeout(FAR, || silken::sleep(FAR)));
        assert_eq!(outer, Err(Elapsed));
        let (_tx, rx) = bounded::<u8>(0);
        let own = timeout(FAR, || rx.recv_timeout(Duration::from_millis(1)));
        assert_eq!(own, Ok(Err(RecvTimeoutError::Timeout)));
        let again = timeout(FAR, || {
            (0..5)
                .filter(|_| timeout(Duration::from_millis(1), || silken::sleep(FAR)).is_err())
                .count()
        });
        assert_eq!(again, Ok(5));
    })
    .join();
}

/// A limit that is past already ends the first wait.
pub fn past_deadline(ex: &dyn Executor) {
    ex.start(|| {
        let past = Instant::now();
        assert_eq!(timeout_at(past, || silken::sleep(FAR)), Err(Elapsed));
        assert_eq!(timeout_at(past, || 5), Ok(5));
        assert_eq!(timeout_at(past + FAR, silken::yield_now), Ok(()));
    })
    .join();
}

/// A caller may ask what is left.
pub fn time_left(ex: &dyn Executor) {
    ex.start(|| {
        assert_eq!((silken::time_left(), silken::deadline()), (None, None));
        let end = Instant::now() + FAR;
        timeout(FAR, || {
            let left = silken::time_left().unwrap();
            assert!(left <= FAR && silken::deadline().unwrap() + Duration::from_secs(1) >= end);
            timeout(2 * FAR, || assert!(silken::time_left().unwrap() <= left)).unwrap();
            timeout(SHORT, || assert!(silken::time_left().unwrap() <= SHORT)).unwrap();
        })
        .unwrap();
        assert_eq!(silken::time_left(), None);
    })
    .join();
}

/// A scope's children keep to the time that their parent has.
pub fn children_inherit(ex: &dyn Executor) {
    ex.start(|| {
        let tally = Tally::default();
        let started = Instant::now();
        let late = timeout(SHORT, || {
            silken::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        let _value = tally.value();
                        assert!(silken::time_left().unwrap() <= SHORT);
                        silken::sleep(FAR);
                    });
                }
            });
        });
        assert_eq!(late, Err(Elapsed));
        assert!(started.elapsed() >= SHORT);
        assert_eq!(tally.dropped(), tally.made());
    })
    .join();
}

/// A mask keeps the time that is set outside away, not the time that is set inside.
pub fn masked(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        let late = timeout(Duration::from_millis(1), || {
            silken::mask_cancel(|| {
                silken::sleep(SHORT);
                assert_eq!(timeout(Duration::from_millis(1), || silken::sleep(FAR)), Err(Elapsed));
            });
            silken::yield_now();
        });
        assert_eq!(late, Err(Elapsed));
        assert!(started.elapsed() >= SHORT);
    })
    .join();
}

/// A panic passes through.
pub fn panic_passes(ex: &dyn Executor) {
    ex.start(|| {
        assert!(catch_unwind(|| timeout(FAR, || deliberate_panic())).is_err());
        assert_eq!(silken::time_left(), None);
    })
    .join();
}

/// Each unit has its own time.
pub fn units_do_not_mix(ex: &dyn Executor) {
    let results = join_all(ex.start_each(10, |unit| {
        let limit = if unit % 2 == 0 { Duration::from_millis(2) } else { FAR };
        timeout(limit, || {
            silken::sleep(Duration::from_millis(if unit % 2 == 0 { 60_000 } else { 5 }))
        })
    }));
    for (unit, result) in results.into_iter().enumerate() {
        assert_eq!(result.is_err(), unit % 2 == 0);
    }
}
