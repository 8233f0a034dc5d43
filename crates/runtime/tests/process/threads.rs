//! What the C library's functions on a `pthread_t` say of coroutines: the table of `hook/pthread.rs`.

use super::{alone, runtime};
use libc::{c_int, c_void, pthread_t};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

unsafe extern "C" {
    fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    fn pthread_timedjoin_np(thread: pthread_t, value: *mut *mut c_void, deadline: *const libc::timespec) -> c_int;
    fn pthread_clockjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        clock: libc::clockid_t,
        deadline: *const libc::timespec,
    ) -> c_int;
    fn pthread_setschedprio(thread: pthread_t, priority: c_int) -> c_int;
    fn pthread_getcpuclockid(thread: pthread_t, clock: *mut libc::clockid_t) -> c_int;
    fn pthread_getname_np(thread: pthread_t, name: *mut libc::c_char, bytes: usize) -> c_int;
    fn thrd_join(thread: pthread_t, result: *mut c_int) -> c_int;
    fn thrd_detach(thread: pthread_t) -> c_int;
}

/// `thrd_error`.
const THRD_ERROR: c_int = 2;

fn own() -> pthread_t {
    // SAFETY: S3: asks for a number.
    unsafe { libc::pthread_self() }
}

macro_rules! answers {
    ($($call:expr),* $(,)?) => {
        // SAFETY: S7: places of the caller's, and threads that are none or the caller.
        [$( (stringify!($call).split('(').next().unwrap().trim(), unsafe { $call }) ),*]
    };
}

/// What each function says of a thread.
fn ask(thread: pthread_t) -> Vec<(&'static str, c_int)> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    let mut name = [0; 16];
    let (mut clock, mut policy) = (0, 0);
    let mut parameters = MaybeUninit::<libc::sched_param>::zeroed();
    let deadline = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let (set, parameters) = (set.as_mut_ptr(), parameters.as_mut_ptr());
    let bytes = size_of::<libc::cpu_set_t>();
    answers![
        libc::pthread_kill(thread, 0),
        libc::pthread_sigqueue(thread, 0, VALUE),
        libc::pthread_getaffinity_np(thread, bytes, set),
        libc::pthread_setaffinity_np(thread, bytes, set),
        libc::pthread_getschedparam(thread, &mut policy, parameters),
        libc::pthread_setschedparam(thread, policy, parameters),
        pthread_setschedprio(thread, 0),
        pthread_getname_np(thread, name.as_mut_ptr(), name.len()),
        libc::pthread_setname_np(thread, c"renamed".as_ptr()),
        pthread_getcpuclockid(thread, &mut clock),
        libc::pthread_join(thread, ptr::null_mut()),
        pthread_tryjoin_np(thread, ptr::null_mut()),
        pthread_timedjoin_np(thread, ptr::null_mut(), &deadline),
        pthread_clockjoin_np(thread, ptr::null_mut(), libc::CLOCK_MONOTONIC, &deadline),
        thrd_join(thread, ptr::null_mut()),
        libc::pthread_detach(thread),
        thrd_detach(thread),
        libc::pthread_cancel(thread),
    ]
    .to_vec()
}

fn table(of_self: bool) -> Vec<(&'static str, c_int)> {
    let of = |own, other| if of_self { own } else { other };
    let getter = of(0, libc::ESRCH);
    let join = of(libc::EDEADLK, libc::EINVAL);
    vec![
        ("libc::pthread_kill", getter),
        ("libc::pthread_sigqueue", getter),
        ("libc::pthread_getaffinity_np", getter),
        ("libc::pthread_setaffinity_np", libc::ENOTSUP),
        ("libc::pthread_getschedparam", getter),
        ("libc::pthread_setschedparam", libc::ENOTSUP),
        ("pthread_setschedprio", libc::ENOTSUP),
        ("pthread_getname_np", getter),
        ("libc::pthread_setname_np", libc::ENOTSUP),
        ("pthread_getcpuclockid", libc::ENOENT),
        ("libc::pthread_join", join),
        ("pthread_tryjoin_np", join),
        ("pthread_timedjoin_np", join),
        ("pthread_clockjoin_np", join),
        ("thrd_join", THRD_ERROR),
        ("libc::pthread_detach", libc::EINVAL),
        ("thrd_detach", THRD_ERROR),
        ("libc::pthread_cancel", libc::ENOTSUP),
    ]
}

#[test]
fn of_a_coroutine_are_answered_or_refused_on_itself() {
    let _alone = alone();
    let runtime = runtime(2);
    assert_eq!(runtime.spawn(|| ask(own())).join().unwrap(), table(true));
}

#[test]
fn of_a_coroutine_are_refused_to_others() {
    let _alone = alone();
    let runtime = runtime(2);
    let (sender, receiver) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let target = runtime.spawn(move || {
        sender.send(own()).unwrap();
        assert!(ended.recv().is_err());
    });
    let thread = receiver.recv().unwrap();
    assert_eq!(ask(thread), table(false));
    assert_eq!(runtime.spawn(move || ask(thread)).join().unwrap(), table(false));
    drop(end);
    target.join().unwrap();
}

#[test]
fn of_a_coroutine_get_what_its_worker_has() {
    let _alone = alone();
    let runtime = silken::Runtime::builder()
        .workers(1)
        .name("attributes")
        .build()
        .unwrap();
    let name = runtime.spawn(|| {
        let mut name = [0_u8; 16];
        // SAFETY: S7: sixteen bytes.
        assert_eq!(unsafe { pthread_getname_np(own(), name.as_mut_ptr().cast(), 16) }, 0);
        // SAFETY: S7: sixteen bytes, of which one is told.
        let result = unsafe { pthread_getname_np(own(), name.as_mut_ptr().cast(), 1) };
        assert_eq!(result, libc::ERANGE);
        String::from_utf8(name.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
    });
    assert_eq!(name.join().unwrap(), "attributes-0");
    let sets = runtime.spawn(|| {
        let mut sets = [MaybeUninit::<libc::cpu_set_t>::zeroed(); 2];
        let bytes = size_of::<libc::cpu_set_t>();
        // SAFETY: S7: a place for a set, which is filled whole.
        let result = unsafe { libc::pthread_getaffinity_np(own(), bytes, sets[0].as_mut_ptr()) };
        assert_eq!(result, 0);
        // SAFETY: S7: a place for a set.
        assert_eq!(unsafe { libc::sched_getaffinity(0, bytes, sets[1].as_mut_ptr()) }, 0);
        // SAFETY: S7: zeroed, then filled.
        sets.map(|set| unsafe { set.assume_init() })
    });
    let [by_pthread, by_number] = sets.join().unwrap();
    // SAFETY: S7: compares two sets.
    assert!(unsafe { libc::CPU_EQUAL(&by_pthread, &by_number) });
}

static SIGNALLED: AtomicI32 = AtomicI32::new(0);
static QUEUED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: S6: the kernel's record.
    let info = unsafe { &*info };
    if info.si_code == libc::SI_QUEUE {
        // SAFETY: S6: a queued signal has a value.
        QUEUED.store(unsafe { info.si_value() }.sival_ptr.addr(), Ordering::SeqCst);
    }
    // SAFETY: S7: asks for a number.
    SIGNALLED.store(unsafe { libc::gettid() }, Ordering::SeqCst);
}

#[test]
fn of_a_coroutine_that_signals_itself_signal_its_worker_at_once() {
    let _alone = alone();
    // SAFETY: S6: zero is the default action.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = note as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: S6: the handler stores to atomics.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()) }, 0);
    let told = |send: fn() -> c_int| {
        SIGNALLED.store(0, Ordering::SeqCst);
        assert_eq!(send(), 0);
        // SAFETY: S7: asks for a number.
        assert_eq!(SIGNALLED.load(Ordering::SeqCst), unsafe { libc::gettid() });
    };
    let runtime = runtime(2);
    let unit = runtime.spawn(move || {
        // SAFETY: S7: no pointer.
        told(|| unsafe { libc::raise(libc::SIGUSR1) });
        // SAFETY: S7: oneself.
        told(|| unsafe { libc::pthread_kill(own(), libc::SIGUSR1) });
        // SAFETY: S7: oneself.
        told(|| unsafe { libc::pthread_sigqueue(own(), libc::SIGUSR1, VALUE) });
        QUEUED.load(Ordering::SeqCst)
    });
    assert_eq!(unit.join().unwrap(), 77);
}

const VALUE: libc::sigval = libc::sigval {
    sival_ptr: ptr::without_provenance_mut(77),
};

/// OS threads are asked as ever, by coroutines too.
#[test]
fn of_a_thread_are_the_c_librarys() {
    let _alone = alone();
    let (sender, receiver) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("asked".into())
        .spawn(move || {
            sender.send(own()).unwrap();
            assert!(ended.recv().is_err());
        })
        .unwrap();
    let target = receiver.recv().unwrap();
    let runtime = runtime(1);
    let unit = runtime.spawn(move || {
        let mut name = [0_u8; 16];
        // SAFETY: S7: sixteen bytes, and a live thread.
        assert_eq!(unsafe { pthread_getname_np(target, name.as_mut_ptr().cast(), 16) }, 0);
        // SAFETY: S7: a live thread.
        assert_eq!(unsafe { libc::pthread_kill(target, 0) }, 0);
        // SAFETY: S7: a live thread, that has not ended.
        assert_eq!(unsafe { pthread_tryjoin_np(target, ptr::null_mut()) }, libc::EBUSY);
        name
    });
    assert!(unit.join().unwrap().starts_with(b"asked\0"));
    drop(end);
    thread.join().unwrap();
}

/// Where `opens` waits: a FIFO that nobody writes to.
const PATH: *const libc::c_char = c"/tmp/silken-cancelled-fifo".as_ptr();

// Frames through which a cancellation unwinds: nothing to drop, and no call of Rust's.
extern "C" fn opens(_: *mut c_void) -> *mut c_void {
    // SAFETY: S7: a path with its NUL.
    unsafe { libc::open(PATH, libc::O_RDONLY) };
    NOTHING
}

const NOTHING: *mut c_void = ptr::null_mut();

/// The hook of a maker is left by an unwinding that is none of Rust's.
#[test]
fn of_a_thread_that_is_cancelled_in_a_maker_end_it() {
    let _alone = alone();
    let runtime = runtime(1);
    runtime.spawn(|| ()).join().unwrap();
    let _ = std::fs::remove_file("/tmp/silken-cancelled-fifo");
    // SAFETY: S7: a path with its NUL.
    assert_eq!(unsafe { libc::mkfifo(PATH, 0o600) }, 0);
    let mut thread = 0;
    // SAFETY: S7: a place for the thread, default attributes, a body that waits.
    let error = unsafe { libc::pthread_create(&mut thread, ptr::null(), opens, ptr::null_mut()) };
    assert_eq!(error, 0);
    std::thread::sleep(super::SOON);
    // SAFETY: S7: a live thread.
    assert_eq!(unsafe { libc::pthread_cancel(thread) }, 0);
    let mut value = ptr::null_mut();
    // SAFETY: S7: made above, joined once.
    assert_eq!(unsafe { libc::pthread_join(thread, &mut value) }, 0);
    // PTHREAD_CANCELED is -1.
    assert_eq!(value.addr(), usize::MAX);
    std::fs::remove_file("/tmp/silken-cancelled-fifo").unwrap();
}
