//! Stack overflows: which are contained, what goes on afterwards, and which end the process.

use super::{Case, End};
use silken::{Builder, JoinError, JoinHandle, OverflowPolicy, Runtime};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(super) const ABORTS: End = End::Signals(&[libc::SIGABRT]);

/// A debug build has frames several times as large.
const DEFAULT_STACK: &str = if cfg!(debug_assertions) {
    ") has overflowed its stack of 1048576 bytes; "
} else {
    ") has overflowed its stack of 524288 bytes; "
};

/// Others rely on the coroutine to go on.
fn relied_on() -> Vec<Case> {
    vec![
        Case::new("overflow_with_a_scope_open", with_a_scope_open, ABORTS)
            .says(&["has overflowed", "the process ends with it: it had a scope open"]),
        Case::new("overflow_in_a_send", || near_the_end(Call::Send), ABORTS)
            .says(&["has overflowed", "the process ends with it: it was inside "]),
        Case::new("overflow_in_a_submission", || near_the_end(Call::Submit), ABORTS)
            .says(&["has overflowed", "the process ends with it: it was inside "]),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = relied_on();
    cases.extend([
        Case::new(
            "an_isolated_coroutine_overflows",
            || overflow_and_go_on(false),
            End::Returns,
        )
        .says(&[
            "silken: coroutine 'deep' (id ",
            "abort/overflow.rs:",
            DEFAULT_STACK,
            "; more: Builder::stack_size, #[silken::main(stack_size = \"4m\")] or SILKEN_STACK_SIZE=4m; locks that it held stay held\n",
        ])
        .says_not(&["the process ends"]),
        Case::new("a_light_coroutine_overflows", || overflow_and_go_on(true), End::Returns)
            .says(&[
                "silken: coroutine 'deep' (id ",
                DEFAULT_STACK,
                "; more: Builder::stack_size, #[silken::main(stack_size = \"4m\")] or SILKEN_STACK_SIZE=4m; locks that it held stay held\n",
            ])
            .says_not(&["the process ends"]),
        Case::new(
            "without_symbols_nothing_is_contained",
            || overflow_and_go_on(false),
            ABORTS,
        )
        .stripped()
        .says(&[
            "coroutine 'deep' (id ",
            "the process ends with it: the executable has no symbols",
        ]),
        Case::new("one_huge_frame", huge_frame, End::Returns).says(&["silken: coroutine 2 (spawned at "]),
        Case::new("many_overflow_on_one_worker", || many_overflow(1), End::Returns),
        Case::new("many_overflow_on_two_workers", || many_overflow(2), End::Returns),
        Case::new("a_detached_one_overflows", detached, End::Returns).says(&["has overflowed"]),
        Case::new("a_joiner_that_waits_already_is_told", joiners_that_wait, End::Returns),
        Case::new("a_stack_of_its_own_size", own_size, End::Returns).says(&["its stack of 65536 bytes"]),
        Case::new(
            "overflow_in_another_coroutine_than_the_scope",
            beside_a_scope,
            End::Returns,
        ),
        Case::new("a_scoped_child_overflows", scoped_child, ABORTS)
            .says(&["coroutine 'child'", "the process ends with it: it may have lent"]),
        Case::new("the_main_coroutine_overflows", main_coroutine, ABORTS)
            .says(&["coroutine 'main'", "the process ends with it: it may have lent"]),
        Case::new("overflow_while_panicking", while_panicking, ABORTS)
            .says(&["has overflowed", "the process ends with it: it was panicking"]),
        Case::new("overflow_in_a_thread_local_destructor", in_destructor, ABORTS)
            .says(&["has overflowed", "the process ends with it: it was running destructors"]),
        Case::new("overflow_in_the_c_library", in_the_c_library, ABORTS).says(&[
            "has overflowed",
            "the process ends with it: it was inside a shared library",
        ]),
        Case::new("the_builder_aborts", builder_aborts, ABORTS)
            .says(&["has overflowed", "the process ends with it: the overflow policy"]),
        Case::new("the_environment_aborts", || overflow_and_go_on(false), ABORTS)
            .says(&["has overflowed", "the process ends with it: the overflow policy"])
            .environment(&[("SILKEN_OVERFLOW", "abort")]),
        Case::new(
            "the_main_thread_overflows",
            main_thread,
            End::Signals(&[libc::SIGSEGV, libc::SIGABRT]),
        )
        .says(&["thread 'main'", "has overflowed its stack"]),
    ]);
    cases
}

/// Recurses until the stack ends. No frame is large enough for a call of memset or memcpy.
#[inline(never)]
pub(super) fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 8]);
    if depth == black_box(u64::MAX) {
        return 0;
    }
    recurse(depth + 1) + black_box(frame)[3]
}

fn assert_overflow<T>(outcome: Result<T, JoinError>) {
    match outcome {
        Err(JoinError::StackOverflow) => {}
        Err(other) => panic!("{other:?} in place of an overflow"),
        Ok(_) => panic!("it returned"),
    }
}

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().expect("the runtime starts")
}

fn spawn(name: &str, light: bool, body: impl FnOnce() -> u64 + Send + 'static) -> JoinHandle<u64> {
    let builder = Builder::new().name(name.to_string());
    // SAFETY: S12: the bodies wait in silken's yield at most, and use no thread-local but malloc's.
    let builder = if light { unsafe { builder.light() } } else { builder };
    builder.spawn(body).expect("there is a stack")
}

/// Allocates and frees blocks of all sizes, so that a lost thread cache of malloc would show.
fn allocate(seed: usize) -> usize {
    let blocks: Vec<Vec<u8>> = (0..50)
        .map(|i| vec![seed as u8; (seed * 37 + i * 131) % 5_000 + 1])
        .collect();
    blocks
        .iter()
        .map(|block| block.iter().filter(|byte| **byte == seed as u8).count())
        .sum()
}

fn address_of_frame() -> usize {
    let local = 0u8;
    black_box(&raw const local) as usize
}

fn overflow_and_go_on(light: bool) {
    const STACK_BYTES: usize = if cfg!(debug_assertions) {
        1024 * 1024
    } else {
        512 * 1024
    };
    runtime(2)
        .run(move || {
            let stop = Arc::new(AtomicBool::new(false));
            let busy: Vec<_> = (0..4).map(|_| work_until(stop.clone())).collect();
            let first_frame = Arc::new(AtomicUsize::new(0));
            let seen = first_frame.clone();
            assert_overflow(
                spawn("deep", light, move || {
                    seen.store(address_of_frame(), Ordering::Relaxed);
                    recurse(0)
                })
                .join(),
            );
            let lost = first_frame.load(Ordering::Relaxed);
            for i in 0..200 {
                let handle = spawn("after", light, move || {
                    silken::yield_now();
                    assert!(allocate(i) > 0);
                    address_of_frame() as u64
                });
                let frame = handle.join().unwrap() as usize;
                assert!(frame.abs_diff(lost) > STACK_BYTES / 2, "the lost stack is used again");
            }
            stop.store(true, Ordering::Relaxed);
            for handle in busy {
                assert!(handle.join().unwrap() > 0);
            }
        })
        .unwrap();
}

fn work_until(stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    silken::spawn(move || {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            rounds += 1;
            assert!(allocate(rounds) > 0);
            silken::yield_now();
        }
        rounds
    })
}

#[inline(never)]
fn huge() -> u8 {
    let big = black_box([0u8; 10 << 20]);
    big[black_box(77)]
}

fn huge_frame() {
    runtime(1)
        .run(|| {
            assert_overflow(silken::spawn(huge).join());
            // SAFETY: S12: it does not wait.
            let light = unsafe { Builder::new().light() };
            assert_overflow(light.spawn(huge).unwrap().join());
            assert_eq!(silken::spawn(|| 5).join().unwrap(), 5);
        })
        .unwrap();
}

fn many_overflow(workers: usize) {
    runtime(workers)
        .run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let busy: Vec<_> = (0..10).map(|_| work_until(stop.clone())).collect();
            let deep: Vec<_> = (0..50u64)
                .map(|i| {
                    spawn("deep", i % 3 == 0, move || {
                        for _ in 0..i % 5 {
                            silken::yield_now();
                            assert!(allocate(i as usize) > 0);
                        }
                        recurse(i)
                    })
                })
                .collect();
            for handle in deep {
                assert_overflow(handle.join());
            }
            stop.store(true, Ordering::Relaxed);
            for handle in busy {
                assert!(handle.join().unwrap() > 0);
            }
        })
        .unwrap();
}

/// Nobody joins it, and it is not left behind either.
fn detached() {
    let runtime = runtime(1);
    let handle = runtime.spawn(|| {
        let coroutine = silken::spawn(|| recurse(0)).coroutine();
        for _ in 0..100 {
            silken::yield_now();
        }
        coroutine
    });
    handle.join().unwrap();
    let left = runtime.shutdown(std::time::Duration::from_secs(10));
    assert!(left.is_clean(), "an overflowed coroutine counts as alive");
}

fn joiners_that_wait() {
    let runtime = runtime(2);
    let deep = runtime.spawn(|| {
        for _ in 0..1_000 {
            silken::yield_now();
        }
        recurse(0)
    });
    let joiner = runtime.spawn(move || assert_overflow(deep.join()));
    joiner.join().unwrap();
    // An OS thread joins too.
    assert_overflow(runtime.spawn(|| recurse(0)).join());
}

fn own_size() {
    let deep = || Builder::new().stack_size(64 * 1024).spawn(|| recurse(0)).unwrap();
    for _ in 0..20 {
        assert_overflow(deep().join());
    }
}

fn beside_a_scope() {
    runtime(2)
        .run(|| {
            let mut numbers = vec![1, 2, 3];
            silken::scope(|scope| {
                scope.spawn(|| {
                    // A coroutine of its own owns what it uses, wherever it is spawned.
                    assert_overflow(silken::spawn(|| recurse(0)).join());
                    numbers.push(4);
                });
            });
            assert_eq!(numbers, [1, 2, 3, 4]);
        })
        .unwrap();
}

fn scoped_child() {
    runtime(1)
        .run(|| {
            silken::scope(|scope| {
                let child = Builder::new()
                    .name("child".to_string())
                    .spawn_scoped(scope, || recurse(0))
                    .unwrap();
                assert_overflow(child.join());
            });
        })
        .unwrap();
}

fn with_a_scope_open() {
    let runtime = runtime(2);
    let opener = runtime.spawn(|| {
        silken::scope(|scope| {
            scope.spawn(|| silken::sleep_ms(1));
            recurse(0);
        });
    });
    assert_overflow(opener.join());
}

#[derive(Clone, Copy)]
enum Call {
    Send,
    Submit,
}

/// Goes to the end of the stack, and so many frames further, and makes the call there.
#[inline(never)]
fn deep_down(frames: usize, call: &mut dyn FnMut()) {
    const NEARLY_BYTES: usize = if cfg!(debug_assertions) { 8192 } else { 1024 };
    let frame = black_box([0_u8; 8]);
    let is_deep = silken::remaining_stack().is_none_or(|bytes| bytes <= NEARLY_BYTES);
    match frames.checked_sub(usize::from(is_deep)) {
        Some(frames) => deep_down(frames, call),
        None => call(),
    }
    black_box(frame);
}

/// Takes a little more of the stack than nothing.
#[inline(never)]
fn padded<const BYTES: usize>(call: &mut dyn FnMut()) {
    let frame = black_box([0_u8; BYTES]);
    call();
    black_box(frame);
}

/// Makes the call with less and less stack left, each time on another coroutine. If it overflows inside the runtime it
/// may have taken the other side out of a list, and will never queue it. So the process must end before that.
fn near_the_end(call: Call) {
    let runtime = runtime(1);
    let pool = Arc::new(silken::Pool::new(1));
    let pads = [
        padded::<8>,
        padded::<24>,
        padded::<40>,
        padded::<56>,
        padded::<72>,
        padded::<88>,
    ];
    for (frames, pad) in (0..400).flat_map(|frames| pads.map(|pad| (frames, pad))) {
        let (sender, receiver) = silken::channel::bounded::<u64>(0);
        let mine = pool.clone();
        let other = runtime.spawn(move || receiver.recv_timeout(std::time::Duration::from_millis(1)).is_ok());
        let caller = runtime.spawn(move || {
            silken::yield_now();
            let mut make = || match call {
                Call::Send => drop(sender.send_timeout(1, std::time::Duration::from_millis(1))),
                Call::Submit => drop(mine.submit(|| 1)),
            };
            // The compiler must not make the call a part of the recursion, whose frames would be large then.
            let mut make = || pad(black_box(&mut make as &mut dyn FnMut()));
            deep_down(frames, black_box(&mut make as &mut dyn FnMut()));
        });
        let _ = caller.join();
        let _ = other.join();
    }
}

fn main_coroutine() {
    let _ = runtime(1).run(|| recurse(0));
}

struct RecursesOnDrop;

impl Drop for RecursesOnDrop {
    fn drop(&mut self) {
        recurse(0);
    }
}

fn while_panicking() {
    let handle = silken::spawn(|| {
        let _guard = RecursesOnDrop;
        panic!("the first failure");
    });
    let _ = handle.join();
}

fn in_destructor() {
    thread_local!(static GUARD: RecursesOnDrop = const { RecursesOnDrop });
    let handle = silken::spawn(|| GUARD.with(|guard| _ = black_box(guard)));
    let _ = handle.join();
}

/// The C library's frames are larger than ours, so they reach the guard first.
#[inline(never)]
fn recurse_with_c(depth: u64) -> u64 {
    let mut text = [0u8; 8];
    // SAFETY: S5: the buffer is larger than the length given.
    unsafe { libc::snprintf(text.as_mut_ptr().cast(), 8, c"%.1f".as_ptr(), 1.5f64) };
    if depth == black_box(u64::MAX) {
        return 0;
    }
    recurse_with_c(depth + 1) + u64::from(black_box(text)[0])
}

fn in_the_c_library() {
    let _ = silken::spawn(|| recurse_with_c(0)).join();
}

fn builder_aborts() {
    let runtime = Runtime::builder().overflow(OverflowPolicy::Abort).build().unwrap();
    let _ = runtime.spawn(|| recurse(0)).join();
}

fn main_thread() {
    assert_eq!(silken::spawn(|| 1).join().unwrap(), 1);
    black_box(recurse(0));
}
