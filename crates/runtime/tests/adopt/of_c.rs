//! Threads of C: made, joined, detached and ended by the C library's functions.

use super::adopting;
use libc::{c_int, c_void, pthread_attr_t, pthread_t, timespec};
use std::cell::Cell;
use std::ffi::CStr;
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
    let result = unsafe { libc::pthread_create(&mut thread, attributes, routine, argument) };
    assert_eq!(result, 0);
    thread
}

/// A join that gives up: at once, or at a time of a clock.
fn try_join(thread: pthread_t, until: Option<(c_int, timespec)>) -> (c_int, usize) {
    let mut value = ptr::null_mut();
    let result = match until {
        // SAFETY: S7: a place for the value.
        None => unsafe { pthread_tryjoin_np(thread, &mut value) },
        // SAFETY: S7: places for the value and the time.
        Some((libc::CLOCK_REALTIME, time)) => unsafe { pthread_timedjoin_np(thread, &mut value, &time) },
        // SAFETY: S7: places for the value and the time.
        Some((clock, time)) => unsafe { pthread_clockjoin_np(thread, &mut value, clock, &time) },
    };
    (result, value.addr())
}

fn own_number() -> pthread_t {
    // SAFETY: S3: reads the identity's own address.
    unsafe { libc::pthread_self() }
}

fn detach(thread: pthread_t) -> c_int {
    // SAFETY: S7: a number that stands for a thread.
    unsafe { libc::pthread_detach(thread) }
}

/// Attributes, as `set` makes them.
fn attributes(set: fn(*mut pthread_attr_t) -> c_int) -> Box<pthread_attr_t> {
    let mut attributes = Box::new(MaybeUninit::<pthread_attr_t>::uninit());
    // SAFETY: S7: a place for attributes.
    assert_eq!(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) }, 0);
    assert_eq!(set(attributes.as_mut_ptr()), 0);
    // SAFETY: S7: initialised above.
    unsafe { attributes.assume_init() }
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
        assert_eq!(try_join(thread, None).0, libc::EBUSY);
        for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
            assert_eq!(try_join(thread, Some((clock, soon(clock, 5)))).0, libc::ETIMEDOUT);
        }
        let of_no_clock = (libc::CLOCK_TAI, soon(libc::CLOCK_MONOTONIC, 5));
        assert_eq!(try_join(thread, Some(of_no_clock)).0, libc::EINVAL);
        let late = (libc::CLOCK_REALTIME, soon(libc::CLOCK_REALTIME, 30_000));
        assert_eq!(try_join(thread, Some(late)), (0, 61));
    });
}

pub(crate) fn one_thread_has_one_joiner() {
    adopting(|| {
        let thread = create(ptr::null(), sleeps, 30);
        let first = thread::spawn(move || join(thread));
        thread::sleep(Duration::from_millis(10));
        assert_eq!(join(thread).0, libc::EINVAL);
        assert_eq!(detach(thread), libc::EINVAL);
        assert_eq!(first.join().unwrap(), (0, 31));
    });
}

extern "C" fn joins_itself(_: *mut c_void) -> *mut c_void {
    ptr::without_provenance_mut(join(own_number()).0 as usize)
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
    assert_eq!(detach(own_number()), 0);
    counts(ptr::null_mut())
}

pub(crate) fn detached_threads_leave_nothing_behind() {
    adopting(|| {
        // SAFETY: S7: attributes that were initialised.
        let detached =
            attributes(|place| unsafe { libc::pthread_attr_setdetachstate(place, libc::PTHREAD_CREATE_DETACHED) });
        let before = ENDED.load(SeqCst);
        for _ in 0..50 {
            create(&*detached, counts, 0);
            create(ptr::null(), detaches_itself, 0);
            assert_eq!(detach(create(ptr::null(), counts, 0)), 0);
        }
        while ENDED.load(SeqCst) < before + 150 {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

pub(crate) fn attributes_that_only_the_system_honours_make_threads_of_the_system() {
    const BYTES: usize = 1 << 20;
    adopting(|| {
        let with_stack = attributes(|place| {
            let stack = Box::leak(vec![0_u128; BYTES / 16].into_boxed_slice());
            // SAFETY: S7: attributes that were initialised, and a stack that stays.
            unsafe { libc::pthread_attr_setstack(place, stack.as_mut_ptr().cast(), BYTES) }
        });
        assert_eq!(join(create(&*with_stack, tells_kind, 0)), (0, 0));
        // SAFETY: S7: attributes that were initialised.
        let with_policy = attributes(|place| unsafe { libc::pthread_attr_setinheritsched(place, 1) });
        assert_eq!(join(create(&*with_policy, tells_kind, 0)), (0, 0));
        // SAFETY: S7: attributes that were initialised.
        let with_size = attributes(|place| unsafe { libc::pthread_attr_setstacksize(place, 3 << 20) });
        assert_eq!(join(create(&*with_size, tells_kind, 0)), (0, 1));
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

fn set_name(thread: pthread_t, name: &CStr) -> c_int {
    // SAFETY: S7: a text that ends.
    unsafe { libc::pthread_setname_np(thread, name.as_ptr()) }
}

pub(crate) fn names_and_signal_zero() {
    adopting(|| {
        let thread = create(ptr::null(), sleeps, 20);
        assert_eq!(set_name(thread, c"of C"), 0);
        let mut name = [0_u8; 16];
        // SAFETY: S7: a place of that length.
        let got = unsafe { libc::pthread_getname_np(thread, name.as_mut_ptr().cast(), name.len()) };
        assert_eq!((got, CStr::from_bytes_until_nul(&name).unwrap()), (0, c"of C"));
        assert_eq!(set_name(thread, c"a name of many bytes"), libc::ERANGE);
        // SAFETY: S7: a number that stands for a thread.
        assert_eq!(unsafe { libc::pthread_kill(thread, 0) }, 0);
        assert_eq!(join(thread).0, 0);
    });
}
