//! flume and once_cell, unmodified: both park the thread they find by `thread::current()`.

use crate::{Executor, join_all};
use once_cell::sync::{Lazy, OnceCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

/// flume, unbounded, many producers and consumers.
pub fn flume_unbounded(ex: &dyn Executor) {
    let (sender, receiver) = flume::unbounded();
    let producers = ex.start_each(8, move |unit| {
        (0..500).for_each(|number| sender.send(unit * 500 + number).unwrap())
    });
    let consumers = ex.start_each(4, move |_| receiver.iter().collect::<Vec<_>>());
    join_all(producers);
    let mut seen = join_all(consumers).concat();
    seen.sort_unstable();
    assert!((0..4_000).eq(seen));
}

/// flume, bounded: back pressure and order.
pub fn flume_bounded(ex: &dyn Executor) {
    let (sender, receiver) = flume::bounded(2);
    let unit = ex.start(move || (0..2_000).for_each(|number| sender.send(number).unwrap()));
    assert!((0..2_000).eq(receiver.iter()));
    unit.join();
}

/// flume, rendezvous.
pub fn flume_rendezvous(ex: &dyn Executor) {
    let (sender, receiver) = flume::bounded(0);
    let unit = ex.start(move || (0..200).for_each(|number| sender.send(number).unwrap()));
    assert!((0..200).eq(receiver.iter()));
    unit.join();
}

/// flume's recv_timeout gives up, not early, and sees a disconnect.
pub fn flume_timeout(ex: &dyn Executor) {
    let (sender, receiver) = flume::unbounded::<u8>();
    let unit = ex.start(move || {
        let started = Instant::now();
        assert_eq!(receiver.recv_timeout(SHORT), Err(flume::RecvTimeoutError::Timeout));
        assert!(started.elapsed() >= SHORT);
        receiver.recv_timeout(Duration::from_secs(20))
    });
    sleep(Duration::from_millis(40));
    drop(sender);
    assert_eq!(unit.join(), Err(flume::RecvTimeoutError::Disconnected));
}

/// once_cell: one initialisation, the others wait for it.
pub fn once_cell_one_value(ex: &dyn Executor) {
    let cell = Arc::new(OnceCell::new());
    let units = ex.start_each(20, move |unit| {
        *cell.get_or_init(|| {
            sleep(Duration::from_millis(10));
            unit
        })
    });
    let values = join_all(units);
    assert!(values.iter().all(|value| *value == values[0]));
}

/// once_cell's Lazy runs its function once.
pub fn once_cell_lazy(ex: &dyn Executor) {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let lazy = Arc::new(Lazy::new(move || {
        sleep(Duration::from_millis(5));
        count.fetch_add(1, SeqCst)
    }));
    assert_eq!(join_all(ex.start_each(20, move |_| **lazy)), [0; 20]);
    assert_eq!(runs.load(SeqCst), 1);
}
