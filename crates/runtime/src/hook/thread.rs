//! What do a coroutine's questions about its thread answer, and how does it give way?
//!
//! * `sched_yield`: the coroutine yields. Spin loops of std, parking_lot and crossbeam end in this call, and may wait
//!   for a coroutine in the same run queue.
//! * `pthread_getattr_np` of a coroutine, which may be the caller: the answer is the coroutine's stack. The C library
//!   would ask the kernel about the coroutine's tid, and fail. A light coroutine has its worker's identity and gets the
//!   worker's answer. The other functions that take a `pthread_t` are in `pthread`.
//! * `sigaltstack`: on a coroutine nothing is set, and the call reports "none" as the previous stack. The kernel keeps
//!   one alternate stack per OS thread, and a stack overflow is reported on the worker's. A coroutine that changed it
//!   would change it for all coroutines, and would move to another worker without it. A handler that was registered
//!   with `SA_ONSTACK` still runs on an alternate stack, the worker's. Code that wants room on its own alternate stack
//!   does not get it. A refusal (`EPERM`) would be more honest, but programs abort on it.
//! * pthread keys: [`run_key_destructors`] does at a coroutine's end what the C library does at a thread's.
//! * libraries that are loaded: [`library_loaded`] tells the identities.
//!
//! `pthread_getattr_np` and `sigaltstack` are answered inside critical sections too: the next definition would read
//! fields of the control block that silken does not fill.

use super::call::caller;
use crate::coroutine::{Core, Critical, Kind, current_core, is_beginning};
use crate::sched;
use libc::{c_int, c_void, pthread_attr_t, pthread_t, size_t, stack_t};
use silken_context::identity;
use silken_interpose::{for_each_key, next};
use std::ptr;

unsafe extern "C" {
    fn pthread_attr_setstack(attributes: *mut pthread_attr_t, bottom: *mut c_void, bytes: size_t) -> c_int;
}

/// The hook of `sched_yield(2)`.
///
/// # Safety
/// The contract of the C function, which asks nothing.
pub(super) unsafe extern "C" fn sched_yield() -> c_int {
    if caller().is_none() {
        // SAFETY: S7: no pointers.
        return unsafe { next::sched_yield() };
    }
    sched::yield_now();
    0
}

/// The hook of `pthread_getattr_np(3)`.
///
/// # Safety
/// The contract of the C function.
pub(super) unsafe extern "C" fn pthread_getattr_np(thread: pthread_t, attributes: *mut pthread_attr_t) -> c_int {
    // SAFETY: S3: reads the identity's own address.
    let is_self = || thread == unsafe { libc::pthread_self() };
    if let Some(core) = current_core()
        && core.kind.get() == Kind::Isolated
        && is_self()
    {
        if is_beginning() {
            // std asks for the guard, to tell its overflow handler of it; our handler answers for overflows.
            return libc::ENOENT;
        }
        // SAFETY: S7: a place for attributes, says the contract.
        return unsafe { describe_stack(core, attributes) };
    }
    // SAFETY: S7: a thread that has not ended, says the contract.
    if let Some(stack) = unsafe { identity::stack_of(thread as usize) } {
        let bottom = ptr::with_exposed_provenance_mut(stack.bottom);
        // SAFETY: S7: a place for attributes, says the contract. The size of another's guard is not known here.
        return unsafe { describe(bottom, stack.bytes, 0, attributes) };
    }
    // SAFETY: S7: the caller's arguments under the caller's contract.
    unsafe { next::pthread_getattr_np(thread, attributes) }
}

/// # Safety
/// `core` is the running coroutine (S1), and `attributes` a place for attributes (S7).
unsafe fn describe_stack(core: &Core, attributes: *mut pthread_attr_t) -> c_int {
    // SAFETY: S1: the field belongs to the coroutine while it runs.
    let stack = unsafe { &*core.stack.get() };
    let Some(stack) = stack.as_ref().map(|pooled| &pooled.stack) else {
        return libc::ENOMEM;
    };
    let (bottom, bytes, guard_bytes) = (stack.bottom(), stack.size(), stack.guard_range().len());
    // SAFETY: S7: the caller promises: `core` is the running coroutine, and `attributes` a place for attributes.
    unsafe { describe(bottom.cast(), bytes, guard_bytes, attributes) }
}

/// # Safety
/// `attributes` is a place for attributes (S7).
unsafe fn describe(bottom: *mut c_void, bytes: usize, guard_bytes: usize, attributes: *mut pthread_attr_t) -> c_int {
    // SAFETY: S7: a place for attributes.
    let error = unsafe { libc::pthread_attr_init(attributes) };
    if error != 0 {
        return error;
    }
    // SAFETY: S7: just initialised; the range is the stack's.
    let error = unsafe { pthread_attr_setstack(attributes, bottom, bytes) };
    if error != 0 {
        return error;
    }
    // SAFETY: S7: just initialised.
    unsafe { libc::pthread_attr_setguardsize(attributes, guard_bytes) }
}

/// The hook of `sigaltstack(2)`.
///
/// # Safety
/// The contract of the C function.
pub(super) unsafe extern "C" fn sigaltstack(stack: *const stack_t, old_stack: *mut stack_t) -> c_int {
    if current_core().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::sigaltstack(stack, old_stack) };
    }
    if !old_stack.is_null() {
        let none = stack_t {
            ss_sp: ptr::null_mut(),
            // std is about to make an alternate stack for its overflow handler, and need not: report one.
            ss_flags: if is_beginning() { 0 } else { libc::SS_DISABLE },
            ss_size: 0,
        };
        // SAFETY: S7: a place for the answer, says the contract.
        unsafe { old_stack.write(none) };
    }
    0
}

/// POSIX's `PTHREAD_DESTRUCTOR_ITERATIONS`: the rounds of destructors. A destructor may set values again, but not for
/// ever.
const ROUNDS: usize = 4;

/// Runs the destructors of all pthread keys that have a value in the identity that runs, as one round at the end of a
/// thread does. Returns whether it ran any. After the last round values are removed without their destructor, as a
/// thread's would be, so that the next life of the identity finds none. It costs one look per key.
pub(super) fn run_key_destructors(round: usize) -> bool {
    let mut ran = false;
    for_each_key(|key, destructor| {
        let value = take_value(key);
        if let Some(destructor) = destructor
            && !value.is_null()
            && round < ROUNDS
        {
            // SAFETY: S7: the key's maker gave it for the key's values.
            unsafe { destructor(value) };
            ran = true;
        }
    });
    ran
}

/// Called after a library was loaded. If the library's thread-locals have a fixed place in every identity, they get
/// that place in the identities of coroutines too.
pub(super) fn library_loaded() {
    let Some(facts) = identity::known_facts() else {
        return;
    };
    let found = {
        let _critical = Critical::enter();
        facts.synchronise()
    };
    // Outside the critical section: this waits for the loader's lock, which may be held by a coroutine that waits in a
    // constructor.
    facts.pin(found);
}

fn take_value(key: libc::pthread_key_t) -> *mut c_void {
    // SAFETY: S3: any key may be asked for; one that was deleted meanwhile has no value.
    let value = unsafe { libc::pthread_getspecific(key) };
    if !value.is_null() {
        // SAFETY: S3: any key may be asked for.
        unsafe { libc::pthread_setspecific(key, ptr::null()) };
    }
    value
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::PooledStack;
    use crate::loom::static_atomic::{AtomicUsize, Ordering::SeqCst};
    use libc::pthread_key_t;

    static PLAIN_RAN: AtomicUsize = AtomicUsize::new(0);
    static STUBBORN_KEY: AtomicUsize = AtomicUsize::new(0);
    static STUBBORN_RAN: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn plain(value: *mut c_void) {
        PLAIN_RAN.fetch_add(value.addr(), SeqCst);
    }

    /// Sets its value again each time that it runs.
    unsafe extern "C" fn stubborn(value: *mut c_void) {
        STUBBORN_RAN.fetch_add(1, SeqCst);
        let key = STUBBORN_KEY.load(SeqCst) as pthread_key_t;
        // SAFETY: S7: the key exists.
        assert_eq!(unsafe { libc::pthread_setspecific(key, value) }, 0);
    }

    fn run_rounds() {
        let mut round = 0;
        while run_key_destructors(round) {
            round += 1;
        }
    }

    fn make_key(destructor: Option<unsafe extern "C" fn(*mut c_void)>) -> pthread_key_t {
        let mut key = 0;
        // SAFETY: S7: a place for the key.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, destructor) }, 0);
        key
    }

    fn set(key: pthread_key_t, value: usize) {
        assert_eq!(
            // SAFETY: S7: the key exists.
            unsafe { libc::pthread_setspecific(key, ptr::without_provenance(value)) },
            0
        );
    }

    fn get(key: pthread_key_t) -> usize {
        // SAFETY: S7: the key exists.
        unsafe { libc::pthread_getspecific(key) }.addr()
    }

    /// The body of a raw thread: a std thread has values of std, which must not be destroyed while it runs.
    extern "C" fn body(_: *mut c_void) -> *mut c_void {
        let (with, without) = (make_key(Some(plain)), make_key(None));
        let again = make_key(Some(stubborn));
        STUBBORN_KEY.store(again as usize, SeqCst);
        run_rounds();
        assert_eq!((PLAIN_RAN.load(SeqCst), STUBBORN_RAN.load(SeqCst)), (0, 0));
        set(with, 40);
        set(without, 50);
        run_rounds();
        assert_eq!((PLAIN_RAN.load(SeqCst), get(with), get(without)), (40, 0, 0));
        set(again, 1);
        run_rounds();
        assert_eq!((STUBBORN_RAN.load(SeqCst), get(again)), (ROUNDS, 0));
        for key in [with, without, again] {
            // SAFETY: S7: the key exists.
            assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
        }
        ptr::without_provenance_mut(7)
    }

    #[test]
    fn key_destructors_run_in_rounds_and_leave_no_value() {
        silken_interpose::link();
        let mut thread = 0;
        assert_eq!(
            // SAFETY: S7: a place for the thread, default attributes, a body that ends.
            unsafe { libc::pthread_create(&mut thread, ptr::null(), body, ptr::null_mut()) },
            0
        );
        let mut result = ptr::null_mut();
        // SAFETY: S7: made above, joined once.
        assert_eq!(unsafe { libc::pthread_join(thread, &mut result) }, 0);
        assert_eq!(result.addr(), 7);
    }

    #[test]
    fn off_a_coroutine_the_questions_pass() {
        let mut stack = stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: 99,
            ss_size: 0,
        };
        // SAFETY: S7: asks only.
        assert_eq!(unsafe { sigaltstack(ptr::null(), &mut stack) }, 0);
        assert_ne!(stack.ss_flags, 99);
        // SAFETY: S7: no pointers.
        assert_eq!(unsafe { sched_yield() }, 0);
    }

    #[test]
    fn a_stack_is_described_as_pthread_would() {
        let core = Core::free();
        let mut attributes = std::mem::MaybeUninit::<pthread_attr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: S1: no worker runs this core.
        assert_eq!(unsafe { describe_stack(&core, attributes) }, libc::ENOMEM);

        let pooled = PooledStack::of_own_arena();
        let stack = &pooled.stack;
        let (lowest, bytes, guard) = (stack.bottom(), stack.size(), stack.guard_range().len());
        // SAFETY: S1: no worker runs this core.
        unsafe { *core.stack.get() = Some(pooled) };
        // SAFETY: S1: no worker runs this core.
        assert_eq!(unsafe { describe_stack(&core, attributes) }, 0);
        let (mut told_lowest, mut told_bytes, mut told_guard) = (ptr::null_mut(), 0, 0);
        assert_eq!(
            // SAFETY: S7: filled in by the call that succeeded.
            unsafe { libc::pthread_attr_getstack(attributes, &mut told_lowest, &mut told_bytes) },
            0
        );
        assert_eq!(
            // SAFETY: S7: filled in by the call that succeeded.
            unsafe { libc::pthread_attr_getguardsize(attributes, &mut told_guard) },
            0
        );
        assert_eq!((told_lowest.cast(), told_bytes, told_guard), (lowest, bytes, guard));
        // SAFETY: S7: filled in by the call that succeeded; not used again.
        assert_eq!(unsafe { libc::pthread_attr_destroy(attributes) }, 0);
    }
}
