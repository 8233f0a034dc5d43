//! What do the calls do that wait for a semaphore or a barrier of POSIX?
//!
//! Neither belongs to a thread, so any thread may wait in the caller's stead. A semaphore is first tried. If it is 0, a
//! thread of the offload pool makes the caller's call, and the coroutine parks. A barrier cannot be tried, so the pool
//! makes each wait. The wait ends when another party acts, and is not interrupted.
//!
//! # Rejected
//! *Waiting in the futex table* (`futex/table.rs`), as locks of std do: the C library posts a semaphore by a system
//! call of its own, so `sem_post` would need a hook that wakes the table. `sem_post` may be called in a signal handler,
//! which may have interrupted the table's lock. *Mutexes, read-write locks and conditions in the same way*: they belong
//! to the thread that locks them. They block the worker, and another thread continues as the worker (`sched/late.rs`).

use super::call::{answer, caller, errno, set_errno};
use crate::coroutine::budget;
use crate::io::memory::faults;
use crate::offload;
use crate::sys::raw::Errno;
use libc::{c_int, clockid_t, pthread_barrier_t, sem_t, timespec};
use silken_interpose::next;
use std::ptr;

/// The result of a C function that sets errno.
fn result_of(result: c_int) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_negative| Errno(errno()))
}

/// Takes the semaphore, or makes the call `wait` on a thread of the pool, with the caller's semaphore and time.
///
/// # Safety
/// S5, S7: the contract of sem_timedwait; `wait` is one of the calls of this file, and the time is null where it has
/// none.
unsafe fn take(
    semaphore: *mut sem_t,
    time: *const timespec,
    wait: impl Fn(*mut sem_t, *const timespec) -> c_int + Send + 'static,
) -> c_int {
    budget::spend();
    let before = errno();
    // SAFETY: S7: the caller's semaphore.
    let taken = match result_of(unsafe { libc::sem_trywait(semaphore) }) {
        Err(Errno::AGAIN) => {
            // errno is not for the caller unless the call fails.
            set_errno(before);
            let (semaphore, time) = (semaphore.expose_provenance(), time.expose_provenance());
            offload::try_wait_out(move || {
                let semaphore = ptr::with_exposed_provenance_mut(semaphore);
                result_of(wait(semaphore, ptr::with_exposed_provenance(time)))
            })
        }
        result => result,
    };
    answer(taken) as c_int
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
    let wait = |semaphore, _| unsafe { next::sem_wait(semaphore) };
    // SAFETY: S5, S7: the caller's semaphore, and no time.
    unsafe { take(semaphore, ptr::null(), wait) }
}

/// `sem_timedwait(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || unsafe { faults(time, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::sem_timedwait(semaphore, time) };
    }
    // SAFETY: S5: the caller lends both, and waits until the call has ended.
    let wait = |semaphore, time| unsafe { next::sem_timedwait(semaphore, time) };
    // SAFETY: S5, S7: the caller's arguments.
    unsafe { take(semaphore, time, wait) }
}

/// `sem_clockwait(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || unsafe { faults(time, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::sem_clockwait(semaphore, clock, time) };
    }
    // SAFETY: S5: the caller lends both, and waits until the call has ended.
    let wait = move |semaphore, time| unsafe { next::sem_clockwait(semaphore, clock, time) };
    // SAFETY: S5, S7: the caller's arguments.
    unsafe { take(semaphore, time, wait) }
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
