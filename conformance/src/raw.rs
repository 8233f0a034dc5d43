//! The libc calls that the cases make as a C program would, behind safe functions.
//!
//! All `unsafe` of the suite is here, one call per block. Errors come back as the errno that the call left, read by
//! `io::Error::last_os_error` right after it. Nothing is retried and no flag is changed on the way: the cases test what
//! these symbols do.

use libc::{c_int, c_void};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

pub mod bad;
pub mod copy;
pub mod files;
pub mod ipc;
pub mod net;
pub mod signals;

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_negative| io::Error::last_os_error())
}

fn check_int(result: c_int) -> io::Result<usize> {
    check(result as isize)
}

/// A timespec of this length.
pub fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// The time of a clock.
pub fn clock(clock: libc::clockid_t) -> Duration {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: S5: `now` lives on this stack for the call, which keeps no pointer.
    let result = unsafe { libc::clock_gettime(clock, &mut now) };
    assert_eq!(result, 0);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Writes to descriptor 2 without any lock of std.
pub fn write_to_stderr(bytes: &[u8]) {
    let _ = write(2, bytes);
}

/// read(2)
pub fn read(fd: RawFd, bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: S5: the slice is lent for the call, and the length is its own.
    check(unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) })
}

/// write(2)
pub fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: S5: the slice is lent for the call, and the length is its own.
    check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// recv(2)
pub fn recv(fd: RawFd, bytes: &mut [u8], flags: c_int) -> io::Result<usize> {
    // SAFETY: S5: the slice is lent for the call, and the length is its own.
    check(unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), flags) })
}

/// send(2)
pub fn send(fd: RawFd, bytes: &[u8], flags: c_int) -> io::Result<usize> {
    // SAFETY: S5: the slice is lent for the call, and the length is its own.
    check(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// readv(2)
pub fn readv(fd: RawFd, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    // SAFETY: S5: IoSliceMut has the layout of iovec, and the slices are lent for the call.
    check(unsafe { libc::readv(fd, slices.as_mut_ptr().cast(), slices.len() as c_int) })
}

/// writev(2)
pub fn writev(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: S5: IoSlice has the layout of iovec, and the slices are lent for the call.
    check(unsafe { libc::writev(fd, slices.as_ptr().cast(), slices.len() as c_int) })
}

fn message(iov: *mut libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: S7: all-zero is the documented empty msghdr: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iov;
    message.msg_iovlen = count as _;
    message
}

/// sendmsg(2) without address or control data.
pub fn sendmsg(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let message = message(slices.as_ptr().cast_mut().cast(), slices.len());
    // SAFETY: S5: message and slices are lent for the call, which only reads them.
    check(unsafe { libc::sendmsg(fd, &message, 0) })
}

/// recvmsg(2) without address or control data; returns the length and the message's flags.
pub fn recvmsg(fd: RawFd, slices: &mut [IoSliceMut<'_>]) -> io::Result<(usize, c_int)> {
    let mut message = message(slices.as_mut_ptr().cast(), slices.len());
    // SAFETY: S5: message and slices are lent for the call.
    let length = check(unsafe { libc::recvmsg(fd, &mut message, 0) })?;
    Ok((length, message.msg_flags))
}

/// close(2)
pub fn close(fd: RawFd) -> io::Result<()> {
    // SAFETY: S7: an integer argument; the caller gives up the descriptor.
    check_int(unsafe { libc::close(fd) }).map(drop)
}

/// fork(2): the child runs `body`, which makes async-signal-safe calls only, and leaves. Returns whether it came to its
/// end.
pub fn fork(body: impl FnOnce()) -> io::Result<bool> {
    // SAFETY: S7: the caller's body keeps to what a child of a process with threads may do.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        body();
        // SAFETY: S7: leaves at once, without the parent's exit handlers.
        unsafe { libc::_exit(3) };
    }
    check_int(pid)?;
    let mut status = 0;
    // SAFETY: S7: our child, and a place for the status.
    check_int(unsafe { libc::waitpid(pid, &mut status, 0) })?;
    Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 3)
}

/// Lets the command's child call `body` before exec: async-signal-safe calls only.
pub fn before_exec(command: &mut Command, mut body: impl FnMut() + Send + Sync + 'static) {
    let body = move || {
        body();
        Ok(())
    };
    // SAFETY: S7: the caller's body keeps to the rules.
    unsafe { command.pre_exec(body) };
}

/// setresuid(2) and setresgid(2), changing nothing.
pub fn set_ids_unchanged() -> io::Result<()> {
    let same = u32::MAX;
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::setresuid(same, same, same) })?;
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::setresgid(same, same, same) }).map(drop)
}

/// dup2(2)
pub fn dup2(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: S7: integer arguments; `to` belongs to the caller.
    check_int(unsafe { libc::dup2(from, to) }).map(drop)
}

/// Sets O_NONBLOCK by fcntl(2), as foreign code does.
pub fn set_nonblocking_by_fcntl(fd: RawFd) -> io::Result<()> {
    // SAFETY: S7: F_GETFL takes no pointer.
    let flags = check_int(unsafe { libc::fcntl(fd, libc::F_GETFL) })? as c_int;
    // SAFETY: S7: F_SETFL takes an integer.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// Sets SO_RCVTIMEO or SO_SNDTIMEO by setsockopt(2).
pub fn set_socket_timeout(fd: RawFd, option: c_int, timeout: Duration) -> io::Result<()> {
    let value = libc::timeval {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_usec: i64::from(timeout.subsec_micros()),
    };
    let bytes = size_of_val(&value) as libc::socklen_t;
    // SAFETY: S5: `value` lives for the call, with its own size.
    check_int(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, ptr::from_ref(&value).cast(), bytes) }).map(drop)
}

/// listen(2): on a listening socket it changes the backlog.
pub fn listen(fd: RawFd, backlog: c_int) -> io::Result<()> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::listen(fd, backlog) }).map(drop)
}

/// A pollfd for this descriptor.
pub fn pollfd(fd: RawFd, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// poll(2)
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: c_int) -> io::Result<usize> {
    // SAFETY: S5: the slice is lent for the call, and the length is its own.
    check_int(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) })
}

/// ppoll(2) without a signal mask.
pub fn ppoll(fds: &mut [libc::pollfd], timeout: Duration) -> io::Result<usize> {
    let timeout = timespec(timeout);
    // SAFETY: S5: slice and timeout are lent for the call; a null mask means none.
    check_int(unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, &timeout, ptr::null()) })
}

/// select(2) for one descriptor's readability, with a set as long as the descriptor needs: libc's own ends at
/// FD_SETSIZE.
pub fn select_readable(fd: RawFd, timeout: Duration) -> io::Result<usize> {
    let mut timeout = libc::timeval {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_usec: i64::from(timeout.subsec_micros()),
    };
    let number = fd as usize;
    let mut set = vec![0u64; (number / 64 + 1).max(libc::FD_SETSIZE / 64)];
    set[number / 64] |= 1 << (number % 64);
    // SAFETY: S5: set and timeout are lent for the call, and the set holds the bit of every descriptor up to `fd`; null
    // sets are ignored.
    check_int(unsafe {
        libc::select(
            fd + 1,
            set.as_mut_ptr().cast(),
            ptr::null_mut(),
            ptr::null_mut(),
            &mut timeout,
        )
    })
}

fn owned(fd: usize) -> OwnedFd {
    // SAFETY: S7: the kernel returned this descriptor a moment ago and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// epoll_create1(2)
pub fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: S7: an integer argument.
    check_int(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(owned)
}

/// epoll_ctl(2) EPOLL_CTL_ADD for readability, with the descriptor as data.
pub fn epoll_add(epoll: RawFd, fd: RawFd) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: fd as u64,
    };
    // SAFETY: S5: the event is copied during the call.
    check_int(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
}

/// epoll_wait(2); returns the data of the events.
pub fn epoll_wait(epoll: RawFd, timeout_ms: c_int) -> io::Result<Vec<u64>> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: S5: the array is lent for the call, and the length is its own.
    let count = check_int(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 8, timeout_ms) })?;
    Ok(events[..count].iter().map(|event| event.u64).collect())
}

/// eventfd(2)
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).map(owned)
}

/// A timerfd(2) that fires once after `delay`.
pub fn timerfd(delay: Duration) -> io::Result<OwnedFd> {
    // SAFETY: S7: integer arguments.
    let fd = check_int(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) }).map(owned)?;
    let value = libc::itimerspec {
        it_interval: timespec(Duration::ZERO),
        it_value: timespec(delay),
    };
    // SAFETY: S5: the value is read during the call; a null old value is allowed.
    check_int(unsafe { libc::timerfd_settime(std::os::fd::AsRawFd::as_raw_fd(&fd), 0, &value, ptr::null_mut()) })?;
    Ok(fd)
}

/// nanosleep(2)
pub fn nanosleep(duration: Duration) -> io::Result<()> {
    let request = timespec(duration);
    // SAFETY: S5: the request is read during the call; a null remainder is allowed.
    check_int(unsafe { libc::nanosleep(&request, ptr::null_mut()) }).map(drop)
}

/// clock_nanosleep(2) until an absolute time of the monotonic clock; returns the error number.
pub fn sleep_until(deadline: Duration) -> c_int {
    let deadline = timespec(deadline);
    let flags = libc::TIMER_ABSTIME;
    // SAFETY: S5: the deadline is read during the call; a null remainder is allowed.
    unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, flags, &deadline, ptr::null_mut()) }
}

/// usleep(3)
pub fn usleep(duration_us: u32) -> io::Result<()> {
    // SAFETY: S7: an integer argument.
    check_int(unsafe { libc::usleep(duration_us) }).map(drop)
}

/// sched_yield(2)
pub fn sched_yield() -> io::Result<()> {
    // SAFETY: S7: no arguments.
    check_int(unsafe { libc::sched_yield() }).map(drop)
}

/// Fails with ESPIPE: a seek on a pipe or socket.
pub fn seek_fails(pipe: RawFd) -> c_int {
    // SAFETY: S7: integer arguments.
    unsafe { libc::lseek(pipe, 0, libc::SEEK_SET) as c_int }
}

/// Fails with EBADF: a close of no descriptor.
pub fn close_fails() -> c_int {
    // SAFETY: S7: -1 is never a descriptor.
    unsafe { libc::close(-1) }
}

/// What the last failed call of this unit left in errno.
#[inline(never)]
pub fn errno() -> Option<c_int> {
    io::Error::last_os_error().raw_os_error()
}

/// Lowers RLIMIT_NOFILE of this process.
pub fn limit_files(count: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    // SAFETY: S5: the limit is read during the call.
    check_int(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(drop)
}

/// FUTEX_WAIT (`op` with flags) through libc's `syscall`; the timeout is relative.
pub fn futex_wait(word: &AtomicU32, op: c_int, expected: u32, timeout: Option<Duration>) -> io::Result<usize> {
    futex_wait_bitset(word, op, expected, timeout, 0)
}

/// FUTEX_WAIT_BITSET through libc's `syscall`; the deadline is absolute.
pub fn futex_wait_bitset(
    word: &AtomicU32,
    op: c_int,
    expected: u32,
    time: Option<Duration>,
    bits: u32,
) -> io::Result<usize> {
    let time = time.map(timespec);
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    let none = ptr::null::<c_void>();
    // SAFETY: S5: word and time outlive the call, and the arguments have the types of futex(2).
    check(unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, expected, time, none, bits) } as isize)
}

/// FUTEX_WAKE or FUTEX_WAKE_BITSET (`op`) through libc's `syscall`; returns how many woke.
pub fn futex_wake(word: &AtomicU32, op: c_int, count: c_int, bits: u32) -> io::Result<usize> {
    let none = ptr::null::<c_void>();
    // SAFETY: S7: the word is only an address for a wake, and the arguments have the types of futex(2).
    check(unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, count, none, none, bits) } as isize)
}

/// FUTEX_CMP_REQUEUE through libc's `syscall`; returns how many woke plus how many moved.
pub fn futex_cmp_requeue(
    from: &AtomicU32,
    to: &AtomicU32,
    op: c_int,
    wake: c_int,
    requeue: usize,
    expected: u32,
) -> io::Result<usize> {
    // SAFETY: S7: both words outlive the call, and the arguments have the types of futex(2).
    check(unsafe { libc::syscall(libc::SYS_futex, from.as_ptr(), op, wake, requeue, to.as_ptr(), expected) } as isize)
}

/// futex(2) through libc's `syscall` with addresses that may be anything: the word, the timeout (or second count), the
/// second word.
pub fn futex_at(word: usize, op: c_int, value: u32, third: usize, second: usize, value3: u32) -> io::Result<usize> {
    // SAFETY: S7: the call checks its addresses; that is what the cases are about.
    check(unsafe { libc::syscall(libc::SYS_futex, word, op, value, third, second, value3) } as isize)
}

/// A page of memory whose protection can be changed, kept for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Page(usize);

impl Page {
    const BYTES: usize = 4096;

    /// A page of zeros; `behind_the_end` makes it one of a file that is not there (SIGBUS).
    pub fn new(behind_the_end: bool) -> Self {
        let (flags, file) = if behind_the_end {
            // SAFETY: S7: a name and no flags.
            (libc::MAP_SHARED, unsafe { libc::memfd_create(c"empty".as_ptr(), 0) })
        } else {
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: S8: a fresh mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), Self::BYTES, access, flags, file, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self(start as usize)
    }

    /// Forbids or allows all access.
    pub fn set_accessible(self, accessible: bool) {
        let access = if accessible {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_NONE
        };
        // SAFETY: S8: a page of our own, to which nobody holds a reference.
        let result = unsafe { libc::mprotect(ptr::with_exposed_provenance_mut(self.0), Self::BYTES, access) };
        assert_eq!(result, 0);
    }

    /// Where it is.
    pub fn address(self) -> usize {
        self.0
    }
}

/// What runs on a key's value when its unit ends.
pub type KeyDestructor = extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn tss_create(key: *mut libc::pthread_key_t, destructor: Option<KeyDestructor>) -> c_int;
    fn tss_set(key: libc::pthread_key_t, value: *mut c_void) -> c_int;
    fn tss_get(key: libc::pthread_key_t) -> *mut c_void;
    fn __h_errno_location() -> *mut c_int;
    fn pthread_mutexattr_setrobust(attributes: *mut libc::pthread_mutexattr_t, robust: c_int) -> c_int;
    fn pthread_mutex_consistent(mutex: *mut libc::pthread_mutex_t) -> c_int;
}

/// pthread_key_create(3)
pub fn key_create(destructor: KeyDestructor) -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: S7: a place for the key, and a destructor that any value of the suite may be given to.
    let destructor = unsafe { std::mem::transmute::<KeyDestructor, unsafe extern "C" fn(*mut c_void)>(destructor) };
    // SAFETY: S7: a place for the key.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(destructor)) }, 0);
    key
}

/// pthread_setspecific(3)
pub fn key_set(key: libc::pthread_key_t, value: usize) {
    assert_eq!(
        // SAFETY: S7: the value is not a pointer that anybody follows.
        unsafe { libc::pthread_setspecific(key, ptr::without_provenance(value)) },
        0
    );
}

/// pthread_getspecific(3)
pub fn key_get(key: libc::pthread_key_t) -> usize {
    // SAFETY: S7: any key may be asked for.
    unsafe { libc::pthread_getspecific(key) }.addr()
}

/// C11's tss_create
pub fn c11_key_create(destructor: KeyDestructor) -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: S7: a place for the key.
    assert_eq!(unsafe { tss_create(&mut key, Some(destructor)) }, 0);
    key
}

/// C11's tss_set
pub fn c11_key_set(key: libc::pthread_key_t, value: usize) {
    // SAFETY: S7: the value is not a pointer that anybody follows.
    assert_eq!(unsafe { tss_set(key, ptr::without_provenance_mut(value)) }, 0);
}

/// C11's tss_get
pub fn c11_key_get(key: libc::pthread_key_t) -> usize {
    // SAFETY: S7: a key that exists.
    unsafe { tss_get(key) }.addr()
}

/// The locale that the unit has set for itself; `None`: the process's.
pub fn own_locale() -> Option<usize> {
    // SAFETY: S7: asks only.
    let locale = unsafe { libc::uselocale(ptr::null_mut()) };
    (locale as usize != usize::MAX).then_some(locale as usize)
}

/// newlocale(3) and uselocale(3), with a locale that is not the process's.
pub fn use_a_locale() -> usize {
    // SAFETY: S7: a name that every glibc knows.
    let locale = unsafe { libc::newlocale(libc::LC_ALL_MASK, c"C.UTF-8".as_ptr(), ptr::null_mut()) };
    assert!(!locale.is_null());
    // SAFETY: S7: a locale, which the caller frees when its unit has ended.
    unsafe { libc::uselocale(locale) };
    locale as usize
}

/// freelocale(3), once no unit uses it.
pub fn free_locale(locale: usize) {
    // SAFETY: S7: made by `use_a_locale`, and its unit has ended.
    unsafe { libc::freelocale(locale as libc::locale_t) };
}

/// What snprintf(3) makes of a float, by the unit's locale.
pub fn format_float(value: f64) -> String {
    let mut text = [0_u8; 64];
    // SAFETY: S7: a buffer with its length, and one double for one format.
    let length = unsafe { libc::snprintf(text.as_mut_ptr().cast(), text.len(), c"%.3f".as_ptr(), value) };
    String::from_utf8_lossy(&text[..length as usize]).into_owned()
}

/// A dlopen(3) that fails.
pub fn dlopen_fails() {
    // SAFETY: S7: a name with its end.
    assert!(unsafe { libc::dlopen(c"/nonexistent/library.so".as_ptr(), libc::RTLD_NOW) }.is_null());
}

/// Whether dlerror(3) has something to tell.
pub fn dlerror_is_pending() -> bool {
    // SAFETY: S7: takes nothing.
    !unsafe { libc::dlerror() }.is_null()
}

/// Changes the unit's h_errno and gives what it was.
pub fn replace_h_errno(value: c_int) -> c_int {
    // SAFETY: S7: takes nothing.
    let place = unsafe { __h_errno_location() };
    // SAFETY: S3: the unit's own, asked for just now.
    unsafe { place.replace(value) }
}

/// A robust pthread mutex.
pub struct RobustMutex(Box<std::cell::UnsafeCell<libc::pthread_mutex_t>>);

// SAFETY: S7: a mutex is there to be shared; its address does not change.
unsafe impl Sync for RobustMutex {}
// SAFETY: S7: likewise; the suite moves the box, not the mutex.
unsafe impl Send for RobustMutex {}

impl RobustMutex {
    /// pthread_mutex_init(3) with PTHREAD_MUTEX_ROBUST.
    pub fn new() -> Self {
        let mutex = Self(Box::new(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)));
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: S7: a place for attributes.
        assert_eq!(unsafe { libc::pthread_mutexattr_init(attributes) }, 0);
        assert_eq!(
            // SAFETY: S7: initialised above.
            unsafe { pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) },
            0
        );
        // SAFETY: S7: a place for a mutex that nobody uses yet.
        assert_eq!(unsafe { libc::pthread_mutex_init(mutex.0.get(), attributes) }, 0);
        mutex
    }

    /// pthread_mutex_lock(3)
    pub fn lock(&self) -> c_int {
        // SAFETY: S7: an initialised mutex.
        unsafe { libc::pthread_mutex_lock(self.0.get()) }
    }

    /// pthread_mutex_trylock(3)
    pub fn try_lock(&self) -> c_int {
        // SAFETY: S7: an initialised mutex.
        unsafe { libc::pthread_mutex_trylock(self.0.get()) }
    }

    /// pthread_mutex_unlock(3)
    pub fn unlock(&self) -> c_int {
        // SAFETY: S7: an initialised mutex.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) }
    }

    /// pthread_mutex_consistent(3)
    pub fn make_consistent(&self) -> c_int {
        // SAFETY: S7: an initialised mutex.
        unsafe { pthread_mutex_consistent(self.0.get()) }
    }
}

impl Default for RobustMutex {
    fn default() -> Self {
        Self::new()
    }
}
