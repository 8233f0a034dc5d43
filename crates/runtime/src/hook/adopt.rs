//! How does `pthread_create` make a coroutine, and who joins it, detaches it, ends it?
//!
//! # Vocabulary
//! A runtime that *adopts* threads (`Runtime::adopt_threads`, SILKEN_THREADS) answers `pthread_create` of code that
//! knows nothing of it, std's `thread::spawn` included: the thread becomes an isolated coroutine. `coroutine/c_thread`
//! says what its number is and how long it stands for it.
//!
//! # Which threads are adopted
//! One that a coroutine makes belongs to the coroutine's runtime; one that an OS thread makes, to the runtime that
//! adopts. These stay threads of the system:
//! * those made inside of [`native`](crate::native), which are also all of the runtime's own;
//! * those whose attributes ask for what only the system has: a stack of the caller's, or of more than a gibibyte, a
//!   scheduling policy, CPUs;
//! * those of `thrd_create`, which does not call `pthread_create` by its symbol, and those of an inline `clone`;
//! * all, once the runtime has begun to end, and where coroutines are light.
//!
//! # What differs from a thread
//! No cancellation reaches the start routine: C and std have frames there that must not be unwound. A coroutine that a
//! shutdown would cancel therefore goes on, as a detached thread does. `pthread_cancel` is refused (ENOTSUP). A signal
//! cannot be sent to it from elsewhere (`pthread_kill` with 0 tells whether it is alive).
//!
//! # pthread_exit
//! The C library would unwind to a buffer on the stack of a thread that it has started. Here the unwinder runs the
//! cleanups of the frames, up to the start routine's, by [`stop`]; then the coroutine ends in the middle of its stack
//! (`sched::end_thread`). Cleanup handlers of C code that was built without `-fexceptions` do not run: their buffers
//! are the C library's own. On a segment of `maybe_grow` the exit is refused, and ends the process.
//!
//! # Rejected
//! *A list of name prefixes that stay threads*: std names a thread when it already runs. *Parking `pthread_create`
//! until the coroutine has a stack*: a caller that holds a lock would hold it for a turn of the queue.

use super::call::is_runtime;
use crate::coroutine::c_thread::{self, NAME_BYTES};
use crate::coroutine::{Core, Critical, Outcome, current_core, mask};
use crate::sched::{self, Scheduler, SpawnError};
use crate::sys::{StaticLock, report};
use crate::wait;
use libc::{c_char, c_int, c_void, pthread_attr_t, pthread_t};
use silken_interpose::Routine;
use std::mem::MaybeUninit;
use std::ptr;

/// The scheduler of the runtime that adopts threads.
static ADOPTER: StaticLock<Option<&'static Scheduler>> = StaticLock::new(None);

fn with_adopter<R>(f: impl FnOnce(&mut Option<&'static Scheduler>) -> R) -> R {
    let _critical = Critical::enter();
    f(&mut ADOPTER.lock())
}

/// From now on threads become coroutines.
pub(crate) fn begin(scheduler: &'static Scheduler) {
    with_adopter(|adopter| *adopter = Some(scheduler));
}

/// The scheduler to which a thread that the caller makes is to belong.
fn adopter() -> Option<&'static Scheduler> {
    if is_runtime() || c_thread::is_native() {
        return None;
    }
    let adopter = with_adopter(|adopter| *adopter)?;
    let scheduler = Scheduler::current().unwrap_or(adopter);
    (scheduler.isolates() && !scheduler.is_stopping()).then_some(scheduler)
}

/// What the attributes of a thread ask for.
struct Wishes {
    stack_bytes: usize,
    is_detached: bool,
    /// Only the system can make such a thread.
    is_for_the_system: bool,
}

unsafe extern "C" {
    fn pthread_getattr_default_np(attributes: *mut pthread_attr_t) -> c_int;
    fn pthread_attr_getstack(attributes: *const pthread_attr_t, place: *mut *mut c_void, bytes: *mut usize) -> c_int;
    fn pthread_attr_getdetachstate(attributes: *const pthread_attr_t, state: *mut c_int) -> c_int;
    fn pthread_attr_getinheritsched(attributes: *const pthread_attr_t, inherits: *mut c_int) -> c_int;
    fn pthread_attr_getaffinity_np(
        attributes: *const pthread_attr_t,
        set_bytes: usize,
        set: *mut libc::cpu_set_t,
    ) -> c_int;
}

/// bits/pthreadtypes-arch.h and pthread.h.
const PTHREAD_EXPLICIT_SCHED: c_int = 1;

/// The largest stack of a coroutine.
const STACK_BYTES_MAX: usize = 1 << 30;

/// # Safety
/// S7: null, or attributes that were initialised.
unsafe fn wishes(given: *const pthread_attr_t) -> Option<Wishes> {
    let mut defaults = MaybeUninit::<pthread_attr_t>::zeroed();
    let has_defaults = given.is_null();
    if has_defaults {
        // SAFETY: S7: a place for attributes.
        if unsafe { pthread_getattr_default_np(defaults.as_mut_ptr()) } != 0 {
            return None;
        }
    }
    let attributes = if has_defaults { defaults.as_ptr() } else { given };
    let (mut begin, mut own_bytes, mut stack_bytes) = (ptr::null_mut::<c_void>(), 0, 0);
    let (mut state, mut inherits) = (0, 0);
    // SAFETY: S5: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: S7: attributes that were initialised, and live places.
    unsafe { pthread_attr_getstack(attributes, &mut begin, &mut own_bytes) };
    // Where no size was set this tells the default.
    // SAFETY: S7: attributes that were initialised, and a live place.
    unsafe { libc::pthread_attr_getstacksize(attributes, &mut stack_bytes) };
    // SAFETY: S7: attributes that were initialised, and a live place.
    unsafe { pthread_attr_getdetachstate(attributes, &mut state) };
    // SAFETY: S7: attributes that were initialised, and a live place.
    unsafe { pthread_attr_getinheritsched(attributes, &mut inherits) };
    // SAFETY: S7: attributes that were initialised, and a live set of that size.
    unsafe { pthread_attr_getaffinity_np(attributes, size_of_val(&set), &mut set) };
    // SAFETY: S5: a live set.
    let all = unsafe { libc::CPU_COUNT(&set) };
    if has_defaults {
        // SAFETY: S7: initialised above.
        unsafe { libc::pthread_attr_destroy(defaults.as_mut_ptr()) };
    }
    // Without a stack of the caller's, glibc reports the one that would end at address 0. Without a set of CPUs, it
    // reports all bits.
    let has_stack = begin.addr().wrapping_add(own_bytes) != 0;
    let has_cpus = all as usize != 8 * size_of_val(&set);
    Some(Wishes {
        stack_bytes,
        is_detached: state == libc::PTHREAD_CREATE_DETACHED,
        is_for_the_system: has_stack || has_cpus || inherits == PTHREAD_EXPLICIT_SCHED || stack_bytes > STACK_BYTES_MAX,
    })
}

/// Makes a thread as a coroutine. `None`: the system is to make it.
///
/// # Safety
/// S7: the contract of pthread_create.
pub(super) unsafe fn create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> Option<c_int> {
    let scheduler = adopter()?;
    // SAFETY: S7: null, or attributes that were initialised.
    let wishes = unsafe { wishes(attributes) }.filter(|wishes| !wishes.is_for_the_system)?;
    let argument = argument.expose_provenance();
    let body = |number| move || run(number, routine, argument);
    let tell = |number: usize| {
        if wishes.is_detached {
            // Nobody knows the number yet.
            c_thread::detach(number);
        }
        // SAFETY: S7: a place for a number, says the contract.
        unsafe { thread.write(number as pthread_t) };
    };
    // SAFETY: S1, S2: the routine and its argument are for another thread, says the contract.
    match unsafe { sched::spawn_thread(scheduler, wishes.stack_bytes, body, tell) } {
        Ok(()) => Some(0),
        Err(SpawnError::NoStack(_)) => Some(libc::EAGAIN),
        Err(_) => None,
    }
}

/// Runs the start routine on the new coroutine, and stores its value.
#[inline(never)]
fn run(number: usize, routine: Routine, argument: usize) {
    let mark = 0_u8;
    c_thread::set_bottom(number, (&raw const mark).addr());
    let value = mask(|| routine(ptr::with_exposed_provenance_mut(argument)));
    c_thread::set_value(number, value);
}

/// How a join ends if the thread does not end first.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    None,
    Until(u64),
    ForEver,
}

/// Joins a thread of C. The return value is that of `pthread_join`.
///
/// # Safety
/// S7: `place` is null, or the caller's.
pub(super) unsafe fn join(thread: pthread_t, place: *mut *mut c_void, patience: Patience) -> c_int {
    let number = thread as usize;
    // SAFETY: S3: reads the identity's own address.
    if thread == unsafe { libc::pthread_self() } {
        return libc::EDEADLK;
    }
    let Some(core) = c_thread::begin_join(number) else {
        return libc::EINVAL;
    };
    let outcome = match patience {
        Patience::None if core.lifecycle.is_done() => Outcome::Woken,
        Patience::None => Outcome::TimedOut,
        Patience::Until(deadline_ns) => wait::wait_for_end(&core, Some(deadline_ns), false),
        Patience::ForEver => wait::wait_for_end(&core, None, false),
    };
    drop(core);
    if outcome == Outcome::TimedOut {
        c_thread::give_up_join(number);
        return match patience {
            Patience::None => libc::EBUSY,
            _ => libc::ETIMEDOUT,
        };
    }
    let value = c_thread::finish_join(number);
    if !place.is_null() {
        // SAFETY: S7: the caller's place.
        unsafe { place.write(value) };
    }
    0
}

/// Detaches a thread of C. The return value is that of `pthread_detach`.
pub(super) fn detach(thread: pthread_t) -> c_int {
    match c_thread::detach(thread as usize) {
        true => 0,
        false => libc::EINVAL,
    }
}

/// Names a thread of C. `None`: it is none.
///
/// # Safety
/// S7: `name` is a text that ends.
pub(super) unsafe fn set_name(thread: pthread_t, name: *const c_char) -> Option<c_int> {
    if !c_thread::is_alive(thread as usize) {
        return None;
    }
    // SAFETY: S7: the caller's text.
    let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes();
    if name.len() >= NAME_BYTES {
        return Some(libc::ERANGE);
    }
    let mut padded = [0; NAME_BYTES];
    padded[..name.len()].copy_from_slice(name);
    c_thread::set_name(thread as usize, padded);
    Some(0)
}

/// The name of a thread of C that was given one.
///
/// # Safety
/// S7: `place` has room for `bytes`.
pub(super) unsafe fn name(thread: pthread_t, place: *mut c_char, bytes: usize) -> Option<c_int> {
    let name = c_thread::name(thread as usize)?;
    if bytes < NAME_BYTES {
        return Some(libc::ERANGE);
    }
    // SAFETY: S7: the caller's place.
    unsafe { ptr::copy_nonoverlapping(name.as_ptr(), place.cast::<u8>(), NAME_BYTES) };
    Some(0)
}

/// The parts of the unwinder's interface that an exit needs (the Itanium C++ ABI, level I).
mod unwinder {
    use libc::{c_int, c_void};

    pub(super) const END_OF_STACK: c_int = 16;
    pub(super) const NO_REASON: c_int = 0;

    /// An exception that nobody catches, with room for what the unwinder keeps in it.
    #[repr(C, align(16))]
    pub(super) struct Exception {
        pub(super) class: u64,
        pub(super) cleanup: Option<extern "C" fn(c_int, *mut Exception)>,
        pub(super) private: [usize; 6],
    }

    pub(super) type Stop =
        unsafe extern "C-unwind" fn(c_int, c_int, u64, *mut Exception, *mut c_void, *mut c_void) -> c_int;

    unsafe extern "C-unwind" {
        pub(super) fn _Unwind_ForcedUnwind(exception: *mut Exception, stop: Stop, argument: *mut c_void) -> c_int;
        pub(super) fn _Unwind_GetCFA(context: *mut c_void) -> usize;
    }
}

/// Called at each frame of a thread that exits: ends the coroutine at the start routine's, whose place is `bottom`.
unsafe extern "C-unwind" fn stop(
    _version: c_int,
    actions: c_int,
    _class: u64,
    _exception: *mut unwinder::Exception,
    context: *mut c_void,
    bottom: *mut c_void,
) -> c_int {
    // SAFETY: S3: the unwinder's own context.
    let is_past = unsafe { unwinder::_Unwind_GetCFA(context) } > bottom.addr();
    if is_past || actions & unwinder::END_OF_STACK != 0 {
        match current_core() {
            // SAFETY: S1: the frames that are left are `run` and what called it, which own nothing.
            Some(core) => unsafe { sched::end_thread(core) },
            None => sched::fatal("pthread_exit unwinds where no coroutine runs"),
        }
    }
    unwinder::NO_REASON
}

/// `pthread_exit` of a coroutine that is a thread of C.
pub(super) fn exit(core: &'static Core, value: *mut c_void) -> ! {
    if core.is_on_segment() {
        report(&["silken: fatal: pthread_exit was called on a segment of maybe_grow: return from its closure first\n"]);
        std::process::abort();
    }
    let number = core.context.identity();
    c_thread::set_value(number, value);
    let bottom = c_thread::bottom(number);
    let exception = Box::into_raw(Box::new(unwinder::Exception {
        class: 0,
        cleanup: None,
        private: [0; 6],
    }));
    // SAFETY: S3: the exception lives for ever, and `stop` does not let the unwinding pass the start routine.
    unsafe { unwinder::_Unwind_ForcedUnwind(exception, stop, ptr::without_provenance_mut(bottom)) };
    sched::fatal("the frames below pthread_exit cannot be unwound")
}
