//! What a unit leaves behind: its values are destroyed in a thread's order, and the next unit finds nothing of it.
//!
//! Units run one after the other, so that an executor that uses anything again does so here.

use crate::raw::{self, RobustMutex};
use crate::{Executor, join_all};
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex};

/// How many units run one after the other.
const UNITS: usize = 10;

/// First all thread-locals, the newest first, then the keys.
pub fn thread_locals_go_before_keys(ex: &dyn Executor) {
    static LOG: Mutex<String> = Mutex::new(String::new());
    struct Noisy(char);
    impl Drop for Noisy {
        fn drop(&mut self) {
            LOG.lock().unwrap().push(self.0);
        }
    }
    thread_local! {
        static FIRST: RefCell<Option<Noisy>> = const { RefCell::new(None) };
        static SECOND: RefCell<Option<Noisy>> = const { RefCell::new(None) };
    }
    extern "C" fn note(_: *mut c_void) {
        LOG.lock().unwrap().push('k');
    }
    static KEY: LazyLock<u32> = LazyLock::new(|| raw::key_create(note));
    for _ in 0..UNITS {
        LOG.lock().unwrap().clear();
        ex.start(|| {
            raw::key_set(*KEY, 1);
            FIRST.set(Some(Noisy('1')));
            SECOND.set(Some(Noisy('2')));
        })
        .join();
        assert_eq!(*LOG.lock().unwrap(), "21k");
    }
}

/// A destructor that sets its value again is called four times; the next unit finds no value.
pub fn keys_have_four_rounds(ex: &dyn Executor) {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    static KEY: LazyLock<u32> = LazyLock::new(|| raw::key_create(again));
    extern "C" fn again(_: *mut c_void) {
        RAN.fetch_add(1, SeqCst);
        raw::key_set(*KEY, 1);
    }
    for _ in 0..UNITS {
        RAN.store(0, SeqCst);
        ex.start(|| {
            assert_eq!(raw::key_get(*KEY), 0);
            raw::key_set(*KEY, 1);
        })
        .join();
        assert_eq!(RAN.load(SeqCst), 4);
    }
}

/// A thread-local that is first used when thread-locals were already destroyed is the unit's alone, and is not
/// dropped twice.
pub fn key_destructor_uses_a_thread_local(ex: &dyn Executor) {
    thread_local!(static LATE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });
    extern "C" fn touch(_: *mut c_void) {
        LATE.with_borrow_mut(|late| late.push("of the destructor".to_owned()));
    }
    static KEY: LazyLock<u32> = LazyLock::new(|| raw::key_create(touch));
    for unit in 0..UNITS {
        ex.start(|| raw::key_set(*KEY, 1)).join();
        ex.start(move || {
            LATE.with_borrow_mut(|late| {
                assert!(late.is_empty());
                late.extend((0..4).map(|number| format!("{unit}, {number}")));
            });
        })
        .join();
    }
}

/// C11's keys are as POSIX's: destroyed at the end, and not handed on.
pub fn c11_keys(ex: &dyn Executor) {
    static SUM: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn add(value: *mut c_void) {
        SUM.fetch_add(value.addr(), SeqCst);
    }
    static KEY: LazyLock<u32> = LazyLock::new(|| raw::c11_key_create(add));
    SUM.store(0, SeqCst);
    for unit in 1..=UNITS {
        ex.start(move || {
            assert_eq!(raw::c11_key_get(*KEY), 0);
            raw::c11_key_set(*KEY, unit);
        })
        .join();
    }
    assert_eq!(SUM.load(SeqCst), UNITS * (UNITS + 1) / 2);
}

/// A unit that set a locale for itself did it for itself only.
pub fn locale_is_fresh(ex: &dyn Executor) {
    for _ in 0..UNITS {
        let locale = ex.start(|| (raw::own_locale(), raw::use_a_locale())).join();
        assert_eq!(locale.0, None);
        raw::free_locale(locale.1);
    }
}

/// Nobody formats by a locale that was freed after its unit had ended.
pub fn locale_may_be_freed(ex: &dyn Executor) {
    for _ in 0..UNITS {
        raw::free_locale(ex.start(raw::use_a_locale).join());
        // Whoever still reads the freed structure reads this.
        let junk: Vec<Vec<u8>> = (0..200).map(|_| vec![0x41; 232]).collect();
        assert_eq!(ex.start(|| raw::format_float(1.5)).join(), "1.500");
        drop(junk);
    }
}

/// A failure that nobody asked about is not told to the next unit.
pub fn dlerror_is_fresh(ex: &dyn Executor) {
    for _ in 0..UNITS {
        ex.start(|| {
            assert!(!raw::dlerror_is_pending());
            raw::dlopen_fails();
        })
        .join();
    }
    ex.start(|| {
        raw::dlopen_fails();
        assert!(raw::dlerror_is_pending());
        assert!(!raw::dlerror_is_pending());
    })
    .join();
}

/// h_errno is a unit's own.
pub fn h_errno_is_fresh(ex: &dyn Executor) {
    for _ in 0..UNITS {
        assert_eq!(ex.start(|| raw::replace_h_errno(3)).join(), 0);
    }
}

/// A robust mutex excludes, as any.
pub fn robust_mutex_excludes(ex: &dyn Executor) {
    let mutex = Arc::new(RobustMutex::new());
    let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (seen, seen_most) = (Arc::clone(&inside), Arc::clone(&most));
    join_all(ex.start_each(8, move |_| {
        for _ in 0..200 {
            // Not `lock`: its wait is inside the C library.
            match mutex.try_lock() {
                0 => {
                    seen_most.fetch_max(seen.fetch_add(1, SeqCst) + 1, SeqCst);
                    std::thread::yield_now();
                    seen.fetch_sub(1, SeqCst);
                    assert_eq!(mutex.unlock(), 0);
                }
                error => assert_eq!(error, libc::EBUSY),
            }
            std::thread::yield_now();
        }
    }));
    assert_eq!((inside.load(SeqCst), most.load(SeqCst)), (0, 1));
}

/// A unit that ends with a robust mutex leaves it to the next, who is told.
pub fn robust_mutex_outlives_its_owner(ex: &dyn Executor) {
    let mutexes: Arc<Vec<RobustMutex>> = Arc::new((0..3).map(|_| RobustMutex::new()).collect());
    for _ in 0..UNITS {
        let held = Arc::clone(&mutexes);
        ex.start(move || held.iter().for_each(|mutex| assert_eq!(mutex.lock(), 0)))
            .join();
        let taken = Arc::clone(&mutexes);
        ex.start(move || {
            for mutex in taken.iter() {
                assert_eq!(mutex.lock(), libc::EOWNERDEAD);
                assert_eq!(mutex.make_consistent(), 0);
                assert_eq!(mutex.unlock(), 0);
            }
        })
        .join();
    }
}
