//! A call on another stack: values, panics and backtraces pass, and nothing of the caller's is lost.

use silken_context::segment::{call_on, stack_pointer};
use silken_context::stack::{Arena, ArenaConfig, Stack};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn arena() -> &'static Arena {
    Box::leak(Box::new(Arena::new(ArenaConfig::default()).expect("an arena")))
}

fn on<R>(stack: &Stack, f: impl FnOnce() -> R) -> R {
    // SAFETY: S1: each test has stacks of its own, with a guard, and uses each for one call at a time.
    unsafe { call_on(stack.top().wrapping_sub(64), f) }
}

#[test]
fn a_call_comes_back_with_its_value() {
    let stack = arena().take().expect("a stack");
    let kept = black_box([7u64; 32]);
    let own = stack_pointer();
    for round in 0..1_000u64 {
        let numbers = black_box([1.5f64, 2.5, round as f64]);
        let sum = on(&stack, || {
            assert!(stack.contains(stack_pointer()));
            numbers.iter().sum::<f64>()
        });
        assert_eq!(sum, 4.0 + round as f64);
    }
    assert!(own.abs_diff(stack_pointer()) < 4096);
    assert_eq!(kept, [7; 32]);
    stack.arena().give(stack);
}

#[test]
fn large_values_and_borrows_pass() {
    let stack = arena().take().expect("a stack");
    let text = "lent".to_string();
    let mut log = Vec::new();
    let large = on(&stack, || {
        log.push(text.len());
        [3u8; 10_000]
    });
    assert_eq!((large.len(), large[9_999], log), (10_000, 3, vec![4]));
    stack.arena().give(stack);
}

#[test]
fn calls_nest() {
    fn nest(stacks: &[Stack]) -> usize {
        match stacks.split_first() {
            None => 0,
            Some((first, rest)) => on(first, || {
                assert!(first.contains(stack_pointer()));
                1 + nest(rest)
            }),
        }
    }
    let arena = arena();
    let mut stacks: Vec<Stack> = (0..10).map(|_| arena.take().expect("a stack")).collect();
    assert_eq!(nest(&stacks), 10);
    // The other way round: the older stack lies above and below.
    stacks.reverse();
    assert_eq!(nest(&stacks), 10);
}

struct CountsDrops<'a>(&'a Cell<u32>);

impl Drop for CountsDrops<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_panic_passes_and_runs_all_destructors() {
    let arena = arena();
    let (first, second) = (arena.take().expect("a stack"), arena.take().expect("a stack"));
    let drops = Cell::new(0);
    for (upper, lower) in [(&first, &second), (&second, &first)] {
        drops.set(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _outside = CountsDrops(&drops);
            on(upper, || {
                let _between = CountsDrops(&drops);
                on(lower, || {
                    let _inside = CountsDrops(&drops);
                    let moved = CountsDrops(&drops);
                    black_box(&moved);
                    std::panic::panic_any(5);
                })
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&5));
        assert_eq!(drops.get(), 4);
    }
    // The stacks are as usable as before.
    assert_eq!(on(&first, || on(&second, || 6)), 6);
}

#[test]
fn a_panic_may_be_caught_on_the_segment() {
    let stack = arena().take().expect("a stack");
    let caught = on(&stack, || catch_unwind(|| panic!("inside")).is_err());
    assert!(caught);
}

#[inline(never)]
fn a_frame_on_the_segment() -> String {
    let text = Backtrace::force_capture().to_string();
    black_box(text)
}

#[inline(never)]
fn a_frame_on_the_older_stack(stack: &Stack) -> String {
    let text = on(stack, a_frame_on_the_segment);
    black_box(text)
}

#[test]
fn a_backtrace_has_the_frames_of_both_stacks() {
    let arena = arena();
    let (first, second) = (arena.take().expect("a stack"), arena.take().expect("a stack"));
    for text in [
        a_frame_on_the_older_stack(&first),
        on(&first, || a_frame_on_the_older_stack(&second)),
        on(&second, || a_frame_on_the_older_stack(&first)),
    ] {
        // The test itself may be inlined into its caller.
        for frame in ["a_frame_on_the_segment", "a_frame_on_the_older_stack"] {
            assert!(text.contains(frame), "{frame} is missing:\n{text}");
        }
    }
}
