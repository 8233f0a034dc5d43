//! With a table installed, std's and the C library's calls reach the hooks, and everything still works.
//!
//! All tests of this process share one table of counting hooks; they count upwards only, so tests running beside each
//! other do not disturb "at least". The one exact count, `sigaltstack`, is of something nobody may call.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::Duration;

use libc::{c_int, c_long, c_void, clockid_t, pollfd, size_t, ssize_t, stack_t, timespec};
use silken_interpose::{Hooks, install, installed, link, next};

/// One counting hook per line: counts, then does the real thing.
macro_rules! counting {
    ($( $counter:ident $name:ident($($p:ident: $t:ty),*) -> $r:ty; )*) => { $(
        static $counter: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C" fn $name($($p: $t),*) -> $r {
            $counter.fetch_add(1, Ordering::Relaxed);
            // SAFETY: S7: the caller's arguments under the caller's contract.
            unsafe { next::$name($($p),*) }
        }
    )* };
}

counting! {
    READS read(fd: c_int, buffer: *mut c_void, bytes: size_t) -> ssize_t;
    RECVS recv(fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int) -> ssize_t;
    SLEEPS clock_nanosleep(clock: clockid_t, flags: c_int, request: *const timespec, rest: *mut timespec) -> c_int;
    FCNTLS fcntl(fd: c_int, command: c_int, argument: usize) -> c_int;
    IOCTLS ioctl(fd: c_int, request: libc::c_ulong, argument: usize) -> c_int;
    POLLS poll(entries: *mut pollfd, count: libc::nfds_t, timeout_ms: c_int) -> c_int;
    ALTERNATE_STACKS sigaltstack(stack: *const stack_t, old: *mut stack_t) -> c_int;
    CALLS syscall(
        number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long
    ) -> c_long;
}

static HOOKS: Hooks = Hooks {
    read,
    recv,
    clock_nanosleep,
    fcntl,
    ioctl,
    poll,
    sigaltstack,
    syscall,
    ..Hooks::PASS
};

fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        link();
        install(&HOOKS);
    });
    assert!(installed());
}

fn grew(counter: &AtomicUsize, body: impl FnOnce()) -> bool {
    let before = counter.load(Ordering::Relaxed);
    body();
    counter.load(Ordering::Relaxed) > before
}

fn connected_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn a_tcp_read_of_std_is_a_recv() {
    start();
    let (mut near, mut far) = connected_pair();
    far.write_all(b"hello").unwrap();
    let mut buffer = [0; 5];
    assert!(grew(&RECVS, || near.read_exact(&mut buffer).unwrap()));
    assert_eq!(&buffer, b"hello");
}

#[test]
fn contention_on_a_mutex_of_std_is_a_syscall() {
    start();
    let mutex = Arc::new(Mutex::new(0));
    assert!(grew(&CALLS, || {
        let guard = mutex.lock().unwrap();
        let other = thread::spawn({
            let mutex = Arc::clone(&mutex);
            move || *mutex.lock().unwrap() += 1
        });
        thread::sleep(Duration::from_millis(50));
        drop(guard);
        other.join().unwrap();
    }));
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn a_sleep_of_std_is_a_clock_nanosleep() {
    start();
    assert!(grew(&SLEEPS, || thread::sleep(Duration::from_millis(2))));
}

#[test]
fn starting_threads_leaves_alternate_stacks_alone() {
    start();
    for _ in 0..10 {
        thread::spawn(|| ()).join().unwrap();
    }
    assert_eq!(ALTERNATE_STACKS.load(Ordering::Relaxed), 0);
}

#[test]
fn variadic_calls_arrive_with_their_arguments() {
    start();
    let (near, _far) = connected_pair();
    let fd = near.as_raw_fd();
    assert!(grew(&IOCTLS, || near.set_nonblocking(true).unwrap()));
    // SAFETY: S7: a descriptor of ours, no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    assert_ne!(flags & libc::O_NONBLOCK, 0);
    assert!(grew(&FCNTLS, || assert_eq!(
        // SAFETY: S7: a descriptor of ours, no pointer.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) },
        0
    )));
    assert_eq!(
        // SAFETY: S7: a descriptor of ours, no pointer.
        unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_NONBLOCK,
        0
    );
    let mut buffer = [7_u8; 4096];
    // SAFETY: S7: five words and no seventh; the buffer is as long as said.
    let written = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    assert!(written > 0 && buffer[0] == b'/');
}

#[test]
fn errno_of_a_failed_call_survives_the_way_back() {
    start();
    let mut byte = 0_u8;
    // SAFETY: S7: a bad descriptor is an error, not a fault.
    let result = unsafe { libc::recv(-1, (&raw mut byte).cast(), 1, 0) };
    assert_eq!(
        (result, io::Error::last_os_error().raw_os_error()),
        (-1, Some(libc::EBADF))
    );
    let request = timespec { tv_sec: 0, tv_nsec: -1 };
    // SAFETY: S7: readable; no time, which is an error and not a fault.
    let error = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &request, std::ptr::null_mut()) };
    assert_eq!(error, libc::EINVAL);
}

#[test]
fn names_are_looked_up_by_the_c_library() {
    start();
    let mut found = ("127.0.0.1", 80).to_socket_addrs().unwrap();
    assert_eq!(found.next().unwrap().to_string(), "127.0.0.1:80");
    assert!(("localhost", 80).to_socket_addrs().unwrap().next().is_some());
}

#[test]
fn shared_libraries_see_our_definitions() {
    start();
    let names = "read write readv writev recv send recvfrom sendto recvmsg sendmsg accept accept4 connect poll ppoll \
        clock_nanosleep nanosleep usleep sleep close dup dup2 dup3 fcntl fcntl64 ioctl setsockopt syscall shutdown \
        pthread_key_create pthread_key_delete pthread_getattr_np sched_yield sigaltstack socket socketpair pipe pipe2 \
        eventfd fclose pclose closedir mq_close close_range closefrom login_tty fopen fopen64 freopen freopen64 popen tmpfile \
        tmpfile64 opendir creat creat64 __open_2 __open64_2 __openat_2 __openat64_2 timerfd_create inotify_init \
        inotify_init1 fanotify_init signalfd memfd_create epoll_create epoll_create1 pidfd_open pidfd_getfd \
        open_by_handle_at posix_openpt getpt openpty forkpty shm_open mkstemp mkstemp64 mkostemp mkostemp64 mkstemps \
        mkstemps64 mkostemps mkostemps64 recvmmsg open open64 openat openat64 mq_open _Fork vfork __vfork pthread_exit \
        thrd_exit pthread_create pthread_kill pthread_sigqueue pthread_setaffinity_np pthread_getaffinity_np pthread_getcpuclockid \
        pthread_setschedparam pthread_getschedparam pthread_setschedprio pthread_setname_np pthread_getname_np \
        pthread_cancel pthread_detach pthread_tryjoin_np pthread_timedjoin_np pthread_clockjoin_np thrd_join thrd_detach \
        __read_chk __recv_chk __recvfrom_chk __poll_chk __ppoll_chk \
        __pthread_key_create tss_create tss_delete dlopen dlmopen pthread_mutexattr_setprotocol";
    for name in names.split_whitespace() {
        let name = CString::new(name).unwrap();
        // SAFETY: S7: a name with its NUL; this is the search that the dynamic linker does for a library.
        let bound = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        // SAFETY: S7: the same from the executable on.
        let real = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        assert!(
            !bound.is_null() && !real.is_null() && bound != real,
            "{name:?} is not ours for libraries"
        );
    }
}

#[test]
fn fortified_twins_reach_the_hook_of_the_plain_name() {
    start();
    unsafe extern "C" {
        fn __read_chk(fd: c_int, buffer: *mut c_void, bytes: size_t, buffer_bytes: size_t) -> ssize_t;
        fn __poll_chk(entries: *mut pollfd, count: libc::nfds_t, timeout_ms: c_int, bytes: size_t) -> c_int;
    }
    let (mut reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"ab").unwrap();
    let mut entry = pollfd {
        fd: reader.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    assert!(grew(&POLLS, || assert_eq!(
        // SAFETY: S7: one entry, and its size said.
        unsafe { __poll_chk(&mut entry, 1, 1000, size_of::<pollfd>()) },
        1
    )));
    let mut byte = 0_u8;
    let place = (&raw mut byte).cast();
    assert!(grew(&READS, || assert_eq!(
        // SAFETY: S7: one byte, and its size said.
        unsafe { __read_chk(reader.as_raw_fd(), place, 1, 1) },
        1
    )));
    assert_eq!(byte, b'a');
    let mut rest = [0];
    assert!(grew(&READS, || reader.read_exact(&mut rest).unwrap()));
}

#[test]
fn the_child_of_a_fork_still_reads_and_writes() {
    start();
    let (mut near, mut far) = connected_pair();
    // SAFETY: S7: the child only makes system calls and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut byte = [0];
        let ok = far.read_exact(&mut byte).is_ok() && far.write_all(&[byte[0] + 1]).is_ok();
        // SAFETY: S7: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(c_int::from(!ok)) };
    }
    near.write_all(&[41]).unwrap();
    let mut answer = [0];
    near.read_exact(&mut answer).unwrap();
    let mut status = 0;
    // SAFETY: S7: our child, a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!((answer[0], status), (42, 0));
}
