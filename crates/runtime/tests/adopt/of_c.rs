//! Threads of C: made, joined, detached and ended by the C library's functions.

use super::adopting;
use libc::{c_int, c_void, pthread_attr_t, pthread_t, timespec};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

unsafe extern "C" {
    fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    fn pthread_timedjoin_np(thread: pthread_t, value: *mut *mut c_void, deadline: *const timespec) -> c_int;
    fn pthread_clockjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        clock: c_int,
        deadline: *const timespec,
    ) -> c_int;
}

unsafe extern "C-unwind" {
    fn pthread_exit(value: *mut c_void) -> !;
}

type Routine = extern "C" fn(*mut c_void) -> *mut c_void;

fn create(attributes: *const pthread_attr_t, routine: Routine, argument: usize) -> pthread_t {
    let mut thread = 0;
    let argument = ptr::without_provenance_mut(argument);
    // SAFETY: S7: a place for the number, attributes or none, and a routine that takes any argument.
    assert_eq!(
        unsafe { libc::pthread_create(&mut thread, attributes, routine, argument) },
        0
    );
    thread
}

fn join(thread: pthread_t) -> (c_int, usize) {
    let mut value = ptr::null_mut();
    // SAFETY: S7: a place for the value.
    let result = unsafe { libc::pthread_join(thread, &mut value) };
    (result, value.addr())
}

/// Sleeps for so many milliseconds, and returns them plus one if it is a coroutine.
extern "C" fn sleeps(milliseconds: *mut c_void) -> *mut c_void {
    assert!(silken::is_coroutine());
    thread::sleep(Duration::from_millis(milliseconds.addr() as u64));
    ptr::without_provenance_mut(milliseconds.addr() + 1)
}

extern "C" fn tells_kind(_: *mut c_void) -> *mut c_void {
    ptr::without_provenance_mut(usize::from(silken::is_coroutine()))
}

fn soon(clock: c_int, milliseconds: i64) -> timespec {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: S7: a place for the time.
    assert_eq!(unsafe { libc::clock_gettime(clock, &mut time) }, 0);
    time.tv_nsec += milliseconds * 1_000_000;
    time.tv_sec += time.tv_nsec / 1_000_000_000;
    time.tv_nsec %= 1_000_000_000;
    time
}

pub(crate) fn values_come_with_the_join() {
    adopting(|| {
        let threads: Vec<_> = (0..50).map(|number| create(ptr::null(), sleeps, number % 5)).collect();
        for (number, thread) in threads.into_iter().enumerate() {
            assert_eq!(join(thread), (0, number % 5 + 1));
            // It stands for nothing any more.
            assert!(matches!(join(thread).0, libc::EINVAL | libc::ESRCH));
        }
    });
}

pub(crate) fn joins_give_up_in_time_and_may_try_again() {
    adopting(|| {
        let thread = create(ptr::null(), sleeps, 60);
        let mut value = ptr::null_mut();
        // SAFETY: S7: a place for the value, here and below.
        assert_eq!(unsafe { pthread_tryjoin_np(thread, &mut value) }, libc::EBUSY);
        let deadline = soon(libc::CLOCK_REALTIME, 5);
        // SAFETY: S7: as above.
        assert_eq!(
            unsafe { pthread_timedjoin_np(thread, &mut value, &deadline) },
            libc::ETIMEDOUT
        );
        let deadline = soon(libc::CLOCK_MONOTONIC, 5);
        // SAFETY: S7: as above.
        let result = unsafe { pthread_clockjoin_np(thread, &mut value, libc::CLOCK_MONOTONIC, &deadline) };
        assert_eq!(result, libc::ETIMEDOUT);
        // SAFETY: S7: as above.
        let result = unsafe { pthread_clockjoin_np(thread, &mut value, libc::CLOCK_TAI, &deadline) };
        assert_eq!(result, libc::EINVAL);
        let deadline = soon(libc::CLOCK_REALTIME, 30_000);
        // SAFETY: S7: as above.
        assert_eq!(unsafe { pthread_timedjoin_np(thread, &mut value, &deadline) }, 0);
        assert_eq!(value.addr(), 61);
    });
}

pub(crate) fn one_thread_has_one_joiner() {
    adopting(|| {
        let thread = create(ptr::null(), sleeps, 30);
        let first = thread::spawn(move || join(thread));
        thread::sleep(Duration::from_millis(10));
        assert_eq!(join(thread).0, libc::EINVAL);
        // SAFETY: S7: a number.
        assert_eq!(unsafe { libc::pthread_detach(thread) }, libc::EINVAL);
        assert_eq!(first.join().unwrap(), (0, 31));
    });
}

extern "C" fn joins_itself(_: *mut c_void) -> *mut c_void {
    // SAFETY: S3: reads the identity's own address.
    let result = unsafe { libc::pthread_join(libc::pthread_self(), ptr::null_mut()) };
    ptr::without_provenance_mut(result as usize)
}

pub(crate) fn a_join_of_oneself_is_a_deadlock() {
    adopting(|| assert_eq!(join(create(ptr::null(), joins_itself, 0)), (0, libc::EDEADLK as usize)));
}

static ENDED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn counts(_: *mut c_void) -> *mut c_void {
    thread::yield_now();
    ENDED.fetch_add(1, SeqCst);
    ptr::null_mut()
}

extern "C" fn detaches_itself(_: *mut c_void) -> *mut c_void {
    // SAFETY: S3: the caller's own number.
    assert_eq!(unsafe { libc::pthread_detach(libc::pthread_self()) }, 0);
    counts(ptr::null_mut())
}

pub(crate) fn detached_threads_leave_nothing_behind() {
    adopting(|| {
        let mut attributes = MaybeUninit::<pthread_attr_t>::uninit();
        // SAFETY: S7: a place for attributes, which are initialised from here on.
        let attributes = unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
            attributes.assume_init()
        };
        let before = ENDED.load(SeqCst);
        for _ in 0..50 {
            create(&attributes, counts, 0);
            create(ptr::null(), detaches_itself, 0);
            let thread = create(ptr::null(), counts, 0);
            // SAFETY: S7: a number that stands for a thread until here.
            assert_eq!(unsafe { libc::pthread_detach(thread) }, 0);
        }
        while ENDED.load(SeqCst) < before + 150 {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

extern "C" fn is_not_adopted(_: *mut c_void) -> *mut c_void {
    tells_kind(ptr::null_mut())
}

pub(crate) fn attributes_that_only_the_system_honours_make_threads_of_the_system() {
    adopting(|| {
        const BYTES: usize = 1 << 20;
        let mut attributes = MaybeUninit::<pthread_attr_t>::uninit();
        let stack = vec![0_u128; BYTES / 16];
        // SAFETY: S7: initialised attributes, and a stack that outlives the thread.
        unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack.as_ptr().cast_mut().cast(), BYTES);
        }
        assert_eq!(join(create(attributes.as_ptr(), is_not_adopted, 0)), (0, 0));
        // SAFETY: S7: as above.
        unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setinheritsched(attributes.as_mut_ptr(), 1);
        }
        assert_eq!(join(create(attributes.as_ptr(), is_not_adopted, 0)), (0, 0));
        // SAFETY: S7: as above.
        unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), 3 << 20);
        }
        assert_eq!(join(create(attributes.as_ptr(), tells_kind, 0)), (0, 1));
    });
}

thread_local! {
    static AT_EXIT: Cell<Option<SetsAtExit>> = const { Cell::new(None) };
}

struct SetsAtExit(&'static AtomicUsize);

impl Drop for SetsAtExit {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

static DESTROYED: AtomicUsize = AtomicUsize::new(0);

#[inline(never)]
extern "C-unwind" fn exits_below(depth: usize) {
    if depth > 0 {
        exits_below(depth - 1);
        std::hint::black_box(depth);
    } else {
        // SAFETY: S7: the frames above own nothing.
        unsafe { pthread_exit(ptr::without_provenance_mut(77)) }
    }
}

/// `pthread_create` takes a routine that does not unwind, and an exit passes through it.
extern "C-unwind" fn exits(_: *mut c_void) -> *mut c_void {
    AT_EXIT.set(Some(SetsAtExit(&DESTROYED)));
    exits_below(10);
    ptr::null_mut()
}

pub(crate) fn an_exit_ends_the_thread_with_its_value() {
    adopting(|| {
        // SAFETY: S7: the same function, whose kind of ABI the C library does not know.
        let routine =
            unsafe { std::mem::transmute::<extern "C-unwind" fn(*mut c_void) -> *mut c_void, Routine>(exits) };
        for _ in 0..20 {
            let before = DESTROYED.load(SeqCst);
            assert_eq!(join(create(ptr::null(), routine, 0)), (0, 77));
            assert_eq!(
                DESTROYED.load(SeqCst),
                before + 1,
                "its thread-locals were destroyed before"
            );
        }
    });
}

pub(crate) fn names_and_signal_zero() {
    adopting(|| {
        let thread = create(ptr::null(), sleeps, 20);
        // SAFETY: S7: a text that ends, and places.
        unsafe {
            assert_eq!(libc::pthread_setname_np(thread, c"of C".as_ptr()), 0);
            let mut name = [0; 16];
            assert_eq!(libc::pthread_getname_np(thread, name.as_mut_ptr(), name.len()), 0);
            assert_eq!(std::ffi::CStr::from_ptr(name.as_ptr()), c"of C");
            assert_eq!(
                libc::pthread_setname_np(thread, c"a name of many bytes".as_ptr()),
                libc::ERANGE
            );
            assert_eq!(libc::pthread_kill(thread, 0), 0);
        }
        assert_eq!(join(thread).0, 0);
    });
}
