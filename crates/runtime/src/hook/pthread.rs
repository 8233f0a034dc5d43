//! What do functions of the C library that take a `pthread_t` answer for a coroutine, and what happens at the end of a
//! thread?
//!
//! An isolated coroutine's `pthread_self()` is the address of its own control block, at the top of its stack slot.
//! glibc takes such a block for a thread's, and the number in it for the kernel's. Signals would then reach no thread,
//! and a detach would free memory that is ours. So every question about a coroutine is answered here. A question about
//! an OS thread passes, on coroutines too.
//!
//! | function | the calling coroutine itself | another coroutine |
//! |---|---|---|
//! | `pthread_kill`, `pthread_sigqueue` | the worker's thread gets the signal, as with `raise` | ESRCH |
//! | `pthread_getaffinity_np`, `pthread_getschedparam`, `pthread_getname_np` | the worker's | ESRCH |
//! | `pthread_setaffinity_np`, `pthread_setschedparam`, `pthread_setschedprio`, `pthread_setname_np` | ENOTSUP | ENOTSUP |
//! | `pthread_getcpuclockid` | ENOENT: it has no clock of its own | ENOENT |
//! | `pthread_join` and kin | EDEADLK | a thread of C is joined (`adopt.rs`); EINVAL: it cannot be joined |
//! | `pthread_detach` | a thread of C is detached; EINVAL | the same |
//! | `pthread_getattr_np` (`thread.rs`) | its own stack | its stack |
//! | `pthread_cancel` | ENOTSUP | ENOTSUP; of a worker too |
//! | `pthread_exit` | ends a thread of C; on another coroutine it ends the process | |
//!
//! A setter would act on the OS thread, and its effect would stay there when the coroutine has left that thread. A
//! getter is useful as it is. Where POSIX has an error for the case, that error is returned. C11's `thrd_join` and
//! `thrd_detach` return `thrd_error`, and `thrd_exit` is `pthread_exit`.
//!
//! A light coroutine's `pthread_self()` is its worker's, which is an OS thread: these functions answer for that thread.
//! Cancelling a worker is refused (ENOTSUP), and so is detaching oneself (EINVAL).
//!
//! `pthread_setcancelstate`, `pthread_setcanceltype` and `pthread_testcancel` need no hook. They use the coroutine's
//! own block, in which a cancellation is never requested. `raise` asks the kernel for the thread.

use super::adopt::{self, Patience};
use super::call::caller;
use super::lent::Lent;
use crate::coroutine::{Critical, c_thread, current_core, is_kept, keep};
use crate::offload;
use crate::sys::raw::{self, Errno};
use crate::sys::{clock, report, set_id, signal};
use libc::{
    c_char, c_int, c_void, clockid_t, cpu_set_t, pthread_attr_t, pthread_t, sched_param, sigval, size_t, timespec,
};
use silken_context::stack;
use silken_interpose::{Routine, next};

/// `thrd_error` of C11's threads.
const THRD_ERROR: c_int = 2;

/// The size of a thread's name with its NUL.
const NAME_BYTES: usize = 16;

/// Whether a `pthread_t` is that of an isolated coroutine, alive or not.
pub(super) fn is_coroutine(thread: pthread_t) -> bool {
    stack::locate(thread as usize).is_some_and(|located| !located.in_guard)
}

fn is_self(thread: pthread_t) -> bool {
    // SAFETY: S3: reads the identity's own address.
    thread == unsafe { libc::pthread_self() }
}

/// Joins a thread of C until a time; null: for ever.
///
/// # Safety
/// S7: null, or the caller's places.
unsafe fn timed_join(thread: pthread_t, value: *mut *mut c_void, clock: clockid_t, deadline: *const timespec) -> c_int {
    // SAFETY: S7: null, or the caller's time.
    let patience = match unsafe { deadline.as_ref() } {
        None => Patience::ForEver,
        Some(deadline) => match clock::deadline_on(clock, deadline) {
            Some(deadline_ns) => Patience::Until(deadline_ns),
            None => return libc::EINVAL,
        },
    };
    // SAFETY: S7: null, or the caller's place.
    unsafe { adopt::join(thread, value, patience) }
}

/// The return value of the C functions of this family: an error number, or 0.
fn number(result: Result<usize, Errno>) -> c_int {
    result.map_or_else(|errno| errno.0, |_| 0)
}

/// Defines hooks that pass for OS threads, and answer for a coroutine with their block.
macro_rules! hooks {
    ($(fn $name:ident($thread:ident: pthread_t $(, $p:ident: $t:ty)*) $answer:block)*) => {$(
        /// # Safety
        /// S7: the contract of the C function.
        pub(super) unsafe extern "C" fn $name($thread: pthread_t $(, $p: $t)*) -> c_int {
            if is_coroutine($thread) {
                $( let _ = $p; )*
                return $answer;
            }
            // SAFETY: S7: the caller's arguments under the caller's contract.
            unsafe { next::$name($thread $(, $p)*) }
        }
    )*};
}

hooks! {
    fn pthread_kill(thread: pthread_t, signal: c_int) {
        match signal {
            0 if c_thread::is_alive(thread as usize) => 0,
            _ if is_self(thread) => raise(signal),
            _ => libc::ESRCH,
        }
    }
    fn pthread_sigqueue(thread: pthread_t, signal: c_int, value: sigval) {
        if is_self(thread) { queue(signal, value) } else { libc::ESRCH }
    }
    fn pthread_setaffinity_np(thread: pthread_t, set_bytes: size_t, set: *const cpu_set_t) { libc::ENOTSUP }
    fn pthread_getaffinity_np(thread: pthread_t, set_bytes: size_t, set: *mut cpu_set_t) {
        // SAFETY: S7: the caller's place.
        if is_self(thread) { unsafe { affinity(set_bytes, set) } } else { libc::ESRCH }
    }
    fn pthread_getcpuclockid(thread: pthread_t, clock: *mut clockid_t) { libc::ENOENT }
    fn pthread_setschedparam(thread: pthread_t, policy: c_int, parameters: *const sched_param) { libc::ENOTSUP }
    fn pthread_getschedparam(thread: pthread_t, policy: *mut c_int, parameters: *mut sched_param) {
        // SAFETY: S7: the caller's places.
        if is_self(thread) { unsafe { scheduling(policy, parameters) } } else { libc::ESRCH }
    }
    fn pthread_setschedprio(thread: pthread_t, priority: c_int) { libc::ENOTSUP }
    fn pthread_setname_np(thread: pthread_t, name: *const c_char) {
        // SAFETY: S7: the caller's text.
        unsafe { adopt::set_name(thread, name) }.unwrap_or(libc::ENOTSUP)
    }
    fn pthread_getname_np(thread: pthread_t, name: *mut c_char, name_bytes: size_t) {
        // SAFETY: S7: the caller's place.
        let given = unsafe { adopt::name(thread, name, name_bytes) };
        // SAFETY: S7: the caller's place.
        let of_worker = || unsafe { name_of_worker(name, name_bytes) };
        given.unwrap_or_else(|| if is_self(thread) { of_worker() } else { libc::ESRCH })
    }
    fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) {
        // SAFETY: S7: null, or the caller's place.
        unsafe { adopt::join(thread, value, Patience::None) }
    }
}

/// Defines hooks of calls that wait for a thread. Waiting for a coroutine is refused. A call from a coroutine is made
/// on a thread of the offload pool, as `pthread_join` is (`join`).
macro_rules! waiting_hooks {
    ($(fn $name:ident($thread:ident: pthread_t $(, $p:ident: $t:ty)*) $refusal:block)*) => {$(
        /// # Safety
        /// S7: the contract of the C function.
        pub(super) unsafe extern "C" fn $name($thread: pthread_t $(, $p: $t)*) -> c_int {
            if is_coroutine($thread) {
                return $refusal;
            }
            if caller().is_none() {
                // SAFETY: S7: the caller's arguments under the caller's contract.
                return unsafe { next::$name($thread $(, $p)*) };
            }
            $( let $p = Lent($p); )*
            offload::wait(move || {
                // SAFETY: S5: the caller's places; the caller waits until this call has ended; S7: the thread is the
                // caller's to join.
                unsafe { next::$name($thread $(, $p.get())*) }
            })
        }
    )*};
}

waiting_hooks! {
    fn pthread_timedjoin_np(thread: pthread_t, value: *mut *mut c_void, deadline: *const timespec) {
        // SAFETY: S7: null, or the caller's places.
        unsafe { timed_join(thread, value, libc::CLOCK_REALTIME, deadline) }
    }
    fn pthread_clockjoin_np(
        thread: pthread_t, value: *mut *mut c_void, clock: clockid_t, deadline: *const timespec
    ) {
        // SAFETY: S7: null, or the caller's places.
        unsafe { timed_join(thread, value, clock, deadline) }
    }
    fn thrd_join(thread: pthread_t, result: *mut c_int) { THRD_ERROR }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn pthread_cancel(thread: pthread_t) -> c_int {
    if is_coroutine(thread) || set_id::is_worker(thread as usize) {
        return libc::ENOTSUP;
    }
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::pthread_cancel(thread) }
}

/// Whether a `pthread_t` is that of a coroutine, of either kind, which may not be detached. The runtime itself detaches
/// workers for which it does not wait.
fn is_not_to_be_detached(thread: pthread_t) -> bool {
    is_coroutine(thread) || current_core().is_some() && is_self(thread)
}

/// The size of the stack that a thread is to have; 0 where the attributes do not say.
///
/// # Safety
/// S7: null, or attributes that were initialised.
unsafe fn stack_size_of(attributes: *const pthread_attr_t) -> usize {
    let mut bytes = 0;
    if !attributes.is_null() {
        // SAFETY: S7: attributes that were initialised, and a local.
        unsafe { libc::pthread_attr_getstacksize(attributes, &mut bytes) };
    }
    bytes
}

/// The hook of `pthread_create(3)`: the routine that std passes for a future coroutine is kept, and no thread is made.
/// Other threads become coroutines, if a runtime adopts them (`adopt.rs`).
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: S7: null, or attributes that were initialised, says the contract.
    let stack_bytes = unsafe { stack_size_of(attributes) };
    if let Some(kept) = keep(stack_bytes, routine, argument) {
        // SAFETY: S7: a place for a number, says the contract.
        unsafe { thread.write(kept) };
        return 0;
    }
    // SAFETY: S7: the caller's arguments under the caller's contract.
    if let Some(result) = unsafe { adopt::create(thread, attributes, routine, argument) } {
        return result;
    }
    // SAFETY: S7: the caller's arguments under the caller's contract.
    unsafe { next::pthread_create(thread, attributes, routine, argument) }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn pthread_detach(thread: pthread_t) -> c_int {
    if is_kept(thread) {
        return 0;
    }
    if is_coroutine(thread) {
        return adopt::detach(thread);
    }
    if is_not_to_be_detached(thread) {
        return libc::EINVAL;
    }
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::pthread_detach(thread) }
}

/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn thrd_detach(thread: pthread_t) -> c_int {
    if is_not_to_be_detached(thread) {
        return THRD_ERROR;
    }
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::thrd_detach(thread) }
}

fn raise(signal: c_int) -> c_int {
    // In the critical section the coroutine keeps its thread until the signal has arrived.
    let _critical = Critical::enter();
    number(signal::tgkill(signal::gettid(), signal).map(|()| 0))
}

fn queue(signal: c_int, value: sigval) -> c_int {
    let _critical = Critical::enter();
    number(signal::queue(signal::gettid(), signal, value.sival_ptr.addr()).map(|()| 0))
}

/// # Safety
/// S7: `set` has room for `set_bytes`.
unsafe fn affinity(set_bytes: size_t, set: *mut cpu_set_t) -> c_int {
    let bytes = set_bytes.min(i32::MAX as usize);
    // SAFETY: S5: the caller's place. 0 is the calling thread.
    let filled = match unsafe { raw::syscall3(libc::SYS_sched_getaffinity, 0, bytes, set as usize) } {
        Ok(filled) => filled,
        Err(errno) => return errno.0,
    };
    let rest = set.cast::<u8>().wrapping_add(filled);
    // SAFETY: S7: what the kernel has not filled of the caller's place.
    unsafe { rest.write_bytes(0, set_bytes - filled) };
    0
}

/// # Safety
/// S7: two places.
unsafe fn scheduling(policy: *mut c_int, parameters: *mut sched_param) -> c_int {
    let _critical = Critical::enter();
    // SAFETY: S5: the caller's place. 0 is the calling thread.
    let asked = unsafe { raw::syscall2(libc::SYS_sched_getparam, 0, parameters as usize) };
    // SAFETY: S5: names no memory.
    match asked.and_then(|_| unsafe { raw::syscall1(libc::SYS_sched_getscheduler, 0) }) {
        Ok(answer) => {
            // SAFETY: S7: the caller's place.
            unsafe { policy.write(answer as c_int) };
            0
        }
        Err(errno) => errno.0,
    }
}

/// # Safety
/// S7: `name` has room for `name_bytes`.
unsafe fn name_of_worker(name: *mut c_char, name_bytes: size_t) -> c_int {
    if name_bytes < NAME_BYTES {
        return libc::ERANGE;
    }
    // SAFETY: S5: the caller's place, of 16 bytes at least.
    number(unsafe { raw::syscall2(libc::SYS_prctl, libc::PR_GET_NAME as usize, name as usize) })
}

/// Called before `pthread_exit`. It ends a coroutine that is a thread of C (`adopt.rs`), and the process on any other
/// coroutine. The C library would unwind the coroutine's stack without end, or end the worker's thread, on which all
/// its other coroutines depend.
pub(super) extern "C-unwind" fn before_thread_exit(value: *mut c_void) {
    if let Some(core) = current_core() {
        if core.is_c_thread() {
            adopt::exit(core, value);
        }
        report(&[
            "silken: fatal: pthread_exit was called on a coroutine, which is no OS thread: return from its closure\n",
        ]);
        std::process::abort();
    }
}
