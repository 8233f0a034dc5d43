//! `task!`, `co!`, bulk spawns, and the other names of joining.

use super::on_all;
use silken::{Builder, TimeoutJoinError, co, go, spawn, spawn_many, task};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_task_gets_its_parameter_and_keeps_its_priority() {
    on_all(|| {
        assert_eq!(task!(|word: &str| word.len(), "four").join().unwrap(), 4);
        let urgent = task!(|n: u32| (n + 1, silken::current().priority()), 1, -5);
        assert_eq!(urgent.coroutine().priority(), -5);
        assert_eq!(urgent.timeout_join(LONG).unwrap(), (2, -5));
        // A control block that is used again begins anew.
        assert_eq!(spawn(|| silken::current().priority()).join().unwrap(), 0);
    });
}

#[test]
fn a_failed_task_is_an_error_of_the_timed_join() {
    on_all(|| {
        let task = task!(|_| std::panic::resume_unwind(Box::new(1)), ());
        let outcome: Result<(), _> = task.timeout_join(LONG);
        assert!(matches!(outcome, Err(TimeoutJoinError::Failed(_))));
    });
}

#[test]
fn a_timed_join_gives_the_handle_back() {
    on_all(|| {
        let sleeper = spawn(|| silken::sleep(Duration::from_millis(30)));
        let Err(TimeoutJoinError::TimedOut(sleeper)) = sleeper.timeout_join(Duration::from_millis(1)) else {
            panic!("ended too early");
        };
        sleeper.wait();
        assert!(sleeper.is_done());
        sleeper.timeout_join(Duration::ZERO).unwrap();
    });
}

#[test]
fn every_form_of_go_makes_a_coroutine() {
    on_all(|| {
        let name = || silken::current().name().map(String::from);
        assert_eq!(co!(name).join().unwrap(), None);
        assert_eq!(co!("a", name).join().unwrap().as_deref(), Some("a"));
        assert_eq!(go!(String::from("b"), name).join().unwrap().as_deref(), Some("b"));
        assert_eq!(go!(&String::from("c"), name).join().unwrap().as_deref(), Some("c"));
        assert_eq!(go!(("d", 0x8000), name).join().unwrap().as_deref(), Some("d"));
        assert_eq!(
            co!(Builder::new().name("e".into()), name).join().unwrap().as_deref(),
            Some("e")
        );
        assert_eq!(
            go!(2 * 16 * 1024, || silken::current().stack_size()).join().unwrap(),
            32 * 1024
        );
    });
}

#[test]
fn a_bulk_spawn_makes_each_once_and_in_order() {
    on_all(|| {
        // None, one batch, and several that overflow a ring.
        for count in [0, 1, 3000] {
            let ran = Arc::new(AtomicUsize::new(0));
            let counted = ran.clone();
            let handles = spawn_many(count, move |index| {
                counted.fetch_add(1, Ordering::Relaxed);
                silken::yield_now();
                index
            });
            let indices: Vec<usize> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
            assert_eq!(indices, (0..count).collect::<Vec<_>>());
            assert_eq!(ran.load(Ordering::Relaxed), count);
        }
    });
}

#[test]
fn a_bulk_spawn_reaches_sleeping_workers() {
    let runtime = silken::Runtime::builder().workers(4).preempt(None).build().unwrap();
    let workers = runtime.run(|| {
        // All four are needed: each coroutine holds its worker until the others have come. A preempted one would not.
        let arrived = Arc::new(AtomicUsize::new(0));
        let handles = spawn_many(4, move |_| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 4 {
                std::hint::spin_loop();
            }
            silken::worker_id().unwrap()
        });
        let mut workers: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        workers.sort_unstable();
        workers
    });
    assert_eq!(workers.unwrap(), [0, 1, 2, 3]);
}

#[test]
fn the_bodies_of_a_bulk_spawn_are_dropped_at_shutdown() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    let dropped = Arc::new(());
    let held = dropped.clone();
    let outcome = runtime.run(move || {
        spawn_many(3, move |_| {
            let _held = &held;
            silken::sleep(LONG);
        });
        sender.send(()).unwrap();
    });
    outcome.unwrap();
    receiver.recv().unwrap();
    // The closures are gone with the coroutines, begun or not.
    assert_eq!(Arc::strong_count(&dropped), 1);
}
