//! Panics stay in their unit: payload, unwinding, panicking().

use crate::harness::deliberate_panic;
use crate::{Executor, join_all};
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread::{panicking, sleep, yield_now};
use std::time::Duration;

/// A &str payload reaches join.
pub fn payload_str(ex: &dyn Executor) {
    let payload = ex.start(|| deliberate_panic()).try_join().unwrap_err();
    assert_eq!(*payload.downcast::<&str>().unwrap(), "deliberate");
}

/// A payload of any type reaches join without the panic hook.
pub fn payload_any(ex: &dyn Executor) {
    let unit = ex.start(|| resume_unwind(Box::new(vec![1, 2, 3])));
    let payload = unit.try_join().unwrap_err();
    assert_eq!(*payload.downcast::<Vec<i32>>().unwrap(), [1, 2, 3]);
}

/// catch_unwind inside a unit catches, and the unit goes on.
pub fn caught_inside(ex: &dyn Executor) {
    let units = ex.start_each(20, |unit| {
        for _ in 0..5 {
            assert!(catch_unwind(|| deliberate_panic()).is_err());
            yield_now();
            assert!(!panicking());
        }
        unit
    });
    assert!((0..20).eq(join_all(units)));
}

/// A panic caught after a wait inside the closure is caught just the same.
pub fn caught_after_wait(ex: &dyn Executor) {
    join_all(ex.start_each(10, |_| {
        let caught = catch_unwind(|| {
            sleep(Duration::from_millis(2));
            deliberate_panic();
        });
        assert!(caught.is_err());
    }));
}

/// Unwinding runs every destructor on the way.
pub fn unwinding_drops(ex: &dyn Executor) {
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    fn descend(count: &Arc<AtomicUsize>, depth: usize) {
        let _count = Count(Arc::clone(count));
        if depth == 0 {
            deliberate_panic();
        }
        descend(count, depth - 1);
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&drops);
    assert!(ex.start(move || descend(&shared, 49)).try_join().is_err());
    assert_eq!(drops.load(SeqCst), 50);
}

/// A unit's panic leaves the others alone.
pub fn others_go_on(ex: &dyn Executor) {
    let barrier = Arc::new(Barrier::new(20));
    let units = ex.start_each(20, move |unit| {
        barrier.wait();
        if unit % 2 == 0 {
            deliberate_panic();
        }
        yield_now();
        unit
    });
    for (unit, result) in units.into_iter().map(|unit| unit.try_join()).enumerate() {
        assert_eq!(result.ok(), (unit % 2 == 1).then_some(unit));
    }
}

/// While one unit sleeps in the middle of its unwinding, others do not see panicking().
pub fn panicking_is_own(ex: &dyn Executor) {
    struct Slow(Arc<AtomicBool>);
    impl Drop for Slow {
        fn drop(&mut self) {
            assert!(panicking());
            self.0.store(true, SeqCst);
            sleep(Duration::from_millis(30));
            assert!(panicking());
            self.0.store(false, SeqCst);
        }
    }
    let unwinding = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&unwinding);
    let unit = ex.start(move || {
        let _slow = Slow(shared);
        deliberate_panic();
    });
    let watchers = ex.start_each(8, move |_| {
        let mut seen = false;
        for _ in 0..200 {
            assert!(!panicking());
            if unwinding.load(SeqCst) {
                seen = true;
                assert!(catch_unwind(|| deliberate_panic()).is_err());
            }
            sleep(Duration::from_micros(300));
        }
        seen
    });
    assert!(unit.try_join().is_err());
    assert!(join_all(watchers).contains(&true));
}

/// A panic that crosses a guard while others wait: many at once, all counted right.
pub fn many_at_once(ex: &dyn Executor) {
    struct Yielding;
    impl Drop for Yielding {
        fn drop(&mut self) {
            yield_now();
        }
    }
    let units = ex.start_each(100, |unit| {
        let _yielding = Yielding;
        resume_unwind(Box::new(unit));
    });
    for (number, unit) in units.into_iter().enumerate() {
        let payload = unit.try_join().unwrap_err();
        assert_eq!(*payload.downcast::<usize>().unwrap(), number);
    }
    assert!(!panicking());
}
