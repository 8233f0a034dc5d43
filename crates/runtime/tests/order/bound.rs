//! Does a coroutine that was spawned for a worker run on that worker, and only there?

use crate::common::run_on;
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

fn spawn<T: Send + 'static>(id: usize, body: impl FnOnce() -> T + Send + 'static) -> silken::JoinHandle<T> {
    let builder = silken::Builder::new().worker(id);
    builder.spawn(body).expect("there is room for a coroutine")
}

fn on_runtimes<const SIZES: usize>(workers: [usize; SIZES], case: impl Fn(usize) + Send + Sync) {
    for workers in workers {
        for is_light in [false, true] {
            run_on(workers, is_light, || case(workers));
        }
    }
}

#[track_caller]
fn assert_here(id: usize) {
    assert_eq!(silken::worker_id(), Some(id));
}

#[test]
fn it_stays_over_every_kind_of_wait() {
    on_runtimes([1, 2, 4], |workers| {
        let handles: Vec<_> = (0..8 * workers)
            .map(|number| {
                let id = number % workers;
                spawn(id, move || {
                    for round in 0..20 {
                        assert_here(id);
                        silken::yield_now();
                        assert_here(id);
                        silken::sleep(Duration::from_micros(200));
                        assert_here(id);
                        let (sender, receiver) = silken::channel::unbounded();
                        let other = silken::spawn(move || sender.send(round).unwrap());
                        assert_eq!(receiver.recv().unwrap(), round);
                        other.join().unwrap();
                        assert_here(id);
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn events_and_threads_wake_it_there() {
    on_runtimes([2, 4], |_| {
        let (mut near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let reader = spawn(1, move || {
            let mut byte = [0];
            for _ in 0..100 {
                near.read_exact(&mut byte).unwrap();
                assert_here(1);
            }
        });
        let thread = std::thread::spawn(move || (0..100).for_each(|_| far.write_all(b"x").unwrap()));
        reader.join().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn priorities_hold_among_those_of_a_worker() {
    on_runtimes([2], |_| {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let outer = order.clone();
        spawn(1, move || {
            let begin = |priority: i64| {
                let order = outer.clone();
                let builder = silken::Builder::new().worker(1).priority(priority);
                builder.spawn(move || order.lock().unwrap().push(priority)).unwrap()
            };
            let handles = [2, 0, -2, 1, -1].map(begin);
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        })
        .join()
        .unwrap();
        assert_eq!(*order.lock().unwrap(), [-2, -1, 0, 1, 2]);
    });
}

#[test]
fn a_worker_that_does_not_exist_is_refused() {
    on_runtimes([1, 2], |workers| {
        for id in [workers, workers + 1, 1 << 16, (1 << 16) + 1, usize::MAX] {
            let kept = Arc::new(());
            let held = kept.clone();
            let refused = silken::Builder::new().worker(id).spawn(move || drop(held));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(Arc::strong_count(&kept), 1, "the closure is dropped");
        }
    });
}

#[test]
fn in_a_scope_too() {
    on_runtimes([2], |_| {
        let text = String::from("borrowed");
        silken::scope(|scope| {
            for id in [0, 1, 1, 0] {
                let builder = silken::Builder::new().worker(id);
                let text = &text;
                let body = move || {
                    silken::yield_now();
                    assert_here(id);
                    text.len()
                };
                let _ = builder.spawn_scoped(scope, body).unwrap();
            }
        });
    });
}
