//! Is a program with a global allocator of its own, which is not marked, left without preemption, and told so?

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Counts.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: S14: each call is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, SeqCst);
        // SAFETY: S14: the caller keeps to the allocator's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: S14: the caller keeps to the allocator's contract.
        unsafe { System.dealloc(place, layout) };
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

#[test]
fn it_is_not_preempted() {
    let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    let text = runtime.describe();
    assert!(
        text.contains("not preempted") && text.contains("silken::Unpreempted"),
        "{text}"
    );
    assert_eq!(runtime.run(|| silken::spawn(|| 7).join().unwrap()).unwrap(), 7);
    assert!(COUNT.load(SeqCst) > 0);
}
