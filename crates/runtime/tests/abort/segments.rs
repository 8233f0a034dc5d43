//! Overflows of segments: as overflows of stacks, in what is contained, in what is said, and in what ends the process.

use super::overflow::{ABORTS, recurse};
use super::{Case, End};
use silken::{Builder, JoinError, JoinHandle, Runtime};
use std::hint::black_box;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("segments::an_isolated_one", || contained(false), End::Returns)
            .says(&[
                "silken: coroutine 'deep' (id ",
                "abort/segments.rs:",
                ") has overflowed a stack segment of 2097152 bytes; more: a larger red zone or stack size in maybe_grow; locks that",
            ])
            .says_not(&["the process ends"]),
        Case::new("segments::a_light_one", || contained(true), End::Returns)
            .says(&["silken: coroutine 'deep' (id ", "a stack segment of 2097152 bytes"])
            .says_not(&["the process ends"]),
        Case::new("segments::the_stack_after_a_segment", the_stack_afterwards, End::Returns)
            .says(&["has overflowed its stack of 65536 bytes"]),
        Case::new("segments::many_are_lost", many_are_lost, End::Returns).says(&["a stack segment of"]),
        Case::new("segments::the_environment_aborts", || contained(false), ABORTS)
            .says(&["a stack segment of", "the process ends with it: the overflow policy"])
            .environment(&[("SILKEN_OVERFLOW", "abort")]),
        Case::new("segments::the_main_coroutine", main_coroutine, ABORTS)
            .says(&["coroutine 'main'", "a stack segment of", "the process ends with it: it may have lent"]),
        Case::new("segments::below_the_c_library", below_the_c_library, ABORTS).says(&[
            "a stack segment of",
            "the process ends with it: it was inside a shared library",
        ]),
        Case::new(
            "segments::the_main_thread",
            main_thread,
            End::Signals(&[libc::SIGSEGV, libc::SIGABRT]),
        ),
        Case::new("segments::a_thread_with_an_alternate_stack", thread, ABORTS)
            .says(&["silken: thread 'digger' has overflowed a stack segment of 2097152 bytes; the process ends"]),
        Case::new("segments::no_address_space", no_address_space, End::Returns),
        Case::new("segments::the_report_is_printed", report, End::Returns)
            .environment(&[("SILKEN_STACK_REPORT", "1")])
            .says(&["the use of stacks (SILKEN_STACK_REPORT)", "deepest KiB", "abort/segments.rs:"]),
        Case::new("segments::no_report_is_printed", report, End::Returns).says_not(&["deepest KiB"]),
        Case::new("segments::a_report_that_is_not_understood", report, End::Exits(101))
            .environment(&[("SILKEN_STACK_REPORT", "deep")])
            .says(&["SILKEN_STACK_REPORT=deep is not understood: 1 or 0"]),
    ]
}

const SEGMENT_BYTES: usize = 2 << 20;

/// Grows to a depth of three segments and overflows the last one.
fn dig() -> u64 {
    let grow = |f: &dyn Fn() -> u64| silken::grow(SEGMENT_BYTES, f).expect("a segment");
    grow(&|| 1 + grow(&|| 1 + grow(&|| recurse(0))))
}

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().expect("the runtime starts")
}

fn spawn(light: bool, body: impl FnOnce() -> u64 + Send + 'static) -> JoinHandle<u64> {
    let builder = Builder::new().name("deep".to_string()).stack_size(64 << 10);
    // SAFETY: S12: the bodies wait in silken's yield at most, and use no thread-local but malloc's.
    let builder = if light { unsafe { builder.light() } } else { builder };
    builder.spawn(body).expect("there is a stack")
}

fn assert_overflow<T>(outcome: Result<T, JoinError>) {
    assert!(matches!(outcome, Err(JoinError::StackOverflow)));
}

fn contained(light: bool) {
    runtime(2)
        .run(move || {
            for _ in 0..20 {
                assert_overflow(spawn(light, dig).join());
                // Others grow and go on, on segments that were not lost.
                let others: Vec<_> = (0..4)
                    .map(|_| spawn(light, || silken::grow(0, || 7).unwrap()))
                    .collect();
                for other in others {
                    assert_eq!(other.join().unwrap(), 7);
                }
            }
        })
        .unwrap();
}

fn the_stack_afterwards() {
    let outcome = spawn(false, || silken::grow(0, || 1).unwrap() + recurse(0)).join();
    assert_overflow(outcome);
}

/// What is lost is lost with its reservation: there is no leak of rights that ends in a refusal.
fn many_are_lost() {
    runtime(1)
        .run(|| {
            for _ in 0..30 {
                assert_overflow(spawn(false, dig).join());
            }
            assert_eq!(
                spawn(false, || silken::grow(SEGMENT_BYTES, || 7).unwrap())
                    .join()
                    .unwrap(),
                7
            );
        })
        .unwrap();
}

fn main_coroutine() {
    let _ = runtime(1).run(dig);
}

extern "C" fn compare(_: *const libc::c_void, _: *const libc::c_void) -> libc::c_int {
    black_box(dig()) as libc::c_int
}

/// The C library's frames lie on the first stack, two segments above the overflow.
fn below_the_c_library() {
    let outcome = spawn(false, || {
        let mut numbers = [2, 1];
        // SAFETY: S7: an array of that many elements of that size.
        unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 2, 4, Some(compare)) };
        0
    });
    let _ = outcome.join();
}

fn main_thread() {
    black_box(dig());
}

/// No runtime was started: the handler is in place all the same.
fn thread() {
    let digger = || {
        let bytes = 64 << 10;
        let stack = libc::stack_t {
            ss_sp: Box::leak(vec![0u8; bytes].into_boxed_slice()).as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: bytes,
        };
        // SAFETY: S7: memory that is never freed.
        assert_eq!(unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) }, 0);
        black_box(dig());
    };
    let thread = std::thread::Builder::new().name("digger".to_string()).spawn(digger);
    let _ = thread.unwrap().join();
}

fn no_address_space() {
    let limit = libc::rlimit {
        rlim_cur: 900 << 20,
        rlim_max: 900 << 20,
    };
    // SAFETY: S7: a live structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let refused = || {
        let dropped = std::rc::Rc::new(());
        let kept = dropped.clone();
        let error = silken::grow(1 << 30, move || drop(kept)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        assert_eq!(std::rc::Rc::strong_count(&dropped), 1, "the closure was kept");
        // A smaller one is there.
        assert_eq!(silken::grow(1 << 20, || 5).unwrap(), 5);
    };
    refused();
    runtime(1).block_on(refused);
}

fn report() {
    runtime(1)
        .run(|| assert_eq!(spawn(false, || 7).join().unwrap(), 7))
        .unwrap();
}
