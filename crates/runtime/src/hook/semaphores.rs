//! What do the calls do that wait for a semaphore or a barrier of POSIX?
//!
//! # Semaphores of one process
//! The first word of a `sem_t` is its value (glibc, on machines whose atomics have 64 bits). So a coroutine that finds
//! it 0 waits in the futex table (`futex/table.rs`) until it is not, and tries again, as the C library does with the
//! kernel's table. `sem_post` wakes the kernel's waiters by a system call of its own, so it has a hook, which wakes the
//! table's. [`knows_layout`] makes sure of the two words that are read here; where they are others, and for semaphores
//! that processes share, a thread of the offload pool waits. The wait ends when somebody posts, and is not interrupted.
//!
//! # The race
//! A coroutine tries, finds 0, and is about to wait while somebody posts. The value is raised before the table is
//! woken, and the table compares the value under the lock that the wake takes. So either the coroutine sees the value,
//! or the wake sees the coroutine.
//!
//! # Signal handlers
//! POSIX lets a signal handler post. It may have interrupted the very lock that a wake takes, which a critical section
//! shows. Then the post only notifies an eventfd, and a thread that waits for it wakes all coroutines that wait for
//! semaphores: each tries again. The thread is made at the first wait; without it the pool waits. Outside of critical
//! sections a handler wakes by itself: a wake neither allocates nor waits.
//!
//! # Barriers
//! A barrier cannot be tried, and any thread may wait for it in the caller's stead: the pool makes each wait.
//!
//! # Rejected
//! *Mutexes, read-write locks and conditions in the same way*: they belong to the thread that locks them. They block
//! the worker, and another thread continues as the worker (`sched/late.rs`).

use super::call::{answer, caller, errno, is_runtime, set_errno};
use super::futex::{may_have_waiters, wait_while, wake_waiters};
use crate::coroutine::{Critical, budget, c_thread};
use crate::io::memory::faults;
use crate::offload;
use crate::sys::epoll::EventFd;
use crate::sys::raw::Errno;
use crate::sys::{StaticLock, clock, file, process, socket};
use libc::{c_int, clockid_t, pthread_barrier_t, sem_t, timespec};
use silken_interpose::next;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

/// The semaphores for which coroutines wait, each as often as one does.
static WAITED_FOR: StaticLock<Vec<usize>> = StaticLock::new(Vec::new());

fn with_waited_for<R>(f: impl FnOnce(&mut Vec<usize>) -> R) -> R {
    let _critical = Critical::enter();
    f(&mut WAITED_FOR.lock())
}

/// Tells the thread that wakes for signal handlers. `None`: there is none yet, or it could not be made.
static BLIND_POSTS: OnceLock<Option<EventFd>> = OnceLock::new();

/// The stack of that thread: it calls nothing foreign.
const STACK_BYTES: usize = 64 * 1024;

/// Makes the thread that wakes for signal handlers. `false`: it cannot be made.
fn serves_blind_posts() -> bool {
    let posts = BLIND_POSTS.get_or_init(|| {
        let posts = EventFd::new().ok()?;
        let fd = posts.fd();
        let thread = std::thread::Builder::new()
            .name("silken-posts".to_string())
            .stack_size(STACK_BYTES);
        // Critical: the code of std that makes a thread must not run into the hooks half-way.
        let _critical = Critical::enter();
        c_thread::native(|| thread.spawn(move || wake_for_handlers(fd))).ok()?;
        Some(posts)
    });
    posts.is_some()
}

/// Wakes all, whenever the eventfd is notified.
fn wake_for_handlers(fd: c_int) {
    // No handler of the program's runs here. Those of the C library must, or its changes of ids would wait for ever.
    crate::sys::signal::set_blocked(!crate::sys::signal::OF_C_LIBRARY);
    loop {
        let mut entries = [libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        }];
        // After an error the read tells nothing, and the loop waits again.
        let _ = socket::poll_now(&mut entries, None);
        let mut count = 0_u64;
        // SAFETY: S5: a live local of eight bytes.
        let _ = unsafe { file::read(fd, (&raw mut count).cast(), size_of::<u64>()) };
        let addresses = with_waited_for(|addresses| addresses.clone());
        for address in addresses {
            wake_waiters(address, usize::MAX);
        }
    }
}

/// Whether `sem_t` begins with the value, followed by one word for waiters and one that is 0 unless processes share it.
fn knows_layout() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    const VALUE: u32 = 0x1234_5678;
    *KNOWS.get_or_init(|| {
        let words = [0, 1].map(|is_shared| {
            let mut semaphore = MaybeUninit::<[u32; size_of::<sem_t>() / 4]>::zeroed();
            // SAFETY: S7: a place as large as a semaphore, and as aligned as its words.
            let made = unsafe { libc::sem_init(semaphore.as_mut_ptr().cast(), is_shared, VALUE) };
            // SAFETY: S7: any bits are such words.
            (made, unsafe { semaphore.assume_init() })
        });
        let [(made, own), (_, shared)] = words;
        made == 0 && own[..3] == [VALUE, 0, 0] && shared[..2] == [VALUE, 0] && shared[2] != 0
    })
}

/// Whether the semaphore belongs to this process alone.
///
/// # Safety
/// S7: a semaphore of the caller's.
unsafe fn is_private(semaphore: *mut sem_t) -> bool {
    let mark = semaphore.cast::<u32>().wrapping_add(2);
    // SAFETY: S7: the third word of the caller's semaphore.
    knows_layout() && unsafe { mark.read() } == 0
}

/// The result of a C function that sets errno.
fn result_of(result: c_int) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_negative| Errno(errno()))
}

/// Takes the semaphore if it is not 0.
///
/// # Safety
/// S7: a semaphore of the caller's.
unsafe fn try_take(semaphore: *mut sem_t) -> Result<usize, Errno> {
    let before = errno();
    // SAFETY: S7: the caller's semaphore.
    let result = result_of(unsafe { libc::sem_trywait(semaphore) });
    // errno is not for the caller unless the call fails.
    set_errno(before);
    result
}

/// Waits in the futex table until the semaphore could be taken.
///
/// # Safety
/// S7: a semaphore of the caller's, which belongs to this process alone.
unsafe fn park(semaphore: *mut sem_t, deadline_ns: Option<u64>) -> Result<usize, Errno> {
    let address = semaphore.addr();
    with_waited_for(|addresses| addresses.push(address));
    let result = loop {
        match wait_while(address, 0, deadline_ns) {
            // The value is another already.
            Ok(()) | Err(Errno::AGAIN) => {}
            Err(errno) => break Err(errno),
        }
        // SAFETY: S7: the caller's semaphore.
        match unsafe { try_take(semaphore) } {
            Err(Errno::AGAIN) => {}
            result => break result,
        }
    };
    with_waited_for(|addresses| {
        if let Some(place) = addresses.iter().position(|waited_for| *waited_for == address) {
            addresses.swap_remove(place);
        }
    });
    result
}

/// Takes the semaphore. `deadline_ns` is the time of the call, and `wait` makes the call on a thread of the pool.
///
/// # Safety
/// S5, S7: the contract of sem_timedwait; `wait` is one of the calls of this file.
unsafe fn take(
    semaphore: *mut sem_t,
    deadline_ns: impl FnOnce() -> Result<Option<u64>, Errno>,
    wait: impl Fn(*mut sem_t) -> c_int + Send + 'static,
) -> c_int {
    budget::spend();
    // SAFETY: S7: the caller's semaphore.
    let taken = match unsafe { try_take(semaphore) } {
        // SAFETY: S7: the caller's semaphore.
        Err(Errno::AGAIN) if unsafe { is_private(semaphore) } && serves_blind_posts() => {
            // SAFETY: S7: the caller's semaphore.
            deadline_ns().and_then(|deadline_ns| unsafe { park(semaphore, deadline_ns) })
        }
        Err(Errno::AGAIN) => {
            let semaphore = semaphore.expose_provenance();
            offload::try_wait_out(move || result_of(wait(ptr::with_exposed_provenance_mut(semaphore))))
        }
        result => result,
    };
    answer(taken) as c_int
}

/// A time of a clock as one of the monotonic clock.
///
/// # Safety
/// S7: a time of the caller's.
unsafe fn deadline_ns(clock: clockid_t, time: *const timespec) -> Result<Option<u64>, Errno> {
    // SAFETY: S7: the caller's time, which was looked at.
    let time = unsafe { time.read_unaligned() };
    clock::deadline_on(clock, &time).map(Some).ok_or(Errno::INVAL)
}

/// `sem_wait(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sem_wait(semaphore: *mut sem_t) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's argument under the caller's contract.
        return unsafe { next::sem_wait(semaphore) };
    }
    // SAFETY: S5: the caller lends the semaphore, and waits until the call has ended.
    let wait = |semaphore| unsafe { next::sem_wait(semaphore) };
    // SAFETY: S5, S7: the caller's semaphore, and no time.
    unsafe { take(semaphore, || Ok(None), wait) }
}

/// `sem_timedwait(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || time.is_null() || unsafe { faults(time, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::sem_timedwait(semaphore, time) };
    }
    let lent = time.expose_provenance();
    // SAFETY: S5: the caller lends both, and waits until the call has ended.
    let wait = move |semaphore| unsafe { next::sem_timedwait(semaphore, ptr::with_exposed_provenance(lent)) };
    // SAFETY: S7: the caller's time.
    let deadline_ns = || unsafe { deadline_ns(libc::CLOCK_REALTIME, time) };
    // SAFETY: S5, S7: the caller's arguments.
    unsafe { take(semaphore, deadline_ns, wait) }
}

/// `sem_clockwait(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || time.is_null() || unsafe { faults(time, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::sem_clockwait(semaphore, clock, time) };
    }
    let lent = time.expose_provenance();
    // SAFETY: S5: the caller lends both, and waits until the call has ended.
    let wait = move |semaphore| unsafe { next::sem_clockwait(semaphore, clock, ptr::with_exposed_provenance(lent)) };
    // SAFETY: S7: the caller's time.
    let deadline_ns = || unsafe { deadline_ns(clock, time) };
    // SAFETY: S5, S7: the caller's arguments.
    unsafe { take(semaphore, deadline_ns, wait) }
}

/// `sem_post(3)`. May be called in a signal handler.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sem_post(semaphore: *mut sem_t) -> c_int {
    // SAFETY: S7: the caller's argument under the caller's contract.
    let result = unsafe { next::sem_post(semaphore) };
    // Whoever waits may have destroyed it by now: only its address is used.
    let address = semaphore.addr();
    if result == 0 && may_have_waiters(address) && !process::is_forked() {
        if !is_runtime() {
            wake_waiters(address, 1);
        } else if let Some(Some(posts)) = BLIND_POSTS.get() {
            posts.notify();
        }
    }
    result
}

/// `pthread_barrier_wait(3)`: returns the error number, or the mark of the one caller that is chosen.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's argument under the caller's contract.
        return unsafe { next::pthread_barrier_wait(barrier) };
    }
    let barrier = barrier.expose_provenance();
    offload::wait(move || {
        // SAFETY: S5: the caller lends the barrier, and waits until the call has ended.
        unsafe { next::pthread_barrier_wait(ptr::with_exposed_provenance_mut(barrier)) }
    })
}
