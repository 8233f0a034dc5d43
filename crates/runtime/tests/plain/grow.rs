//! Calls that continue on a segment: recursion far beyond the stack, and everything that may happen inside.

use super::on_all;
use silken::{Builder, JoinError, grow, maybe_grow, remaining_stack};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const FRAME_BYTES: usize = 4096;

fn address_of_frame() -> usize {
    let local = 0u8;
    black_box(&raw const local) as usize
}

/// Counts down with frames of a page at least, and grows where the stack ends.
fn descend(depth: usize) -> usize {
    let frame = black_box([depth as u8; FRAME_BYTES]);
    let below = if depth == 0 {
        0
    } else {
        maybe_grow!(|| descend(depth - 1)).expect("a segment")
    };
    below + usize::from(frame[depth % FRAME_BYTES] == depth as u8)
}

/// A recursion that takes a hundred times the stack on which it begins.
fn a_hundred_times(stack_bytes: usize) {
    let depth = 100 * stack_bytes / FRAME_BYTES;
    assert_eq!(descend(depth), depth + 1);
}

#[test]
fn a_recursion_takes_a_hundred_times_the_stack() {
    on_all(|| {
        const STACK_BYTES: usize = 512 << 10;
        let handle = silken::spawn(|| {
            let room = remaining_stack().expect("a coroutine knows its room");
            assert!(room <= 2 * STACK_BYTES, "{room}");
            a_hundred_times(STACK_BYTES);
        });
        handle.join().unwrap();
    });
}

#[test]
fn a_recursion_on_a_thread_takes_a_hundred_times_the_stack() {
    const STACK_BYTES: usize = 256 << 10;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    thread.spawn(|| a_hundred_times(STACK_BYTES)).unwrap().join().unwrap();
}

/// The shape of open-coroutine's first sample of `maybe_grow!`.
#[test]
fn a_task_grows_as_in_open_coroutine() {
    fn recurse(depth: u32, lent: &mut [u8; 10_240]) -> u32 {
        silken::maybe_grow!(|| {
            let first = black_box(&*lent)[0];
            if depth > 0 {
                u32::from(first) + 1 + recurse(depth - 1, &mut [0; 10_240])
            } else {
                0
            }
        })
        .expect("allocate stack failed")
    }
    let task = silken::task!(|depth| recurse(depth, &mut [0; 10_240]), 500);
    assert_eq!(task.join().unwrap(), 500);
}

#[test]
fn it_grows_only_where_the_room_is_too_small() {
    on_all(|| {
        silken::spawn(|| {
            let here = address_of_frame();
            let near = |address: usize| address.abs_diff(here) < 16 << 10;
            assert!(near(maybe_grow(4096, 1 << 20, address_of_frame).unwrap()));
            assert!(!near(maybe_grow(64 << 20, 1 << 20, address_of_frame).unwrap()));
            assert!(!near(grow(0, address_of_frame).unwrap()));
            // `red_zone` is there, whatever `stack_size` says.
            let red_zone = 3 << 20;
            let room = maybe_grow(red_zone, 0, || remaining_stack().unwrap()).unwrap();
            assert!(room >= red_zone, "{room}");
            assert!(near(address_of_frame()));
        })
        .join()
        .unwrap();
    });
}

#[test]
fn the_room_shrinks_with_each_frame() {
    on_all(|| {
        #[inline(never)]
        fn deeper(rounds: usize, last: usize) {
            let frame = black_box([1u8; FRAME_BYTES]);
            let room = remaining_stack().unwrap();
            assert!(room + FRAME_BYTES <= last, "{room} after {last}");
            if rounds > 0 {
                deeper(rounds - 1, room);
            }
            black_box(frame);
        }
        deeper(10, remaining_stack().unwrap());
        grow(1 << 20, || deeper(10, remaining_stack().unwrap())).unwrap();
    });
}

#[test]
fn a_size_beyond_all_is_refused() {
    let dropped = Rc::new(());
    let kept = dropped.clone();
    let error = grow(2 << 30, move || drop(kept)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(Rc::strong_count(&dropped), 1);
}

struct CountsDrops(Arc<AtomicUsize>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        // A destructor may wait, on whatever stack it runs.
        silken::yield_now();
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_panic_passes_segments() {
    on_all(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = drops.clone();
        let handle = silken::spawn(move || {
            let outside = CountsDrops(counted.clone());
            grow(0, || {
                let _between = CountsDrops(counted.clone());
                grow(0, || {
                    let _inside = (CountsDrops(counted.clone()), &outside);
                    silken::yield_now();
                    std::panic::panic_any(7)
                })
                .unwrap()
            })
            .unwrap()
        });
        match handle.join() {
            Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref(), Some(&7)),
            other => panic!("{other:?}"),
        }
        assert_eq!(drops.load(SeqCst), 3);
        // Caught on the older stack, the coroutine goes on there, and grows again.
        silken::spawn(|| {
            for _ in 0..100 {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    grow(0, || std::panic::resume_unwind(Box::new(3))).unwrap()
                }));
                assert_eq!(caught.unwrap_err().downcast_ref(), Some(&3));
            }
            assert_eq!(descend(1_000), 1_001);
        })
        .join()
        .unwrap();
    });
}

#[inline(never)]
fn the_innermost_frame() -> String {
    black_box(Backtrace::force_capture().to_string())
}

#[inline(never)]
fn the_frame_that_grows() -> String {
    black_box(grow(0, the_innermost_frame).unwrap())
}

#[test]
fn a_backtrace_crosses_segments() {
    on_all(|| {
        let text = silken::spawn(|| grow(0, the_frame_that_grows).unwrap()).join().unwrap();
        for frame in ["the_innermost_frame", "the_frame_that_grows", "silken_coroutine_entry"] {
            assert!(text.contains(frame), "{frame} is missing:\n{text}");
        }
    });
}

/// Waits of all kinds at the bottom of several segments. Isolated coroutines continue on other workers.
#[test]
fn waits_inside() {
    on_all(|| {
        let (sender, receiver) = silken::channel::bounded::<usize>(1);
        let coroutines: Vec<_> = (0..40)
            .map(|number| {
                let (sender, receiver) = (sender.clone(), receiver.clone());
                silken::spawn(move || {
                    let own = silken::current().id();
                    for round in 0..20 {
                        let depth = number % 4;
                        let got = nest(depth, &mut || {
                            silken::yield_now();
                            if number % 2 == 0 {
                                sender.send(round).unwrap();
                                round
                            } else {
                                receiver.recv().unwrap()
                            }
                        });
                        assert!(got < 20);
                        silken::sleep(Duration::from_micros(50));
                    }
                    assert_eq!(silken::current().id(), own);
                })
            })
            .collect();
        for coroutine in coroutines {
            coroutine.join().unwrap();
        }
    });
}

/// Calls `f` under this many segments; each finds its frame again.
fn nest<R>(depth: usize, f: &mut dyn FnMut() -> R) -> R {
    let frame = black_box([depth; 16]);
    let value = match depth {
        0 => f(),
        _ => grow(0, || nest(depth - 1, f)).unwrap(),
    };
    assert_eq!(black_box(frame)[7], depth);
    value
}

#[test]
fn a_cancellation_unwinds_segments() {
    on_all(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = drops.clone();
        let (begun, begins) = silken::channel::bounded(1);
        let handle = silken::spawn(move || {
            let _outside = CountsDrops(counted.clone());
            nest(3, &mut || {
                let _inside = CountsDrops(counted.clone());
                begun.send(()).unwrap();
                silken::park();
            });
        });
        begins.recv().unwrap();
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(drops.load(SeqCst), 2);
    });
}

fn never() {
    loop {
        silken::park();
    }
}

#[test]
fn a_timeout_unwinds_segments_on_both_sides() {
    on_all(|| {
        let soon = Duration::from_millis(2);
        silken::spawn(move || {
            let outcome = silken::timeout(soon, || nest(2, &mut never));
            assert!(outcome.is_err(), "the target is on the first stack");
            let outcome = nest(2, &mut || silken::timeout(soon, never));
            assert!(outcome.is_err(), "the target is on the same segment");
            let outcome = nest(1, &mut || silken::timeout(soon, || nest(2, &mut never)));
            assert!(outcome.is_err(), "the target is on another segment");
        })
        .join()
        .unwrap();
    });
}

thread_local! {
    static OF_THREAD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

silken::coroutine_local! {
    static OF_COROUTINE: Cell<usize> = const { Cell::new(0) };
}

#[test]
fn values_are_the_same_on_both_sides() {
    on_all(|| {
        silken::spawn(|| {
            OF_COROUTINE.set(3);
            let address = OF_THREAD.with(|values| std::ptr::from_ref(values) as usize);
            let own = (std::thread::current().id(), silken::current().id());
            nest(2, &mut || {
                assert_eq!(OF_COROUTINE.get(), 3);
                assert_eq!(OF_THREAD.with(|values| std::ptr::from_ref(values) as usize), address);
                assert_eq!((std::thread::current().id(), silken::current().id()), own);
                OF_COROUTINE.set(4);
            });
            assert_eq!(OF_COROUTINE.get(), 4);
        })
        .join()
        .unwrap();
    });
}

/// A scope inside a segment lends to children what lies on the segment.
#[test]
fn a_scope_on_a_segment_lends_its_frame() {
    on_all(|| {
        let sum = grow(0, || {
            let numbers = black_box([1u64, 2, 3, 4]);
            silken::scope(|scope| {
                let halves: Vec<_> = numbers
                    .chunks(2)
                    .map(|half| scope.spawn(move || grow(0, || half.iter().sum::<u64>()).unwrap()))
                    .collect();
                halves.into_iter().map(|half| half.join().unwrap()).sum::<u64>()
            })
        });
        assert_eq!(sum.unwrap(), 10);
    });
}

/// An unmodified recursive parser, wrapped once at the top: it recurses on the segment, which does not grow by itself.
#[test]
fn a_parser_of_others_runs_on_one_large_segment() {
    const STACK_BYTES: usize = 64 << 10;
    // Each level takes more than a hundred bytes of stack in any build.
    const DEPTH: usize = 100 * STACK_BYTES / 100;
    let text = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
    let parse = move || {
        let before = remaining_stack().unwrap();
        assert!(before <= 64 << 10, "{before}");
        grow(1 << 30, || {
            let mut deserializer = serde_json::Deserializer::from_str(&text);
            deserializer.disable_recursion_limit();
            let value: serde_json::Value = deserializer.into_iter().next().unwrap().unwrap();
            let mut depth = 0;
            let mut inner = &value;
            while let Some(next) = inner.get(0) {
                (depth, inner) = (depth + 1, next);
            }
            // Its destructor recurses as well.
            drop(value);
            depth
        })
        .unwrap()
    };
    let handle = Builder::new().stack_size(STACK_BYTES).spawn(parse).unwrap();
    assert_eq!(handle.join().unwrap(), DEPTH - 1);
}

#[test]
fn a_report_tells_depth_and_growth_of_each_place() {
    // It holds for the process, so other tests' coroutines are in the report too.
    let runtime = silken::Runtime::builder()
        .workers(1)
        .stack_report(true)
        .build()
        .unwrap();
    const STACK_BYTES: usize = 4 << 20;
    runtime.block_on(|| {
        for depth in [10, 50] {
            let handle = Builder::new()
                .name(format!("of {depth}"))
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    assert_eq!(descend(depth), depth + 1);
                    let mark = silken::stack_high_water().unwrap();
                    assert!(mark > depth * FRAME_BYTES && mark < 2 << 20, "{mark}");
                    grow(0, || grow(0, || ()).unwrap()).unwrap();
                });
            handle.unwrap().join().unwrap();
        }
    });
    let report = silken::stack_report();
    // No other test of this file asks for that size.
    let is_ours = |site: &&silken::StackSite| {
        let is_here = site
            .location
            .is_some_and(|location| location.file().ends_with("grow.rs"));
        is_here && site.stack_bytes == STACK_BYTES
    };
    let site = report.sites.iter().find(is_ours).expect("the place of the spawn");
    assert_eq!((site.ended, site.growths, site.segments_max), (2, 4, 2));
    assert!(
        site.deepest_bytes > 50 * FRAME_BYTES && site.deepest_bytes < 2 << 20,
        "{site:?}"
    );
    assert_eq!(site.deepest_name.as_deref(), Some("of 50"));
    assert!(site.sum_bytes < 2 * site.deepest_bytes as u64);
    assert!(report.to_string().contains("(deepest: 'of 50')"));
}
