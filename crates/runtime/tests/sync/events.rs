//! Barrier, SyncFlag, WaitGroup, Notify, Blocker, AtomicOption.

use super::{LONG, SHORT, a_moment, on_all, on_coroutines, seed_of, until};
use fastrand::Rng;
use silken::sync::{Arc, AtomicOption, Barrier, Blocker, Notify, ParkError, SyncFlag, WaitGroup};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_barrier_meets_again_and_again_with_one_leader() {
    on_all(|world| {
        const AGENTS: usize = 24;
        const ROUNDS: usize = 50;
        let shared = Arc::new((Barrier::new(AGENTS), AtomicUsize::new(0)));
        let of_agents = shared.clone();
        let leads = world.run(AGENTS, move |_| {
            let (barrier, came) = &*of_agents;
            (0..ROUNDS)
                .filter(|round| {
                    came.fetch_add(1, Ordering::Relaxed);
                    let leads = barrier.wait().is_leader();
                    assert!(came.load(Ordering::Relaxed) >= (round + 1) * AGENTS);
                    leads
                })
                .count()
        });
        assert_eq!(leads.into_iter().sum::<usize>(), ROUNDS);
        assert!(Barrier::new(0).wait().is_leader() && Barrier::new(1).wait().is_leader());
    });
}

#[test]
fn who_leaves_a_barrier_does_not_count() {
    on_all(|world| {
        let barrier = Arc::new(Barrier::new(2));
        assert_eq!(barrier.wait_timeout(SHORT), None);
        let other = barrier.clone();
        let waiter = world.spawn(move || other.wait().is_leader());
        a_moment();
        assert!(!waiter.is_finished());
        assert!(barrier.wait_timeout(LONG).is_some());
        waiter.join();
    });
    on_coroutines(|_| {
        let barrier = Arc::new(Barrier::new(2));
        let other = barrier.clone();
        let waiter = silken::spawn(move || other.wait());
        a_moment();
        waiter.cancel();
        assert!(waiter.join().unwrap_err().is_cancelled());
        assert_eq!(barrier.wait_deadline(Instant::now() + SHORT), None);
    });
}

#[test]
fn a_flag_lets_all_pass_for_ever() {
    on_all(|world| {
        let flag = Arc::new(SyncFlag::new());
        assert!(!flag.wait_timeout(SHORT) && !flag.is_fired());
        let agents: Vec<_> = (0..50)
            .map(|number| {
                let flag = flag.clone();
                world.spawn(move || match number % 2 {
                    0 => flag.wait(),
                    _ => assert!(flag.wait_timeout(LONG)),
                })
            })
            .collect();
        a_moment();
        flag.fire();
        flag.fire();
        agents.into_iter().for_each(super::Agent::join);
        flag.wait();
        assert!(flag.is_fired() && flag.wait_deadline(Instant::now()));
    });
}

#[test]
fn a_wait_group_of_handles_and_of_numbers() {
    on_all(|world| {
        let done = Arc::new(AtomicUsize::new(0));
        let group = WaitGroup::new();
        for _ in 0..20 {
            let (member, done) = (group.clone(), done.clone());
            world.spawn(move || {
                silken::yield_now();
                done.fetch_add(1, Ordering::Relaxed);
                drop(member);
            });
        }
        let other = group.clone();
        let also_waits = world.spawn(move || other.wait());
        group.wait();
        assert_eq!(done.load(Ordering::Relaxed), 20);
        also_waits.join();
        let group = Arc::new(WaitGroup::new());
        group.add(20);
        for _ in 0..20 {
            let (group, done) = (group.clone(), done.clone());
            world.spawn(move || {
                done.fetch_add(1, Ordering::Relaxed);
                group.done();
            });
        }
        group.wait_others();
        assert_eq!((done.load(Ordering::Relaxed), group.members()), (40, 1));
        let group = WaitGroup::new();
        let member = group.clone();
        let group = group.wait_timeout(SHORT).unwrap_err();
        assert!(group.members() == 2 && !group.wait_others_timeout(SHORT));
        drop(member);
        group.wait_deadline(Instant::now() + LONG).unwrap();
    });
}

#[test]
fn a_wait_group_outlives_a_leave_too_many() {
    on_all(|world| {
        let group = WaitGroup::new();
        let (member, done) = (group.clone(), Arc::new(AtomicUsize::new(0)));
        member.done();
        let too_many = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| member.done()));
        assert!(too_many.is_err());
        assert_eq!(group.members(), 1, "the misuse has taken nobody away");
        group.add(1);
        let (other, told) = (Arc::new(member), done.clone());
        let leaves = world.spawn(move || {
            told.store(1, Ordering::Relaxed);
            other.done();
            std::mem::forget(other);
        });
        group.wait_others();
        assert_eq!(done.load(Ordering::Relaxed), 1);
        leaves.join();
    });
}

#[test]
fn a_notification_is_kept_and_goes_to_one() {
    on_all(|world| {
        let notify = Arc::new(Notify::new());
        notify.notify_one();
        notify.notify_one();
        notify.notified();
        assert!(!notify.notified_timeout(SHORT), "two are kept as one");
        notify.notify_waiters();
        assert!(!notify.notified_timeout(SHORT), "for nobody");
        let count = Arc::new(AtomicUsize::new(0));
        let agents: Vec<_> = (0..40)
            .map(|_| {
                let (notify, count) = (notify.clone(), count.clone());
                world.spawn(move || {
                    notify.notified();
                    count.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        // Each but the first may be kept and then replaced, so one at a time.
        for expected in 1..=3 {
            a_moment();
            notify.notify_one();
            until(|| count.load(Ordering::Relaxed) == expected);
        }
        until(|| {
            notify.notify_waiters();
            agents.iter().all(super::Agent::is_finished)
        });
        agents.into_iter().for_each(super::Agent::join);
        assert!(!notify.notified_deadline(Instant::now() + SHORT));
    });
}

#[test]
fn a_notification_of_a_cancelled_waiter_goes_on() {
    let seed = seed_of("events::a_notification_of_a_cancelled_waiter_goes_on");
    on_coroutines(|_| {
        let mut random = Rng::with_seed(seed);
        for _ in 0..50 {
            let notify = Arc::new(Notify::new());
            let (one, two) = (notify.clone(), notify.clone());
            let one = silken::spawn(move || one.notified());
            let two = silken::spawn(move || two.notified());
            for _ in 0..random.u64(..4) {
                silken::yield_now();
            }
            if random.u64(..2) == 0 {
                silken::sleep(Duration::from_micros(random.u64(..100)));
            }
            one.cancel();
            notify.notify_one();
            if one.join().is_ok() {
                notify.notify_one();
            }
            two.join().unwrap();
        }
    });
}

#[test]
fn a_blocker_keeps_one_wake() {
    on_all(|world| {
        let blocker = Blocker::current();
        blocker.unpark();
        blocker.unpark();
        assert_eq!(blocker.park(None), Ok(()));
        assert_eq!(blocker.park(Some(SHORT)), Err(ParkError::Timeout));
        let waker = blocker.clone();
        let agent = world.spawn(move || {
            a_moment();
            waker.unpark();
        });
        assert_eq!(blocker.park(Some(LONG)), Ok(()));
        agent.join();
        assert_eq!(blocker.park_deadline(Instant::now() + SHORT), Err(ParkError::Timeout));
    });
}

#[test]
fn an_atomic_option_loses_and_doubles_nothing() {
    on_all(|world| {
        const PER_AGENT: usize = 500;
        let place = Arc::new(AtomicOption::none());
        let of_agents = place.clone();
        let taken: Vec<Box<usize>> = world
            .run(8, move |number| {
                let mut taken = Vec::new();
                for item in 0..PER_AGENT {
                    taken.extend(of_agents.swap(Box::new(number * PER_AGENT + item)));
                    if item % 3 == 0 {
                        taken.extend(of_agents.take());
                    }
                }
                taken
            })
            .into_iter()
            .flatten()
            .collect();
        let mut all: Vec<usize> = taken.into_iter().chain(place.take()).map(|item| *item).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..8 * PER_AGENT));
        assert!(place.is_none());
        place.store(Box::new(1));
        assert!(place.is_some());
        assert_eq!(Arc::into_inner(place).unwrap().into_inner(), Some(Box::new(1)));
    });
}
