//! may: the best-known stackful runtime for Rust. Its coroutines move between threads and share the thread-locals of
//! whichever thread they run on, so it spares the identity that silken pays for. It holds about 32,000 coroutines,
//! which keeps it out of the figures that need a million.

use super::SPAWN_BATCH;
use crate::echo::{BUFFER_BYTES, announce};
use crate::figure::{Options, Sample, sample};
use crate::machine::{ns_per_operation, scattered_sleep, watch_idle};
use may::coroutine::{self, Coroutine};
use may::go;
use may::sync::Mutex;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

const YIELDS: usize = 4_000_000;
const SPAWNS: usize = 1_000_000;
const ROUND_TRIPS: usize = 1_000_000;
const LOCKS: usize = 4_000_000;
const CONTENDERS: usize = 8;

/// Runs `work` in a coroutine, with so many workers.
pub fn run<T: Send + 'static>(workers: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    may::config().set_workers(workers);
    go!(work).join().expect("no panic")
}

/// Two coroutines that yield to each other.
pub fn yield_now(_options: &Options) -> Sample {
    let value = ns_per_operation(YIELDS, |count| {
        run(1, move || {
            let yields = move || (0..count / 2).for_each(|_| coroutine::yield_now());
            let (first, second) = (go!(yields), go!(yields));
            first.join().expect("no panic");
            second.join().expect("no panic");
        });
    });
    sample(value)
}

fn spawn_join(workers: usize) -> Sample {
    let value = ns_per_operation(SPAWNS, |count| {
        run(workers, move || {
            let mut handles = Vec::with_capacity(SPAWN_BATCH);
            for _ in 0..count / SPAWN_BATCH {
                handles.extend((0..SPAWN_BATCH).map(|number| go!(move || number)));
                for (number, handle) in handles.drain(..).enumerate() {
                    assert_eq!(handle.join().expect("no panic"), number);
                }
            }
        });
    });
    sample(value)
}

/// Batches of spawns, one worker.
pub fn spawn_join_one(_options: &Options) -> Sample {
    spawn_join(1)
}

/// Batches of spawns, two workers.
pub fn spawn_join_two(_options: &Options) -> Sample {
    spawn_join(2)
}

fn await_turn(turn: &AtomicBool, mine: bool) {
    // Acquire: pairs with the Release of who gives the turn; park promises no more than to return.
    while turn.load(Ordering::Acquire) != mine {
        coroutine::park();
    }
}

/// Two coroutines that wake each other.
pub fn park_unpark(_options: &Options) -> Sample {
    let value = ns_per_operation(ROUND_TRIPS, |count| {
        run(1, move || {
            let turn = Arc::new(AtomicBool::new(false));
            let first: Arc<OnceLock<Coroutine>> = Arc::new(OnceLock::new());
            assert!(first.set(coroutine::current()).is_ok(), "set once");
            let turn_of_second = turn.clone();
            let second = go!(move || {
                let first = first.get().expect("set before the spawn");
                for _ in 0..count {
                    await_turn(&turn_of_second, true);
                    // Release: pairs with the Acquire in await_turn.
                    turn_of_second.store(false, Ordering::Release);
                    first.unpark();
                }
            });
            for _ in 0..count {
                // Release: pairs with the Acquire in await_turn.
                turn.store(true, Ordering::Release);
                second.coroutine().unpark();
                await_turn(&turn, false);
            }
            second.join().expect("no panic");
        });
    });
    sample(value)
}

fn mutex(workers: usize) -> Sample {
    let value = ns_per_operation(LOCKS, |count| {
        run(workers, move || {
            let sum = Arc::new(Mutex::new(0));
            let add =
                |sum: Arc<Mutex<usize>>| move || (0..count / CONTENDERS).for_each(|_| *sum.lock().expect("sane") += 1);
            let handles: Vec<_> = (0..CONTENDERS).map(|_| go!(add(sum.clone()))).collect();
            handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
            assert_eq!(*sum.lock().expect("sane"), count / CONTENDERS * CONTENDERS);
        });
    });
    sample(value)
}

/// Eight coroutines on may's mutex, one worker.
pub fn mutex_one(_options: &Options) -> Sample {
    mutex(1)
}

/// Eight coroutines on may's mutex, two workers.
pub fn mutex_two(_options: &Options) -> Sample {
    mutex(2)
}

/// Two idle workers after some work.
pub fn idle(_options: &Options) -> Sample {
    run(2, || {
        let sleeper = |index| go!(move || coroutine::sleep(scattered_sleep(index, 20)));
        let handles: Vec<_> = (0..SPAWN_BATCH).map(sleeper).collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
    });
    sample(watch_idle())
}

/// The echo server on one worker, a coroutine per connection.
pub fn echo() {
    run(1, || {
        let listener = may::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        announce(listener.local_addr().expect("bound").port());
        loop {
            let (mut stream, _) = listener.accept().expect("a connection");
            go!(move || {
                let mut buffer = [0; BUFFER_BYTES];
                loop {
                    match stream.read(&mut buffer) {
                        Ok(count) if count > 0 && stream.write_all(&buffer[..count]).is_ok() => {}
                        _ => return,
                    }
                }
            });
        }
    });
}
