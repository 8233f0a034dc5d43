//! Models of the monitor: no change is missed, a waiter whose deadline has passed leaves the others' wakes alone, and
//! more than one batch is woken.
//!
//! A lost wake-up shows as a thread that sleeps for ever, which loom reports as a deadlock.

use super::{Look, Monitor, MonitorWake};
use crate::coroutine::WaitReason;
use loom::sync::Arc;
use loom::thread;

/// Takes one of the state's units; `None` at the deadline.
fn take(monitor: &Monitor<u32>, deadline_ns: Option<u64>) -> Option<()> {
    monitor.wait(WaitReason::Semaphore, |units, expired| {
        if *units > 0 {
            *units -= 1;
            Look::Done(Some(()))
        } else if expired {
            Look::Done(None)
        } else {
            Look::Wait(deadline_ns)
        }
    })
}

fn give(monitor: &Monitor<u32>, count: u32) {
    monitor.update(|units| {
        *units += count;
        ((), MonitorWake::All)
    });
}

#[test]
fn loom_a_change_is_seen_or_sees_the_waiter() {
    loom::model(|| {
        let monitor = Arc::new(Monitor::new(0));
        let giver = thread::spawn({
            let monitor = monitor.clone();
            move || give(&monitor, 1)
        });
        assert_eq!(take(&monitor, None), Some(()));
        giver.join().unwrap();
    });
}

#[test]
fn loom_a_wake_is_not_lost_to_a_deadline() {
    loom::model(|| {
        let monitor = Arc::new(Monitor::new(0));
        let patient = thread::spawn({
            let monitor = monitor.clone();
            move || take(&monitor, None)
        });
        let hasty = thread::spawn({
            let monitor = monitor.clone();
            move || take(&monitor, Some(0))
        });
        give(&monitor, 1);
        if hasty.join().unwrap().is_some() {
            give(&monitor, 1);
        }
        assert_eq!(patient.join().unwrap(), Some(()));
    });
}

#[test]
fn loom_a_wake_of_all_reaches_more_than_a_batch() {
    loom::model(|| {
        let monitor = Arc::new(Monitor::new(0));
        let takers = [(); 2].map(|()| {
            let monitor = monitor.clone();
            thread::spawn(move || take(&monitor, None))
        });
        give(&monitor, 2);
        for taker in takers {
            assert_eq!(taker.join().unwrap(), Some(()));
        }
    });
}
