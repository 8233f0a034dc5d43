//! A port of typical Go code: a pipeline of channels, and a group of jobs that ends with its first error.
//!
//! A pipeline has stages that channels connect. The first stage makes numbers, and four workers square them (fan-out).
//! Their results come together in one channel (fan-in). Each stage selects between its work and a `done` channel.
//! The reader closes `done` when it has enough, and all stages end. Then a group runs jobs that return a `Result`,
//! as Go's `errgroup` does. Its first error cancels the other jobs.
//!
//! Run it: `cargo run --release -p silken-examples --bin go_pipeline`

#![forbid(unsafe_code)]

use silken::channel::{Receiver, bounded};
use silken::sync::{Barrier, WaitGroup};
use silken::{Error, errors, go, select};
use std::collections::HashSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// `var ErrNoRoute = errors.New("no route")`
static NO_ROUTE: LazyLock<Error> = LazyLock::new(|| errors::new("no route"));

/// `out := make(chan int); go func() { defer close(out); … }(); return out`
///
/// Here the channel closes when the last sender is dropped, which is when the coroutine ends.
fn numbers(done: Receiver<()>, stages: WaitGroup) -> Receiver<u64> {
    let (out, numbers) = bounded(0); // make(chan int)
    go!(move || {
        let _stage = stages; // defer wg.Done()
        for n in 1.. {
            select! {
                send(out, n) -> sent => if sent.is_err() { return },
                recv(done) -> _ => return,
            }
        }
    });
    numbers
}

/// Four workers read from one channel, and write to another one. That is all of fan-out and fan-in.
fn squares(numbers: Receiver<u64>, done: Receiver<()>, stages: WaitGroup) -> Receiver<u64> {
    let (out, squares) = bounded(0);
    for _ in 0..4 {
        let (numbers, out, done, stage) = (numbers.clone(), out.clone(), done.clone(), stages.clone());
        go!("square", move || {
            let _stage = stage;
            for n in &numbers {
                select! {
                    send(out, n * n) -> sent => if sent.is_err() { return },
                    recv(done) -> _ => return,
                }
            }
        });
    }
    squares
}

/// Reads a hundred squares, then tells all stages to end.
fn pipeline() {
    let (done, is_done) = bounded::<()>(0);
    let stages = WaitGroup::new();
    let numbers = numbers(is_done.clone(), stages.clone());
    let squares = squares(numbers, is_done, stages.clone());
    let first: HashSet<u64> = squares.iter().take(100).collect();
    done.close(); // close(done): from now on every `recv(done)` is ready
    stages.wait(); // wg.Wait()
    assert_eq!(first.len(), 100);
    assert!(first.iter().all(|square| square.isqrt().pow(2) == *square));
    println!(
        "the pipeline gave {} squares, the largest {}",
        first.len(),
        first.iter().max().unwrap()
    );
}

/// `errgroup.Group`: runs all jobs at the same time. Gives their values in order, or the error that comes first.
///
/// The first error cancels the other jobs. `try_scope` waits until they have ended, so none goes on unseen.
fn group<T, F>(jobs: Vec<F>) -> Result<Vec<T>, Error>
where
    T: Send,
    F: FnOnce() -> Result<T, Error> + Send,
{
    silken::try_scope(|group| {
        let running: Vec<_> = jobs.into_iter().map(|job| group.spawn(job)).collect();
        // A job that has failed gives `None` here, and its error comes out of `try_scope`.
        let values = running.into_iter().map(|job| Ok(job.join()?));
        values.filter_map(Result::transpose).collect()
    })
}

/// `return` from a job that fails, while nine others sleep for an hour.
fn first_error_cancels_the_rest() {
    let ended = &AtomicUsize::new(0);
    let all_run = &Barrier::new(10); // a job that is cancelled before it runs is dropped, and never begins
    let job = |n: u32| {
        move || {
            silken::defer!(ended.fetch_add(1, Ordering::Relaxed)); // runs in a job that is cancelled, too
            all_run.wait();
            if n == 7 {
                return Err(NO_ROUTE.clone().wrap(format!("job {n}"))); // fmt.Errorf("job %d: %w", n, ErrNoRoute)
            }
            silken::sleep(Duration::from_secs(3600));
            Ok(n)
        }
    };
    let error = group((0..10).map(job).collect()).unwrap_err();
    assert_eq!(error.to_string(), "job 7: no route");
    assert!(error.is(&*NO_ROUTE)); // errors.Is(err, ErrNoRoute)
    assert_eq!(ended.load(Ordering::Relaxed), 10);
    println!("the group failed with \"{error}\", and all ten jobs have ended");
}

/// A group without errors, and one whose time is up. In Go the jobs would have to look at a `context`.
fn values_in_order_and_a_time_limit() {
    let job = |n: u64| {
        move || {
            silken::sleep(Duration::from_millis(20 - n)); // the last one is the first to end
            Ok(n)
        }
    };
    let values = group((0..20).map(job).collect()).unwrap();
    assert!(values.iter().copied().eq(0..20));
    let never = || -> Result<(), Error> {
        silken::park();
        Ok(())
    };
    let late = silken::timeout(Duration::from_millis(50), || group(vec![never, never]));
    assert!(matches!(late, Err(silken::Elapsed)));
    println!(
        "a group gave {} values in order, another one ran out of time",
        values.len()
    );
}

#[silken::main]
fn main() {
    pipeline();
    first_error_cancels_the_rest();
    values_in_order_and_a_time_limit();
}
