//! Is a marked global allocator never interrupted, although its program is preempted?

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Keeps a flag per thread while it works, as allocators with caches do, and counts calls that find it set.
struct Reentrant;

thread_local!(static WORKS: Cell<bool> = const { Cell::new(false) });

static INSIDE_ITSELF: AtomicUsize = AtomicUsize::new(0);

fn during<R>(f: impl FnOnce() -> R) -> R {
    if WORKS.replace(true) {
        INSIDE_ITSELF.fetch_add(1, SeqCst);
    }
    // Long enough to be interrupted in.
    (0..500).for_each(|k| {
        std::hint::black_box(k);
    });
    let result = f();
    WORKS.set(false);
    result
}

// SAFETY: S14: each call is the system's.
unsafe impl GlobalAlloc for Reentrant {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: S14: the caller keeps to the allocator's contract.
        during(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: S14: the caller keeps to the allocator's contract.
        during(|| unsafe { System.dealloc(place, layout) });
    }
}

#[global_allocator]
static GLOBAL: silken::Unpreempted<Reentrant> = silken::Unpreempted(Reentrant);

#[test]
fn it_is_preempted_and_never_inside_an_allocation() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let builder = silken::Runtime::builder()
        .workers(1)
        .preempt(Duration::from_micros(200));
    let runtime = builder.build().unwrap();
    assert!(
        runtime.describe().contains("preempted after 200"),
        "{}",
        runtime.describe()
    );
    runtime
        .run(|| {
            let loops: Vec<_> = (0..3)
                .map(|_| {
                    silken::spawn(|| {
                        while !STOP.load(SeqCst) {
                            let lengths = (1..20).map(|k| vec![k as u8; k * 10].len());
                            assert_eq!(lengths.sum::<usize>(), 1900);
                        }
                    })
                })
                .collect();
            // Nothing but preemption gives this coroutine a turn.
            (0..100).for_each(|_| silken::sleep(Duration::from_micros(200)));
            STOP.store(true, SeqCst);
            loops.into_iter().for_each(|each| each.join().unwrap());
        })
        .unwrap();
    assert_eq!(INSIDE_ITSELF.load(SeqCst), 0);
}
