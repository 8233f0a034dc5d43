//! What may a coroutine do whose thread has lost its worker, before it waits again? Everything.

use super::{runtime, sleep_unseen};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::catch_unwind;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for any monitor.
const LONG: Duration = Duration::from_millis(40);

/// Runs a body whose first act is a call that blocks the thread until the worker is lost, on one and on two workers,
/// with others that keep the workers busy.
fn late<R: Send + 'static>(body: impl Fn() -> R + Send + Sync + 'static) -> Vec<R> {
    let body = Arc::new(body);
    let mut results = Vec::new();
    for workers in [1, 2] {
        results.extend(
            runtime(workers)
                .run(|| {
                    let late: Vec<_> = (0..4)
                        .map(|_| {
                            let body = body.clone();
                            silken::spawn(move || {
                                sleep_unseen(LONG);
                                body()
                            })
                        })
                        .collect();
                    let results = late.into_iter().map(|each| each.join().unwrap());
                    results.collect::<Vec<_>>()
                })
                .unwrap(),
        );
    }
    results
}

#[test]
fn it_ends() {
    assert_eq!(late(|| 7), [7; 8]);
}

#[test]
fn it_yields_parks_and_sleeps() {
    late(|| {
        silken::yield_now();
        let begun = Instant::now();
        silken::sleep(Duration::from_millis(5));
        assert!(begun.elapsed() >= Duration::from_millis(5));
    });
    late(|| {
        let begun = Instant::now();
        thread::sleep(Duration::from_millis(5));
        assert!(begun.elapsed() < Duration::from_secs(5), "another's sleep was longer");
    });
}

#[test]
fn it_spawns_sends_and_joins() {
    late(|| {
        let (sender, receiver) = mpsc::channel();
        let children: Vec<_> = (0..10)
            .map(|k| {
                let sender = sender.clone();
                silken::spawn(move || sender.send(k).unwrap())
            })
            .collect();
        drop(sender);
        assert_eq!(receiver.iter().sum::<i32>(), 45);
        children.into_iter().for_each(|child| child.join().unwrap());
    });
}

#[test]
fn it_wakes_others() {
    late(|| {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let waits = pair.clone();
        let waiter = silken::spawn(move || {
            let (ready, changed) = &*waits;
            drop(changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap());
        });
        sleep_unseen(LONG);
        *pair.0.lock().unwrap() = true;
        pair.1.notify_all();
        waiter.join().unwrap();
    });
}

#[test]
fn it_uses_sockets_that_no_driver_knows_yet() {
    late(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = silken::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            sleep_unseen(LONG);
            stream.write_all(b"late").unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "late");
        client.join().unwrap();
    });
}

#[test]
fn it_keeps_its_identity() {
    thread_local!(static COUNT: Cell<u32> = const { Cell::new(0) });
    late(|| {
        let own = thread::current().id();
        COUNT.set(3);
        sleep_unseen(LONG);
        assert_eq!((thread::current().id(), COUNT.get()), (own, 3));
        silken::yield_now();
        assert_eq!((thread::current().id(), COUNT.get()), (own, 3));
    });
}

#[test]
fn it_panics() {
    late(|| assert!(catch_unwind(|| std::panic::resume_unwind(Box::new(1))).is_err()));
    let ended = runtime(1).run(|| {
        let late = silken::spawn(|| {
            sleep_unseen(LONG);
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        late.join().unwrap_err().is_panic()
    });
    assert!(ended.unwrap());
}

#[test]
fn it_is_cancelled() {
    let ended = runtime(1).run(|| {
        let late = silken::spawn(|| {
            sleep_unseen(LONG);
            silken::check_cancelled();
        });
        silken::yield_now();
        late.coroutine().cancel();
        late.join().unwrap_err().is_cancelled()
    });
    assert!(ended.unwrap());
}

#[test]
fn it_opens_a_scope_and_starts_a_runtime() {
    late(|| {
        let numbers = [1, 2, 3];
        let sum: i32 = silken::scope(|scope| {
            let parts: Vec<_> = numbers.iter().map(|number| scope.spawn(move || *number)).collect();
            parts.into_iter().map(|part| part.join().unwrap()).sum()
        });
        assert_eq!(sum, 6);
    });
}

/// Many calls that block for about as long as the monitor's patience, so that each comes back at another moment of the
/// seizing.
#[test]
fn it_comes_back_at_any_moment() {
    runtime(2)
        .run(|| {
            silken::scope(|scope| {
                for user in 0..8_u64 {
                    scope.spawn(move || {
                        for k in 0..150 {
                            sleep_unseen(Duration::from_micros(700 + (k * 37 + user * 111) % 1800));
                            match k % 4 {
                                0 => silken::yield_now(),
                                1 => drop(silken::spawn(|| ()).join()),
                                2 => silken::sleep(Duration::from_micros(50)),
                                _ => {}
                            }
                        }
                    });
                }
            });
        })
        .unwrap();
}

/// One that is bound to a worker, or has a priority, gets back to where it belongs.
#[test]
fn it_comes_back_to_its_worker_and_its_priority() {
    let order = Arc::new(Mutex::new(Vec::new()));
    for workers in [1, 2] {
        let last = workers - 1;
        runtime(workers)
            .run(|| {
                let blocked: Vec<_> = [3, -3, 0]
                    .map(|priority| {
                        let order = order.clone();
                        let body = move || {
                            assert_eq!(silken::worker_id(), Some(last));
                            sleep_unseen(LONG);
                            silken::yield_now();
                            assert_eq!(silken::worker_id(), Some(last));
                            order.lock().unwrap().push(priority);
                            // What it spawns and wakes from there is ordinary.
                            silken::spawn(|| ()).join().unwrap();
                        };
                        let builder = silken::Builder::new().worker(last).priority(priority);
                        builder.spawn(body).expect("there is room")
                    })
                    .into();
                blocked.into_iter().for_each(|each| each.join().unwrap());
            })
            .unwrap();
        let mut all = std::mem::take(&mut *order.lock().unwrap());
        all.sort_unstable();
        assert_eq!(all, [-3, 0, 3]);
    }
}
