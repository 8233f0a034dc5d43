//! Which frames an unwinding passes, asked in real frames: of Rust, of Rust functions with C's convention, of the C
//! library.

use silken_context::segment::call_on;
use silken_context::stack::{Arena, ArenaConfig, Stack};
use silken_context::unwind::{Target, reaches};
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    static TARGET: Cell<usize> = const { Cell::new(0) };
    static ANSWER: Cell<Option<bool>> = const { Cell::new(None) };
}

fn ask() {
    ANSWER.set(Some(reaches(Target::Frame(TARGET.get()))));
}

/// What `reaches` answers below `call`, with the frame that this function has as the target.
#[inline(never)]
fn answer(call: impl FnOnce()) -> bool {
    let place = black_box(0u8);
    TARGET.set(std::ptr::from_ref(&place).addr());
    call();
    black_box(place);
    ANSWER.take().expect("somebody has asked")
}

/// Has something to drop, so the compiler makes a table for its caller.
struct Guard(u32);

impl Drop for Guard {
    fn drop(&mut self) {
        black_box(self.0);
    }
}

#[inline(never)]
fn with_cleanup(call: impl FnOnce()) {
    let _guard = Guard(1);
    call();
}

/// Something to call, behind a pointer that C could carry.
#[repr(C)]
struct Call<'a>(Box<dyn FnMut() + 'a>);

impl<'a> Call<'a> {
    fn of(call: impl FnMut() + 'a) -> Self {
        Self(Box::new(call))
    }
}

#[inline(never)]
extern "C" fn ends_the_process(call: &mut Call<'_>) {
    (call.0)();
    black_box(2);
}

#[inline(never)]
extern "C" fn ends_the_process_after_a_cleanup(call: &mut Call<'_>) {
    let _guard = Guard(2);
    (call.0)();
}

#[inline(never)]
extern "C-unwind" fn passes(call: &mut Call<'_>) {
    let _guard = Guard(3);
    (call.0)();
}

extern "C" fn compare(_: *const libc::c_void, _: *const libc::c_void) -> libc::c_int {
    ask();
    0
}

extern "C-unwind" fn compare_unwind(_: *const libc::c_void, _: *const libc::c_void) -> libc::c_int {
    ask();
    0
}

type Compare = extern "C" fn(*const libc::c_void, *const libc::c_void) -> libc::c_int;
type CompareUnwind = extern "C-unwind" fn(*const libc::c_void, *const libc::c_void) -> libc::c_int;

unsafe extern "C-unwind" {
    /// One of the two, as an address.
    fn qsort(base: *mut libc::c_void, count: usize, size: usize, compare: *const ());
}

#[test]
fn frames_of_rust_are_passed() {
    assert!(answer(ask));
    assert!(answer(|| with_cleanup(ask)));
    assert!(answer(|| with_cleanup(|| with_cleanup(|| [1, 2]
        .iter()
        .for_each(|_| ask())))));
    assert!(answer(|| passes(&mut Call::of(ask))));
    // An unwinding agrees.
    let caught = catch_unwind(AssertUnwindSafe(|| {
        with_cleanup(|| passes(&mut Call::of(|| resume_unwind(Box::new(7)))))
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&7));
}

#[test]
fn a_catch_is_passed() {
    let catches = |call: fn()| {
        let _ = catch_unwind(AssertUnwindSafe(call));
    };
    // Who catches between may go on with it; whether it does is not the walk's question.
    assert!(answer(|| catches(ask)));
}

#[test]
fn rust_functions_of_c_end_the_process() {
    assert!(!answer(|| ends_the_process(&mut Call::of(ask))));
    assert!(!answer(|| ends_the_process_after_a_cleanup(&mut Call::of(ask))));
    assert!(!answer(|| with_cleanup(|| ends_the_process(&mut Call::of(|| {
        with_cleanup(ask)
    })))));
}

#[test]
fn a_target_within_is_reached() {
    let mut within = false;
    ends_the_process(&mut Call::of(|| within = answer(ask)));
    assert!(within);
}

#[test]
fn the_c_library_is_not_passed() {
    for compare in [
        compare as Compare as *const (),
        compare_unwind as CompareUnwind as *const (),
    ] {
        let mut numbers = [3, 1, 2];
        // SAFETY: S7: an array of that many elements of that size.
        assert!(!answer(|| unsafe { qsort(numbers.as_mut_ptr().cast(), 3, 4, compare) }));
    }
}

#[test]
fn a_thread_has_no_entry() {
    assert!(!reaches(Target::Entry));
    assert!(!std::thread::spawn(|| reaches(Target::Entry)).join().unwrap());
}

fn sort() {
    let mut numbers = [3, 1, 2];
    // SAFETY: S7: an array of that many elements of that size.
    unsafe { qsort(numbers.as_mut_ptr().cast(), 3, 4, compare as Compare as *const ()) };
}

/// A segment lies above or below the stack of the target, or of the C function; the answer is the same.
#[test]
fn segments_are_passed_and_hide_nothing() {
    let arena: &'static Arena = Box::leak(Box::new(Arena::new(ArenaConfig::default()).expect("an arena")));
    let (first, second) = (arena.take().expect("a stack"), arena.take().expect("a stack"));
    for (upper, lower) in [(&first, &second), (&second, &first)] {
        // SAFETY: S1: nobody else uses these stacks, which have guards.
        let on = |stack: &Stack, call: &dyn Fn() -> bool| unsafe { call_on(stack.top().wrapping_sub(64), call) };
        let inner = |call: &dyn Fn()| {
            on(lower, &|| {
                call();
                true
            });
        };
        assert!(answer(|| inner(&ask)));
        assert!(answer(|| with_cleanup(|| inner(&|| with_cleanup(ask)))));
        assert!(!answer(|| inner(&sort)));
        assert!(on(upper, &|| !answer(|| inner(&sort))));
        assert!(!answer(|| ends_the_process(&mut Call::of(|| inner(&ask)))));
        assert!(!answer(|| inner(&|| ends_the_process(&mut Call::of(ask)))));
        assert!(on(upper, &|| answer(|| inner(&ask))), "the target is on a segment");
        assert!(on(upper, &|| !answer(|| ends_the_process(&mut Call::of(|| inner(
            &ask
        ))))));
    }
}
