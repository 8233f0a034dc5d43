//! Waits in functions that C has called, and in Rust functions with C's convention: not interrupted, for an unwinding
//! must not pass there.

use super::{FAR, on_all};
use libc::{c_int, c_void};
use silken::{Elapsed, channel};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const BRIEF: Duration = Duration::from_millis(3);

thread_local! {
    /// What the comparators below do first.
    static IN_CALLBACK: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

fn call_back() {
    // Taken out: it may sort, too.
    let taken = IN_CALLBACK.take();
    if let Some(mut call) = taken {
        call();
        IN_CALLBACK.set(Some(call));
    }
}

extern "C" fn compare(one: *const c_void, other: *const c_void) -> c_int {
    call_back();
    // SAFETY: S7: an element of the array.
    let one = unsafe { *one.cast::<i32>() };
    // SAFETY: S7: an element of the array.
    one - unsafe { *other.cast::<i32>() }
}

extern "C-unwind" fn compare_unwind(one: *const c_void, other: *const c_void) -> c_int {
    compare(one, other)
}

type Compare = extern "C" fn(*const c_void, *const c_void) -> c_int;
type CompareUnwind = extern "C-unwind" fn(*const c_void, *const c_void) -> c_int;

unsafe extern "C-unwind" {
    /// One of the two, as an address.
    fn qsort(base: *mut c_void, count: usize, size: usize, compare: *const ());
}

#[derive(Clone, Copy)]
enum Through {
    Qsort,
    QsortUnwind,
    RustOfC,
    RustOfCWithCleanup,
}

const ALL: [Through; 4] = [
    Through::Qsort,
    Through::QsortUnwind,
    Through::RustOfC,
    Through::RustOfCWithCleanup,
];

#[inline(never)]
extern "C" fn rust_of_c() {
    call_back();
}

/// Has something to drop while it waits: an unwinding would do that, and then end the process.
#[inline(never)]
extern "C" fn rust_of_c_with_cleanup() {
    let held = std::hint::black_box(vec![1, 2]);
    call_back();
    assert_eq!(held.len(), 2);
}

impl Through {
    /// Calls `call` from C, more than once.
    fn call(self, call: impl FnMut() + 'static) {
        IN_CALLBACK.set(Some(Box::new(call)));
        let mut numbers = [4, 3, 2, 1];
        let base = numbers.as_mut_ptr().cast();
        match self {
            // SAFETY: S7: an array of that many elements of that size.
            Through::Qsort => unsafe { qsort(base, 4, 4, compare as Compare as *const ()) },
            // SAFETY: S7: an array of that many elements of that size.
            Through::QsortUnwind => unsafe { qsort(base, 4, 4, compare_unwind as CompareUnwind as *const ()) },
            Through::RustOfC | Through::RustOfCWithCleanup => {
                let function = match self {
                    Through::RustOfC => rust_of_c,
                    _ => rust_of_c_with_cleanup,
                };
                function();
                function();
                numbers.reverse();
            }
        }
        IN_CALLBACK.set(None);
        assert_eq!(numbers, [1, 2, 3, 4]);
    }
}

/// Cancels a coroutine that calls `call` from C, and asserts that it came out of there, by returning, and was unwound
/// by its next wait.
fn completes(through: Through, call: impl FnMut() + Send + 'static) {
    static CAME_OUT: AtomicUsize = AtomicUsize::new(0);
    let before = CAME_OUT.load(Ordering::SeqCst);
    let (started, starts) = channel::unbounded();
    let mut call = call;
    let handle = silken::spawn(move || {
        through.call(move || {
            let _ = started.send(());
            call();
        });
        CAME_OUT.fetch_add(1, Ordering::SeqCst);
        silken::sleep(FAR);
    });
    starts.recv().unwrap();
    handle.cancel();
    assert!(handle.join().unwrap_err().is_cancelled());
    assert_eq!(CAME_OUT.load(Ordering::SeqCst), before + 1);
}

/// One case at a time: they count in one place.
fn for_each_way(case: impl Fn(Through) + Send + Sync) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    on_all(|| ALL.into_iter().for_each(&case));
}

#[test]
fn a_wait_in_a_callback_goes_on_and_the_next_one_unwinds() {
    for_each_way(|through| {
        completes(through, || {
            let begun = Instant::now();
            silken::sleep(BRIEF);
            assert!(begun.elapsed() >= BRIEF);
        });
        completes(through, || {
            silken::yield_now();
            silken::check_cancelled();
        });
        completes(through, || {
            let begun = Instant::now();
            silken::park_timeout(BRIEF);
            assert!(begun.elapsed() >= BRIEF);
        });
        completes(through, || {
            assert_eq!(silken::spawn(|| silken::sleep(BRIEF)).join().ok(), Some(()))
        });
        completes(through, || {
            let handle = silken::spawn(|| silken::sleep(FAR));
            let handle = handle.join_timeout(BRIEF).unwrap_err().0;
            handle.cancel();
            assert!(handle.join().unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn every_kind_of_wait_tells_the_truth_in_a_callback() {
    for_each_way(|through| {
        completes(through, || {
            let (tx, rx) = channel::bounded(0);
            silken::spawn(move || {
                silken::sleep(Duration::from_millis(2));
                tx.send(7).unwrap();
            });
            assert_eq!(rx.recv(), Ok(7));
            assert_eq!(rx.recv(), Err(channel::RecvError));
        });
        completes(through, || {
            let (tx, rx) = channel::bounded(1);
            tx.send(1).unwrap();
            assert!(tx.send_timeout(2, Duration::from_millis(2)).unwrap_err().is_timeout());
            let (_other, never) = channel::unbounded::<()>();
            let chosen = silken::select! {
                recv(never) -> _ => 0,
                send(tx, 3) -> _ => 1,
                default(Duration::from_millis(2)) => 2,
            };
            assert_eq!((chosen, rx.recv()), (2, Ok(1)));
            assert!(rx.recv_timeout(Duration::from_millis(2)).unwrap_err().is_timeout());
        });
        completes(through, || {
            let lock = std::sync::Arc::new(silken::sync::Mutex::new(0));
            let semaphore = silken::sync::Semaphore::new(0);
            let other = lock.clone();
            let holder = silken::spawn(move || {
                let mut held = other.lock().unwrap();
                silken::sleep(Duration::from_millis(2));
                *held = 1;
            });
            silken::yield_now();
            while *lock.lock().unwrap() == 0 {
                silken::yield_now();
            }
            assert!(!semaphore.acquire_timeout(Duration::from_millis(2)).is_ok_and(|_| true));
            holder.join().unwrap();
        });
        completes(through, || {
            let (value, sender) = silken::Promise::<u32, ()>::new();
            silken::spawn(move || {
                silken::sleep(Duration::from_millis(2));
                sender.resolve(5)
            });
            assert_eq!(value.wait(), Ok(5));
        });
    });
}

#[test]
fn a_scope_in_a_callback_is_as_if_masked() {
    for_each_way(|through| {
        completes(through, || {
            let mut count = 0;
            silken::scope(|s| {
                s.spawn(|| {
                    silken::sleep(Duration::from_millis(5));
                    count = 1;
                });
            });
            assert_eq!(count, 1);
        });
    });
}

#[test]
fn a_timeout_outside_waits_and_one_inside_ends() {
    for_each_way(|through| {
        let came_out = AtomicBool::new(false);
        let late = silken::timeout(Duration::from_millis(2), || {
            through.call(|| {
                let begun = Instant::now();
                silken::sleep(Duration::from_millis(10));
                assert!(begun.elapsed() >= Duration::from_millis(10));
                let (_tx, rx) = channel::unbounded::<()>();
                assert!(rx.recv_timeout(Duration::from_millis(2)).unwrap_err().is_timeout());
            });
            came_out.store(true, Ordering::SeqCst);
            silken::sleep(FAR);
        });
        assert_eq!(late, Err(Elapsed));
        assert!(came_out.load(Ordering::SeqCst));
        // Where cancellation must wait, a timeout that was set there need not.
        completes(through, || {
            assert_eq!(
                silken::timeout(Duration::from_millis(2), || silken::sleep(FAR)),
                Err(Elapsed)
            );
        });
    });
}

#[test]
fn on_an_os_thread_a_timeout_waits_for_the_callback() {
    for through in ALL {
        let late = silken::timeout(Duration::from_millis(2), || {
            through.call(|| {
                silken::sleep(Duration::from_millis(10));
                silken::scope(|s| drop(s.spawn(|| silken::sleep(Duration::from_millis(1)))));
                let (tx, rx) = channel::unbounded();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(2));
                    tx.send(7)
                });
                assert_eq!(rx.recv(), Ok(7));
            });
            silken::sleep(FAR);
        });
        assert_eq!(late, Err(Elapsed));
    }
}

#[test]
fn a_callback_that_catches_is_an_obstacle_all_the_same() {
    for_each_way(|through| {
        completes(through, || {
            let outcome = catch_unwind(AssertUnwindSafe(|| silken::sleep(BRIEF)));
            assert!(outcome.is_ok());
        });
    });
}
