//! coio's `Scheduler`.

use silken::{Options, Scheduler, sched, sleep_ms};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Adds one to a count when it goes.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn mains_value_comes_back_and_may_borrow() {
    let words = [String::from("a"), String::from("b")];
    let joined = Scheduler::new().with_workers(2).run(|| words.concat());
    assert_eq!(joined.unwrap(), "ab");
}

#[test]
fn a_panic_of_main_is_an_error_with_its_payload() {
    let outcome: std::thread::Result<()> = Scheduler::new().run(|| std::panic::panic_any(7_u8));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&7_u8));
}

#[test]
fn what_was_spawned_has_begun_and_is_unwound_at_mains_end() {
    const COROUTINES: usize = 20;
    for workers in [1, 2, 8] {
        for _ in 0..20 {
            let dropped = Arc::new(AtomicUsize::new(0));
            let outcome: std::thread::Result<()> = Scheduler::new().with_workers(workers).run(|| {
                for _ in 0..COROUTINES {
                    let dropped = dropped.clone();
                    Scheduler::spawn(move || {
                        let _guard = Guard(dropped);
                        sleep_ms(60_000);
                        unreachable!("cancelled in its sleep");
                    });
                }
                std::panic::resume_unwind(Box::new("main ends early"));
            });
            assert!(outcome.is_err());
            assert_eq!(dropped.load(Ordering::SeqCst), COROUTINES, "with {workers} workers");
        }
    }
}

#[test]
fn options_are_obeyed() {
    let run = Scheduler::new().default_stack_size(64 * 1024).run(|| {
        let options = Options::new().name("small").stack_size(32 * 1024);
        let small = Scheduler::spawn_opts(|| silken::current().name().map(String::from), options.clone());
        let size = silken::spawn_opts(|| silken::current().stack_size(), options);
        let default = silken::spawn_opts(|| silken::current().stack_size(), Options::default());
        (small.join().unwrap(), size.join().unwrap(), default.join().unwrap())
    });
    assert_eq!(run.unwrap(), (Some("small".to_string()), 32 * 1024, 64 * 1024));
}

#[test]
fn sched_lets_the_other_go_first() {
    let order = Scheduler::new().run(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = sender.clone();
        silken::spawn(move || other.send("other").unwrap());
        sched();
        sender.send("main").unwrap();
        [receiver.recv().unwrap(), receiver.recv().unwrap()]
    });
    assert_eq!(order.unwrap(), ["other", "main"]);
}

#[test]
fn sleeps_are_at_least_as_long() {
    super::on_all(|| {
        let begun = Instant::now();
        silken::spawn(|| sleep_ms(10)).join().unwrap();
        assert!(begun.elapsed().as_millis() >= 10);
    });
}

#[test]
fn spawning_works_from_an_os_thread() {
    let handle = Scheduler::spawn(silken::is_coroutine);
    assert!(handle.join().unwrap());
}

#[test]
fn what_no_runtime_can_be_made_of() {
    for builder in [
        silken::Runtime::builder().workers(usize::MAX),
        silken::Runtime::builder().workers(1 << 40),
        silken::Runtime::builder().workers(16_385),
        silken::Runtime::builder().name("a\0b"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
}
