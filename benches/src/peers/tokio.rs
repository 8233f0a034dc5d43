//! tokio: on its current-thread scheduler where the figure speaks of one worker, else on its multi-thread scheduler
//! with two.
//!
//! On the multi-thread scheduler the measuring code itself is a task, because a spawn from outside goes through the
//! injection queue and would show tokio slower than its users see it.

use super::{LATENESS_MS_MAX, SLEEPERS, SPAWN_BATCH, lateness_sample};
use crate::echo::{BUFFER_BYTES, announce};
use crate::figure::{Options, Sample, sample};
use crate::machine::{Memory, ns_per_operation, scattered_sleep, watch_idle};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, Notify};

const YIELDS: usize = 4_000_000;
const SPAWNS: usize = 2_000_000;
const ROUND_TRIPS: usize = 1_000_000;
const LOCKS: usize = 4_000_000;
const CONTENDERS: usize = 8;

/// The current-thread scheduler.
pub fn one_worker() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The multi-thread scheduler.
pub fn two_workers() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Runs `work` as a task of its own.
pub fn run<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(async { tokio::spawn(work).await.expect("no panic") })
}

/// Two tasks that yield to each other.
pub fn yield_now(_options: &Options) -> Sample {
    let runtime = one_worker();
    let value = ns_per_operation(YIELDS, |count| {
        run(&runtime, async move {
            let yields = move || async move {
                for _ in 0..count / 2 {
                    tokio::task::yield_now().await;
                }
            };
            let (first, second) = (tokio::spawn(yields()), tokio::spawn(yields()));
            first.await.expect("no panic");
            second.await.expect("no panic");
        });
    });
    sample(value)
}

fn spawn_join(runtime: &Runtime) -> Sample {
    let value = ns_per_operation(SPAWNS, |count| {
        run(runtime, async move {
            let mut handles = Vec::with_capacity(SPAWN_BATCH);
            for _ in 0..count / SPAWN_BATCH {
                handles.extend((0..SPAWN_BATCH).map(|number| tokio::spawn(async move { number })));
                for (number, handle) in handles.drain(..).enumerate() {
                    assert_eq!(handle.await.expect("no panic"), number);
                }
            }
        });
    });
    sample(value)
}

/// Batches of spawns, one worker.
pub fn spawn_join_one(_options: &Options) -> Sample {
    spawn_join(&one_worker())
}

/// Batches of spawns, two workers.
pub fn spawn_join_two(_options: &Options) -> Sample {
    spawn_join(&two_workers())
}

/// Two tasks that wake each other by `Notify`, which like park keeps one token.
pub fn park_unpark(_options: &Options) -> Sample {
    let runtime = one_worker();
    let value = ns_per_operation(ROUND_TRIPS, |count| {
        run(&runtime, async move {
            let (there, back) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (other_there, other_back) = (there.clone(), back.clone());
            let other = tokio::spawn(async move {
                for _ in 0..count {
                    other_there.notified().await;
                    other_back.notify_one();
                }
            });
            for _ in 0..count {
                there.notify_one();
                back.notified().await;
            }
            other.await.expect("no panic");
        });
    });
    sample(value)
}

/// Tasks that wait for a notification: no stacks, shown for scale.
pub fn memory(options: &Options) -> Sample {
    let runtime = one_worker();
    let coroutines = options.coroutines;
    run(&runtime, async move {
        let before = Memory::now();
        let never = Arc::new(Notify::new());
        for _ in 0..coroutines {
            let never = never.clone();
            tokio::spawn(async move { never.notified().await });
        }
        tokio::task::yield_now().await;
        while Arc::strong_count(&never) <= coroutines {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        Memory::now().per_coroutine_since(before, coroutines)
    })
}

fn timers(runtime: &Runtime, count: usize) -> Sample {
    let begin = Instant::now();
    run(runtime, async move {
        let sleeper = |index| tokio::spawn(tokio::time::sleep(scattered_sleep(index, 1_000)));
        let handles: Vec<_> = (0..count).map(sleeper).collect();
        for handle in handles {
            handle.await.expect("no panic");
        }
    });
    sample(begin.elapsed().as_secs_f64())
}

/// A million sleeps, one worker.
pub fn timers_one(options: &Options) -> Sample {
    timers(&one_worker(), options.coroutines)
}

/// A million sleeps, two workers.
pub fn timers_two(options: &Options) -> Sample {
    timers(&two_workers(), options.coroutines)
}

/// How late sleepers wake.
pub fn sleep_lateness(_options: &Options) -> Sample {
    let lateness_ns = run(&two_workers(), async {
        let sleeper = |index: usize| async move {
            let wanted = scattered_sleep(index, LATENESS_MS_MAX);
            let begin = Instant::now();
            tokio::time::sleep(wanted).await;
            begin.elapsed().as_nanos() as i64 - wanted.as_nanos() as i64
        };
        let handles: Vec<_> = (0..SLEEPERS).map(|index| tokio::spawn(sleeper(index))).collect();
        let mut lateness_ns = Vec::with_capacity(SLEEPERS);
        for handle in handles {
            lateness_ns.push(handle.await.expect("no panic"));
        }
        lateness_ns
    });
    lateness_sample(lateness_ns)
}

fn mutex(runtime: &Runtime) -> Sample {
    let value = ns_per_operation(LOCKS, |count| {
        run(runtime, async move {
            let sum = Arc::new(Mutex::new(0));
            let add = |sum: Arc<Mutex<usize>>| async move {
                for _ in 0..count / CONTENDERS {
                    *sum.lock().await += 1;
                }
            };
            let handles: Vec<_> = (0..CONTENDERS).map(|_| tokio::spawn(add(sum.clone()))).collect();
            for handle in handles {
                handle.await.expect("no panic");
            }
            assert_eq!(*sum.lock().await, count / CONTENDERS * CONTENDERS);
        });
    });
    sample(value)
}

/// Eight tasks on tokio's mutex, one worker.
pub fn mutex_one(_options: &Options) -> Sample {
    mutex(&one_worker())
}

/// Eight tasks on tokio's mutex, two workers.
pub fn mutex_two(_options: &Options) -> Sample {
    mutex(&two_workers())
}

/// Two idle workers after some work.
pub fn idle(_options: &Options) -> Sample {
    let runtime = two_workers();
    run(&runtime, async {
        let sleeper = |index| tokio::spawn(tokio::time::sleep(scattered_sleep(index, 20)));
        for handle in (0..SPAWN_BATCH).map(sleeper).collect::<Vec<_>>() {
            handle.await.expect("no panic");
        }
    });
    sample(watch_idle())
}

/// The echo server on one worker, a task per connection.
pub fn echo() {
    one_worker().block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        announce(listener.local_addr().expect("bound").port());
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut buffer = [0; BUFFER_BYTES];
                loop {
                    match stream.read(&mut buffer).await {
                        Ok(count) if count > 0 && stream.write_all(&buffer[..count]).await.is_ok() => {}
                        _ => return,
                    }
                }
            });
        }
    });
}
