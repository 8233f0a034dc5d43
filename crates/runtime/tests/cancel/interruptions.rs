//! What a cancellation does to calls on descriptors of several kinds: `io/interruption.rs`.

use super::{FAR, SOON, run_on};
use silken::{JoinHandle, OnCancel, Runtime, set_on_cancel};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Spawns a coroutine that waits, cancels it, and sees that it goes on waiting. It then is to be given what it waits
/// for.
fn cancelled_and_waiting<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let waiter = silken::spawn(move || {
        let value = wait();
        assert!(silken::is_cancelled());
        value
    });
    silken::sleep(Duration::from_millis(5));
    waiter.cancel();
    silken::sleep(Duration::from_millis(5));
    assert!(!waiter.is_finished(), "it was refused");
    waiter
}

fn eventfd(initial: u32) -> File {
    // SAFETY: S7: it takes numbers.
    let fd = unsafe { libc::eventfd(initial, 0) };
    assert!(fd >= 0);
    // SAFETY: S7: just made, and nobody else's.
    unsafe { File::from_raw_fd(fd) }
}

fn on_both(case: impl Fn() + Send + Sync) {
    super::common::on_runtimes([1, 2], case);
}

#[test]
fn an_eventfd_is_waited_for_to_the_end() {
    on_both(|| {
        let (event, mut other) = (eventfd(0), eventfd(1));
        let mut reader = event.try_clone().unwrap();
        let waiter = cancelled_and_waiting(move || {
            let mut count = [0; 8];
            reader.read_exact(&mut count).unwrap();
            u64::from_ne_bytes(count)
        });
        (&event).write_all(&7_u64.to_ne_bytes()).unwrap();
        assert_eq!(waiter.join().unwrap(), 7);
        // A timeout around it answers when the value is there.
        let answer = silken::timeout(Duration::from_millis(1), || {
            let waker = silken::spawn(move || {
                silken::sleep(SOON);
                (&event).write_all(&1_u64.to_ne_bytes()).unwrap();
                event
            });
            let mut count = [0; 8];
            other.read_exact(&mut count).unwrap();
            waker
        });
        answer.unwrap().join().unwrap();
    });
}

#[test]
fn a_pipe_to_oneself_is_waited_for_to_the_end() {
    on_both(|| {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let waiter = cancelled_and_waiting(move || {
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            (reader, byte[0])
        });
        writer.write_all(b"a").unwrap();
        let (mut reader, byte) = waiter.join().unwrap();
        assert_eq!(byte, b'a');
        let bytes = 1 << 20;
        let waiter = cancelled_and_waiting(move || writer.write_all(&vec![1; bytes]).unwrap());
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), bytes);
        waiter.join().unwrap();
    });
}

#[test]
fn the_user_decides() {
    on_both(|| {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        set_on_cancel(&near, OnCancel::Complete).unwrap();
        let mut copy = near.try_clone().unwrap();
        let waiter = cancelled_and_waiting(move || copy.read(&mut [0]).unwrap());
        far.write_all(b"x").unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
        set_on_cancel(&near, OnCancel::ByKind).unwrap();
        let answer = silken::timeout(SOON, || near.read(&mut [0]));
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        let (mut reader, _writer) = std::io::pipe().unwrap();
        set_on_cancel(&reader, OnCancel::Fail).unwrap();
        let answer = silken::timeout(SOON, || reader.read(&mut [0]));
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

/// What the user has said of a number ends with the descriptor; and connections are not listeners.
#[test]
fn what_the_user_decides_is_of_one_descriptor() {
    run_on(1, false, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_on_cancel(&listener, OnCancel::Complete).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let answer = silken::timeout(SOON, || accepted.read(&mut [0]));
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        let (near, _far) = UnixStream::pair().unwrap();
        // SAFETY: S7: open numbers; the listener's becomes another file.
        assert!(unsafe { libc::dup2(near.as_raw_fd(), listener.as_raw_fd()) } >= 0);
        // SAFETY: S7: the listener has given it up.
        let mut near = unsafe { UnixStream::from_raw_fd(listener.into_raw_fd()) };
        let answer = silken::timeout(SOON, || near.read(&mut [0]));
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

/// An event loop is told once, by the error that all of them expect.
#[test]
fn epoll_is_interrupted_once() {
    on_both(|| {
        // SAFETY: S7: it takes a number.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        // SAFETY: S7: just made, and nobody else's.
        let epoll = unsafe { File::from_raw_fd(epoll) };
        let event = eventfd(0);
        let mut interest = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 5,
        };
        // SAFETY: S7: open numbers and a live structure.
        let added =
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, event.as_raw_fd(), &mut interest) };
        assert_eq!(added, 0);
        let looper = cancelled_and_waiting(move || {
            let mut interrupted = 0;
            loop {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: S7: an open number, and a live structure.
                match unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, -1) } {
                    1 => return (interrupted, { event.u64 }),
                    _ => assert_eq!(std::io::Error::last_os_error().kind(), ErrorKind::Interrupted),
                }
                interrupted += 1;
            }
        });
        (&event).write_all(&1_u64.to_ne_bytes()).unwrap();
        assert_eq!(looper.join().unwrap(), (1, 5));
    });
}

/// Ends a runtime whose coroutine `name` stays, and sees that this was noticed at once.
fn is_given_up(runtime: Runtime, name: &str) {
    let begun = Instant::now();
    let shutdown = runtime.shutdown(FAR);
    // It takes a second; the machine may be busy, and the shutdown had an hour.
    assert!(begun.elapsed() < Duration::from_secs(60));
    let names: Vec<_> = shutdown
        .left
        .iter()
        .map(|coroutine| coroutine.name().unwrap_or(""))
        .collect();
    assert_eq!(names, [name]);
}

#[test]
fn a_loop_that_swallows_errors_is_given_up() {
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        runtime.spawn(move || {
            silken::Builder::new().name("accepts".into()).spawn(|| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.incoming().flatten().for_each(drop);
            })
        });
        std::thread::sleep(SOON);
        is_given_up(runtime, "accepts");
    }
}

/// What a crate does that waits for signals, by a pair of sockets: it panics at an error.
#[test]
fn a_self_pipe_of_sockets_outlasts_the_runtime() {
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        runtime.spawn(move || {
            let signals = silken::Builder::new().name("signals".into()).spawn(|| {
                let mut near = near;
                near.read(&mut [0]).unwrap()
            });
            // One that ends at once; its partner is woken by it, and ends too.
            let (mut here, there) = UnixStream::pair().unwrap();
            silken::spawn(move || here.read(&mut [0]).unwrap());
            silken::spawn(move || {
                let _there = there;
                silken::park();
            });
            signals
        });
        std::thread::sleep(SOON);
        is_given_up(runtime, "signals");
        far.write_all(b"!").unwrap();
    }
}

/// One who has many connections to say goodbye to is refused by each, and comes to its end.
#[test]
fn a_hundred_refusals_cost_no_time() {
    on_both(|| {
        let pairs: Vec<_> = (0..90).map(|_| UnixStream::pair().unwrap()).collect();
        let begun = Instant::now();
        let closer = silken::spawn(move || {
            silken::current().cancel();
            for (near, _) in &pairs {
                let mut near = near;
                assert_eq!(near.read(&mut [0]).unwrap_err().raw_os_error(), Some(libc::ECANCELED));
            }
        });
        closer.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
}

/// What std unwraps when it runs a program: its pipes, the poll of both outputs, the wait for a child that could not
/// execute.
#[test]
fn running_a_program_does_not_panic() {
    on_both(|| {
        let (sleeps, missing) = ("sleep", "/nonexistent/program");
        for _ in 0..10 {
            let output = silken::timeout(Duration::from_millis(1), || Command::new(sleeps).arg("0.02").output());
            assert!(output.unwrap().unwrap().status.success());
            let cancelled = silken::spawn(move || {
                silken::current().cancel();
                let error = Command::new(missing).spawn().map(drop).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound);
                // By way of fork.
                let error = Command::new(missing).uid(0).spawn().map(drop).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound);
            });
            cancelled.join().unwrap();
        }
    });
}

/// Loops that ignore their cancellation make few rounds: neither a `timeout` in the loop nor a sleep in it makes it
/// spin.
#[test]
fn a_loop_that_goes_on_makes_few_rounds() {
    fn rounds(mut wait: impl FnMut() + Send + 'static) -> u32 {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = stop.clone();
        let looper = silken::spawn(move || {
            silken::current().cancel();
            let mut rounds = 0;
            while !seen.load(std::sync::atomic::Ordering::SeqCst) {
                wait();
                rounds += 1;
            }
            rounds
        });
        silken::sleep(Duration::from_millis(300));
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        looper.join().unwrap()
    }
    on_both(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepts = rounds(move || drop(listener.accept()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let within_a_timeout = rounds(move || drop(silken::timeout(FAR, || listener.accept())));
        let sleeps = rounds(|| std::thread::sleep(Duration::from_millis(10)));
        for rounds in [accepts, within_a_timeout, sleeps] {
            assert!((100..1000).contains(&rounds), "{rounds} rounds");
        }
    });
}

/// Several behind a lock whose holder stays are given up as well.
#[test]
fn who_waits_for_one_who_stays_is_given_up() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    let writer = std::sync::Arc::new(std::sync::Mutex::new(writer));
    for _ in 0..3 {
        let writer = writer.clone();
        runtime.spawn(move || writer.lock().unwrap().write_all(&[0; 1 << 20]));
    }
    std::thread::sleep(SOON);
    let begun = Instant::now();
    assert_eq!(runtime.shutdown(FAR).left.len(), 3);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Others than its own coroutines may be about to wake one who stays.
#[test]
fn a_shutdown_waits_for_what_a_thread_brings_soon() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let (begins, begun) = std::sync::mpsc::channel();
    runtime.spawn(move || {
        begins.send(()).unwrap();
        reader.read(&mut [0]).unwrap()
    });
    begun.recv().unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        writer.write_all(b"!").unwrap();
    });
    assert!(runtime.shutdown(FAR).is_clean());
    thread.join().unwrap();
}

/// What sleeps a little in each of many steps is not made slower by a cancellation.
#[test]
fn short_sleeps_stay_short() {
    on_both(|| {
        let steps = silken::spawn(|| {
            silken::current().cancel();
            (0..2000).for_each(|_| std::thread::sleep(Duration::from_micros(1)));
        });
        let begun = Instant::now();
        steps.join().unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "as many pauses would take half an hour"
        );
    });
}
