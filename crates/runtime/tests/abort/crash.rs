//! Crashes and exits that are no business of the runtime: they end as they do on a thread.

use super::overflow::recurse;
use super::signals::{handle, own_thread, signal_thread};
use super::{Case, End};
use silken::{JoinError, Runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};

const ABORTS: End = End::Signals(&[libc::SIGABRT]);
/// Without interposed symbols std's handler comes next, and swallows a SIGSEGV that was sent.
const SENT_SIGNAL: End = if cfg!(feature = "interpose") {
    End::Signals(&[libc::SIGSEGV])
} else {
    End::Returns
};
/// Without interposed symbols nobody is asked, and the C library unwinds what it takes for a thread.
const THREAD_EXIT: End = if cfg!(feature = "interpose") {
    ABORTS
} else {
    End::Returns
};
const THREAD_EXIT_SAYS: &[&str] = if cfg!(feature = "interpose") {
    &["silken: fatal: pthread_exit was called on a coroutine"]
} else {
    &[]
};
const FOREIGN: &str = "the program's own handler\n";
const FOREIGN_CODE: i32 = 42;

fn wild_cases() -> Vec<Case> {
    vec![
        Case::new(
            "a_wild_write_on_an_isolated_coroutine",
            || wild_on_coroutine(false),
            End::Signals(&[libc::SIGSEGV]),
        )
        .says(&[
            "coroutine 'wild' (id ",
            "spawned at ",
            "crash.rs:",
            " at 0x8 (SIGSEGV); the process ends",
        ])
        .says_not(&["overflowed"]),
        Case::new(
            "a_wild_write_on_a_light_coroutine",
            || wild_on_coroutine(true),
            End::Signals(&[libc::SIGSEGV]),
        )
        .says(&["coroutine 'wild' (id ", " at 0x8 (SIGSEGV); the process ends"])
        .says_not(&["overflowed"]),
        Case::new("a_wild_write_on_a_thread", wild_write, End::Signals(&[libc::SIGSEGV]))
            .says_not(&["silken:", "overflowed"]),
        Case::new(
            "a_wild_write_into_the_own_guard",
            into_own_guard,
            End::Signals(&[libc::SIGSEGV]),
        )
        .says_not(&["overflowed"]),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = wild_cases();
    cases.extend([
        Case::new("a_second_panic_while_unwinding", second_panic, ABORTS).says(&[
            "the first failure",
            "the second failure",
            "aborting",
        ]),
        Case::new("a_panic_in_a_thread_local_destructor", destructor_panics, ABORTS)
            .says(&["a failure in a destructor", "thread local panicked on drop"]),
        Case::new(
            "exit_on_a_coroutine",
            || drop(silken::spawn(|| std::process::exit(7)).join()),
            End::Exits(7),
        ),
        Case::new(
            "abort_on_a_coroutine",
            || drop(silken::spawn(|| std::process::abort()).join()),
            ABORTS,
        ),
        Case::new("pthread_exit_on_a_coroutine", thread_exit, THREAD_EXIT).says(THREAD_EXIT_SAYS),
        Case::new("a_profiler_unwinds_switches", || profile(0), End::Returns),
        Case::new(
            "a_profiler_on_the_alternate_stack",
            || profile(libc::SA_ONSTACK),
            End::Returns,
        ),
        Case::new("main_returns_while_coroutines_run", return_early, End::Returns).says_not(&["panicked"]),
        Case::new(
            "a_handler_from_before_gets_foreign_faults",
            handler_before,
            End::Exits(FOREIGN_CODE),
        )
        .says(&["has overflowed its stack", FOREIGN]),
        Case::new(
            "a_handler_from_later_gets_foreign_faults",
            handler_after,
            End::Exits(FOREIGN_CODE),
        )
        .says(&[FOREIGN]),
        Case::new(
            "a_later_runtime_comes_before_a_handler",
            later_runtime,
            End::Exits(FOREIGN_CODE),
        )
        .says(&["has overflowed its stack", FOREIGN]),
    ]);
    cases.extend(more_cases());
    cases
}

fn more_cases() -> [Case; 3] {
    [
        Case::new("a_panic_is_reported_and_joined", panic_is_reported, End::Returns).says(&[
            "\ncoroutine 'fails', spawned at ",
            "panicked at",
            "an ordinary failure",
        ]),
        Case::new("a_handler_writes_while_malloc_is_locked", handler_writes, End::Returns),
        Case::new("a_sent_signal_is_no_overflow", sent_signal, SENT_SIGNAL).says_not(&["overflowed"]),
    ]
}

fn wild_write() {
    let address = std::hint::black_box(8usize) as *mut u64;
    // SAFETY: S9 is what is tested: the fault ends the process.
    unsafe { address.write_volatile(1) };
}

fn wild_on_coroutine(light: bool) {
    let builder = silken::Builder::new().name("wild".to_string());
    // SAFETY: S12: it does not wait.
    let builder = if light { unsafe { builder.light() } } else { builder };
    let _ = builder.spawn(wild_write).unwrap().join();
}

/// The frame is near the top of a stack of 256 KiB: an address that far below, and a little more, lies in the guard.
fn into_own_guard() {
    const STACK_BYTES: usize = 256 * 1024;
    let handle = silken::Builder::new().stack_size(STACK_BYTES).spawn(|| {
        let local = 0u8;
        let top = (&raw const local as usize).next_multiple_of(4096);
        let address = (top - STACK_BYTES - 8 * 1024) as *mut u8;
        // SAFETY: S9 is what is tested: the fault ends the process.
        unsafe { std::hint::black_box(address).write_volatile(1) };
    });
    let _ = handle.unwrap().join();
}

fn sent_signal() {
    let handle = silken::spawn(|| {
        // SAFETY: S7: asks for a number.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        // SAFETY: S7: the calling thread.
        unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, libc::SIGSEGV) }
    });
    let _ = handle.join();
}

fn panic_is_reported() {
    let fails = silken::Builder::new()
        .name("fails".into())
        .spawn(|| panic!("an ordinary failure"));
    match fails.unwrap().join() {
        Err(error @ JoinError::Panicked(_)) => assert_eq!(error.message(), Some("an ordinary failure")),
        Err(other) => panic!("{other:?}"),
        Ok(()) => panic!("it returned"),
    }
}

struct PanicsOnDrop(&'static str);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

fn second_panic() {
    let handle = silken::spawn(|| {
        let _guard = PanicsOnDrop("the second failure");
        panic!("the first failure");
    });
    let _ = handle.join();
}

fn destructor_panics() {
    thread_local!(static GUARD: PanicsOnDrop = const { PanicsOnDrop("a failure in a destructor") });
    let _ = silken::spawn(|| GUARD.with(|guard| assert!(!guard.0.is_empty()))).join();
}

fn return_early() {
    let rounds = Arc::new(AtomicU64::new(0));
    for _ in 0..10 {
        let rounds = rounds.clone();
        silken::spawn(move || {
            loop {
                rounds.fetch_add(1, Ordering::Relaxed);
                silken::yield_now();
            }
        });
    }
    while rounds.load(Ordering::Relaxed) < 1_000 {
        std::thread::yield_now();
    }
}

static SAMPLES: AtomicU64 = AtomicU64::new(0);

/// What a sampling profiler does in its handler.
extern "C" fn sample(_signal: libc::c_int) {
    const FRAMES_MAX: usize = 64;
    let mut frames = [std::ptr::null_mut(); FRAMES_MAX];
    // SAFETY: S6: glibc's walk takes no lock after its first call, which `profile` has made.
    let count = unsafe { libc::backtrace(frames.as_mut_ptr(), FRAMES_MAX as libc::c_int) };
    assert!(count > 1);
    SAMPLES.fetch_add(1, Ordering::Relaxed);
}

/// A signal each 100 microseconds to one of the workers, while coroutines do nothing but switch.
fn profile(flags: libc::c_int) {
    const ENOUGH: u64 = 3_000;
    const INTERVAL_NS: i64 = 100_000;
    sample(0);
    handle(libc::SIGPROF, sample, libc::SA_RESTART | flags);
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let mut signals = std::mem::MaybeUninit::uninit();
    // SAFETY: S7: initialises the set.
    unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
    // SAFETY: S7: initialised above.
    unsafe { libc::sigaddset(signals.as_mut_ptr(), libc::SIGPROF) };
    // SAFETY: S7: the same set. The workers have started and do not inherit it.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut()) };
    assert_eq!(error, 0);
    // SAFETY: S7: all zeros notifies nobody, until the next lines.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGPROF;
    let mut timer = std::ptr::null_mut();
    // SAFETY: S7: live places.
    let error = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) };
    assert_eq!(error, 0);
    let nanoseconds = |tv_nsec| libc::timespec { tv_sec: 0, tv_nsec };
    let interval = libc::itimerspec {
        it_interval: nanoseconds(INTERVAL_NS),
        it_value: nanoseconds(INTERVAL_NS),
    };
    // SAFETY: S7: the timer that was just made.
    let error = unsafe { libc::timer_settime(timer, 0, &interval, std::ptr::null_mut()) };
    assert_eq!(error, 0);
    let switching: Vec<_> = (0..16)
        .map(|_| {
            runtime.spawn(|| {
                while SAMPLES.load(Ordering::Relaxed) < ENOUGH {
                    silken::yield_now();
                }
            })
        })
        .collect();
    for handle in switching {
        handle.join().unwrap();
    }
    // SAFETY: S7: the same timer.
    assert_eq!(unsafe { libc::timer_delete(timer) }, 0);
}

extern "C" fn say_and_exit(_signal: libc::c_int) {
    // SAFETY: S6: write is async-signal-safe, the text is static.
    unsafe { libc::write(2, FOREIGN.as_ptr().cast(), FOREIGN.len()) };
    // SAFETY: S6: async-signal-safe.
    unsafe { libc::_exit(FOREIGN_CODE) };
}

fn install_handler() {
    handle(libc::SIGSEGV, say_and_exit, 0);
}

fn assert_overflow_is_contained(runtime: &Runtime) {
    assert!(matches!(
        runtime.spawn(|| recurse(0)).join(),
        Err(JoinError::StackOverflow)
    ));
}

fn handler_before() {
    install_handler();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    assert_overflow_is_contained(&runtime);
    let _ = runtime.spawn(wild_write).join();
}

#[cfg(feature = "interpose")]
fn thread_exit() {
    // SAFETY: S7: ends the process with a reason.
    drop(silken::spawn(|| unsafe { libc::pthread_exit(std::ptr::null_mut()) }).join());
}

#[cfg(not(feature = "interpose"))]
fn thread_exit() {}

fn handler_after() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    install_handler();
    let _ = runtime.spawn(wild_write).join();
}

#[cfg(feature = "interpose")]
fn later_runtime() {
    let first = Runtime::builder().workers(1).build().unwrap();
    install_handler();
    let second = Runtime::builder().workers(1).build().unwrap();
    assert_overflow_is_contained(&first);
    assert_overflow_is_contained(&second);
    let _ = second.spawn(wild_write).join();
}

/// Without interposed symbols the runtime lies over what it found at its first start only.
#[cfg(not(feature = "interpose"))]
fn later_runtime() {
    install_handler();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let again = Runtime::builder().workers(1).build().unwrap();
    assert_overflow_is_contained(&runtime);
    let _ = again.spawn(wild_write).join();
}

/// The self-pipe trick: a handler, which interrupts a coroutine in malloc as a rule, writes to a descriptor that nobody
/// has used before.
fn handler_writes() {
    static PIPE: AtomicI32 = AtomicI32::new(-1);
    static WRITTEN: AtomicU64 = AtomicU64::new(0);

    extern "C" fn on_signal(_: libc::c_int) {
        // SAFETY: S7: the byte outlives the call.
        if unsafe { libc::write(PIPE.load(Ordering::SeqCst), b"x".as_ptr().cast(), 1) } == 1 {
            WRITTEN.fetch_add(1, Ordering::SeqCst);
        }
    }

    handle(libc::SIGUSR1, on_signal, libc::SA_ONSTACK | libc::SA_RESTART);
    let mut ends = [0; 2];
    // SAFETY: S7: a place for two numbers.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK) }, 0);
    PIPE.store(ends[1], Ordering::SeqCst);
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let (worker, is_over) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let (tells, ends) = (worker.clone(), is_over.clone());
    let allocates = runtime.spawn(move || {
        tells.store(own_thread(), Ordering::SeqCst);
        while !ends.load(Ordering::SeqCst) {
            let blocks: Vec<Vec<u8>> = (0..64).map(|i| Vec::with_capacity(2_000 + i * 37)).collect();
            std::hint::black_box(blocks);
        }
    });
    let thread = loop {
        if let id @ 1.. = worker.load(Ordering::SeqCst) {
            break id;
        }
        std::thread::yield_now();
    };
    for round in 0..20 {
        signal_thread(thread, libc::SIGUSR1);
        while WRITTEN.load(Ordering::SeqCst) == round {
            std::hint::spin_loop();
        }
    }
    is_over.store(true, Ordering::SeqCst);
    allocates.join().unwrap();
}
