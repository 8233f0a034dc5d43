//! Foreign blocking code: no unwinding goes through C.

use super::{FAR, SOON, on_all, run_on, takes};
use std::ffi::CString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(3);

/// Calls `wait` on a coroutine that is cancelled meanwhile, and says what it answered.
fn cancelled<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let handle = silken::spawn(move || {
        sender.send(wait()).unwrap();
        silken::yield_now();
        unreachable!("the next native blocking point unwinds");
    });
    silken::sleep(Duration::from_millis(5));
    handle.cancel();
    assert!(handle.join().unwrap_err().is_cancelled());
    receiver.recv().unwrap()
}

fn assert_cancelled<T>(answer: std::io::Result<T>) {
    let error = answer.err().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    assert!(silken::is_cancellation(&error));
}

#[test]
fn io_that_waits_fails_with_ecanceled() {
    run_on(2, false, || {
        let (mut near, far) = UnixStream::pair().unwrap();
        assert_cancelled(cancelled(move || near.read(&mut [0])));
        drop(far);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_cancelled(cancelled(move || listener.accept()));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_cancelled(cancelled(move || socket.recv(&mut [0])));
        let (near, far) = UnixStream::pair().unwrap();
        assert_cancelled(cancelled(move || {
            let mut near = near;
            loop {
                // The call that was cut short tells how much it moved; the next one fails.
                let _ = near.write(&[0; 1 << 16])?;
            }
            #[allow(unreachable_code)]
            Ok(())
        }));
        drop(far);
        // A pipe with a name; of others see `interruptions`.
        let path = std::env::temp_dir().join(format!("silken-fifo-{}", std::process::id()));
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: S7: a text that ends.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let mut fifo = File::options().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_cancelled(cancelled(move || fifo.read(&mut [0])));
    });
}

/// A message queue is a descriptor, and its wait fails; a semaphore of System V is waited for to the end.
#[test]
fn a_message_queue_fails_and_a_semaphore_set_completes() {
    run_on(2, false, || {
        let name = CString::new(format!("/silken-cancel-{}", std::process::id())).unwrap();
        // SAFETY: S7: a text that ends; no attributes.
        let queue = unsafe { libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, 0) };
        assert!(queue >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: S7: a text that ends.
        unsafe { libc::mq_unlink(name.as_ptr()) };
        let receive = move || {
            let mut message = [0_u8; 8192];
            // SAFETY: S5: the place is lent for the call.
            match unsafe { libc::mq_receive(queue, message.as_mut_ptr().cast(), message.len(), std::ptr::null_mut()) } {
                -1 => Err(std::io::Error::last_os_error()),
                count => Ok(count),
            }
        };
        assert_cancelled(cancelled(receive));
        let late = silken::timeout(SHORT, || receive().unwrap_err().raw_os_error());
        assert_eq!(late.unwrap_or(Some(libc::ETIMEDOUT)), Some(libc::ETIMEDOUT));
        // SAFETY: S5: no memory.
        unsafe { libc::mq_close(queue) };

        // SAFETY: S5: no memory.
        let set = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
        let add = move |sem_op| {
            let mut operation = libc::sembuf {
                sem_num: 0,
                sem_op,
                sem_flg: 0,
            };
            // SAFETY: S5: the operation is lent for the call.
            unsafe { libc::semop(set, &mut operation, 1) }
        };
        let adder = silken::spawn(move || {
            silken::sleep(Duration::from_millis(30));
            add(1)
        });
        assert_eq!(cancelled(move || add(-1)), 0);
        assert_eq!(adder.join().unwrap(), 0);
        // SAFETY: S5: this command takes no memory.
        unsafe { libc::semctl(set, 0, libc::IPC_RMID) };
    });
}

#[test]
fn a_poll_fails_with_ecanceled() {
    run_on(1, false, || {
        let errno = cancelled(|| {
            // SAFETY: S7: no descriptors.
            let answer = unsafe { libc::poll(std::ptr::null_mut(), 0, -1) };
            (answer, std::io::Error::last_os_error().raw_os_error())
        });
        assert_eq!(errno, (-1, Some(libc::ECANCELED)));
    });
}

/// With no descriptors it is a sleep, as a `poll` of none is.
#[test]
fn a_select_of_no_descriptors_fails() {
    fn select_of_none() -> (i32, Option<i32>) {
        let none = std::ptr::null_mut();
        // So long that a wait to the end is noticed, and does end.
        let mut long = libc::timeval { tv_sec: 20, tv_usec: 0 };
        // SAFETY: S5: no sets; the time is lent for the call.
        let answer = unsafe { libc::select(0, none, none, none, &mut long) };
        (answer, std::io::Error::last_os_error().raw_os_error())
    }
    run_on(1, false, || {
        assert_eq!(cancelled(select_of_none), (-1, Some(libc::ECANCELED)));
        let late = silken::timeout(SHORT, select_of_none);
        assert_eq!(late.unwrap(), (-1, Some(libc::ETIMEDOUT)));
    });
}

#[test]
fn io_that_need_not_wait_succeeds() {
    on_all(|| {
        let handle = silken::spawn(|| {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            silken::current().cancel();
            far.write_all(b"x").unwrap();
            assert_eq!(near.read(&mut [0]).unwrap(), 1);
            silken::yield_now();
        });
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_hooked_sleep_returns_early() {
    on_all(|| {
        let begun = Instant::now();
        cancelled(|| std::thread::sleep(FAR));
        assert!(begun.elapsed() < FAR / 2);
        silken::timeout(SHORT, || std::thread::sleep(FAR)).unwrap();
        assert!(begun.elapsed() < FAR / 2);
    });
}

#[test]
fn a_futex_wait_completes() {
    on_all(|| {
        let lock = Arc::new(Mutex::new(0));
        let held = lock.lock().unwrap();
        let other = lock.clone();
        let handle = silken::spawn(move || {
            *other.lock().unwrap() += 1;
            silken::yield_now();
        });
        silken::sleep(SHORT);
        handle.cancel();
        silken::sleep(SHORT);
        assert!(!handle.is_finished());
        drop(held);
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(*lock.lock().unwrap(), 1);

        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let other = pair.clone();
        let handle = silken::spawn(move || {
            let ready = other.0.lock().unwrap();
            drop(other.1.wait_while(ready, |ready| !*ready).unwrap());
        });
        silken::sleep(SHORT);
        handle.cancel();
        silken::sleep(SHORT);
        *pair.0.lock().unwrap() = true;
        pair.1.notify_all();
        handle.join().unwrap();
    });
}

#[test]
fn a_futex_wait_outlasts_a_timeout() {
    on_all(|| {
        let (sender, receiver) = mpsc::channel();
        let sending = silken::spawn(move || {
            silken::sleep(SOON);
            sender.send(5).unwrap();
        });
        let outcome = takes(SHORT, || silken::timeout(SHORT, || receiver.recv().unwrap()));
        assert_eq!(outcome, Ok(5));
        sending.join().unwrap();
    });
}

/// std's condition variables and `park_timeout` may return for no reason, so a cancellation is one, once: whoever loops
/// gets to look.
#[test]
fn what_may_wake_for_no_reason_does_once() {
    on_all(|| {
        let pair = Arc::new((Mutex::new(()), Condvar::new()));
        let other = pair.clone();
        let waiter = silken::spawn(move || {
            let mut guard = other.0.lock().unwrap();
            let mut woken = 0;
            while !silken::is_cancelled() {
                guard = other.1.wait(guard).unwrap();
                woken += 1;
            }
            // Once only: this one is woken by the other.
            drop(other.1.wait(guard).unwrap());
            woken
        });
        silken::sleep(SHORT);
        waiter.cancel();
        silken::sleep(SHORT);
        assert!(!waiter.is_finished());
        drop(pair.0.lock().unwrap());
        pair.1.notify_one();
        assert_eq!(waiter.join().unwrap(), 1);
        let outcome = silken::timeout(SHORT, || {
            std::thread::park_timeout(FAR);
            silken::check_cancelled();
        });
        assert_eq!(outcome, Err(silken::Elapsed));
        let outcome = silken::timeout(SHORT, || {
            loop {
                // Not held over the check: a guard that unwinds poisons std's lock.
                drop(pair.1.wait(pair.0.lock().unwrap()).unwrap());
                silken::check_cancelled();
            }
        });
        assert_eq!(outcome, Err(silken::Elapsed));
        assert!(!pair.0.is_poisoned());
    });
}

#[test]
fn a_parent_in_a_futex_wait_cancels_its_children() {
    on_all(|| {
        let handle = silken::spawn(|| {
            let (sender, receiver) = mpsc::channel::<()>();
            silken::scope(|s| {
                s.spawn(move || {
                    let _sender = sender;
                    silken::park();
                });
                // Ends when the child drops the sender.
                receiver.recv().unwrap_err();
            });
            silken::yield_now();
        });
        silken::sleep(SHORT);
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_timeout_gives_io_the_error_timed_out() {
    on_all(|| {
        let (mut near, _far) = UnixStream::pair().unwrap();
        let answer = takes(SHORT, || silken::timeout(SHORT, || near.read(&mut [0])));
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answer = silken::timeout(SHORT, || {
            let answer = listener.accept();
            silken::yield_now();
            answer.map(|_| ())
        });
        assert_eq!(answer.err(), Some(silken::Elapsed));
        // A socket's own time that is shorter stays its own.
        near.set_read_timeout(Some(SHORT)).unwrap();
        let answer = silken::timeout(FAR, || near.read(&mut [0]));
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn inside_a_mask_io_waits_to_its_end() {
    on_all(|| {
        let handle = silken::spawn(|| {
            silken::current().cancel();
            let byte = silken::mask_cancel(|| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                silken::spawn(move || {
                    silken::sleep(SHORT);
                    TcpStream::connect(address).unwrap().write_all(b"y").unwrap();
                });
                takes(SHORT, || std::thread::sleep(SHORT));
                let mut byte = [0];
                listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
                byte
            });
            assert_eq!(&byte, b"y");
            silken::yield_now();
        });
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_call_on_the_pool_completes() {
    run_on(1, false, || {
        let answer = cancelled(|| {
            let time = libc::timespec {
                tv_sec: 0,
                tv_nsec: 30_000_000,
            };
            // SAFETY: S7: a live timespec.
            takes(SOON, || unsafe {
                libc::clock_nanosleep(libc::CLOCK_TAI, 0, &raw const time, std::ptr::null_mut())
            })
        });
        assert_eq!(answer, 0);
    });
}

#[test]
fn a_loop_that_ignores_errors_ends_at_its_check_point() {
    run_on(1, false, || {
        let handle = silken::spawn(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            for stream in listener.incoming() {
                silken::check_cancelled();
                drop(stream);
            }
        });
        silken::sleep(SHORT);
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

/// A file whose data is on the disk, and as a rule not in memory.
fn cold_file(content: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("silken-cold-{}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let _ = std::fs::remove_file(path);
    file.sync_all().unwrap();
    // SAFETY: S7: it takes numbers.
    let refused = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(refused, 0);
    file
}

/// A cancellation, or a `timeout` that is up, never cuts a call short that waits for the disk.
#[test]
fn calls_that_wait_for_a_disk_are_whole() {
    run_on(2, false, || {
        const BYTES: usize = 1 << 20;
        let content: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
        let use_file = |mut file: File, content: &[u8]| {
            let mut whole = vec![0; BYTES];
            assert_eq!(file.read_at(&mut whole, 0).unwrap(), BYTES);
            assert!(whole == content);
            assert_eq!(file.read(&mut whole).unwrap(), BYTES);
            file.write_all(b"more").unwrap();
            file.sync_data().unwrap();
            file.sync_all().unwrap();
        };
        let (sender, receiver) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let (file, expected) = (cold_file(&content), content.clone());
        let handle = silken::spawn(move || {
            begun.send(()).unwrap();
            may_go.recv().unwrap();
            assert!(silken::is_cancelled());
            use_file(file, &expected);
            sender.send(()).unwrap();
            silken::yield_now();
            unreachable!("the next native blocking point unwinds");
        });
        has_begun.recv().unwrap();
        handle.cancel();
        go.send(()).unwrap();
        assert!(handle.join().unwrap_err().is_cancelled());
        receiver.recv().unwrap();

        let file = cold_file(&content);
        let outcome = silken::timeout(Duration::ZERO, || {
            use_file(file, &content);
            silken::yield_now();
        });
        assert_eq!(outcome, Err(silken::Elapsed));
    });
}
