//! `Stack::deep_use` against real recursion: every frame of up to a page holds a return address, so a page that such
//! frames cover is never all zero, even if they write nothing else. Larger frames may straddle the page, and nothing is
//! promised for them.

use std::hint::black_box;

use silken_context::stack::{Arena, ArenaConfig, Stack};

const KEEP_BYTES: usize = 16 * 1024;

/// Recursion down to the address `limit`, whose frames hold a buffer of `BYTES` with only the first one written: the
/// hardest kind to see.
#[inline(never)]
fn recurse<const BYTES: usize>(limit: usize) -> usize {
    let mut buffer = std::mem::MaybeUninit::<[u8; BYTES]>::uninit();
    let first = buffer.as_mut_ptr().cast::<u8>();
    // SAFETY: S1: the first byte of a buffer of our own frame.
    unsafe { first.write_volatile(1) };
    let deeper = if (first as usize) < limit {
        0
    } else {
        recurse::<BYTES>(black_box(limit))
    };
    // Used after the call, so that it is not a tail call.
    black_box(first);
    deeper + black_box(1)
}

extern "C" fn go_deep<const BYTES: usize>(limit: *mut libc::c_void) -> *mut libc::c_void {
    black_box(recurse::<BYTES>(limit as usize));
    std::ptr::null_mut()
}

/// Runs a thread on the stack, to its end.
fn run_on(stack: &Stack, body: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void, argument: usize) {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: S7: initialises the attributes.
    assert_eq!(unsafe { libc::pthread_attr_init(attributes) }, 0);
    // SAFETY: S1: the stack is ours until the join below.
    let answer = unsafe { libc::pthread_attr_setstack(attributes, stack.bottom().cast(), stack.size()) };
    assert_eq!(answer, 0);
    let mut thread = 0;
    // SAFETY: S7: valid attributes and a function that ignores where it runs.
    let answer = unsafe { libc::pthread_create(&mut thread, attributes, body, argument as *mut _) };
    assert_eq!(answer, 0);
    // SAFETY: S1: waits until nobody runs on the stack.
    assert_eq!(unsafe { libc::pthread_join(thread, std::ptr::null_mut()) }, 0);
}

fn arena() -> &'static Arena {
    Box::leak(Box::new(Arena::new(ArenaConfig::default()).expect("an arena")))
}

/// How many of 100 threads of different depth, all past the page below what is kept, are seen.
fn seen<const BYTES: usize>() -> usize {
    let arena = arena();
    let seen = (0..100).filter(|round| {
        let stack = arena.take().expect("a stack");
        let past_the_page = stack.top() as usize - KEEP_BYTES - 4096;
        run_on(&stack, go_deep::<BYTES>, past_the_page - round * 1009);
        // SAFETY: S1: the thread has been joined.
        let seen = unsafe { stack.deep_use(KEEP_BYTES) };
        // SAFETY: S1: the thread has been joined.
        unsafe { stack.trim(KEEP_BYTES) }.expect("trim");
        arena.give(stack);
        seen
    });
    seen.count()
}

extern "C" fn stay_flat(_: *mut libc::c_void) -> *mut libc::c_void {
    black_box(recurse::<16>(usize::MAX));
    std::ptr::null_mut()
}

#[test]
fn frames_of_up_to_a_page_are_always_seen() {
    assert_eq!(
        [
            seen::<16>(),
            seen::<200>(),
            seen::<1000>(),
            seen::<2000>(),
            seen::<3800>()
        ],
        [100; 5]
    );
}

#[test]
fn a_flat_thread_is_not_deep() {
    let arena = arena();
    let stack = arena.take().expect("a stack");
    for _ in 0..3 {
        run_on(&stack, stay_flat, 0);
        // SAFETY: S1: the thread has been joined.
        assert!(!unsafe { stack.deep_use(KEEP_BYTES) });
    }
    arena.give(stack);
}
