//! Loom models of the lifecycle word: the queue is a counter, a coroutine is a thread that parks.

use super::state::{Lifecycle, Published, ResultOwner, Wake};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

struct Model {
    word: Lifecycle,
    /// How often somebody became responsible for queueing the coroutine.
    queued: AtomicUsize,
    /// What the wakers publish before they wake.
    published: AtomicUsize,
}

fn model() -> Arc<Model> {
    let word = Lifecycle::free();
    word.begin(2);
    Arc::new(Model { word, queued: AtomicUsize::new(0), published: AtomicUsize::new(0) })
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

/// A joiner either is woken or knows that nobody will.
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
