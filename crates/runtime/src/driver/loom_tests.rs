//! Loom models of readiness. The kernel is an atomic counter of bytes. A driver is the thread that adds to the counter
//! and then reports the event. A coroutine is a thread that loops until its cell is settled: after a lost wake-up it
//! loops for ever, which loom reports.

use super::readiness::{Direction, Enlisted, Readiness, ReadinessTick, ReadinessWaiter, Registrar};
use crate::coroutine::{Core, Outcome, Unparker, WaitCell};
use crate::sys::raw::Errno;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::ptr::NonNull;

const READABLE: u32 = libc::EPOLLIN as u32;
const ENDED: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;

struct Model {
    readiness: Readiness<()>,
    bytes: AtomicUsize,
}

fn model() -> Arc<Model> {
    Arc::new(Model {
        readiness: Readiness::new(),
        bytes: AtomicUsize::new(0),
    })
}

/// A model whose descriptor is registered already.
fn registered() -> Arc<Model> {
    let model = model();
    let waiter = ReadinessWaiter::new();
    let seen = model.readiness.look(Direction::Read);
    // SAFETY: S8: unlisted below, and nothing happens in between.
    let enlisted = unsafe { model.readiness.enlist(Direction::Read, seen, &waiter, |_| Ok(())) };
    assert_eq!(enlisted, Enlisted::Yes);
    model.readiness.unlist(Direction::Read, &waiter);
    model
}

impl Model {
    fn arrive(&self, bits: u32) {
        // AcqRel: stands for the kernel's lock, which the call and the arrival take.
        self.bytes.fetch_add(1, Ordering::AcqRel);
        self.readiness.event(0, bits, &mut Vec::new());
    }

    /// The modelled call: takes all bytes that are there.
    fn take(&self) -> usize {
        // AcqRel: as above.
        self.bytes.swap(0, Ordering::AcqRel)
    }

    fn wait(&self, seen: ReadinessTick) -> Outcome {
        let core = core();
        let cell = WaitCell::with_unparker(Unparker::Coroutine(NonNull::from(&*core)));
        let waiter = ReadinessWaiter::new();
        waiter.attach(&cell);
        // SAFETY: S8: left only when a waker has settled the cell.
        match unsafe { self.readiness.enlist(Direction::Read, seen, &waiter, |_| Ok(())) } {
            Enlisted::Yes => settled(&cell),
            Enlisted::Changed => Outcome::Woken,
            Enlisted::Refused(errno) => panic!("{errno:?}"),
        }
    }
}

/// Cores are type-stable, so the model leaks them.
fn core() -> &'static Core {
    let core = Box::leak(Box::new(Core::free()));
    core.lifecycle.begin(2);
    core
}

fn settled(cell: &WaitCell) -> Outcome {
    loop {
        if let Some(outcome) = cell.outcome() {
            return outcome;
        }
        thread::yield_now();
    }
}

/// An arrival before, during or after the try reaches the first waiter.
#[test]
fn loom_no_wake_is_lost() {
    loom::model(|| {
        let model = model();
        let kernel = model.clone();
        let kernel = thread::spawn(move || kernel.arrive(READABLE));
        loop {
            let seen = model.readiness.look(Direction::Read);
            if model.take() > 0 {
                break;
            }
            assert_eq!(model.wait(seen), Outcome::Woken);
        }
        kernel.join().unwrap();
    });
}

/// The short-read rule: a waiter does not sleep over data that arrives between the read and the note of the read.
#[test]
fn loom_a_drained_mark_hides_nothing() {
    loom::model(|| {
        let model = registered();
        let kernel = model.clone();
        let kernel = thread::spawn(move || {
            kernel.arrive(READABLE);
            kernel.arrive(READABLE);
        });
        let mut taken = 0;
        while taken < 2 {
            let seen = model.readiness.look(Direction::Read);
            let count = if model.readiness.is_drained(seen) {
                0
            } else {
                model.take()
            };
            taken += count;
            match count {
                0 => assert_eq!(model.wait(seen), Outcome::Woken),
                _ => model.readiness.set_drained(seen),
            }
        }
        kernel.join().unwrap();
    });
}

/// The peer's end comes with the last byte: the read after the short one is tried.
#[test]
fn loom_the_end_is_always_tried() {
    loom::model(|| {
        let model = registered();
        let kernel = model.clone();
        let kernel = thread::spawn(move || kernel.arrive(ENDED));
        let mut tries_after = 0;
        let mut taken = 0;
        while tries_after == 0 {
            let seen = model.readiness.look(Direction::Read);
            if model.readiness.is_drained(seen) {
                assert_eq!(model.wait(seen), Outcome::Woken);
                continue;
            }
            if taken == 1 {
                tries_after += 1;
                continue;
            }
            match model.take() {
                0 => assert_eq!(model.wait(seen), Outcome::Woken),
                count => {
                    taken += count;
                    model.readiness.set_drained(seen);
                }
            }
        }
        kernel.join().unwrap();
    });
}

/// One event settles both waiters of a direction. No thread loops here, since two looping threads keep loom busy with
/// each other: every listed waiter must be settled once the event is over.
#[test]
fn loom_two_waiters_in_one_direction() {
    loom::model(|| {
        let model = registered();
        let seen = model.readiness.look(Direction::Read);
        let list = move |model: &Model| {
            let cell = &*Box::leak(Box::new(WaitCell::with_unparker(Unparker::Coroutine(NonNull::from(
                core(),
            )))));
            let waiter = &*Box::leak(Box::new(ReadinessWaiter::new()));
            waiter.attach(cell);
            // SAFETY: S8: the model forgets both.
            match unsafe { model.readiness.enlist(Direction::Read, seen, waiter, |_| Ok(())) } {
                Enlisted::Yes => Some(cell),
                _ => None,
            }
        };
        let other = model.clone();
        let other = thread::spawn(move || list(&other));
        let kernel = model.clone();
        let kernel = thread::spawn(move || kernel.arrive(READABLE));
        let cells = [list(&model), other.join().unwrap()];
        kernel.join().unwrap();
        for cell in cells.into_iter().flatten() {
            assert_eq!(cell.outcome(), Some(Outcome::Woken));
        }
    });
}

/// A timeout and an event meet in the cell; afterwards the waiter is not in the list.
#[test]
fn loom_timeout_against_event() {
    loom::model(|| {
        let model = registered();
        let kernel = model.clone();
        let seen = model.readiness.look(Direction::Read);
        let kernel = thread::spawn(move || kernel.arrive(READABLE));
        {
            let cell = WaitCell::with_unparker(Unparker::Coroutine(NonNull::from(core())));
            let waiter = ReadinessWaiter::new();
            waiter.attach(&cell);
            // SAFETY: S8: unlisted below before the frame ends.
            let enlisted = unsafe { model.readiness.enlist(Direction::Read, seen, &waiter, |_| Ok(())) };
            if enlisted == Enlisted::Yes && cell.settle(Outcome::TimedOut) {
                model.readiness.unlist(Direction::Read, &waiter);
                assert_eq!(cell.outcome(), Some(Outcome::TimedOut));
            }
        }
        kernel.join().unwrap();
        assert_ne!(model.readiness.look(Direction::Read), seen);
    });
}

/// A waiter whose number is closed is told so, or finds the word changed and learns it from the call.
#[test]
fn loom_close_against_wait() {
    loom::model(|| {
        let model = registered();
        let seen = model.readiness.look(Direction::Read);
        let closer = model.clone();
        let closer = thread::spawn(move || closer.readiness.reset(Outcome::Closed, |()| {}));
        let outcome = model.wait(seen);
        assert!(matches!(outcome, Outcome::Closed | Outcome::Woken), "{outcome:?}");
        closer.join().unwrap();
        let seen = model.readiness.look(Direction::Read);
        model.readiness.event(0, READABLE, &mut Vec::new());
        assert_eq!(
            model.readiness.look(Direction::Read),
            seen,
            "an event of the old generation"
        );
    });
}

/// A runtime as a registrar: the runtime's number stands for its driver.
struct Runtime(usize);

impl Registrar<usize> for Runtime {
    fn is_own(&self, registration: &usize) -> bool {
        *registration == self.0
    }

    fn register(self, _: u32) -> Result<usize, Errno> {
        Ok(self.0)
    }
}

/// Two runtimes wait for one descriptor, and the driver of the first retires meanwhile. The second runtime's own driver
/// reports to its waiter. That waiter is in the list when its event comes, or has found the word changed.
#[test]
fn loom_a_driver_retires_under_another_runtimes_waiter() {
    loom::model(|| {
        let readiness = Arc::new(Readiness::<usize>::new());
        let first = ReadinessWaiter::new();
        let seen = readiness.look(Direction::Read);
        // SAFETY: S8: unlisted below, and nothing happens in between.
        let enlisted = unsafe { readiness.enlist(Direction::Read, seen, &first, Runtime(1)) };
        assert_eq!(enlisted, Enlisted::Yes);
        readiness.unlist(Direction::Read, &first);
        let retiring = readiness.clone();
        let retiring = thread::spawn(move || {
            let mut deregistered = 0;
            retiring.retire(|registration| *registration == 1, || deregistered += 1);
            assert_eq!(deregistered, 1);
        });
        let cell = &*Box::leak(Box::new(WaitCell::with_unparker(Unparker::Coroutine(NonNull::from(
            core(),
        )))));
        let waiter = &*Box::leak(Box::new(ReadinessWaiter::new()));
        waiter.attach(cell);
        let mut listed = false;
        while !listed {
            let seen = readiness.look(Direction::Read);
            // SAFETY: S8: the model forgets both.
            listed = unsafe { readiness.enlist(Direction::Read, seen, waiter, Runtime(2)) } == Enlisted::Yes;
        }
        retiring.join().unwrap();
        let mut left = Vec::new();
        readiness.event(0, READABLE, &mut Vec::new());
        assert_eq!(cell.outcome(), Some(Outcome::Woken));
        readiness.reset(Outcome::Closed, |registration| left.push(registration));
        assert_eq!(left, [2], "the second runtime's driver, and no other");
    });
}
