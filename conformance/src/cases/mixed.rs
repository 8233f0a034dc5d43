//! An OS thread, started by std, on the other side of the same lock, channel or socket.

use crate::{Executor, join_all};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

/// Units and OS threads count under one mutex.
pub fn mutex(ex: &dyn Executor) {
    let total = Arc::new(Mutex::new(0));
    let count = |total: &Mutex<i32>| (0..2_000).for_each(|_| *total.lock().unwrap() += 1);
    let shared = Arc::clone(&total);
    let units = ex.start_each(4, move |_| count(&shared));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let shared = Arc::clone(&total);
            thread::spawn(move || count(&shared))
        })
        .collect();
    join_all(units);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*total.lock().unwrap(), 16_000);
}

/// A rendezvous channel between a unit and an OS thread, both ways.
pub fn channel(ex: &dyn Executor) {
    let (to_thread, from_unit) = sync_channel(0);
    let (to_unit, from_thread) = sync_channel(0);
    let thread = thread::spawn(move || {
        from_unit
            .iter()
            .for_each(|number: u32| to_unit.send(number + 1).unwrap())
    });
    ex.start(move || {
        for number in 0..1_000 {
            to_thread.send(number).unwrap();
            assert_eq!(from_thread.recv(), Ok(number + 1));
        }
    })
    .join();
    thread.join().unwrap();
}

/// A condition variable with waiters of both sorts: notify_all reaches all of them.
pub fn condvar(ex: &dyn Executor) {
    let state = Arc::new((Mutex::new(false), Condvar::new()));
    let wait = |state: &(Mutex<bool>, Condvar)| {
        drop(state.1.wait_while(state.0.lock().unwrap(), |open| !*open).unwrap());
    };
    let shared = Arc::clone(&state);
    let units = ex.start_each(10, move |_| wait(&shared));
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let shared = Arc::clone(&state);
            thread::spawn(move || wait(&shared))
        })
        .collect();
    sleep(Duration::from_millis(20));
    *state.0.lock().unwrap() = true;
    state.1.notify_all();
    join_all(units);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A barrier with both sorts.
pub fn barrier(ex: &dyn Executor) {
    let barrier = Arc::new(Barrier::new(8));
    let meet = |barrier: &Barrier| (0..50).for_each(|_| _ = barrier.wait());
    let shared = Arc::clone(&barrier);
    let units = ex.start_each(4, move |_| meet(&shared));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let shared = Arc::clone(&barrier);
            thread::spawn(move || meet(&shared))
        })
        .collect();
    join_all(units);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A unit and an OS thread unpark each other.
pub fn park(ex: &dyn Executor) {
    let turn = Arc::new(Mutex::new(0));
    let (introduce, introduced) = sync_channel(1);
    let play = |turn: &Mutex<u32>, me: u32, other: &thread::Thread| {
        for _ in 0..500 {
            while *turn.lock().unwrap() % 2 != me {
                thread::park();
            }
            *turn.lock().unwrap() += 1;
            other.unpark();
        }
    };
    let shared = Arc::clone(&turn);
    let thread = thread::spawn(move || play(&shared, 1, &introduced.recv().unwrap()));
    let other = thread.thread().clone();
    ex.start(move || {
        introduce.send(thread::current()).unwrap();
        play(&turn, 0, &other);
    })
    .join();
    thread.join().unwrap();
}

/// A socket between a unit and an OS thread.
pub fn socket(ex: &dyn Executor) {
    let (mut one, mut two) = UnixStream::pair().unwrap();
    let thread = thread::spawn(move || {
        let mut bytes = [0; 8];
        while two.read_exact(&mut bytes).is_ok() {
            two.write_all(&bytes).unwrap();
        }
    });
    ex.start(move || {
        for number in 0..1_000u64 {
            one.write_all(&number.to_le_bytes()).unwrap();
            let mut bytes = [0; 8];
            one.read_exact(&mut bytes).unwrap();
            assert_eq!(u64::from_le_bytes(bytes), number);
        }
    })
    .join();
    thread.join().unwrap();
}

/// Joining an OS thread from a unit lets other units run.
pub fn thread_join_parks(ex: &dyn Executor) {
    let (sender, receiver) = sync_channel(1);
    let thread = thread::spawn(move || receiver.recv().unwrap());
    let joiner = ex.start(move || thread.join().unwrap());
    let talker = ex.start(move || {
        sleep(Duration::from_millis(10));
        sender.send(5).unwrap();
    });
    assert_eq!(joiner.join(), 5);
    talker.join();
}
