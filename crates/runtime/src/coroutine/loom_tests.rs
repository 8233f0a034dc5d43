//! Loom models of the lifecycle word (the queue is a counter, a coroutine is a thread that parks), of the thread
//! parker, of the cell that settles a wait, of a whole wait, and of a scope's cancellation.

use super::core::Core;
use super::group::Group;
use super::park::reason::WaitReason;
use super::park::{Outcome, ThreadParker, Unparker, WaitCell, park};
use super::state::{Lifecycle, Published, ResultOwner, Wake};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

struct Model {
    word: Lifecycle,
    /// How often a waker or the successor became responsible for queueing the coroutine.
    queued: AtomicUsize,
    /// What the wakers publish before they wake.
    published: AtomicUsize,
}

fn model() -> Arc<Model> {
    let word = Lifecycle::free();
    word.begin(2);
    Arc::new(Model {
        word,
        queued: AtomicUsize::new(0),
        published: AtomicUsize::new(0),
    })
}

fn waker(model: &Arc<Model>) -> thread::JoinHandle<()> {
    let model = model.clone();
    thread::spawn(move || {
        model.published.fetch_add(1, Ordering::Relaxed);
        if model.word.unpark() == Wake::Schedule {
            model.queued.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Two wakers against one park: it is queued exactly once per park, and no wake is lost.
#[test]
fn one_queueing_per_park() {
    loom::model(|| {
        let model = model();
        let wakers = [waker(&model), waker(&model)];
        let requeued = if model.word.take_notification() {
            None
        } else {
            Some(model.word.publish_parked())
        };
        for waker in wakers {
            waker.join().unwrap();
        }
        let queued = model.queued.load(Ordering::Relaxed);
        match requeued {
            None => assert_eq!(queued, 0),
            Some(Published::Notified) => assert_eq!(queued, 0),
            Some(Published::Parked) => assert_eq!(queued, 1),
        }
    });
}

/// What the waker wrote before the wake is seen after the park.
#[test]
fn a_wake_publishes() {
    loom::model(|| {
        let model = model();
        let waker = waker(&model);
        let seen = if model.word.take_notification() {
            true
        } else {
            matches!(model.word.publish_parked(), Published::Notified)
        };
        if seen {
            assert_eq!(model.published.load(Ordering::Relaxed), 1);
        }
        waker.join().unwrap();
    });
}

/// A cancel and a wake race for a parked coroutine: one of them queues it, and the request is not lost.
#[test]
fn cancel_against_wake() {
    loom::model(|| {
        let model = model();
        assert_eq!(model.word.publish_parked(), Published::Parked);
        let waker = waker(&model);
        if model.word.cancel() == Wake::Schedule {
            model.queued.fetch_add(1, Ordering::Relaxed);
        }
        waker.join().unwrap();
        assert_eq!(model.queued.load(Ordering::Relaxed), 1);
        assert!(model.word.is_cancelled());
    });
}

/// The result is dropped by exactly one side.
#[test]
fn one_owner_of_the_result() {
    loom::model(|| {
        let model = model();
        let other = model.clone();
        let handle = thread::spawn(move || other.word.detach() == ResultOwner::Caller);
        let mine = model.word.store_result() == ResultOwner::Caller;
        assert!(mine ^ handle.join().unwrap());
    });
}

/// A joiner either is woken or knows that it will not be woken.
#[test]
fn join_against_finish() {
    loom::model(|| {
        let model = model();
        let other = model.clone();
        let handle = thread::spawn(move || other.word.announce_joiner());
        let finished = model.word.finish();
        let waits = handle.join().unwrap();
        assert_eq!(waits, finished.joining);
    });
}

/// Parks until `count` reaches `wanted`, as every blocker does: look, park, look again.
fn park_until(count: &AtomicUsize, wanted: usize) {
    // Relaxed: the parker orders what was written before an unpark.
    while count.load(Ordering::Relaxed) < wanted {
        park(WaitReason::Park);
    }
}

fn unparker_thread(count: &Arc<AtomicUsize>, parker: &'static ThreadParker) -> thread::JoinHandle<()> {
    let count = count.clone();
    thread::spawn(move || {
        count.fetch_add(1, Ordering::Relaxed);
        parker.unpark();
    })
}

/// An unpark before, while or after the thread parks ends the park: a lost one is a deadlock, which loom reports.
#[test]
fn thread_parker_loses_no_wake() {
    loom::model(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let unparker = unparker_thread(&count, ThreadParker::own());
        park_until(&count, 1);
        unparker.join().unwrap();
    });
}

/// Two unparkers and two conditions to wait for, one after the other. If one notification swallows the other, the look
/// that follows sees both.
#[test]
fn thread_parker_with_two_unparkers() {
    loom::model(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let unparkers = [0, 1].map(|_| unparker_thread(&count, ThreadParker::own()));
        park_until(&count, 1);
        park_until(&count, 2);
        for unparker in unparkers {
            unparker.join().unwrap();
        }
    });
}

/// A park that ends by its deadline leaves nothing behind that would keep the next park asleep.
#[test]
fn thread_parker_deadline_then_park() {
    loom::model(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let unparker = unparker_thread(&count, ThreadParker::own());
        super::park_thread_until(1);
        park_until(&count, 1);
        unparker.join().unwrap();
    });
}

/// A wait as it lies on the waiter's stack, and what its wakers publish.
struct Wait {
    cell: WaitCell,
    data: [AtomicUsize; 2],
}

fn waits() -> Arc<Wait> {
    Arc::new(Wait {
        cell: WaitCell::new(),
        data: [AtomicUsize::new(0), AtomicUsize::new(0)],
    })
}

/// A whole wait: two wakers settle it, one wins, and the waiter sees what the winner wrote.
#[test]
fn one_settles_the_wait_and_publishes() {
    loom::model(|| {
        let wait = waits();
        let settlers = [Outcome::Woken, Outcome::TimedOut].map(|outcome| {
            let wait = wait.clone();
            thread::spawn(move || {
                let mine = &wait.data[outcome as usize - 1];
                mine.store(1, Ordering::Relaxed);
                // Before settling: afterwards the cell may be gone.
                let unparker = wait.cell.unparker();
                let won = wait.cell.settle(outcome);
                if won {
                    unparker.unpark();
                }
                won
            })
        });
        let outcome = loop {
            match wait.cell.outcome() {
                Some(outcome) => break outcome,
                None => park(WaitReason::Park),
            }
        };
        assert_eq!(wait.data[outcome as usize - 1].load(Ordering::Relaxed), 1);
        let [woken, timed_out] = settlers.map(|settler| settler.join().unwrap());
        assert_eq!(
            (woken, timed_out),
            (outcome == Outcome::Woken, outcome == Outcome::TimedOut)
        );
    });
}

/// The waiter itself may settle the cell, as a waiter that gives up does. Then either no waker settles it, or the
/// waiter loses and knows which waker won.
#[test]
fn the_waiter_gives_up_against_a_waker() {
    loom::model(|| {
        let wait = waits();
        let waker = thread::spawn({
            let wait = wait.clone();
            move || {
                let unparker = wait.cell.unparker();
                wait.data[0].store(1, Ordering::Relaxed);
                let won = wait.cell.settle(Outcome::Woken);
                if won {
                    unparker.unpark();
                }
                won
            }
        });
        let gave_up = wait.cell.settle(Outcome::Cancelled);
        match wait.cell.outcome() {
            Some(Outcome::Woken) => assert_eq!((gave_up, wait.data[0].load(Ordering::Relaxed)), (false, 1)),
            outcome => assert_eq!((gave_up, outcome), (true, Some(Outcome::Cancelled))),
        }
        assert!(gave_up ^ waker.join().unwrap());
        assert!(matches!(wait.cell.unparker(), Unparker::Thread(_)));
    });
}

/// Waits as every blocker does. Gives up when `cancelled` says so.
fn wait(cell: &WaitCell, cancelled: &AtomicUsize) -> Outcome {
    loop {
        if let Some(outcome) = cell.outcome() {
            return outcome;
        }
        // Relaxed: stands for the lifecycle word's bit.
        if cancelled.load(Ordering::Relaxed) != 0 && cell.settle(Outcome::Cancelled) {
            return Outcome::Cancelled;
        }
        park(WaitReason::Park);
    }
}

/// A wake, a deadline and the caller's cancellation meet in one wait, and one of them decides it. The losers leave at
/// most an unpark behind. That neither ends the wait that follows nor keeps it asleep.
#[test]
fn loom_cancel_against_wake_against_timeout() {
    struct Model {
        first: WaitCell,
        second: WaitCell,
        cancelled: AtomicUsize,
    }

    fn settle(cell: &WaitCell, outcome: Outcome) -> bool {
        let unparker = cell.unparker();
        let won = cell.settle(outcome);
        if won {
            unparker.unpark();
        }
        won
    }

    loom::model(|| {
        let model = Arc::new(Model {
            first: WaitCell::new(),
            second: WaitCell::new(),
            cancelled: AtomicUsize::new(0),
        });
        let canceller = thread::spawn({
            let (model, unparker) = (model.clone(), Unparker::current());
            move || {
                model.cancelled.store(1, Ordering::Relaxed);
                // This may come late: the unparker may be stale.
                unparker.unpark();
                settle(&model.first, Outcome::TimedOut)
            }
        });
        let waker = thread::spawn({
            let model = model.clone();
            move || {
                let won = settle(&model.first, Outcome::Woken);
                assert!(settle(&model.second, Outcome::Woken), "nobody else settles it");
                won
            }
        });
        let first = wait(&model.first, &model.cancelled);
        let uncancellable = AtomicUsize::new(0);
        assert_eq!(wait(&model.second, &uncancellable), Outcome::Woken);
        let (timed_out, woken) = (canceller.join().unwrap(), waker.join().unwrap());
        assert_eq!(
            (timed_out, woken),
            (first == Outcome::TimedOut, first == Outcome::Woken)
        );
    });
}

/// A child begins, waits to be cancelled and ends, against the scope's cancel. The request reaches the child before, at
/// or after its joining the list, and the scope's end is not missed.
#[test]
fn loom_a_scopes_cancel_reaches_a_child_that_begins() {
    loom::model(|| {
        let child: &'static Core = Box::leak(Box::new(Core::free()));
        child.lifecycle.begin(2);
        let group = Arc::new(Group::new());
        group.enter();
        let running = thread::spawn({
            let group = group.clone();
            move || {
                group.during(child, |mut cancelled| {
                    while !cancelled {
                        thread::yield_now();
                        cancelled = child.lifecycle.is_cancelled();
                    }
                });
                group.leave();
            }
        });
        let canceller = thread::spawn({
            let group = group.clone();
            move || group.cancel_children()
        });
        while !group.is_empty() {
            park(WaitReason::Scope);
        }
        assert!(group.is_cancelled() && child.lifecycle.is_cancelled());
        canceller.join().unwrap();
        running.join().unwrap();
    });
}

/// A child joins its sibling while the scope cancels both, one after the other. A child that sees the sibling's end can
/// also see the cause.
#[test]
fn loom_a_sibling_that_ends_first_tells_who_joins_it() {
    loom::model(|| {
        let [joined, joins]: [&'static Core; 2] = [(); 2].map(|()| {
            let core: &'static Core = Box::leak(Box::new(Core::free()));
            core.lifecycle.begin(2);
            core
        });
        let group = Arc::new(Group::new());
        joins.set_group(&raw const *group);
        let sibling = thread::spawn({
            let group = group.clone();
            move || {
                // The other order, in which it ends by itself, is not tested here.
                if group.during(joined, |cancelled| cancelled || joined.lifecycle.is_cancelled()) {
                    joined.lifecycle.finish();
                }
            }
        });
        let canceller = thread::spawn({
            let group = group.clone();
            move || group.cancel_children()
        });
        if joined.lifecycle.is_done() {
            assert!(joins.is_ending_with_others());
        }
        canceller.join().unwrap();
        sibling.join().unwrap();
    });
}

/// A wake, a deadline and a cancellation against one wait, as in `wait::wait`. The waiter always returns, and
/// exactly one of the three ended the wait. The cancellation does not settle the cell: it marks the word and wakes, and
/// the waiter gives up itself.
#[test]
fn wake_against_deadline_against_cancel() {
    struct Waiter {
        word: Lifecycle,
        cell: WaitCell,
    }
    let mut builder = loom::model::Builder::new();
    // Without a bound (LOOM_MAX_PREEMPTIONS unset) four threads do not finish.
    builder.preemption_bound.get_or_insert(2);
    builder.check(|| {
        let word = Lifecycle::free();
        word.begin(2);
        let waiter = Arc::new(Waiter {
            word,
            cell: WaitCell::new(),
        });
        let settlers = [Outcome::Woken, Outcome::TimedOut].map(|outcome| {
            let waiter = waiter.clone();
            thread::spawn(move || {
                let unparker = waiter.cell.unparker();
                let won = waiter.cell.settle(outcome);
                if won {
                    unparker.unpark();
                }
                won
            })
        });
        let canceller = thread::spawn({
            let waiter = waiter.clone();
            move || {
                let _ = waiter.word.cancel();
                waiter.cell.unparker().unpark();
            }
        });
        let outcome = loop {
            if let Some(outcome) = waiter.cell.outcome() {
                break outcome;
            }
            if waiter.word.is_cancelled() && waiter.cell.settle(Outcome::Cancelled) {
                break Outcome::Cancelled;
            }
            park(WaitReason::Park);
        };
        let [woken, timed_out] = settlers.map(|settler| settler.join().unwrap());
        canceller.join().unwrap();
        let won = (woken, timed_out);
        assert_eq!(won, (outcome == Outcome::Woken, outcome == Outcome::TimedOut));
        assert!(waiter.word.is_cancelled());
    });
}
