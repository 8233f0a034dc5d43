//! thread::park and unpark through `thread::current()`: the parker belongs to the unit, not to its worker.

use crate::{Executor, join_all};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// unpark ends a park.
pub fn unpark_wakes(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let unit = ex.start(move || {
        sender.send(thread::current()).unwrap();
        while !seen.load(SeqCst) {
            thread::park();
        }
    });
    let handle = receiver.recv().unwrap();
    sleep(Duration::from_millis(10));
    flag.store(true, SeqCst);
    handle.unpark();
    unit.join();
}

/// A token given before the park is kept: park returns at once.
pub fn token_is_kept(ex: &dyn Executor) {
    ex.start(|| {
        thread::current().unpark();
        thread::park();
    })
    .join();
}

/// Tokens do not add up: two unparks let one park through.
pub fn tokens_do_not_add_up(ex: &dyn Executor) {
    ex.start(|| {
        thread::current().unpark();
        thread::current().unpark();
        thread::park();
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(20) {
            thread::park_timeout(Duration::from_millis(20).saturating_sub(started.elapsed()));
        }
    })
    .join();
}

/// park_timeout comes back without an unpark.
pub fn timeout_returns(ex: &dyn Executor) {
    ex.start(|| thread::park_timeout(Duration::from_millis(20))).join();
}

/// park_timeout comes back early when unparked.
pub fn timeout_is_cut_short(ex: &dyn Executor) {
    let (sender, receiver) = channel();
    let unit = ex.start(move || {
        sender.send(thread::current()).unwrap();
        thread::park_timeout(Duration::from_secs(60));
    });
    receiver.recv().unwrap().unpark();
    unit.join();
}

/// A token goes round a ring of units: an unpark reaches its own unit and no other.
pub fn ring(ex: &dyn Executor) {
    const UNITS: usize = 20;
    let turn = Arc::new(AtomicUsize::new(0));
    let handles = Arc::new(Mutex::new(vec![None; UNITS]));
    let ready = Arc::new(Barrier::new(UNITS));
    join_all(ex.start_each(UNITS, move |unit| {
        handles.lock().unwrap()[unit] = Some(thread::current());
        ready.wait();
        let next = handles.lock().unwrap()[(unit + 1) % UNITS].clone().unwrap();
        for round in 0..50 {
            while turn.load(SeqCst) != round * UNITS + unit {
                thread::park();
            }
            turn.fetch_add(1, SeqCst);
            next.unpark();
        }
    }));
}
