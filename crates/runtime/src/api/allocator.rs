//! How does a program with a global allocator of its own have preemption? Its allocator is marked.

use crate::coroutine::{PreemptionOff, mark_allocator};
use std::alloc::{GlobalAlloc, Layout};

/// A global allocator whose calls are not interrupted by preemption.
///
/// A coroutine that computes is interrupted at any instruction of the executable, and others run meanwhile, on the same
/// thread. An allocator that is part of the executable (jemalloc, mimalloc, one that counts or locks and then calls
/// [`System`](std::alloc::System)) must not be interrupted: the others need its locks, and the runtime does too. silken
/// cannot see whether code is inside such an allocator. So in a program with one, **coroutines are not preempted unless
/// the allocator is wrapped in this type**. The wrapper costs about a nanosecond per call. std's own allocator needs no
/// mark; but in an executable without symbols (`strip = true`), or where link-time optimisation hides it, silken cannot
/// tell, and the mark helps too. [`Runtime::describe`](crate::Runtime::describe) says whether coroutines are preempted.
///
/// # Examples
/// ```
/// use std::alloc::System;
///
/// #[global_allocator]
/// static GLOBAL: silken::Unpreempted<System> = silken::Unpreempted(System);
///
/// let words = silken::spawn(|| vec![7; 100]).join().unwrap();
/// assert_eq!(words.len(), 100);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpreempted<A>(pub A);

// SAFETY: S14: the allocator's own contract, unchanged: each call is handed on.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Unpreempted<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        mark_allocator();
        let _off = PreemptionOff::enter();
        // SAFETY: S14: the caller's contract is the allocator's.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let _off = PreemptionOff::enter();
        // SAFETY: S14: the caller's contract is the allocator's.
        unsafe { self.0.dealloc(place, layout) };
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        mark_allocator();
        let _off = PreemptionOff::enter();
        // SAFETY: S14: the caller's contract is the allocator's.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let _off = PreemptionOff::enter();
        // SAFETY: S14: the caller's contract is the allocator's.
        unsafe { self.0.realloc(place, layout, bytes) }
    }
}
