//! What a signal handler may do to descriptors, wherever it interrupts.

use super::signals::{handle, own_thread, signal_thread};
use super::{PATIENCE, SOON, alone, runtime};
use libc::{c_int, c_long};
use std::io::Write;
use std::os::fd::{IntoRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};

static NEW: AtomicI32 = AtomicI32::new(-1);
static OLD: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: c_int) {
    let new = NEW.load(SeqCst);
    // SAFETY: S7: numbers of ours.
    unsafe { libc::dup2(new, OLD.load(SeqCst)) };
    // SAFETY: S7: numbers of ours.
    unsafe { libc::close(new) };
    NEW.store(-1, SeqCst);
}

/// Reads one byte.
fn read_byte(fd: RawFd) -> Option<u8> {
    let mut byte = 0_u8;
    // SAFETY: S7: a byte of ours.
    (unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } == 1).then_some(byte)
}

/// A pipe is waited for; the handler, which interrupts the worker, puts another one in its place; that one is waited
/// for.
fn replace_by_handler(runtime: &silken::Runtime, worker: c_long) {
    let [(old, mut old_end), (new, mut new_end)] = std::array::from_fn(|_| {
        let (reader, writer) = std::io::pipe().unwrap();
        (reader.into_raw_fd(), writer)
    });
    let first = runtime.spawn(move || read_byte(old));
    std::thread::sleep(SOON / 20);
    old_end.write_all(b"x").unwrap();
    assert_eq!(
        first.join_timeout(PATIENCE).expect("it waits for the pipe").unwrap(),
        Some(b'x')
    );
    OLD.store(old, SeqCst);
    NEW.store(new, SeqCst);
    signal_thread(worker, libc::SIGUSR1);
    while NEW.load(SeqCst) >= 0 {
        std::hint::spin_loop();
    }
    let second = runtime.spawn(move || read_byte(old));
    std::thread::sleep(SOON / 20);
    new_end.write_all(b"y").unwrap();
    let outcome = second.join_timeout(PATIENCE);
    assert_eq!(outcome.expect("it waits for the new pipe").unwrap(), Some(b'y'));
    // SAFETY: S7: a number of ours.
    unsafe { libc::close(old) };
}

/// A handler that puts another pipe in the place of one that was waited for, wherever it interrupts the worker: in the
/// runtime as a rule.
#[test]
fn may_replace_a_descriptor() {
    let _alone = alone();
    handle(libc::SIGUSR1, on_signal, libc::SA_ONSTACK | libc::SA_RESTART);
    for is_busy in [true, false] {
        let runtime = runtime(1);
        let is_over = std::sync::Arc::new(AtomicBool::new(false));
        let stop = is_over.clone();
        runtime.spawn(move || {
            while is_busy && !stop.load(SeqCst) {
                silken::yield_now();
            }
        });
        let worker = runtime.spawn(own_thread).join().unwrap();
        for _ in 0..60 {
            replace_by_handler(&runtime, worker);
        }
        is_over.store(true, SeqCst);
    }
}

extern "C" fn swap_numbers(_: c_int) {
    // SAFETY: S7: numbers of ours, the second of which drivers know.
    unsafe { libc::dup2(NEW.load(SeqCst), OLD.load(SeqCst)) };
}

/// Runtimes end while a handler replaces a descriptor that each of them has waited for: their drivers give up the
/// registration under the lock that a handler would have to take.
#[test]
fn may_replace_descriptors_while_runtimes_end() {
    let _alone = alone();
    handle(libc::SIGUSR1, swap_numbers, libc::SA_ONSTACK | libc::SA_RESTART);
    let [(old, mut old_end), (new, _new_end)] = std::array::from_fn(|_| {
        let (reader, writer) = std::io::pipe().unwrap();
        (reader.into_raw_fd(), writer)
    });
    // SAFETY: S7: a number of ours.
    let number = unsafe { libc::dup(old) };
    OLD.store(number, SeqCst);
    NEW.store(old, SeqCst);
    for round in 0..300 {
        let runtime = runtime(1);
        let worker = runtime.spawn(own_thread).join().unwrap();
        let reader = runtime.spawn(move || read_byte(number));
        std::thread::sleep(SOON / 500);
        old_end.write_all(b"x").unwrap();
        let outcome = reader.join_timeout(PATIENCE);
        assert_eq!(
            outcome.expect("it waits for the pipe").unwrap(),
            Some(b'x'),
            "round {round}"
        );
        // The worker is about to end, and its driver with it.
        let ender = std::thread::spawn(move || drop(runtime));
        // SAFETY: S7: numbers only; the thread may be gone.
        while unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), worker, libc::SIGUSR1) } == 0 {}
        ender.join().unwrap();
    }
    for fd in [old, new, number] {
        // SAFETY: S7: numbers of ours.
        unsafe { libc::close(fd) };
    }
}
