//! Cancellation: each kind of wait unwinds, runs its destructors, and leaves nothing behind where it waited.

use super::chan::flavours;
use crate::probe::{FAR, SHORT, Tally, coroutine};
use crate::{Executor, join_all};
use silken::channel::{Select, after, bounded, broadcast, never, oneshot, tick, unbounded, watch};
use silken::time::{Ticker, interval_at};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(4);

/// Cancels a coroutine that runs `body`, once it had time to wait: that unwinds it.
fn unwinds<T>(ex: &dyn Executor, body: impl FnOnce() -> T + Send + 'static) {
    let tally = Tally::default();
    let value = tally.value();
    let waiter = coroutine(ex, move || {
        let _value = value;
        body();
    });
    sleep(MOMENT);
    waiter.cancel();
    assert!(waiter.join().expect_err("it waits for ever").is_cancelled());
    assert_eq!(tally.dropped(), 1);
}

/// Sleeping.
pub fn sleep_unwinds(ex: &dyn Executor) {
    unwinds(ex, || silken::sleep(FAR));
    unwinds(ex, || silken::sleep_until(Instant::now() + FAR));
}

/// Parking, with and without a limit.
pub fn park_unwinds(ex: &dyn Executor) {
    unwinds(ex, || {
        loop {
            silken::park();
        }
    });
    unwinds(ex, || {
        loop {
            silken::park_timeout(FAR);
        }
    });
}

/// Receiving, from channels of all kinds.
pub fn recv_unwinds(ex: &dyn Executor) {
    for (tx, rx) in flavours::<u8>() {
        unwinds(ex, move || rx.recv());
        assert!(tx.is_closed(), "the receiver is gone");
    }
    for (_tx, rx) in flavours::<u8>() {
        unwinds(ex, move || rx.recv_timeout(FAR));
    }
}

/// Receiving from the clock.
pub fn clock_recv_unwinds(ex: &dyn Executor) {
    unwinds(ex, || never::<u8>().recv());
    unwinds(ex, || after(FAR).recv());
    unwinds(ex, || tick(FAR).recv());
}

/// Sending; the message is dropped once, and is not in the channel.
pub fn send_unwinds(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let tally = Tally::default();
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|_| assert!(tx.send(tally.value()).is_ok()));
        let (value, dropped) = (tally.value(), tally.clone());
        unwinds(ex, move || tx.send(value));
        assert_eq!((dropped.dropped(), rx.iter().count()), (1, capacity));
        assert_eq!(tally.dropped(), capacity + 1);
    }
}

/// select! and Select; messages that were to be sent are dropped once.
pub fn select_unwinds(ex: &dyn Executor) {
    let tally = Tally::default();
    let ((full, full_rx), (_tx, rx)) = (bounded(0), bounded::<u8>(0));
    let (one, two) = (tally.value(), tally.value());
    let (other_full, other) = (full.clone(), rx.clone());
    unwinds(
        ex,
        move || silken::select! { send(full, one) -> _ => {} recv(rx) -> _ => {} },
    );
    unwinds(ex, move || {
        let mut select = Select::new();
        select.send(&other_full, two);
        select.recv(&other);
        drop(select.select());
    });
    assert_eq!(tally.dropped(), 2);
    assert!(full_rx.try_recv().is_err());
}

/// Joining: who joins unwinds, and who is joined goes on.
pub fn join_unwinds_the_caller(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let other = coroutine(ex, move || tx.send("went on").unwrap());
    unwinds(ex, move || other.join().unwrap());
    assert_eq!(rx.recv(), Ok("went on"));
}

/// Waiting on a oneshot, a broadcast and a watch, on either side of them.
pub fn other_channels_unwind(ex: &dyn Executor) {
    let (tx, rx) = oneshot::channel::<u8>();
    unwinds(ex, move || rx.recv());
    assert!(tx.send(1).is_err(), "the value comes back");
    let (tx, mut rx) = broadcast::channel::<u8>(1);
    let _other = rx.resubscribe();
    unwinds(ex, move || rx.recv());
    unwinds(ex, move || tx.closed());
    let (tx, mut rx) = watch::channel(0);
    let _other = rx.clone();
    unwinds(ex, move || rx.changed());
    unwinds(ex, move || tx.closed());
}

/// Waiting for a tick; the tick is left to the next who asks.
pub fn tick_unwinds(ex: &dyn Executor) {
    let start = Instant::now() + 10 * SHORT;
    let ticker = Arc::new(interval_at(start, FAR));
    let shared = ticker.clone();
    unwinds(ex, move || {
        loop {
            shared.tick();
        }
    });
    unwinds(ex, || Ticker::new(FAR).ticks().count());
    if Instant::now() < start {
        assert_eq!(ticker.tick(), start);
    }
}

/// Loops that yield, or ask.
pub fn check_points_unwind(ex: &dyn Executor) {
    unwinds(ex, || {
        loop {
            silken::yield_now();
        }
    });
    unwinds(ex, || {
        loop {
            sleep(Duration::from_micros(100));
            silken::check_cancelled();
        }
    });
}

/// A coroutine that cancels itself goes on to its next wait.
pub fn own_cancellation(ex: &dyn Executor) {
    let passed = Arc::new(AtomicUsize::new(0));
    let count = passed.clone();
    let unit = coroutine(ex, move || {
        assert!(!silken::is_cancelled());
        silken::current().cancel();
        assert!(silken::is_cancelled());
        count.fetch_add(1, SeqCst);
        silken::yield_now();
        count.fetch_add(1, SeqCst);
    });
    assert!(unit.join().unwrap_err().is_cancelled());
    assert_eq!(passed.load(SeqCst), 1);
}

/// One that is cancelled before it starts does not run, and what its closure owns is dropped; one that has ended has
/// its value.
pub fn before_and_after(ex: &dyn Executor) {
    let tally = Tally::default();
    let units: Vec<_> = (0..20)
        .map(|_| {
            let value = tally.value();
            let unit = coroutine(ex, move || {
                silken::sleep(FAR);
                drop(value);
            });
            unit.cancel();
            unit
        })
        .collect();
    for unit in units {
        assert!(unit.join().unwrap_err().is_cancelled());
    }
    assert_eq!(tally.dropped(), 20);
    let ended = coroutine(ex, || 7);
    ended.wait();
    ended.cancel();
    assert_eq!(ended.join().unwrap(), 7);
}

/// What need not wait succeeds in a cancelled coroutine.
pub fn ready_operations_succeed(ex: &dyn Executor) {
    let (tx, rx) = bounded(2);
    let other = rx.clone();
    let unit = coroutine(ex, move || {
        silken::current().cancel();
        tx.send(1).unwrap();
        tx.try_send(2).unwrap();
        assert!(tx.try_send(3).is_err());
        assert_eq!((rx.recv(), rx.try_recv()), (Ok(1), Ok(2)));
        assert!(rx.try_recv().is_err());
        tx.send(4).unwrap();
        silken::select! { recv(rx) -> got => assert_eq!(got, Ok(4)), default => panic!("it is ready") }
        tx.send(5).unwrap();
        silken::yield_now();
        unreachable!("the yield unwinds");
    });
    assert!(unit.join().unwrap_err().is_cancelled());
    assert_eq!(other.recv(), Ok(5));
}

/// A mask puts it off to the first wait after it.
pub fn mask_puts_off(ex: &dyn Executor) {
    let (tx, rx) = bounded(0);
    let (report, reports) = unbounded();
    let unit = coroutine(ex, move || {
        let got = silken::mask_cancel(|| {
            silken::mask_cancel(|| report.send(0).unwrap());
            rx.recv().unwrap()
        });
        report.send(got).unwrap();
        silken::yield_now();
        report.send(100).unwrap();
    });
    assert_eq!(reports.recv(), Ok(0));
    unit.cancel();
    sleep(MOMENT);
    tx.send(9).unwrap();
    assert!(unit.join().unwrap_err().is_cancelled());
    assert_eq!(reports.iter().collect::<Vec<_>>(), [9]);
}

/// catch_unwind does not swallow it for ever: the next wait unwinds again.
pub fn catching_is_in_vain(ex: &dyn Executor) {
    let caught = Arc::new(AtomicUsize::new(0));
    let count = caught.clone();
    let unit = coroutine(ex, move || {
        for _ in 0..3 {
            assert!(catch_unwind(AssertUnwindSafe(|| silken::sleep(FAR))).is_err());
            count.fetch_add(1, SeqCst);
        }
        silken::sleep(FAR);
    });
    sleep(MOMENT);
    unit.cancel();
    assert!(unit.join().unwrap_err().is_cancelled());
    // None, if it had not started.
    assert!(matches!(caught.load(SeqCst), 0 | 3));
}

/// Destructors that run meanwhile may wait, to the end.
pub fn destructors_may_wait(ex: &dyn Executor) {
    struct Waits(Arc<AtomicUsize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let (tx, rx) = bounded(0);
            let other = silken::spawn(move || {
                silken::sleep(Duration::from_millis(2));
                tx.send(7).unwrap();
            });
            silken::sleep(Duration::from_millis(1));
            self.0.store(rx.recv().unwrap(), SeqCst);
            other.join().unwrap();
        }
    }
    let result = Arc::new(AtomicUsize::new(0));
    let waits = Waits(result.clone());
    let unit = coroutine(ex, move || {
        let _waits = waits;
        silken::park();
    });
    sleep(MOMENT);
    unit.cancel();
    assert!(unit.join().unwrap_err().is_cancelled());
    assert_eq!(result.load(SeqCst), 7);
}

/// Who was cancelled is in no list: the next message goes to the next receiver, and the next receive to the next
/// sender.
pub fn no_ghosts(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        let (ghost, selecting) = (rx.clone(), rx.clone());
        unwinds(ex, move || ghost.recv());
        unwinds(
            ex,
            move || silken::select! { recv(selecting) -> _ => {} recv(never::<u8>()) -> _ => {} },
        );
        let other = rx.clone();
        let receiver = ex.start(move || other.recv());
        tx.send(1).unwrap();
        assert_eq!(receiver.join(), Ok(1));
        (0..capacity).for_each(|_| tx.send(2).unwrap());
        let (ghost, selecting) = (tx.clone(), tx.clone());
        unwinds(ex, move || ghost.send(3));
        unwinds(
            ex,
            move || silken::select! { send(selecting, 4) -> _ => {} recv(never::<u8>()) -> _ => {} },
        );
        let sender = ex.start(move || tx.send(5));
        assert_eq!(rx.iter().collect::<Vec<_>>()[capacity..], [5]);
        assert_eq!(sender.join(), Ok(()));
    }
}

/// A message that is handed over while its receiver is cancelled is received, or is left for another; it is never lost.
pub fn races_with_messages(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let received = Arc::new(AtomicUsize::new(0));
        let mut left = 0;
        for round in 0..60 {
            let (mine, count) = (rx.clone(), received.clone());
            let receiver = coroutine(ex, move || {
                if mine.recv().is_ok() {
                    count.fetch_add(1, SeqCst);
                }
            });
            if round % 2 == 0 {
                sleep(Duration::from_micros(100));
            }
            let name = receiver.coroutine();
            let canceller = ex.start(move || name.cancel());
            // Without room it is sent only if somebody receives it.
            if tx.capacity() == Some(0) {
                if tx.send_timeout((), MOMENT).is_err() {
                    left += 1;
                }
            } else {
                tx.send(()).unwrap();
            }
            canceller.join();
            drop(receiver.join());
            left += rx.try_iter().count();
        }
        assert_eq!(received.load(SeqCst) + left, 60);
    }
}

/// A send that is cancelled while its message is taken has sent it or dropped it.
pub fn races_with_room(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let tally = Tally::default();
        let (tx, rx) = bounded(capacity);
        let receiver = ex.start(move || rx.iter().count());
        let sent = Arc::new(AtomicUsize::new(0));
        for _ in 0..60 {
            let (value, tx, count) = (tally.value(), tx.clone(), sent.clone());
            let sender = coroutine(ex, move || {
                if tx.send(value).is_ok() {
                    count.fetch_add(1, SeqCst);
                }
            });
            silken::yield_now();
            sender.cancel();
            drop(sender.join());
        }
        drop(tx);
        assert_eq!(receiver.join(), sent.load(SeqCst));
        assert_eq!(tally.dropped(), 60);
    }
}

/// A cancelled parent cancels its scope's children, and theirs, and waits for them.
pub fn scope_cancels_children(ex: &dyn Executor) {
    let tally = Tally::default();
    let values = tally.clone();
    unwinds(ex, move || {
        silken::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    let _value = values.value();
                    silken::scope(|s| {
                        s.spawn(|| {
                            let _value = values.value();
                            silken::sleep(FAR);
                        });
                    });
                });
            }
        });
    });
    assert_eq!(tally.dropped(), tally.made());
}

/// std's sleep returns early, and the next wait unwinds.
pub fn std_sleep_is_cut_short(ex: &dyn Executor) {
    unwinds(ex, || {
        sleep(FAR);
        silken::yield_now();
    });
}

/// A read of a socket fails with ECANCELED.
pub fn socket_read_fails(ex: &dyn Executor) {
    let (mut one, _other) = UnixStream::pair().unwrap();
    let (tx, rx) = oneshot::channel();
    let (started, has_started) = oneshot::channel();
    let reader = coroutine(ex, move || {
        started.send(()).unwrap();
        tx.send(one.read(&mut [0]).map_err(|error| error.raw_os_error()))
            .unwrap();
    });
    has_started.recv().unwrap();
    sleep(MOMENT);
    reader.cancel();
    assert_eq!(rx.recv(), Ok(Err(Some(libc::ECANCELED))));
    reader.join().unwrap();
}

/// A lock of std's is waited for to the end; the next wait unwinds.
pub fn std_lock_is_waited_for(ex: &dyn Executor) {
    let lock = Arc::new(Mutex::new(0));
    let guard = lock.lock().unwrap();
    let shared = lock.clone();
    let (started, has_started) = oneshot::channel();
    let unit = coroutine(ex, move || {
        started.send(()).unwrap();
        *shared.lock().unwrap() += 1;
        silken::yield_now();
        *shared.lock().unwrap() += 1;
    });
    has_started.recv().unwrap();
    sleep(MOMENT);
    unit.cancel();
    sleep(MOMENT);
    drop(guard);
    assert!(unit.join().unwrap_err().is_cancelled());
    assert_eq!(*lock.lock().unwrap(), 1);
}

/// Many at once, that wait in different places, cancelled from several units.
pub fn many(ex: &dyn Executor) {
    let tally = Tally::default();
    let (tx, rx) = bounded::<u8>(0);
    let units: Vec<_> = (0..200)
        .map(|number| {
            let (value, tx, rx) = (tally.value(), tx.clone(), rx.clone());
            coroutine(ex, move || {
                let _value = value;
                match number % 4 {
                    0 => silken::sleep(FAR),
                    1 => drop(never::<u8>().recv()),
                    2 => silken::select! { recv(never::<u8>()) -> _ => {} recv(after(FAR)) -> _ => {} },
                    _ => drop((after(FAR).recv(), tx, rx)),
                }
            })
        })
        .collect();
    let names: Arc<[_]> = units.iter().map(|unit| unit.coroutine()).collect();
    join_all(ex.start_each(4, move |unit| {
        names.iter().skip(unit).step_by(2).for_each(|name| name.cancel())
    }));
    assert!(
        units
            .into_iter()
            .all(|unit| unit.join().is_err_and(|error| error.is_cancelled()))
    );
    assert_eq!((tally.dropped(), tx.sender_count(), rx.receiver_count()), (200, 1, 1));
}
