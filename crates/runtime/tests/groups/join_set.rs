//! `JoinSet`: the order of results, what becomes of each coroutine, and of the set.

use super::{FAR, on_all};
use silken::channel::unbounded;
use silken::{Elapsed, JoinSet, timeout};
use std::time::Duration;

#[test]
fn results_come_in_the_order_of_the_ends() {
    on_all(|| {
        let mut set = JoinSet::new();
        let gates: Vec<_> = (0..4)
            .map(|n| {
                let (open, gate) = unbounded::<()>();
                set.spawn(move || {
                    gate.recv().unwrap();
                    n
                });
                open
            })
            .collect();
        assert!(set.try_join_next().is_none());
        for n in [2, 0, 3, 1] {
            gates[n].send(()).unwrap();
            assert_eq!(set.join_next().unwrap().unwrap(), n);
        }
        assert!(set.is_empty() && set.join_next().is_none());
    });
}

#[test]
fn panics_and_cancellations_are_results() {
    on_all(|| {
        let mut set = JoinSet::new();
        let panics = set.spawn(|| panic!("one of them"));
        let parked = set.spawn(silken::park);
        let (id, result) = set.join_next_with_id().unwrap();
        assert_eq!((id, result.unwrap_err().message()), (panics.id(), Some("one of them")));
        // One that has not started drops its closure, which counts as its end.
        let late = set.spawn(|| ());
        late.cancel();
        parked.cancel();
        let mut cancelled = 0;
        while let Some(result) = set.join_next() {
            cancelled += usize::from(result.is_err_and(|error| error.is_cancelled()));
        }
        assert!((1..=2).contains(&cancelled));
    });
}

#[test]
fn a_join_that_is_interrupted_loses_nothing() {
    on_all(|| {
        let mut set = JoinSet::new();
        let (open, gate) = unbounded::<u32>();
        set.spawn(move || gate.recv().unwrap());
        assert!(matches!(
            timeout(Duration::from_millis(1), || set.join_next()),
            Err(Elapsed)
        ));
        assert_eq!(set.len(), 1);
        open.send(5).unwrap();
        assert_eq!(set.join_next().unwrap().unwrap(), 5);
    });
}

#[test]
fn a_drop_cancels_and_a_detachment_does_not() {
    on_all(|| {
        let (ended, ends) = unbounded::<&str>();
        struct Tells(silken::channel::Sender<&'static str>, &'static str);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.0.send(self.1);
            }
        }
        let mut set = JoinSet::new();
        let tells = Tells(ended.clone(), "cancelled");
        set.spawn(move || {
            let _tells = tells;
            silken::sleep(FAR);
        });
        drop(set);
        assert_eq!(ends.recv(), Ok("cancelled"));
        let mut set = JoinSet::new();
        set.spawn(move || {
            silken::sleep(Duration::from_millis(1));
            ended.send("by itself").unwrap();
        });
        set.detach_all();
        assert!(set.join_next().is_none());
        drop(set);
        assert_eq!(ends.recv(), Ok("by itself"));
    });
}

#[test]
fn a_shutdown_waits_for_all() {
    on_all(|| {
        let mut set = JoinSet::new();
        for _ in 0..100 {
            set.spawn(silken::park);
        }
        set.shutdown();
        assert!(set.is_empty());
        let mut set = JoinSet::new();
        (0..100_u64).for_each(|n| drop(set.spawn(move || n)));
        assert_eq!(set.join_all().iter().sum::<u64>(), 4950);
    });
}

/// One that runs out of stack gives its notice too.
#[test]
fn a_lost_one_is_a_result() {
    #[inline(never)]
    fn deep(n: u64) -> u64 {
        let place = std::hint::black_box([n; 64]);
        if n == u64::MAX { 0 } else { deep(n + 1) + place[7] }
    }
    super::common::run_on(2, false, || {
        let mut set = JoinSet::new();
        set.spawn(|| deep(0));
        assert!(matches!(set.join_next(), Some(Err(silken::JoinError::StackOverflow))));
    });
}
