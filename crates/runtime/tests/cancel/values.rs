//! Coroutine-locals and scoped values.

use super::on_all;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

silken::coroutine_local! {
    static COUNT: Cell<u32> = const { Cell::new(3) };
    /// With an attribute and a visibility.
    pub(crate) static LINES: RefCell<Vec<u32>> = RefCell::new(vec![1]);
    static PLAIN: String = String::from("plain")
}
silken::coroutine_local!(static LAZY: Cell<u32> = Cell::new(next_number()));

static NUMBERS: AtomicUsize = AtomicUsize::new(0);

fn next_number() -> u32 {
    NUMBERS.fetch_add(1, Ordering::Relaxed) as u32
}

fn all_of_local_key() {
    assert_eq!((COUNT.get(), COUNT.replace(5), COUNT.take(), COUNT.get()), (3, 3, 5, 0));
    LINES.with_borrow_mut(|lines| lines.push(2));
    assert_eq!(LINES.with_borrow(Vec::len), 2);
    assert_eq!(LINES.replace(vec![7]), [1, 2]);
    LINES.set(vec![8, 9]);
    assert_eq!(LINES.take(), [8, 9]);
    assert_eq!(PLAIN.with(String::len), 5);
    assert_eq!(PLAIN.try_with(String::len), Ok(5));
}

#[test]
fn the_methods_of_std_on_coroutines_and_threads() {
    on_all(|| {
        // Each afresh, many on one worker.
        for _ in 0..3 {
            silken::spawn(all_of_local_key).join().unwrap();
        }
    });
    std::thread::spawn(all_of_local_key).join().unwrap();
}

#[test]
fn set_makes_nothing_first() {
    super::run_on(1, true, || {
        silken::spawn(|| {
            let before = NUMBERS.load(Ordering::Relaxed);
            LAZY.set(77);
            assert_eq!((LAZY.get(), NUMBERS.load(Ordering::Relaxed)), (77, before));
        })
        .join()
        .unwrap();
        silken::spawn(|| {
            let before = NUMBERS.load(Ordering::Relaxed);
            assert_eq!(LAZY.get() as usize, before);
        })
        .join()
        .unwrap();
    });
}

#[derive(Default)]
struct Witness {
    log: Option<Arc<Mutex<Vec<String>>>>,
    name: &'static str,
}

silken::coroutine_local! {
    static OLDER: RefCell<Witness> = RefCell::default();
    static NEWER: RefCell<Witness> = RefCell::default();
    static LATE: RefCell<Witness> = RefCell::default();
}

impl Drop for Witness {
    fn drop(&mut self) {
        let Some(log) = self.log.take() else { return };
        let older = OLDER.try_with(|older| older.try_borrow().map_or("in use", |older| older.name));
        let newer = NEWER.try_with(|newer| newer.try_borrow().map_or("in use", |newer| newer.name));
        log.lock().unwrap().push(format!("{}: {older:?} {newer:?}", self.name));
        if self.name == "newer" {
            // Made during the destruction: goes next.
            LATE.set(Witness {
                log: Some(log),
                name: "late",
            });
        }
    }
}

fn fill(log: &Arc<Mutex<Vec<String>>>) {
    let witness = |name| Witness {
        log: Some(log.clone()),
        name,
    };
    OLDER.set(witness("older"));
    NEWER.set(witness("newer"));
}

const DESTRUCTION: [&str; 3] = [
    "newer: Ok(\"older\") Err(AccessError)",
    "late: Ok(\"older\") Err(AccessError)",
    "older: Err(AccessError) Err(AccessError)",
];

#[test]
fn destruction_is_newest_first_and_once() {
    on_all(|| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let filled = log.clone();
        silken::spawn(move || fill(&filled)).join().unwrap();
        assert_eq!(*log.lock().unwrap(), DESTRUCTION);
    });
    let log = Arc::new(Mutex::new(Vec::new()));
    let filled = log.clone();
    std::thread::spawn(move || fill(&filled)).join().unwrap();
    assert_eq!(*log.lock().unwrap(), DESTRUCTION);
}

#[test]
fn destruction_also_after_cancellation() {
    on_all(|| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let filled = log.clone();
        super::unwinds(move || {
            fill(&filled);
            silken::park();
        });
        assert_eq!(*log.lock().unwrap(), DESTRUCTION);
    });
}

silken::scoped_value! {
    static USER: String;
    pub(crate) static LEVEL: Arc<u32>;
}

fn user() -> Option<String> {
    USER.try_with(String::clone)
}

fn scoped_values() {
    assert_eq!((user(), LEVEL.is_set()), (None, false));
    let outcome = USER.set_in("ann".into(), || {
        LEVEL.set_in(Arc::new(1), || {
            let child = silken::spawn(|| (user(), silken::spawn(user).join().unwrap(), **LEVEL.get().unwrap()));
            let inner = USER.set_in("bob".into(), || (user(), silken::spawn(user).join().unwrap()));
            (child.join().unwrap(), inner, user())
        })
    });
    let (ann, bob) = (Some("ann".to_string()), Some("bob".to_string()));
    assert_eq!(outcome, ((ann.clone(), ann.clone(), 1), (bob.clone(), bob), ann));
    assert_eq!((user(), LEVEL.is_set()), (None, false));
    assert_eq!(silken::spawn(user).join().unwrap(), None);
}

#[test]
fn scoped_values_are_inherited() {
    on_all(scoped_values);
    scoped_values();
}

#[test]
fn scoped_values_end_with_the_last_who_has_them() {
    on_all(|| {
        let level = Arc::new(5);
        let child = LEVEL.set_in(level.clone(), || {
            silken::spawn(|| {
                silken::park();
                LEVEL.with(|level| **level)
            })
        });
        silken::yield_now();
        assert_eq!(Arc::strong_count(&level), 2);
        child.coroutine().unpark();
        assert_eq!(child.join().unwrap(), 5);
        assert_eq!(Arc::strong_count(&level), 1);
        // A panic restores, too.
        let outcome = std::panic::catch_unwind(|| LEVEL.set_in(Arc::new(1), || std::panic::resume_unwind(Box::new(1))));
        assert!(outcome.is_err());
        assert!(!LEVEL.is_set());
    });
}

#[test]
fn scoped_values_of_one_that_did_not_start_are_dropped() {
    super::run_on(1, false, || {
        let level = Arc::new(5);
        let child = LEVEL.set_in(level.clone(), || silken::spawn(|| ()));
        child.cancel();
        assert!(child.join().unwrap_err().is_cancelled());
        assert_eq!(Arc::strong_count(&level), 1);
    });
}

#[test]
fn long_chains_are_freed_in_a_loop() {
    super::run_on(1, false, || {
        fn generation(left: u32) {
            if left == 0 {
                return;
            }
            let next = || drop(silken::spawn(move || generation(left - 1)));
            if left.is_multiple_of(2) {
                USER.set_in(String::new(), next);
            } else {
                LEVEL.set_in(Arc::new(left), next);
            }
        }
        generation(20_000);
        // One worker: all have run when nothing is ready any more.
        silken::sleep(std::time::Duration::from_millis(50));
    });
}
