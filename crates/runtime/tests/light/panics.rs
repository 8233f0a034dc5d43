//! A light coroutine that unwinds is the only one that does, wherever it waits meanwhile.

use silken::sync::{Mutex, Semaphore};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::panicking;

fn light_runtime(workers: usize) -> silken::Runtime {
    // SAFETY: S12: the cases wait in silken's types, and use no thread-local but std's panic count, which is what is
    // tested.
    let builder = unsafe { silken::Runtime::builder().workers(workers).light() };
    builder.build().unwrap()
}

fn light() -> silken::Builder {
    // SAFETY: S12: as in `light_runtime`.
    unsafe { silken::Builder::new().light() }
}

/// A destructor that waits, and checks that its coroutine unwinds before and after.
struct WaitsWhileUnwinding {
    begun: Arc<Semaphore>,
    go_on: Arc<Semaphore>,
}

impl Drop for WaitsWhileUnwinding {
    fn drop(&mut self) {
        assert!(panicking(), "its own unwinding");
        self.begun.release(1);
        for _ in 0..3 {
            silken::yield_now();
            assert!(panicking(), "after a yield");
        }
        self.go_on.acquire().unwrap().forget();
        assert!(panicking(), "after a wait");
    }
}

/// One that unwinds, in a wait.
struct Unwinding {
    handle: silken::JoinHandle<()>,
    go_on: Arc<Semaphore>,
}

fn unwinding(builder: silken::Builder) -> Unwinding {
    let (begun, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let waits = WaitsWhileUnwinding {
        begun: begun.clone(),
        go_on: go_on.clone(),
    };
    let body = move || {
        let _waits = waits;
        resume_unwind(Box::new("on purpose"));
    };
    let handle = builder.spawn(body).unwrap();
    begun.acquire().unwrap().forget();
    Unwinding { handle, go_on }
}

impl Unwinding {
    fn end(self) {
        self.go_on.release(1);
        let error = self.handle.join().unwrap_err();
        assert!(matches!(error, silken::JoinError::Panicked(_)), "{error}");
    }
}

fn look() {
    assert!(!panicking(), "a neighbour's unwinding is seen");
    silken::yield_now();
    assert!(!panicking(), "a neighbour's unwinding is seen after a yield");
    let caught = catch_unwind(|| resume_unwind(Box::new(())));
    assert!(caught.is_err() && !panicking());
}

#[test]
fn a_neighbours_unwinding_is_its_own() {
    for workers in [1, 2] {
        let outcome = light_runtime(workers).run(|| {
            let unwinds: Vec<_> = (0..4).map(|_| unwinding(silken::Builder::new())).collect();
            look();
            let looks: Vec<_> = (0..8).map(|_| silken::spawn(look)).collect();
            for handle in looks {
                handle.join().unwrap();
            }
            unwinds.into_iter().for_each(Unwinding::end);
            look();
        });
        outcome.unwrap();
    }
}

#[test]
fn a_lock_held_across_a_neighbours_unwinding_is_not_poisoned() {
    let outcome = light_runtime(1).run(|| {
        let lock = Arc::new(Mutex::new(0));
        let shared = lock.clone();
        let held = Arc::new(Semaphore::new(0));
        let is_held = held.clone();
        let holder = silken::spawn(move || {
            let mut guard = shared.lock().unwrap();
            is_held.release(1);
            silken::park();
            *guard += 1;
        });
        held.acquire().unwrap().forget();
        let neighbour = unwinding(silken::Builder::new());
        holder.coroutine().unpark();
        holder.join().unwrap();
        assert_eq!(*lock.lock().expect("nobody panicked with it"), 1);
        neighbour.end();
    });
    outcome.unwrap();
}

#[test]
fn light_and_isolated_ones_keep_their_counts() {
    for workers in [1, 2] {
        let runtime = silken::Runtime::builder().workers(workers).build().unwrap();
        let outcome = runtime.run(|| {
            let mut unwinds = Vec::new();
            for _ in 0..3 {
                unwinds.push(unwinding(light()));
                look();
                unwinds.push(unwinding(silken::Builder::new()));
                light().spawn(look).unwrap().join().unwrap();
            }
            for (index, one) in unwinds.into_iter().enumerate() {
                if index % 2 == 0 {
                    one.end();
                } else {
                    light().spawn(move || one.end()).unwrap().join().unwrap();
                }
                light().spawn(look).unwrap().join().unwrap();
                look();
            }
        });
        outcome.unwrap();
    }
}

#[test]
fn counts_survive_the_workers_own_context() {
    // Everybody waits for a timer: the worker's own context runs between any two.
    let outcome = light_runtime(1).run(|| {
        let neighbour = unwinding(silken::Builder::new());
        for _ in 0..3 {
            silken::sleep_ms(2);
            look();
        }
        neighbour.end();
        silken::sleep_ms(2);
        look();
    });
    outcome.unwrap();
}

#[test]
fn a_join_that_is_cancelled_while_a_neighbour_unwinds_is_cancelled() {
    let outcome = light_runtime(1).run(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let count = ended.clone();
        let slow = silken::spawn(move || {
            silken::park();
            count.fetch_add(1, Ordering::Relaxed);
            vec![1u64; 8]
        });
        let parked = slow.coroutine();
        let joiner = silken::spawn(move || slow.join().map(|values| values.len()));
        silken::yield_now();
        let neighbour = unwinding(silken::Builder::new());
        joiner.cancel();
        assert!(joiner.join().unwrap_err().is_cancelled());
        assert_eq!(ended.load(Ordering::Relaxed), 0);
        parked.unpark();
        neighbour.end();
    });
    outcome.unwrap();
}

#[test]
fn a_join_waits_to_the_end_where_the_joiner_cannot_unwind() {
    struct Joins(Option<silken::JoinHandle<u32>>);
    impl Drop for Joins {
        fn drop(&mut self) {
            let outcome = self.0.take().unwrap().join();
            assert_eq!(outcome.unwrap(), 7);
        }
    }
    let case = || {
        let slow = || {
            silken::spawn(|| {
                silken::sleep_ms(20);
                7
            })
        };
        // Cancelled, in a destructor of the unwinding; cancelled, in a destructor without one, masked; and in a
        // panic's.
        let cancelled = silken::spawn(move || {
            let _joins = Joins(Some(slow()));
            silken::current().cancel();
            silken::check_cancelled();
        });
        assert!(cancelled.join().unwrap_err().is_cancelled());
        let masked = silken::spawn(move || {
            silken::current().cancel();
            silken::mask_cancel(|| drop(Joins(Some(slow()))));
        });
        masked.join().unwrap();
        let panics = silken::spawn(move || {
            let _joins = Joins(Some(slow()));
            let me = silken::current();
            let _ = catch_unwind(AssertUnwindSafe(|| me.cancel()));
            resume_unwind(Box::new(()));
        });
        assert!(matches!(panics.join().unwrap_err(), silken::JoinError::Panicked(_)));
    };
    for workers in [1, 2] {
        light_runtime(workers).run(case).unwrap();
        let isolated = silken::Runtime::builder().workers(workers).build().unwrap();
        isolated.run(case).unwrap();
    }
}
