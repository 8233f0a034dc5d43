//! tokio's channels, read-write lock, `select!` and `abort`.

use super::{CANCELLED, CONTENDERS, WRITE_EVERY};
use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use crate::peers::tokio::{one_worker, run, two_workers};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::sync::{RwLock, mpsc};

const ROUND_TRIPS: usize = 500_000;
const SELECTS: usize = 500_000;
const LOCKS: usize = 2_000_000;

fn capacity_one(runtime: &Runtime) -> Sample {
    sample(ns_per_operation(ROUND_TRIPS, |count| {
        run(runtime, async move {
            let ((there, mut at_there), (back, mut at_back)) = (mpsc::channel(1), mpsc::channel(1));
            let echo = tokio::spawn(async move {
                while let Some(number) = at_there.recv().await {
                    back.send(number).await.expect("a receiver");
                }
            });
            for number in 0..count {
                there.send(number).await.expect("a receiver");
                assert_eq!(at_back.recv().await, Some(number));
            }
            drop(there);
            echo.await.expect("no panic");
        });
    }))
}

fn unbounded(runtime: &Runtime) -> Sample {
    sample(ns_per_operation(ROUND_TRIPS, |count| {
        run(runtime, async move {
            let ((there, mut at_there), (back, mut at_back)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
            let echo = tokio::spawn(async move {
                while let Some(number) = at_there.recv().await {
                    back.send(number).expect("a receiver");
                }
            });
            for number in 0..count {
                there.send(number).expect("a receiver");
                assert_eq!(at_back.recv().await, Some(number));
            }
            drop(there);
            echo.await.expect("no panic");
        });
    }))
}

/// Room for one, one worker.
pub fn capacity_one_one(_options: &Options) -> Sample {
    capacity_one(&one_worker())
}

/// Room for one, two workers.
pub fn capacity_one_two(_options: &Options) -> Sample {
    capacity_one(&two_workers())
}

/// Room for all, one worker.
pub fn unbounded_one(_options: &Options) -> Sample {
    unbounded(&one_worker())
}

/// Room for all, two workers.
pub fn unbounded_two(_options: &Options) -> Sample {
    unbounded(&two_workers())
}

/// Eight tasks, two workers.
pub fn rwlock(_options: &Options) -> Sample {
    let runtime = two_workers();
    sample(ns_per_operation(LOCKS, |count| {
        run(&runtime, async move {
            let value = Arc::new(RwLock::new(0usize));
            let work = |value: Arc<RwLock<usize>>| async move {
                for number in 0..count / CONTENDERS {
                    if number % WRITE_EVERY == 0 {
                        *value.write().await += 1;
                    } else {
                        std::hint::black_box(*value.read().await);
                    }
                }
            };
            let handles: Vec<_> = (0..CONTENDERS).map(|_| tokio::spawn(work(value.clone()))).collect();
            for handle in handles {
                handle.await.expect("no panic");
            }
        });
    }))
}

/// Four channels served in turn.
pub fn select(_options: &Options) -> Sample {
    let runtime = one_worker();
    sample(ns_per_operation(SELECTS, |count| {
        run(&runtime, async move {
            let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel(1)).unzip();
            let server = tokio::spawn(async move {
                for number in 0..count {
                    senders[number % 4].send(number).await.expect("open");
                }
                senders
            });
            let [mut a, mut b, mut c, mut d] = <[mpsc::Receiver<usize>; 4]>::try_from(receivers).expect("four");
            let mut sum = 0;
            for _ in 0..count {
                tokio::select! {
                    number = a.recv() => sum += number.expect("open"),
                    number = b.recv() => sum += number.expect("open"),
                    number = c.recv() => sum += number.expect("open"),
                    number = d.recv() => sum += number.expect("open"),
                }
            }
            assert_eq!(sum, (0..count).sum());
            server.await.expect("no panic");
        });
    }))
}

/// A hundred thousand pending tasks, aborted and awaited.
pub fn cancel(_options: &Options) -> Sample {
    let runtime = one_worker();
    let ns = run(&runtime, async {
        let handles: Vec<_> = (0..CANCELLED)
            .map(|_| tokio::spawn(std::future::pending::<()>()))
            .collect();
        tokio::task::yield_now().await;
        let begin = Instant::now();
        handles.iter().for_each(|handle| handle.abort());
        for handle in handles {
            assert!(handle.await.expect_err("aborted").is_cancelled());
        }
        begin.elapsed().as_nanos() as f64 / CANCELLED as f64
    });
    sample(ns)
}
