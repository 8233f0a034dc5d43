//! Calls through a driver's ring: completions before, during and after the wait, and of a driver that has retired.

use super::*;
use crate::driver::Wait;
use crate::sys::clock;
use libc::iovec;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

/// A driver of its own, unless this machine has no rings.
fn driver(owner: usize) -> Option<&'static Driver> {
    match Uring::new() {
        Ok(_) => {
            let driver = Box::leak(Box::new(Driver::new().unwrap()));
            driver.owner.store(owner, Ordering::Relaxed);
            Some(driver)
        }
        Err(errno) => {
            eprintln!("no io_uring here: {errno:?}");
            None
        }
    }
}

fn part(buffer: &mut [u8]) -> iovec {
    iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    }
}

/// Polls until the call has ended.
fn finish(driver: &Driver, call: &RingCall) -> Option<Result<usize, Errno>> {
    let mut out = Vec::new();
    while call.done().outcome().is_none() {
        driver.poll(Wait::Until(clock::now_ns() + 1_000_000), 256, &mut out);
    }
    assert!(out.is_empty(), "this thread is no coroutine");
    call.result()
}

#[test]
fn a_call_ends_when_the_kernel_has_made_it() {
    let Some(driver) = driver(2001) else { return };
    assert!(!driver.is_worth_a_look());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut buffer = [0; 8];
    let part = part(&mut buffer);
    let read = RingOperation::read(reader.as_raw_fd(), &part, 1, u64::MAX);
    let call = RingCall::new();
    // SAFETY: S5, S8: all of it outlives `finish`.
    assert_eq!(unsafe { driver.submit(&read, &call) }, Submitted::Yes);
    assert!(driver.is_worth_a_look());
    let mut out = Vec::new();
    driver.poll(Wait::Not, 256, &mut out);
    assert_eq!(call.done().outcome(), None, "the pipe is empty");
    writer.write_all(b"late").unwrap();
    assert_eq!(finish(driver, &call), Some(Ok(4)));
    assert_eq!(&buffer[..4], b"late");
}

#[test]
fn what_the_kernel_does_not_know_is_left_to_the_caller() {
    let Some(driver) = driver(2002) else { return };
    let (reader, writer) = std::io::pipe().unwrap();
    for (fd, expected) in [(reader.as_raw_fd(), None), (-1, Some(Err(Errno::BADF)))] {
        let call = RingCall::new();
        let operation = RingOperation::write_back(fd, false);
        // SAFETY: S5, S8: names no memory; the call outlives `finish`.
        assert_eq!(unsafe { driver.submit(&operation, &call) }, Submitted::Yes);
        assert_eq!(
            finish(driver, &call),
            expected,
            "a pipe cannot be written back (EINVAL)"
        );
    }
    drop(writer);
}

#[test]
fn many_threads_share_a_ring() {
    const CALLS: usize = 500;
    let Some(driver) = driver(2003) else { return };
    let ended = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..CALLS {
                    let call = RingCall::new();
                    let operation = RingOperation::write_back(-1, true);
                    // SAFETY: S5, S8: names no memory; the call outlives the loop below.
                    let mut submitted = unsafe { driver.submit(&operation, &call) };
                    while call.done().outcome().is_none() {
                        match submitted {
                            Submitted::Later(place) => submitted = driver.offer(place),
                            submitted => assert_eq!(submitted, Submitted::Yes),
                        }
                        driver.visit(256, &mut Vec::new());
                    }
                    assert_eq!(call.result(), Some(Err(Errno::BADF)));
                    ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(ended.into_inner(), 4 * CALLS);
}

/// A filter that was installed later answers EPERM; here it is EBADF.
#[test]
fn what_the_kernel_will_never_take_is_left_to_the_caller() {
    let Some(driver) = driver(2007) else { return };
    let call = RingCall::new();
    let operation = RingOperation::write_back(-1, true);
    // SAFETY: S5, S8: names no memory; the call outlives `finish`.
    assert_eq!(unsafe { driver.submit(&operation, &call) }, Submitted::Yes);
    assert_eq!(finish(driver, &call), Some(Err(Errno::BADF)));
    if let RingState::Made(ring) = &*driver.ring.state.lock() {
        // The driver lives for ever, and so does what it has of the io_uring.
        crate::sys::file::close(ring.fd()).unwrap();
    }
    for _ in 0..2 {
        let call = RingCall::new();
        // SAFETY: S5, S8: names no memory, and the kernel does not get it.
        assert_eq!(unsafe { driver.submit(&operation, &call) }, Submitted::No);
    }
    assert_eq!(driver.offer(7), Submitted::No);
}

#[test]
fn a_ring_outlives_the_owner_of_its_driver() {
    let Some(driver) = driver(2004) else { return };
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut buffer = [0; 8];
    let part = part(&mut buffer);
    let read = RingOperation::read(reader.as_raw_fd(), &part, 1, u64::MAX);
    let call = RingCall::new();
    // SAFETY: S5, S8: all of it outlives `finish`.
    assert_eq!(unsafe { driver.submit(&read, &call) }, Submitted::Yes);
    driver.retire();
    assert!(driver.is_worth_a_look(), "its ring is still watched");
    writer.write_all(b"after").unwrap();
    assert_eq!(finish(driver, &call), Some(Ok(5)));
}

/// The kernel does not go on with what a thread has submitted that has ended: it cancels it when its event comes.
#[test]
fn calls_of_a_thread_that_has_ended_are_left_to_their_callers() {
    let Some(driver) = driver(2005) else { return };
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let buffer: &mut [u8] = Box::leak(Box::new([0; 8]));
    let part: &iovec = Box::leak(Box::new(part(buffer)));
    let read = RingOperation::read(reader.as_raw_fd(), part, 1, u64::MAX);
    let call = std::thread::scope(|scope| {
        let submit = || {
            let call: &'static RingCall = Box::leak(Box::new(RingCall::new()));
            // SAFETY: S5, S8: all of it lives for ever.
            assert_eq!(unsafe { driver.submit(&read, call) }, Submitted::Yes);
            std::ptr::from_ref(call).expose_provenance()
        };
        scope.spawn(submit).join().unwrap()
    });
    // SAFETY: S8: it lives for ever.
    let call = unsafe { &*std::ptr::with_exposed_provenance::<RingCall>(call) };
    writer.write_all(b"kept").unwrap();
    assert_eq!(finish(driver, call), None);
    let mut kept = [0; 4];
    reader.read_exact(&mut kept).unwrap();
    assert_eq!(&kept, b"kept");
}

#[test]
fn an_owner_may_do_without() {
    let Some(driver) = driver(2006) else { return };
    driver.ring.allow(false);
    let call = RingCall::new();
    // SAFETY: S5, S8: names no memory, and the kernel does not get it.
    let submitted = unsafe { driver.submit(&RingOperation::write_back(-1, false), &call) };
    assert_eq!(submitted, Submitted::No);
    assert!(!driver.ring.is_made());
}
