//! Coroutines move between workers, and what is a thread's own moves with them.
//!
//! The work is uneven on purpose: one in four units computes between its yields, so the workers' queues empty at
//! different times and the idle one steals. With one worker nothing can move; the same assertions hold and the count of
//! moves is left out.

use crate::{Executor, Kind, join_all, raw};
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io::pipe;
use std::os::fd::AsRawFd;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::{self, panicking, sleep, yield_now};
use std::time::{Duration, Instant};

/// Runs `step` in units until a move between workers was seen; `step` gets unit and round.
fn roam(ex: &dyn Executor, step: fn(usize, usize)) {
    let can_move = matches!(ex.kind(), Kind::Isolated { workers } if workers > 1);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let shared = ex.shared();
        let moves = join_all(ex.start_each(64, move |unit| {
            let mut moves = 0;
            let mut before = shared.worker_id();
            for round in 0..50 {
                step(unit, round);
                let now = shared.worker_id();
                moves += usize::from(now != before);
                before = now;
            }
            moves
        }));
        if !can_move || moves.iter().sum::<usize>() > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "no unit ever changed its worker");
    }
}

fn pause(unit: usize, round: usize) {
    if unit.is_multiple_of(4) {
        black_box((0..2_000 * (unit as u64 + 1)).fold(0u64, |sum, number| black_box(sum ^ number)));
    }
    match round % 8 {
        0 => sleep(Duration::from_micros(200)),
        _ => yield_now(),
    }
}

/// thread_local values stay with the unit.
pub fn keeps_thread_locals(ex: &dyn Executor) {
    thread_local!(static STEPS: Cell<usize> = const { Cell::new(0) });
    roam(ex, |unit, round| {
        assert_eq!(STEPS.get(), round);
        STEPS.set(round + 1);
        pause(unit, round);
        assert_eq!(STEPS.get(), round + 1);
    });
}

/// An Rc in a thread-local keeps its count and its address.
pub fn keeps_rc(ex: &dyn Executor) {
    thread_local!(static ITEM: RefCell<Rc<Cell<usize>>> = RefCell::default());
    roam(ex, |unit, round| {
        let item = ITEM.with_borrow(Rc::clone);
        item.set(unit * 1_000 + round);
        pause(unit, round);
        ITEM.with_borrow(|kept| {
            assert!(Rc::ptr_eq(kept, &item));
            assert_eq!((Rc::strong_count(kept), kept.get()), (2, unit * 1_000 + round));
        });
    });
}

/// errno set before a move is read after it.
pub fn keeps_errno(ex: &dyn Executor) {
    roam(ex, |unit, round| {
        let (reader, _writer) = pipe().unwrap();
        let expected = match unit % 2 {
            0 => {
                raw::close_fails();
                libc::EBADF
            }
            _ => {
                raw::seek_fails(reader.as_raw_fd());
                libc::ESPIPE
            }
        };
        // sched_yield alone: sleep and computation may set errno in an OS thread too.
        for _ in 0..=round % 4 {
            raw::sched_yield().unwrap();
        }
        assert_eq!(raw::errno(), Some(expected));
    });
}

/// thread::current() is the same thread after a move.
pub fn keeps_current(ex: &dyn Executor) {
    roam(ex, |unit, round| {
        let id = thread::current().id();
        pause(unit, round);
        assert_eq!(thread::current().id(), id);
    });
}

/// A guard taken before a move is given back after it.
pub fn keeps_guards(ex: &dyn Executor) {
    static LOCKS: [Mutex<usize>; 8] = [const { Mutex::new(0) }; 8];
    roam(ex, |unit, round| {
        let mut guard = LOCKS[unit % 8].lock().unwrap();
        *guard = unit;
        pause(unit, round);
        assert_eq!(*guard, unit);
    });
}

/// A move in the middle of unwinding keeps the panic count.
pub fn keeps_panic_count(ex: &dyn Executor) {
    struct Pause(usize, usize);
    impl Drop for Pause {
        fn drop(&mut self) {
            pause(self.0, self.1);
            assert!(panicking());
        }
    }
    roam(ex, |unit, round| {
        let shared = Arc::new(unit);
        let caught = catch_unwind(|| {
            let _pause = Pause(*shared, round);
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(caught.is_err() && !panicking());
    });
}
