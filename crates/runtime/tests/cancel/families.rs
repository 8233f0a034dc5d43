//! One request ends a family: a deadline, a cancelled parent, a runtime's end. Nobody in it sees the end of another as
//! an error, so code that unwraps every result never panics. The number of rounds is multiplied by the variable
//! `SILKEN_TEST_ROUNDS`.

use super::FAR;
use silken::channel::{broadcast, oneshot, watch};
use silken::{Coroutine, Elapsed, JoinError, Pool, Promise, Runtime, timeout};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Cancels those who belong to no family when the test's own frame ends.
#[derive(Default)]
struct Strays(Vec<Coroutine>);

impl Strays {
    fn add<T>(&mut self, handle: silken::JoinHandle<T>) -> silken::JoinHandle<T> {
        self.0.push(handle.coroutine());
        handle
    }
}

impl Drop for Strays {
    fn drop(&mut self) {
        self.0.iter().for_each(Coroutine::cancel);
    }
}

fn rest() {
    silken::sleep(FAR);
}

fn scope_and_join() {
    silken::scope(|s| {
        let children = [(); 3].map(|()| s.spawn(rest));
        children.into_iter().for_each(|child| child.join().unwrap());
    });
}

fn join_macro() {
    silken::join!(rest(), rest(), silken::join!(rest(), rest()));
}

fn any_join_of_a_childs_strays() {
    silken::join!(
        {
            let mut strays = Strays::default();
            let (one, other) = (strays.add(silken::spawn(rest)), strays.add(silken::spawn(rest)));
            silken::any_join!(one, other).unwrap();
        },
        rest()
    );
}

fn pool() {
    let pool = Pool::new(1);
    silken::scope(|s| {
        let [first, second] = [(), ()].map(|()| pool.submit(|| silken::sleep(Duration::from_millis(2))).unwrap());
        let submitter = s.spawn(move || {
            first.join().unwrap();
            rest();
        });
        second.join().unwrap();
        submitter.join().unwrap();
    });
}

fn promise_of_a_child() {
    let (promise, resolver) = Promise::<u32, ()>::new();
    silken::scope(|s| {
        s.spawn(move || {
            rest();
            resolver.resolve(1).unwrap();
        });
        let step = promise.then(|value| value + 1);
        s.spawn(move || step.wait().unwrap());
        promise.wait().unwrap();
    });
}

fn many() {
    let mut strays = Strays::default();
    silken::scope(|s| {
        let handles = silken::spawn_many(4, |_| rest());
        strays.0.extend(handles.iter().map(silken::JoinHandle::coroutine));
        let joiners = handles
            .into_iter()
            .map(|handle| s.spawn(move || handle.join().unwrap()));
        let joiners: Vec<_> = joiners.collect();
        joiners.into_iter().for_each(|joiner| joiner.join().unwrap());
    });
}

/// Each child joins the one before it.
fn siblings() {
    silken::scope(|s| {
        let mut last = s.spawn(rest);
        for _ in 0..4 {
            last = s.spawn(move || last.join().unwrap());
        }
        last.join().unwrap();
    });
}

/// Each joins the sibling of its parent.
fn grandchildren() {
    silken::scope(|s| {
        let elder = s.spawn(rest);
        s.spawn(move || {
            silken::scope(|inner| {
                inner.spawn(move || elder.join().unwrap());
            });
        });
    });
}

fn channels() {
    let (sender, receiver) = silken::channel::unbounded::<u32>();
    let (full, never_read) = silken::channel::bounded::<u32>(0);
    let (told, asked) = oneshot::channel::<u32>();
    let (one, mut all) = broadcast::channel::<u32>(2);
    let (changes, mut seen) = watch::channel(0);
    silken::scope(|s| {
        s.spawn(move || {
            let _kept = (sender, never_read, told, one, changes);
            rest();
        });
        let receiver = &receiver;
        s.spawn(move || receiver.recv().unwrap());
        s.spawn(move || {
            silken::select! {
                recv(receiver) -> got => got.unwrap(),
                default(FAR) => unreachable!(),
            }
        });
        s.spawn(move || full.send(1).unwrap());
        s.spawn(move || asked.recv().unwrap());
        s.spawn(move || all.recv().unwrap());
        s.spawn(move || seen.changed().unwrap());
        let sum: u32 = receiver.iter().sum();
        panic!("the iteration has ended by itself, with {sum}");
    });
}

const KINDS: [(&str, fn()); 9] = [
    ("scope and join", scope_and_join),
    ("join!", join_macro),
    ("any_join!", any_join_of_a_childs_strays),
    ("a pool", pool),
    ("a promise", promise_of_a_child),
    ("spawn_many", many),
    ("siblings", siblings),
    ("grandchildren", grandchildren),
    ("channels", channels),
];

fn rounds(of: usize) -> usize {
    let times = std::env::var("SILKEN_TEST_ROUNDS").map_or(1, |times| times.parse().expect("a number"));
    of * times
}

/// Between nothing and three milliseconds, another one each round.
fn delay(round: usize) -> Duration {
    Duration::from_nanos((round as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) % 3_000_000)
}

fn on_two_kinds_of_runtime(case: impl Fn() + Send + Sync) {
    super::common::on_runtimes([1, 2, 4], case);
}

#[test]
fn a_deadline_is_answered_once() {
    on_two_kinds_of_runtime(|| {
        for round in 0..rounds(25) {
            for (name, body) in KINDS {
                assert_eq!(timeout(delay(round), body), Err(Elapsed), "{name}, round {round}");
            }
        }
    });
}

#[test]
fn a_deadline_of_an_os_thread_is_answered_once() {
    for round in 0..rounds(25) {
        for (name, body) in KINDS {
            assert_eq!(timeout(delay(round), body), Err(Elapsed), "{name}, round {round}");
        }
    }
}

#[test]
fn a_cancelled_parent_unwinds() {
    on_two_kinds_of_runtime(|| {
        for round in 0..rounds(25) {
            for (name, body) in KINDS {
                let parent = silken::spawn(body);
                silken::sleep(delay(round));
                parent.cancel();
                let outcome = parent.join();
                assert!(
                    matches!(outcome, Err(JoinError::Cancelled)),
                    "{name}, round {round}: {outcome:?}"
                );
            }
        }
    });
}

/// The children are told one after the other, while they wait for one another.
#[test]
fn a_cancelled_scope_unwinds_its_children() {
    on_two_kinds_of_runtime(|| {
        for round in 0..rounds(25) {
            for (name, body) in KINDS {
                silken::scope(|s| {
                    let child = s.spawn(body);
                    silken::sleep(delay(round));
                    s.cancel();
                    let outcome = child.join();
                    assert!(
                        matches!(outcome, Err(JoinError::Cancelled)),
                        "{name}, round {round}: {outcome:?}"
                    );
                });
            }
        }
    });
}

/// A runtime that ends cancels all of its coroutines, one after the other.
#[test]
fn a_runtime_that_ends_makes_nobody_panic() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    struct Counts;

    impl Drop for Counts {
        fn drop(&mut self) {
            PANICS.fetch_add(usize::from(silken::panicking()), Ordering::SeqCst);
        }
    }

    for round in 0..rounds(25) {
        for (_, body) in KINDS {
            let runtime = Runtime::builder().workers(2).build().unwrap();
            runtime.spawn(move || {
                let _counts = Counts;
                body();
            });
            // Who joins may be told before the one that is joined, or after it.
            runtime.spawn(|| {
                let mut joined = silken::spawn(rest);
                for _ in 0..8 {
                    joined = silken::spawn(move || {
                        let _counts = Counts;
                        joined.join().unwrap();
                    });
                }
                let _counts = Counts;
                joined.join().unwrap();
            });
            std::thread::sleep(delay(round));
            assert!(runtime.shutdown(FAR).is_clean());
        }
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

/// Where cancellation is masked the children live on, also when the runtime ends: only their parent cancels them.
#[test]
fn a_masked_family_outlives_the_request_of_its_runtime() {
    for round in 0..rounds(25) {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        let brief = || silken::sleep(Duration::from_millis(3));
        let (sender, done) = std::sync::mpsc::channel();
        runtime.spawn(move || {
            struct Last(std::sync::mpsc::Sender<&'static str>);
            impl Drop for Last {
                fn drop(&mut self) {
                    silken::join!(silken::sleep(Duration::from_millis(1)), ());
                    self.0.send("destructor").unwrap();
                }
            }
            let _last = Last(sender.clone());
            silken::scope(|s| {
                s.defer(|| {
                    silken::join!(brief(), brief());
                    sender.send("deferred").unwrap();
                });
                silken::mask_cancel(|| {
                    silken::scope(|s| s.spawn(brief).join().unwrap());
                    silken::join!(brief(), brief());
                    let both: Result<((), u32), ()> = silken::try_join!(
                        {
                            brief();
                            Ok(())
                        },
                        Ok(1)
                    );
                    assert_eq!(both, Ok(((), 1)));
                    assert_eq!(silken::par_map(2, 0..4, |n| n), [0, 1, 2, 3]);
                });
                sender.send("masked").unwrap();
            });
            silken::park();
        });
        std::thread::sleep(Duration::from_micros(500) + delay(round) / 2);
        assert!(runtime.shutdown(FAR).is_clean());
        let done: Vec<_> = done.iter().collect();
        assert!(
            done.is_empty() || done == ["masked", "deferred", "destructor"],
            "{done:?}, round {round}"
        );
    }
}
