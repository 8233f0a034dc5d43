//! Making coroutines and getting their results.

use super::on_all;
use silken::{Builder, go, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn results_come_back() {
    on_all(|| {
        let handles: Vec<_> = (0..100u64).map(|i| spawn(move || i * i)).collect();
        for (i, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), (i * i) as u64);
        }
    });
}

#[test]
fn more_than_a_ring_holds() {
    on_all(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..5_000)
            .map(|_| {
                let count = count.clone();
                spawn(move || {
                    silken::yield_now();
                    count.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(count.load(Ordering::Relaxed), 5_000);
    });
}

#[test]
fn large_closures_and_results_are_boxed() {
    on_all(|| {
        let big = [7u64; 512];
        let handle = spawn(move || {
            silken::yield_now();
            let mut big = big;
            big[511] = 8;
            big
        });
        let big = handle.join().unwrap();
        assert_eq!((big[0], big[511]), (7, 8));
    });
}

#[test]
fn a_dropped_handle_detaches() {
    on_all(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let guard = Arc::new(());
        let held = guard.clone();
        drop(spawn(move || {
            sender.send(5).unwrap();
            held
        }));
        while receiver.try_recv().is_err() {
            silken::yield_now();
        }
        // The result that nobody takes is dropped at the coroutine's end.
        while Arc::strong_count(&guard) > 1 {
            silken::yield_now();
        }
    });
}

/// A panics in a destructor goes to whoever drops the value. Where nobody does, it ends there, and the process goes on.
#[test]
fn a_result_that_nobody_takes_may_panic_when_it_is_dropped() {
    /// Says that it was dropped, and panics.
    struct Panics(std::sync::mpsc::Sender<()>);

    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            std::panic::resume_unwind(Box::new("dropped"));
        }
    }

    on_all(|| {
        let (tx, rx) = std::sync::mpsc::channel();
        let told = || {
            while rx.try_recv().is_err() {
                silken::yield_now();
            }
        };
        // Another worker may have run the coroutine to its end before its handle is dropped here: then it is this
        // drop that destroys the value, and hears the panic.
        let let_go = |handle: silken::JoinHandle<Panics>| {
            if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(handle))) {
                assert_eq!(*payload.downcast::<&str>().unwrap(), "dropped");
            }
        };
        let result = Panics(tx.clone());
        let_go(spawn(move || result));
        told();
        // The same of a panic's payload.
        let payload = Panics(tx.clone());
        let_go(spawn(move || -> Panics {
            std::panic::resume_unwind(Box::new(payload))
        }));
        told();
        let result = Panics(tx.clone());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            silken::scope(|s| drop(s.spawn(move || result)));
        }));
        told();
        assert!(ended.is_err(), "the scope tells that one of it panicked");
        let result = Panics(tx.clone());
        let handle = spawn(move || result);
        while !handle.is_finished() {
            silken::yield_now();
        }
        let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(handle)));
        told();
        assert_eq!(*taken.unwrap_err().downcast::<&str>().unwrap(), "dropped");
        assert_eq!(spawn(|| 5).join().unwrap(), 5);
    });
}

#[test]
fn names_and_sizes() {
    on_all(|| {
        let handle = Builder::new().name("one".into()).stack_size(100_000).spawn(|| {
            let me = silken::current();
            (me.name().map(String::from), me.stack_size(), me.id())
        });
        let handle = handle.unwrap();
        let id = handle.coroutine().id();
        assert_eq!(handle.join().unwrap(), (Some("one".into()), 131_072, id));
        assert!(Builder::new().stack_size(usize::MAX).spawn(|| ()).is_err());
        assert_eq!(
            go!(("two", 20_000), || silken::current().stack_size()).join().unwrap(),
            32_768
        );
    });
}

#[test]
fn stacks_of_many_sizes_at_once() {
    on_all(|| {
        let handles: Vec<_> = (0..200usize)
            .map(|i| {
                let bytes = (32 * 1024) << (i % 5);
                go!(bytes, move || {
                    silken::yield_now();
                    std::hint::black_box([i as u8; 8192])[8191]
                })
            })
            .collect();
        for (i, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), i as u8);
        }
    });
}

#[test]
fn coroutine_locals_are_each_ones_own_and_are_destroyed() {
    use std::cell::{Cell, RefCell};
    silken::coroutine_local! {
        static COUNT: Cell<usize> = Cell::new(10);
        static GUARD: RefCell<Option<Arc<()>>> = RefCell::new(None);
    }
    on_all(|| {
        let guard = Arc::new(());
        let handles: Vec<_> = (0..50)
            .map(|i| {
                let guard = guard.clone();
                spawn(move || {
                    assert_eq!(COUNT.get(), 10);
                    COUNT.set(i);
                    GUARD.with_borrow_mut(|slot| *slot = Some(guard));
                    silken::yield_now();
                    assert_eq!(COUNT.get(), i);
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(Arc::strong_count(&guard), 1);
    });
}

#[test]
fn from_os_threads_the_default_runtime_serves() {
    let threads: Vec<_> = (0..4)
        .map(|i| std::thread::spawn(move || (0..100).map(|j| spawn(move || i + j).join().unwrap()).sum::<i32>()))
        .collect();
    let sum: i32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(sum, (0..4).map(|i| (0..100).map(|j| i + j).sum::<i32>()).sum::<i32>());
}

/// What a spawn that is refused drops may wait: here for a lock that another coroutine of the only worker holds.
#[test]
fn a_refused_closure_is_dropped_where_it_may_wait() {
    struct Locks(Arc<std::sync::Mutex<u32>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    let lock = Arc::new(std::sync::Mutex::new(0));
    let outcome = runtime.run(|| {
        let held = lock.clone();
        let holder = silken::spawn(move || {
            let guard = held.lock().unwrap();
            silken::sleep(std::time::Duration::from_millis(20));
            drop(guard);
        });
        silken::yield_now();
        let refused = Locks(lock.clone());
        let too_large = silken::Builder::new().stack_size(2 << 30).spawn(move || drop(refused));
        assert!(too_large.is_err());
        holder.join().unwrap();
    });
    outcome.unwrap();
    assert_eq!(*lock.lock().unwrap(), 1);
}

/// The attribute reports a body's value where it was made.
#[silken::test(workers = 1)]
fn a_test_may_return_an_error_that_is_not_send() -> Result<(), Box<dyn std::error::Error>> {
    let _: u32 = "7".parse()?;
    Ok(())
}

/// It borrows, may be called again and from a coroutine of another runtime, and passes panics on.
#[test]
fn block_on_leaves_the_runtime_running() {
    let (runtime, other) = (
        silken::Runtime::builder().workers(1).build().unwrap(),
        silken::Runtime::builder().workers(1).build().unwrap(),
    );
    let mut sum = 0;
    runtime.block_on(|| sum += spawn(|| 3).join().unwrap());
    sum += other.block_on(|| runtime.block_on(|| spawn(|| 4).join().unwrap()));
    assert_eq!(sum, 7);
    let panics = std::panic::AssertUnwindSafe(|| runtime.block_on(|| -> u32 { panic!("its own") }));
    let payload = std::panic::catch_unwind(panics).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"its own"));
    assert_eq!(runtime.block_on(|| 7), 7);
}
