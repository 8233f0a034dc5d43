//! std::sync::Condvar: no wake-up is lost, time-outs are true, the mutex is held again on return.

use crate::{Executor, join_all};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

/// A waiter sees the change that was announced by notify_one.
pub fn wait_and_notify_one(ex: &dyn Executor) {
    let gate = Arc::new(Gate::default());
    let shared = Arc::clone(&gate);
    let waiter = ex.start(move || {
        let mut open = shared.open.lock().unwrap();
        while !*open {
            open = shared.changed.wait(open).unwrap();
        }
    });
    sleep(Duration::from_millis(10));
    *gate.open.lock().unwrap() = true;
    gate.changed.notify_one();
    waiter.join();
}

/// wait_while returns with the condition false.
pub fn wait_while_returns_open(ex: &dyn Executor) {
    let gate = Arc::new(Gate::default());
    let shared = Arc::clone(&gate);
    let opener = ex.start(move || {
        for open in [false, false, true] {
            sleep(Duration::from_millis(3));
            *shared.open.lock().unwrap() = open;
            shared.changed.notify_one();
        }
    });
    let guard = gate
        .changed
        .wait_while(gate.open.lock().unwrap(), |open| !*open)
        .unwrap();
    assert!(*guard);
    drop(guard);
    opener.join();
}

/// wait_timeout gives up, not early, with the mutex held.
pub fn wait_timeout_expires(ex: &dyn Executor) {
    ex.start(|| {
        let gate = Gate::default();
        let started = Instant::now();
        let timeout = Duration::from_millis(30);
        let guard = gate.open.lock().unwrap();
        let (guard, result) = gate.changed.wait_timeout_while(guard, timeout, |open| !*open).unwrap();
        assert!(result.timed_out());
        assert!(started.elapsed() >= timeout);
        assert!(gate.open.try_lock().is_err());
        drop(guard);
    })
    .join();
}

/// wait_timeout returns in time when notified.
pub fn wait_timeout_notified(ex: &dyn Executor) {
    let gate = Arc::new(Gate::default());
    let shared = Arc::clone(&gate);
    let waiter = ex.start(move || {
        let open = shared.open.lock().unwrap();
        let limit = Duration::from_secs(25);
        let (open, result) = shared.changed.wait_timeout_while(open, limit, |open| !*open).unwrap();
        *open && !result.timed_out()
    });
    sleep(Duration::from_millis(10));
    *gate.open.lock().unwrap() = true;
    gate.changed.notify_all();
    assert!(waiter.join());
}

/// notify_all wakes every waiter.
pub fn notify_all_wakes_everyone(ex: &dyn Executor) {
    let gate = Arc::new(Gate::default());
    let shared = Arc::clone(&gate);
    let waiters = ex.start_each(100, move |_| {
        drop(
            shared
                .changed
                .wait_while(shared.open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
    });
    sleep(Duration::from_millis(20));
    *gate.open.lock().unwrap() = true;
    gate.changed.notify_all();
    join_all(waiters);
}

/// A notification without a waiter is not stored.
pub fn notification_is_not_stored(ex: &dyn Executor) {
    ex.start(|| {
        let gate = Gate::default();
        gate.changed.notify_one();
        let started = Instant::now();
        let guard = gate.open.lock().unwrap();
        let (_guard, result) = gate
            .changed
            .wait_timeout_while(guard, Duration::from_millis(20), |open| !*open)
            .unwrap();
        assert!(result.timed_out() && started.elapsed() >= Duration::from_millis(20));
    })
    .join();
}

#[derive(Default)]
struct Queue {
    items: Mutex<VecDeque<usize>>,
    not_empty: Condvar,
    not_full: Condvar,
}

/// The textbook bounded buffer: two conditions on one mutex.
pub fn bounded_buffer(ex: &dyn Executor) {
    let queue = Arc::new(Queue::default());
    let shared = Arc::clone(&queue);
    let producers = ex.start_each(4, move |unit| {
        for number in 0..250 {
            let full = |items: &mut VecDeque<usize>| items.len() == 4;
            let mut items = shared.not_full.wait_while(shared.items.lock().unwrap(), full).unwrap();
            items.push_back(unit * 250 + number);
            drop(items);
            shared.not_empty.notify_one();
        }
    });
    let shared = Arc::clone(&queue);
    let consumers = ex.start_each(4, move |_| {
        let mut sum = 0;
        for _ in 0..250 {
            let items = shared.items.lock().unwrap();
            let mut items = shared.not_empty.wait_while(items, |items| items.is_empty()).unwrap();
            sum += items.pop_front().unwrap();
            drop(items);
            shared.not_full.notify_one();
        }
        sum
    });
    join_all(producers);
    assert_eq!(join_all(consumers).into_iter().sum::<usize>(), (0..1_000).sum());
}

/// Time-outs that race with notifications lose none of them: each token is taken once.
pub fn timeout_races(ex: &dyn Executor) {
    let tokens = Arc::new((Mutex::new(0usize), Condvar::new()));
    let shared = Arc::clone(&tokens);
    let takers = ex.start_each(8, move |_| {
        let mut taken = 0;
        while taken < 50 {
            let count = shared.0.lock().unwrap();
            let (mut count, _) = shared
                .1
                .wait_timeout_while(count, Duration::from_micros(300), |count| *count == 0)
                .unwrap();
            if *count > 0 {
                *count -= 1;
                taken += 1;
            }
        }
    });
    for number in 0..400 {
        *tokens.0.lock().unwrap() += 1;
        tokens.1.notify_one();
        if number % 16 == 0 {
            sleep(Duration::from_micros(500));
        }
    }
    join_all(takers);
    assert_eq!(*tokens.0.lock().unwrap(), 0);
}
