//! Calls that wait in the kernel for what no descriptor tells: locks on files, the ends of threads. Many of them at
//! once must not keep a name from being looked up.

use crate::help::{TempPath, code, still_wait};
use crate::raw::files::{flock, lock};
use crate::{Executor, Unit, join_all, raw};
use libc::{EAGAIN, EWOULDBLOCK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_SETLK, F_SETLKW, F_UNLCK, F_WRLCK};
use libc::{LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN};
use std::fs::File;
use std::io::Read;
use std::net::ToSocketAddrs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::Duration;

const WAITERS: usize = 40;

fn open(path: &TempPath) -> File {
    File::options().read(true).write(true).open(&**path).unwrap()
}

/// A name is looked up while the units wait, and they still do afterwards.
fn look_up_a_name<T>(ex: &dyn Executor, waiters: &[Unit<T>]) {
    still_wait(waiters);
    let found = ex.start(|| ("localhost", 80).to_socket_addrs().unwrap().count());
    assert!(found.join() > 0);
    still_wait(waiters);
}

/// 40 units wait in flock for a lock that somebody holds, one after the other gets it, nobody beside another.
pub fn flock_waiters(ex: &dyn Executor) {
    let path = Arc::new(TempPath::with(b""));
    let holder = open(&path);
    flock(holder.as_raw_fd(), LOCK_EX).unwrap();
    assert_eq!(code(flock(open(&path).as_raw_fd(), LOCK_EX | LOCK_NB)), EWOULDBLOCK);
    let inside = AtomicBool::new(false);
    let waiters = ex.start_each(WAITERS, move |_| {
        let file = open(&path);
        flock(file.as_raw_fd(), LOCK_EX).unwrap();
        assert!(!inside.swap(true, SeqCst), "two units hold the lock");
        sleep(Duration::from_millis(1));
        inside.store(false, SeqCst);
        flock(file.as_raw_fd(), LOCK_UN).unwrap();
    });
    look_up_a_name(ex, &waiters);
    flock(holder.as_raw_fd(), LOCK_UN).unwrap();
    join_all(waiters);
}

/// 40 units wait in flock for a shared lock: the end of the holder's description lets all in at once.
pub fn shared_flock_waiters(ex: &dyn Executor) {
    let path = Arc::new(TempPath::with(b""));
    let holder = open(&path);
    flock(holder.as_raw_fd(), LOCK_EX).unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let waiters = ex.start_each(WAITERS, move |_| {
        let file = open(&path);
        flock(file.as_raw_fd(), LOCK_SH).unwrap();
        inside.fetch_add(1, SeqCst);
        // All hold it at one moment.
        while inside.load(SeqCst) < WAITERS {
            sleep(Duration::from_millis(1));
        }
    });
    look_up_a_name(ex, &waiters);
    drop(holder);
    join_all(waiters);
}

/// 40 units wait in fcntl for a lock that another description holds.
pub fn description_lock_waiters(ex: &dyn Executor) {
    let path = Arc::new(TempPath::with(b""));
    let holder = open(&path);
    lock(holder.as_raw_fd(), F_OFD_SETLK, F_WRLCK).unwrap();
    assert_eq!(code(lock(open(&path).as_raw_fd(), F_OFD_SETLK, F_RDLCK)), EAGAIN);
    let inside = AtomicBool::new(false);
    let waiters = ex.start_each(WAITERS, move |_| {
        let file = open(&path);
        lock(file.as_raw_fd(), F_OFD_SETLKW, F_WRLCK).unwrap();
        assert!(!inside.swap(true, SeqCst), "two units hold the lock");
        sleep(Duration::from_millis(1));
        inside.store(false, SeqCst);
        lock(file.as_raw_fd(), F_OFD_SETLKW, F_UNLCK).unwrap();
    });
    look_up_a_name(ex, &waiters);
    lock(holder.as_raw_fd(), F_OFD_SETLK, F_UNLCK).unwrap();
    join_all(waiters);
}

/// 40 units wait in fcntl for a lock that another process holds. Such a lock is the process's: all get it at once.
pub fn record_lock_waiters(ex: &dyn Executor) {
    let path = TempPath::with(b"");
    // The child keeps its lock over exec with the number that it inherits: the only one, since the end of any other of
    // the same file would end the lock.
    let file = Arc::new(raw::files::duplicate_for_children(open(&path).as_raw_fd()).unwrap());
    let number = file.as_raw_fd();
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    raw::before_exec(&mut command, move || lock(number, F_SETLK, F_WRLCK).unwrap());
    let mut holder = command.spawn().unwrap();
    assert_eq!(code(lock(file.as_raw_fd(), F_SETLK, F_RDLCK)), EAGAIN);
    let shared = Arc::clone(&file);
    let waiters = ex.start_each(WAITERS, move |_| lock(shared.as_raw_fd(), F_SETLKW, F_WRLCK).unwrap());
    look_up_a_name(ex, &waiters);
    drop(holder.stdin.take());
    join_all(waiters);
    assert!(holder.wait().unwrap().success());
    lock(file.as_raw_fd(), F_SETLK, F_UNLCK).unwrap();
}

/// 40 units join as many OS threads that end late, and a name is looked up meanwhile.
pub fn joiners_of_threads(ex: &dyn Executor) {
    let end = Arc::new(AtomicBool::new(false));
    let joiners: Vec<_> = (0..WAITERS)
        .map(|number| {
            let end = Arc::clone(&end);
            let body = move || {
                while !end.load(SeqCst) {
                    sleep(Duration::from_millis(5));
                }
                number
            };
            let thread = spawn(body);
            ex.start(move || thread.join().unwrap())
        })
        .collect();
    look_up_a_name(ex, &joiners);
    end.store(true, SeqCst);
    assert!(join_all(joiners).into_iter().eq(0..WAITERS));
}

/// Thread i ends when unit i + 1 has joined its own: all have to wait at once, or nobody gets on.
pub fn chain_of_joiners(ex: &dyn Executor) {
    let mut told: Option<UnixStream> = None;
    let mut joiners = Vec::new();
    for _ in 0..WAITERS {
        let (mine, next) = UnixStream::pair().unwrap();
        let tell = told.replace(next);
        let body = move || (&mine).read(&mut [0; 1]).unwrap();
        let thread = spawn(body);
        joiners.push(ex.start(move || {
            let read = thread.join().unwrap();
            // The stream's end is the news.
            drop(tell);
            read
        }));
    }
    look_up_a_name(ex, &joiners);
    drop(told);
    assert_eq!(join_all(joiners), [0; WAITERS]);
}
