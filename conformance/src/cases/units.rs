//! Starting, nesting and joining units.

use crate::{Executor, join_all};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// join gives the result.
pub fn results(ex: &dyn Executor) {
    let units = ex.start_each(100, |unit| format!("{unit}"));
    assert!(
        join_all(units)
            .iter()
            .enumerate()
            .all(|(unit, text)| *text == unit.to_string())
    );
}

/// A unit that ended long before its join gives its result too.
pub fn late_join(ex: &dyn Executor) {
    let unit = ex.start(|| vec![1; 100]);
    sleep(Duration::from_millis(20));
    assert_eq!(unit.join().len(), 100);
}

/// Many units, one after the other: stacks are given back.
pub fn many_in_turn(ex: &dyn Executor) {
    for number in 0..ex.many(10_000, 500) {
        assert_eq!(ex.start(move || number).join(), number);
    }
}

/// Many units at once.
pub fn many_at_once(ex: &dyn Executor) {
    let count = ex.many(10_000, 500);
    let total = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&total);
    join_all(ex.start_each(count, move |_| {
        yield_now();
        shared.fetch_add(1, SeqCst);
    }));
    assert_eq!(total.load(SeqCst), count);
}

fn tree(ex: &dyn Executor, depth: usize) -> usize {
    if depth == 0 {
        return 1;
    }
    let units: Vec<_> = (0..2)
        .map(|_| {
            let shared = ex.shared();
            ex.start(move || tree(&*shared, depth - 1))
        })
        .collect();
    1 + join_all(units).into_iter().sum::<usize>()
}

/// Units start units.
pub fn nested(ex: &dyn Executor) {
    assert_eq!(tree(ex, 7), 255);
}

/// Data shared by Arc is freed by the last unit.
pub fn arc_is_freed(ex: &dyn Executor) {
    let value = Arc::new(5);
    let units: Vec<_> = (0..100)
        .map(|_| {
            let value = Arc::clone(&value);
            ex.start(move || *value)
        })
        .collect();
    assert_eq!(join_all(units).into_iter().sum::<i32>(), 500);
    assert_eq!(Arc::try_unwrap(value), Ok(5));
}

fn descend(depth: usize) -> usize {
    let frame = black_box([depth; 32]);
    if depth == 0 {
        yield_now();
        return 0;
    }
    descend(depth - 1) + usize::from(frame[31] == depth)
}

/// Recursion 100 deep with a wait at the bottom finds its frames again.
pub fn recursion(ex: &dyn Executor) {
    assert_eq!(join_all(ex.start_each(20, |_| descend(100))), [100; 20]);
}
