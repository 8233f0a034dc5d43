//! crossbeam-channel, unmodified: its waiting side keeps a context per thread, so all of it needs an identity.

use crate::{Executor, join_all};
use crossbeam_channel::{RecvTimeoutError, after, bounded, never, select, tick, unbounded};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

/// Everything sent on an unbounded channel arrives in order.
pub fn unbounded_fifo(ex: &dyn Executor) {
    let (sender, receiver) = unbounded();
    let unit = ex.start(move || (0..10_000).for_each(|number| sender.send(number).unwrap()));
    assert!((0..10_000).eq(receiver.iter()));
    unit.join();
}

/// Many to many over a small bounded channel: nothing lost, nothing doubled.
pub fn bounded_many_to_many(ex: &dyn Executor) {
    let (sender, receiver) = bounded(3);
    let producers = ex.start_each(8, move |unit| {
        (0..250).for_each(|number| sender.send(unit * 250 + number).unwrap())
    });
    let consumers = ex.start_each(8, move |_| receiver.iter().collect::<Vec<_>>());
    join_all(producers);
    let mut seen = join_all(consumers).concat();
    seen.sort_unstable();
    assert!((0..2_000).eq(seen));
}

/// A rendezvous send returns only after its value was taken.
pub fn rendezvous(ex: &dyn Executor) {
    let (sender, receiver) = bounded(0);
    let started = Instant::now();
    let unit = ex.start(move || {
        sender.send(1).unwrap();
        started.elapsed()
    });
    sleep(SHORT);
    assert_eq!(receiver.recv(), Ok(1));
    assert!(unit.join() >= SHORT);
}

/// Both ways of disconnecting wake whoever is parked.
pub fn disconnects(ex: &dyn Executor) {
    let (sender, receiver) = bounded::<u8>(1);
    let unit = ex.start(move || receiver.recv().is_err());
    sleep(SHORT);
    drop(sender);
    assert!(unit.join());
    let (sender, receiver) = bounded(0);
    let unit = ex.start(move || sender.send(5).unwrap_err().0);
    sleep(SHORT);
    drop(receiver);
    assert_eq!(unit.join(), 5);
}

/// recv_timeout gives up, not early, and delivers what comes in time.
pub fn recv_timeout(ex: &dyn Executor) {
    let (sender, receiver) = bounded(1);
    let unit = ex.start(move || {
        let started = Instant::now();
        assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        assert!(started.elapsed() >= SHORT);
        receiver.recv_timeout(Duration::from_secs(20))
    });
    sleep(Duration::from_millis(40));
    sender.send(1).unwrap();
    assert_eq!(unit.join(), Ok(1));
}

/// select! takes from whichever channel has something.
pub fn select_receives(ex: &dyn Executor) {
    let (one, from_one) = bounded(0);
    let (two, from_two) = unbounded();
    // A disconnected channel is always ready, so both stay connected to the end.
    let _connected = (one.clone(), two.clone());
    let first = ex.start(move || (0..500u64).for_each(|number| one.send(number).unwrap()));
    let second = ex.start(move || (0..500u64).for_each(|number| two.send(number).unwrap()));
    let mut sum = 0;
    for _ in 0..1_000 {
        select! {
            recv(from_one) -> number => sum += number.unwrap(),
            recv(from_two) -> number => sum += number.unwrap(),
        }
    }
    assert_eq!(sum, 2 * (0..500).sum::<u64>());
    first.join();
    second.join();
}

/// select! sends where there is room.
pub fn select_sends(ex: &dyn Executor) {
    let (one, from_one) = bounded(0);
    let (two, from_two) = bounded(0);
    let consumers = [from_one, from_two].map(|receiver| ex.start(move || receiver.iter().count()));
    for number in 0..500 {
        select! {
            send(one, number) -> result => result.unwrap(),
            send(two, number) -> result => result.unwrap(),
        }
    }
    drop((one, two));
    assert_eq!(consumers.map(|unit| unit.join()).iter().sum::<usize>(), 500);
}

/// select! with a time limit takes the default branch, not early.
pub fn select_default(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        select! {
            recv(never::<u8>()) -> _ => panic!("never is ready"),
            default(SHORT) => assert!(started.elapsed() >= SHORT),
        }
    })
    .join();
}

/// after fires once, not early.
pub fn after_fires(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        let timer = after(SHORT);
        timer.recv().unwrap();
        assert!(started.elapsed() >= SHORT);
        assert!(timer.try_recv().is_err());
    })
    .join();
}

/// tick fires again and again, never early.
pub fn tick_fires(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        let ticks = tick(Duration::from_millis(5));
        for number in 1..=6 {
            ticks.recv().unwrap();
            assert!(started.elapsed() >= Duration::from_millis(5) * number);
        }
    })
    .join();
}
