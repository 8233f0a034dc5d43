//! Waits that are neither for data nor for locks of std: threads, processes, event loops of the program's own, names,
//! file locks.
//!
//! One worker throughout: a call that blocks it keeps the coroutine away that would end the wait.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(20);
const FAR: Duration = Duration::from_secs(60);

fn run<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    silken::Runtime::builder()
        .workers(1)
        .build()
        .unwrap()
        .run(body)
        .unwrap()
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

/// Runs `wait` while another coroutine of the same worker counts, and asserts that it could.
fn while_others_run<T>(wait: impl FnOnce() -> T) -> T {
    let count = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let counter = silken::spawn({
        let (count, stop) = (count.clone(), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                count.fetch_add(1, Ordering::Relaxed);
                silken::sleep(Duration::from_millis(1));
            }
        }
    });
    let result = wait();
    let counted = count.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    counter.join().unwrap();
    assert!(counted >= 3, "the worker was blocked: counted to {counted}");
    result
}

fn sleeping_child(seconds: &str) -> std::process::Child {
    Command::new("sleep").arg(seconds).stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn joining_a_thread_parks() {
    run(|| {
        let thread = std::thread::spawn(|| {
            std::thread::sleep(SOON);
            7
        });
        assert_eq!(while_others_run(|| thread.join().unwrap()), 7);
        let ended = std::thread::spawn(|| 8);
        while !ended.is_finished() {
            silken::sleep(Duration::from_millis(1));
        }
        assert_eq!(ended.join().unwrap(), 8);
        let panicked = std::thread::spawn(|| std::panic::resume_unwind(Box::new("gone")));
        assert_eq!(panicked.join().map(|()| 0).unwrap_err().downcast_ref(), Some(&"gone"));
    });
}

#[test]
fn many_coroutines_join_threads_that_wait_for_coroutines() {
    run(|| {
        let (sender, receiver) = std::sync::mpsc::channel::<usize>();
        let joiners: Vec<_> = (0..50)
            .map(|number| {
                let sender = sender.clone();
                let thread = std::thread::spawn(move || sender.send(number).unwrap());
                silken::spawn(move || thread.join().unwrap())
            })
            .collect();
        drop(sender);
        assert_eq!(receiver.iter().sum::<usize>(), 49 * 50 / 2);
        joiners.into_iter().for_each(|joiner| joiner.join().unwrap());
    });
}

#[test]
fn waiting_for_a_child_parks() {
    run(|| {
        let mut child = sleeping_child("0.05");
        assert!(while_others_run(|| child.wait().unwrap()).success());
        let output = while_others_run(|| Command::new("sh").args(["-c", "sleep 0.05; echo out; exit 3"]).output());
        let output = output.unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(3), b"out\n".as_slice())
        );
    });
}

#[test]
fn each_form_of_waiting_for_a_child_answers_as_the_kernel_does() {
    run(|| {
        let pid = sleeping_child("0.05").id() as i32;
        let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
        // SAFETY: S7: live places.
        let waited = while_others_run(|| unsafe { libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) });
        assert_eq!((waited, libc::WIFEXITED(status)), (pid, true));
        // SAFETY: S7: a live place.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, -1);
        assert_eq!(errno(), libc::ECHILD);

        let child = sleeping_child("0.05").id();
        // SAFETY: S7: all zeroes are a siginfo.
        let mut info = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
        let wait = || {
            // SAFETY: S7: a live place.
            unsafe { libc::waitid(libc::P_PID, child, &mut info, libc::WEXITED | libc::WNOWAIT) }
        };
        assert_eq!(while_others_run(wait), 0);
        assert_eq!((info.si_signo, info.si_code), (libc::SIGCHLD, libc::CLD_EXITED));
        // SAFETY: S7: no place. WNOWAIT has left the child to be waited for.
        let reaped = unsafe { libc::waitid(libc::P_PID, child, std::ptr::null_mut(), libc::WEXITED) };
        assert_eq!(reaped, 0);

        let child = sleeping_child("0.05").id();
        // SAFETY: S7: no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child, 0) } as RawFd;
        // SAFETY: S7: new, and nobody else's.
        let pid_fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let wait = || {
            // SAFETY: S7: a live place.
            unsafe { libc::waitid(libc::P_PIDFD, pid_fd.as_raw_fd() as u32, &mut info, libc::WEXITED) }
        };
        assert_eq!(while_others_run(wait), 0);
        // SAFETY: S7: an answer about a child.
        assert_eq!(unsafe { info.si_pid() } as u32, child);

        let pid = sleeping_child("60").id() as i32;
        // SAFETY: S7: a live place.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) }, 0);
        // SAFETY: S7: our own child.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
        // SAFETY: S7: a live place.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, libc::WUNTRACED) }, pid);
        assert!(libc::WIFSTOPPED(status));
        // SAFETY: S7: our own child.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        // SAFETY: S7: a live place.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert!(libc::WIFSIGNALED(status));
    });
}

#[test]
fn a_cancelled_wait_for_a_child_ends_and_leaves_the_child() {
    run(|| {
        let mut child = sleeping_child("60");
        let pid = child.id() as i32;
        let waiter = silken::spawn(move || {
            // SAFETY: S7: no place.
            let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            assert_eq!((waited, errno()), (-1, libc::ECANCELED));
        });
        silken::sleep(SOON);
        waiter.cancel();
        drop(waiter.join());
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    });
}

fn epoll_of(fd: RawFd, events: i32) -> OwnedFd {
    // SAFETY: S7: an integer argument.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0);
    // SAFETY: S7: new, and nobody else's.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: 42,
    };
    // SAFETY: S7: a live event.
    let added = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
    assert_eq!(added, 0);
    epoll
}

fn epoll_wait(epoll: &OwnedFd, timeout_ms: i32) -> (i32, u64) {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
    // SAFETY: S7: a live array.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 4, timeout_ms) };
    (count, events[0].u64)
}

#[test]
fn an_event_loop_parks_and_stays_level_triggered() {
    run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let epoll = epoll_of(near.as_raw_fd(), libc::EPOLLIN);
        assert_eq!(epoll_wait(&epoll, 0), (0, 0));
        let begun = Instant::now();
        assert_eq!(while_others_run(|| epoll_wait(&epoll, 20)), (0, 0));
        assert!(begun.elapsed() >= SOON);
        for round in 0..100_u8 {
            let mut writer = far.try_clone().unwrap();
            let peer = silken::spawn(move || writer.write_all(&[round]).unwrap());
            assert_eq!(epoll_wait(&epoll, -1), (1, 42));
            // Nobody has read: still ready.
            assert_eq!(epoll_wait(&epoll, -1), (1, 42));
            peer.join().unwrap();
            let mut byte = [0];
            std::io::Read::read_exact(&mut &near, &mut byte).unwrap();
            assert_eq!((byte[0], epoll_wait(&epoll, 0).0), (round, 0));
        }
        far.write_all(b"x").unwrap();
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let timeout = libc::timespec { tv_sec: 60, tv_nsec: 0 };
        // SAFETY: S7: live places.
        let count = unsafe { libc::epoll_pwait2(epoll.as_raw_fd(), &mut event, 1, &timeout, std::ptr::null()) };
        assert_eq!(count, 1);
        // SAFETY: S7: a live place.
        let count = unsafe { libc::epoll_pwait(epoll.as_raw_fd(), &mut event, 1, -1, std::ptr::null()) };
        assert_eq!(count, 1);
        // SAFETY: S7: a live place; no room for events is refused.
        assert_eq!(unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 0, -1) }, -1);
        assert_eq!(errno(), libc::EINVAL);
    });
}

#[test]
fn two_wait_on_one_edge_triggered_epoll_and_each_event_has_one_taker() {
    run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let epoll = Arc::new(epoll_of(near.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET));
        let taken = Arc::new(AtomicUsize::new(0));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let (epoll, taken) = (epoll.clone(), taken.clone());
                silken::spawn(move || {
                    while epoll_wait(&epoll, 200).0 == 1 {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for expected in 1..=10 {
            far.write_all(b"x").unwrap();
            while taken.load(Ordering::Relaxed) < expected {
                silken::sleep(Duration::from_millis(1));
            }
        }
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        assert_eq!(taken.load(Ordering::Relaxed), 10);
    });
}

fn set_of(fds: &[RawFd]) -> libc::fd_set {
    // SAFETY: S7: all zeroes are an empty set.
    let mut set = unsafe { std::mem::zeroed() };
    for fd in fds {
        // SAFETY: S7: a live set and a number within it.
        unsafe { libc::FD_SET(*fd, &mut set) };
    }
    set
}

fn has(set: &libc::fd_set, fd: RawFd) -> bool {
    // SAFETY: S7: a live set and a number within it.
    unsafe { libc::FD_ISSET(fd, set) }
}

fn select(reads: &mut libc::fd_set, writes: Option<&mut libc::fd_set>, timeout: Option<&mut libc::timeval>) -> i32 {
    let writes = writes.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    let timeout = timeout.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: S7: live places or null.
    unsafe { libc::select(libc::FD_SETSIZE as i32, reads, writes, std::ptr::null_mut(), timeout) }
}

#[test]
fn select_parks_and_tells_who_is_ready_and_what_is_left() {
    run(|| {
        let pairs: Vec<_> = (0..12).map(|_| UnixStream::pair().unwrap()).collect();
        let all: Vec<_> = pairs.iter().map(|(near, _)| near.as_raw_fd()).collect();
        // With and without the heap.
        for fds in [&all[..2], &all[..]] {
            let mut reads = set_of(fds);
            let mut timeout = libc::timeval {
                tv_sec: 0,
                tv_usec: 20_000,
            };
            assert_eq!(while_others_run(|| select(&mut reads, None, Some(&mut timeout))), 0);
            assert_eq!((timeout.tv_sec, timeout.tv_usec), (0, 0));
            assert!(fds.iter().all(|fd| !has(&reads, *fd)));

            let mut writer = pairs[1].1.try_clone().unwrap();
            let peer = silken::spawn(move || {
                silken::sleep(SOON);
                writer.write_all(b"x").unwrap();
            });
            let mut reads = set_of(fds);
            let mut timeout = libc::timeval { tv_sec: 60, tv_usec: 0 };
            assert_eq!(while_others_run(|| select(&mut reads, None, Some(&mut timeout))), 1);
            assert!((50..60).contains(&timeout.tv_sec));
            assert_eq!(fds.iter().filter(|fd| has(&reads, **fd)).collect::<Vec<_>>(), [&fds[1]]);
            peer.join().unwrap();
            let mut writes = set_of(fds);
            assert_eq!(select(&mut set_of(fds), Some(&mut writes), None), fds.len() as i32 + 1);
            std::io::Read::read_exact(&mut &pairs[1].0, &mut [0]).unwrap();
        }
        // A high number: no test that runs meanwhile is handed it.
        let (near, _far) = UnixStream::pair().unwrap();
        // SAFETY: S7: integer arguments.
        let closed = unsafe { libc::fcntl(near.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 700) };
        // SAFETY: S7: just made, and used by nobody else.
        assert_eq!(unsafe { libc::close(closed) }, 0);
        assert_eq!(select(&mut set_of(&[closed]), None, None), -1);
        assert_eq!(errno(), libc::EBADF);
        let begun = Instant::now();
        let timeout = libc::timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        let none = std::ptr::null_mut();
        let pause = || {
            // SAFETY: S7: a live timeout, no sets, no mask.
            unsafe { libc::pselect(0, none, none, none, &timeout, std::ptr::null()) }
        };
        assert_eq!(while_others_run(pause), 0);
        assert!(begun.elapsed() >= SOON && timeout.tv_nsec == 20_000_000);
    });
}

#[test]
fn names_are_looked_up() {
    run(|| {
        let addresses: Vec<_> = ("localhost", 80).to_socket_addrs().unwrap().collect();
        assert!(
            addresses
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 80)
        );
        assert!(!addresses.is_empty());
        assert!(("no such name", 80).to_socket_addrs().is_err());
        let listener = TcpListener::bind("localhost:0").unwrap();
        let client = silken::spawn({
            let port = listener.local_addr().unwrap().port();
            move || TcpStream::connect(("localhost", port)).map(drop)
        });
        listener.accept().unwrap();
        client.join().unwrap().unwrap();
    });
}

fn locked_file() -> (File, File) {
    let path = std::env::temp_dir().join(format!("silken-waits-{}-{:?}", std::process::id(), Instant::now()));
    let first = File::create(&path).unwrap();
    let second = File::options().write(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    (first, second)
}

#[test]
fn a_file_lock_that_a_coroutine_of_the_same_worker_holds_is_waited_for() {
    run(|| {
        let (holder, waiter) = locked_file();
        holder.lock().unwrap();
        assert!(waiter.try_lock().is_err());
        let owner = silken::spawn(move || {
            silken::sleep(SOON);
            holder.unlock().unwrap();
            holder
        });
        while_others_run(|| waiter.lock().unwrap());
        waiter.unlock().unwrap();
        drop(owner.join().unwrap());
    });
}

#[test]
fn a_record_lock_of_another_description_is_waited_for() {
    let lock = |file: &File, command: i32, kind: i32| {
        // SAFETY: S7: all zeroes are a lock of the whole file.
        let mut lock = unsafe { std::mem::zeroed::<libc::flock>() };
        lock.l_type = kind as i16;
        // SAFETY: S7: a live lock.
        unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) }
    };
    run(|| {
        let (holder, waiter) = locked_file();
        assert_eq!(lock(&holder, libc::F_OFD_SETLKW, libc::F_WRLCK), 0);
        assert_eq!(lock(&waiter, libc::F_OFD_SETLK, libc::F_WRLCK), -1);
        assert_eq!(errno(), libc::EAGAIN);
        let owner = silken::spawn(move || {
            silken::sleep(SOON);
            assert_eq!(lock(&holder, libc::F_OFD_SETLK, libc::F_UNLCK), 0);
            holder
        });
        assert_eq!(while_others_run(|| lock(&waiter, libc::F_OFD_SETLKW, libc::F_WRLCK)), 0);
        drop(owner.join().unwrap());
        // The process's own locks never conflict with each other.
        assert_eq!(lock(&waiter, libc::F_OFD_SETLK, libc::F_UNLCK), 0);
        assert_eq!(lock(&waiter, libc::F_SETLKW, libc::F_WRLCK), 0);
    });
}

#[test]
fn a_cancelled_loop_that_ignores_errors_lets_others_run() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let server = silken::spawn({
            let stop = stop.clone();
            move || {
                let mut accepted = listener.incoming().map(|stream| stream.is_ok());
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(accepted.next(), Some(false));
                }
            }
        });
        silken::sleep(SOON);
        server.cancel();
        let begun = Instant::now();
        // The only worker is the server's as well.
        silken::sleep(SOON);
        stop.store(true, Ordering::Relaxed);
        drop(server.join());
        assert!(begun.elapsed() < FAR);
    });
}

#[test]
fn in_the_child_of_a_fork_every_hook_passes() {
    run(|| {
        // SAFETY: S7: the child makes system calls only.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: S7: no pointers; a grandchild that ends at once.
                let grandchild = unsafe { libc::fork() };
                if grandchild == 0 {
                    // SAFETY: S7: ends the process.
                    unsafe { libc::_exit(5) };
                }
                let mut status = 0;
                // SAFETY: S7: a live place.
                let waited = unsafe { libc::waitpid(grandchild, &mut status, 0) };
                let mut timeout = libc::timeval {
                    tv_sec: 0,
                    tv_usec: 1_000,
                };
                let selected = select(&mut set_of(&[]), None, Some(&mut timeout));
                // SAFETY: S7: no pointers.
                let slept = unsafe { libc::usleep(1_000) };
                let right = waited == grandchild && libc::WEXITSTATUS(status) == 5 && selected == 0 && slept == 0;
                // SAFETY: S7: ends the process.
                unsafe { libc::_exit(if right { 0 } else { 1 }) };
            }
            child => {
                let mut status = 0;
                // SAFETY: S7: a live place.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
            }
        }
    });
}

/// Many who look up one name at the same time share look-ups: each gets a list of its own.
#[test]
fn one_name_is_looked_up_for_many() {
    run(|| {
        let handles: Vec<_> = (0..300_u16)
            .map(|port| {
                silken::spawn(move || {
                    let found: Vec<_> = ("localhost", port).to_socket_addrs().unwrap().collect();
                    let loopback = found.iter().filter(|address| address.ip().is_loopback()).count();
                    loopback == found.len() && found.iter().all(|address| address.port() == port)
                })
            })
            .collect();
        assert!(handles.into_iter().all(|handle| handle.join().unwrap()));
        let nowhere: Vec<_> = (0..20)
            .map(|_| silken::spawn(|| ("no-such-host.invalid", 80).to_socket_addrs().is_err()))
            .collect();
        assert!(nowhere.into_iter().all(|handle| handle.join().unwrap()));
    });
}

/// A burst of connects from here is longer than the listener's queue: none of them waits for its packet to be sent
/// again.
#[test]
fn the_acceptor_of_a_burst_gets_its_turns() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        const CLIENTS: usize = 300;
        let acceptor = silken::spawn(move || {
            for _ in 0..CLIENTS {
                listener.accept().unwrap().0.write_all(b"x").unwrap();
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                silken::spawn(move || {
                    let start = Instant::now();
                    let mut stream = TcpStream::connect(address).unwrap();
                    let took = start.elapsed();
                    std::io::Read::read_exact(&mut stream, &mut [0]).unwrap();
                    took
                })
            })
            .collect();
        // A lost packet is sent again after a second.
        let late = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .filter(|took| *took > Duration::from_millis(900))
            .count();
        acceptor.join().unwrap();
        assert_eq!(late, 0, "connects whose packet was dropped");
    });
}
