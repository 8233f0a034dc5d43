//! thread_local!, `thread::current()` and errno: a unit's own, from its start to its destructors.

use crate::harness::deliberate_panic;
use crate::{Executor, join_all, raw};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::pipe;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, sleep, yield_now};
use std::time::Duration;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    static LIST: RefCell<Vec<usize>> = RefCell::new(vec![1]);
    static SHARED: RefCell<Option<Rc<Cell<usize>>>> = const { RefCell::new(None) };
    static COUNTED: RefCell<Option<Counted>> = const { RefCell::new(None) };
}

/// Counts its drops: TLS destructors are seen through it.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Every unit starts from the initial value, also on a recycled stack.
pub fn fresh_value(ex: &dyn Executor) {
    for _ in 0..20 {
        join_all(ex.start_each(10, |unit| {
            assert_eq!(NUMBER.get(), 0);
            assert_eq!(LIST.with_borrow(|list| list.clone()), [1]);
            NUMBER.set(unit + 1);
            LIST.with_borrow_mut(|list| list.push(unit));
        }));
    }
}

/// Values stay a unit's own while all of them are alive and wait.
pub fn value_survives_waits(ex: &dyn Executor) {
    let barrier = Arc::new(Barrier::new(50));
    join_all(ex.start_each(50, move |unit| {
        NUMBER.set(unit);
        barrier.wait();
        sleep(Duration::from_millis(2));
        assert_eq!(NUMBER.get(), unit);
        yield_now();
        barrier.wait();
        assert_eq!(NUMBER.get(), unit);
    }));
}

/// A borrow held over a wait is in nobody's way.
pub fn borrow_held_over_sleep(ex: &dyn Executor) {
    join_all(ex.start_each(20, |unit| {
        LIST.with_borrow_mut(|list| {
            list.push(unit);
            sleep(Duration::from_millis(5));
            assert_eq!(*list, [1, unit]);
        });
    }));
}

/// An Rc in TLS is shared within the unit only.
pub fn rc_stays_local(ex: &dyn Executor) {
    join_all(ex.start_each(20, |unit| {
        let value = Rc::new(Cell::new(unit));
        SHARED.set(Some(Rc::clone(&value)));
        for _ in 0..10 {
            yield_now();
            SHARED.with_borrow(|shared| shared.as_ref().unwrap().set(value.get() + 1));
            assert_eq!(Rc::strong_count(&value), 2);
        }
        assert_eq!(value.get(), unit + 10);
    }));
}

/// A destructor runs once per unit that used the value, before join returns.
pub fn destructor_runs_once(ex: &dyn Executor) {
    let drops = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&drops);
    join_all(ex.start_each(100, move |_| COUNTED.set(Some(Counted(Arc::clone(&shared))))));
    assert_eq!(drops.load(SeqCst), 100);
}

/// Destructors run after a panic too.
pub fn destructor_runs_after_panic(ex: &dyn Executor) {
    let drops = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&drops);
    let unit = ex.start(move || {
        COUNTED.set(Some(Counted(shared)));
        deliberate_panic();
    });
    assert!(unit.try_join().is_err());
    assert_eq!(drops.load(SeqCst), 1);
}

/// A value is made at its first use, in each unit that uses it and in no other.
pub fn initialised_at_first_use(ex: &dyn Executor) {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static LAZY: usize = MADE.fetch_add(1, SeqCst));
    let before = MADE.load(SeqCst);
    join_all(ex.start_each(20, |unit| {
        yield_now();
        if unit % 4 == 0 {
            assert_eq!(LAZY.with(|value| *value), LAZY.with(|value| *value));
        }
    }));
    assert_eq!(MADE.load(SeqCst), before + 5);
}

/// A destructor may use another thread-local, which gets its own destructor.
pub fn destructor_uses_another(ex: &dyn Executor) {
    struct Outer(Arc<AtomicUsize>);
    impl Drop for Outer {
        fn drop(&mut self) {
            COUNTED.set(Some(Counted(Arc::clone(&self.0))));
        }
    }
    thread_local!(static OUTER: RefCell<Option<Outer>> = const { RefCell::new(None) });
    let drops = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&drops);
    join_all(ex.start_each(10, move |_| OUTER.set(Some(Outer(Arc::clone(&shared))))));
    assert_eq!(drops.load(SeqCst), 10);
}

/// A destructor may block.
pub fn destructor_may_block(ex: &dyn Executor) {
    struct Slow(Arc<Mutex<usize>>);
    impl Drop for Slow {
        fn drop(&mut self) {
            let mut count = self.0.lock().unwrap();
            sleep(Duration::from_millis(1));
            *count += 1;
        }
    }
    thread_local!(static SLOW: RefCell<Option<Slow>> = const { RefCell::new(None) });
    let count = Arc::new(Mutex::new(0));
    let shared = Arc::clone(&count);
    join_all(ex.start_each(20, move |_| SLOW.set(Some(Slow(Arc::clone(&shared))))));
    assert_eq!(*count.lock().unwrap(), 20);
}

/// While it is being destroyed a value is not there: try_with says so.
pub fn destroyed_value_is_gone(ex: &dyn Executor) {
    struct Probe(Arc<AtomicUsize>);
    impl Drop for Probe {
        fn drop(&mut self) {
            if PROBE.try_with(|_| ()).is_err() {
                self.0.fetch_add(1, SeqCst);
            }
        }
    }
    thread_local!(static PROBE: RefCell<Option<Probe>> = const { RefCell::new(None) });
    let gone = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&gone);
    ex.start(move || PROBE.set(Some(Probe(shared)))).join();
    assert_eq!(gone.load(SeqCst), 1);
}

/// Units that are alive together have different ids, none of them the body's.
pub fn ids_are_distinct(ex: &dyn Executor) {
    let barrier = Arc::new(Barrier::new(50));
    let units = ex.start_each(50, move |_| {
        let id = thread::current().id();
        barrier.wait();
        id
    });
    let mut ids: HashSet<_> = join_all(units).into_iter().collect();
    ids.insert(thread::current().id());
    assert_eq!(ids.len(), 51);
}

/// A unit's id does not change over waits.
pub fn id_is_stable(ex: &dyn Executor) {
    join_all(ex.start_each(20, |_| {
        let id = thread::current().id();
        for _ in 0..5 {
            sleep(Duration::from_millis(1));
            assert_eq!(thread::current().id(), id);
        }
    }));
}

/// errno is the unit's own: others fail differently in between.
pub fn errno_is_own(ex: &dyn Executor) {
    let (reader, _writer) = pipe().unwrap();
    let fd = reader.as_raw_fd();
    join_all(ex.start_each(20, move |unit| {
        for _ in 0..20 {
            let (result, expected) = match unit % 2 {
                0 => (raw::close_fails(), libc::EBADF),
                _ => (raw::seek_fails(fd), libc::ESPIPE),
            };
            assert_eq!(result, -1);
            raw::sched_yield().unwrap();
            assert_eq!(raw::errno(), Some(expected));
        }
    }));
}
