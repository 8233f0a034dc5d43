//! Threads that are coroutines: std's and C's, made by code that knows nothing of it.
//!
//! A program of its own, without the test harness: once a runtime adopts, every thread of the process is concerned, and
//! the harness's would be too. The cases run one after the other, each in runtimes that end with it.

mod of_c;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What runs, by name. Arguments choose those whose names contain one of them.
const CASES: &[(&str, fn())] = &[
    ("a_thousand_threads_are_a_few", a_thousand_threads_are_a_few),
    (
        "names_ids_and_thread_locals_are_their_own",
        names_ids_and_thread_locals_are_their_own,
    ),
    (
        "destructors_have_run_when_a_join_returns",
        destructors_have_run_when_a_join_returns,
    ),
    ("scopes_lend_and_panics_come_back", scopes_lend_and_panics_come_back),
    (
        "locks_channels_and_parking_serve_them",
        locks_channels_and_parking_serve_them,
    ),
    (
        "a_server_with_a_thread_for_each_connection",
        a_server_with_a_thread_for_each_connection,
    ),
    (
        "stacks_have_the_size_that_was_asked_for",
        stacks_have_the_size_that_was_asked_for,
    ),
    ("native_threads_stay_threads", native_threads_stay_threads),
    ("pools_of_threads_are_adopted", pools_of_threads_are_adopted),
    (
        "numbers_come_again_only_after_a_join",
        numbers_come_again_only_after_a_join,
    ),
    ("what_is_detached_ends_by_itself", what_is_detached_ends_by_itself),
    ("a_light_runtime_refuses", a_light_runtime_refuses),
    ("of_c::values_come_with_the_join", of_c::values_come_with_the_join),
    (
        "of_c::joins_give_up_in_time_and_may_try_again",
        of_c::joins_give_up_in_time_and_may_try_again,
    ),
    ("of_c::one_thread_has_one_joiner", of_c::one_thread_has_one_joiner),
    (
        "of_c::a_join_of_oneself_is_a_deadlock",
        of_c::a_join_of_oneself_is_a_deadlock,
    ),
    (
        "of_c::detached_threads_leave_nothing_behind",
        of_c::detached_threads_leave_nothing_behind,
    ),
    (
        "of_c::attributes_that_only_the_system_honours_make_threads_of_the_system",
        of_c::attributes_that_only_the_system_honours_make_threads_of_the_system,
    ),
    (
        "of_c::an_exit_ends_the_thread_with_its_value",
        of_c::an_exit_ends_the_thread_with_its_value,
    ),
    ("of_c::names_and_signal_zero", of_c::names_and_signal_zero),
];

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    let cases: Vec<_> = CASES.iter().filter(|(name, _)| is_chosen(name)).collect();
    println!("\nrunning {} tests", cases.len());
    let mut failed = 0;
    for (name, case) in &cases {
        let outcome = std::panic::catch_unwind(case);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(outcome.is_err());
    }
    let passed = cases.len() - failed;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    std::process::exit(i32::from(failed > 0));
}

/// Runs a case on an OS thread and on a coroutine, while a runtime of so many workers adopts threads.
pub(crate) fn adopting(case: fn()) {
    for workers in [1, 2, 4] {
        let runtime = silken::Runtime::builder().workers(workers).build().unwrap();
        runtime.adopt_threads().unwrap();
        silken::native(|| thread::spawn(case)).join().unwrap();
        runtime.block_on(case);
        let left = runtime.shutdown(Duration::from_secs(10));
        assert!(left.is_clean(), "{workers} workers: {left:?}");
    }
}

/// The threads that the kernel knows of this process.
fn threads_of_process() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn a_thousand_threads_are_a_few() {
    adopting(|| {
        let before = threads_of_process();
        let barrier = Arc::new(Barrier::new(1001));
        let threads: Vec<_> = (0..1000)
            .map(|number| {
                let barrier = barrier.clone();
                thread::spawn(move || {
                    assert!(silken::is_coroutine());
                    barrier.wait();
                    number
                })
            })
            .collect();
        barrier.wait();
        assert!(threads_of_process() < before + 20);
        let sum: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum, 999 * 1000 / 2);
    });
}

fn names_ids_and_thread_locals_are_their_own() {
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    adopting(|| {
        let threads: Vec<_> = (1..=50)
            .map(|number| {
                let thread = thread::Builder::new().name(format!("worker-{number}"));
                let thread = thread.spawn(move || {
                    assert_eq!(NUMBER.replace(number), 0);
                    thread::sleep(Duration::from_millis(5));
                    assert_eq!(NUMBER.get(), number);
                    (thread::current().name().map(str::to_owned), thread::current().id())
                });
                thread.unwrap()
            })
            .collect();
        let mut ids = HashSet::new();
        for (index, thread) in threads.into_iter().enumerate() {
            let handles = thread.thread().id();
            let (name, id) = thread.join().unwrap();
            assert_eq!(name.unwrap(), format!("worker-{}", index + 1));
            assert_eq!(id, handles);
            ids.insert(id);
        }
        assert_eq!(ids.len(), 50);
    });
}

fn destructors_have_run_when_a_join_returns() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counts;
    impl Drop for Counts {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(2));
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static VALUE: RefCell<Option<Counts>> = const { RefCell::new(None) };
    }
    adopting(|| {
        for _ in 0..20 {
            let before = DROPPED.load(SeqCst);
            thread::spawn(|| VALUE.with(|value| *value.borrow_mut() = Some(Counts)))
                .join()
                .unwrap();
            assert_eq!(DROPPED.load(SeqCst), before + 1);
        }
    });
}

fn scopes_lend_and_panics_come_back() {
    adopting(|| {
        let mut parts = [0; 64];
        thread::scope(|scope| {
            for (number, part) in parts.iter_mut().enumerate() {
                scope.spawn(move || *part = number * number);
            }
        });
        assert!(parts.iter().enumerate().all(|(number, part)| *part == number * number));
        let panics = thread::spawn(|| std::panic::resume_unwind(Box::new("deliberate")));
        assert_eq!(*panics.join().unwrap_err().downcast::<&str>().unwrap(), "deliberate");
    });
}

fn locks_channels_and_parking_serve_them() {
    adopting(|| {
        let (sender, receiver) = mpsc::sync_channel(4);
        let producers: Vec<_> = (0..8)
            .map(|producer| {
                let sender = sender.clone();
                thread::spawn(move || (0..100).for_each(|item| sender.send((producer, item)).unwrap()))
            })
            .collect();
        drop(sender);
        let mut seen: HashMap<_, i32> = HashMap::new();
        for (producer, item) in receiver {
            assert_eq!(*seen.entry(producer).and_modify(|next| *next += 1).or_insert(0), item);
        }
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        assert_eq!(seen.len(), 8);
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let shared = pair.clone();
        let waiter = thread::spawn(move || {
            let mut count = shared.0.lock().unwrap();
            while *count < 10 {
                count = shared.1.wait(count).unwrap();
            }
        });
        for _ in 0..10 {
            *pair.0.lock().unwrap() += 1;
            pair.1.notify_all();
            thread::yield_now();
        }
        waiter.join().unwrap();
        let parked = thread::spawn(thread::park);
        thread::sleep(Duration::from_millis(2));
        parked.thread().unpark();
        parked.join().unwrap();
    });
}

/// The server of a book about Rust: a thread for each connection.
fn a_server_with_a_thread_for_each_connection() {
    adopting(|| {
        const CLIENTS: usize = 100;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let before = threads_of_process();
        let server = thread::spawn(move || {
            for stream in listener.incoming().take(CLIENTS) {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut bytes = [0; 64];
                    while let Ok(count @ 1..) = stream.read(&mut bytes) {
                        stream.write_all(&bytes[..count]).unwrap();
                    }
                });
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    for round in 0..10_u8 {
                        let sent = [client as u8, round];
                        stream.write_all(&sent).unwrap();
                        let mut got = [0; 2];
                        stream.read_exact(&mut got).unwrap();
                        assert_eq!(got, sent);
                    }
                })
            })
            .collect();
        server.join().unwrap();
        assert!(threads_of_process() < before + 20);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

fn stacks_have_the_size_that_was_asked_for() {
    #[inline(never)]
    fn deep(levels: usize) -> usize {
        let frame = std::hint::black_box([levels; 128]);
        if levels == 0 {
            0
        } else {
            deep(levels - 1) + frame[0] - levels + 1
        }
    }
    adopting(|| {
        let thread = thread::Builder::new()
            .stack_size(16 << 20)
            .spawn(|| deep(4_000))
            .unwrap();
        assert_eq!(thread.join().unwrap(), 4_000);
        // std's default of two megabytes.
        assert_eq!(thread::spawn(|| deep(400)).join().unwrap(), 400);
    });
}

fn native_threads_stay_threads() {
    adopting(|| {
        assert!(!silken::native(|| thread::spawn(silken::is_coroutine)).join().unwrap());
        // What such a thread makes is adopted again.
        let inner = silken::native(|| thread::spawn(|| thread::spawn(silken::is_coroutine).join().unwrap()));
        assert!(inner.join().unwrap());
        assert!(thread::spawn(silken::is_coroutine).join().unwrap());
    });
}

fn pools_of_threads_are_adopted() {
    adopting(|| {
        let threads: Vec<_> = (0..4).map(|_| pool()).collect();
        assert!(threads.into_iter().all(|sum| sum == 4_950));
    });
}

/// A pool as crates make it: threads of its own that wait for work at a condition variable.
fn pool() -> u64 {
    let work = Arc::new((Mutex::new((0..100_u64).collect::<Vec<_>>()), Mutex::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let work = work.clone();
            thread::spawn(move || {
                while let Some(item) = { work.0.lock().unwrap().pop() } {
                    thread::yield_now();
                    *work.1.lock().unwrap() += item;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    *work.1.lock().unwrap()
}

fn numbers_come_again_only_after_a_join() {
    adopting(|| {
        let begin = Instant::now();
        let mut joined = 0;
        while begin.elapsed() < Duration::from_millis(200) {
            let threads: Vec<_> = (0..20).map(|number| thread::spawn(move || number)).collect();
            // Joined from the last to the first: those that have ended keep their numbers meanwhile.
            for (index, thread) in threads.into_iter().enumerate().rev() {
                assert_eq!(thread.join().unwrap(), index);
                joined += 1;
            }
        }
        assert!(joined >= 20);
    });
}

fn what_is_detached_ends_by_itself() {
    adopting(|| {
        static ENDED: AtomicUsize = AtomicUsize::new(0);
        let before = ENDED.load(SeqCst);
        for _ in 0..200 {
            drop(thread::spawn(|| {
                thread::yield_now();
                ENDED.fetch_add(1, SeqCst);
            }));
        }
        while ENDED.load(SeqCst) < before + 200 {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

fn a_light_runtime_refuses() {
    // SAFETY: S12: nothing runs in it.
    let builder = unsafe { silken::Runtime::builder().workers(1).light() };
    let error = builder.build().unwrap().adopt_threads().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}
