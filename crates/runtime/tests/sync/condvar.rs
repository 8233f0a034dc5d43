//! Condvar: no notification is lost, none is kept, and the mutex is always back.

use super::{LONG, SHORT, a_moment, on_all, on_coroutines, until};
use silken::sync::{Arc, Condvar, Mutex};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

type Shared<T> = Arc<(Mutex<T>, Condvar)>;

fn shared<T>(value: T) -> Shared<T> {
    Arc::new((Mutex::new(value), Condvar::new()))
}

#[test]
fn ping_pong() {
    on_all(|world| {
        const ROUNDS: usize = 300;
        let turn = shared(0);
        let of_agents = turn.clone();
        world.run(2, move |number| {
            let (mutex, changed) = &*of_agents;
            for round in 0..ROUNDS {
                let mut turn = changed
                    .wait_while(mutex.lock().unwrap(), |turn| *turn != 2 * round + number)
                    .unwrap();
                *turn += 1;
                changed.notify_one();
            }
        });
        assert_eq!(*turn.0.lock().unwrap(), 2 * ROUNDS);
    });
}

#[test]
fn one_notification_wakes_one_and_all_wakes_all() {
    on_all(|world| {
        const WAITERS: usize = 40;
        // Who is waiting, and who has been let through.
        let state = shared((0, 0));
        let agents: Vec<_> = (0..WAITERS)
            .map(|_| {
                let state = state.clone();
                world.spawn(move || {
                    let mut guard = state.0.lock().unwrap();
                    guard.0 += 1;
                    guard = state.1.wait(guard).unwrap();
                    guard.1 += 1;
                })
            })
            .collect();
        until(|| state.0.lock().unwrap().0 == WAITERS);
        state.1.notify_one();
        until(|| state.0.lock().unwrap().1 == 1);
        a_moment();
        assert_eq!(state.0.lock().unwrap().1, 1, "nobody wakes for no reason");
        state.1.notify_all();
        agents.into_iter().for_each(super::Agent::join);
        assert_eq!(state.0.lock().unwrap().1, WAITERS);
        // Nobody waits: nothing is kept.
        state.1.notify_one();
        let (_guard, result) = state.1.wait_timeout(state.0.lock().unwrap(), SHORT).unwrap();
        assert!(result.timed_out());
    });
}

#[test]
fn time_limits() {
    on_all(|world| {
        let flag = shared(false);
        let of_agents = flag.clone();
        world.run(3, move |number| {
            let (mutex, changed) = &*of_agents;
            let (begun, guard) = (Instant::now(), mutex.lock().unwrap());
            let (_guard, result) = match number {
                0 => changed.wait_timeout(guard, SHORT),
                1 => changed.wait_timeout_while(guard, SHORT, |flag| !*flag),
                _ => changed.wait_deadline_while(guard, begun + SHORT, |flag| !*flag),
            }
            .unwrap();
            assert!(result.timed_out() && begun.elapsed() >= SHORT);
        });
        let other = flag.clone();
        let agent = world.spawn(move || {
            let (guard, result) = other
                .1
                .wait_timeout_while(other.0.lock().unwrap(), LONG, |flag| !*flag)
                .unwrap();
            *guard && !result.timed_out()
        });
        a_moment();
        *flag.0.lock().unwrap() = true;
        flag.1.notify_all();
        assert!(agent.join());
    });
}

#[test]
fn a_cancelled_waiter_has_the_mutex_again_and_passes_its_notification_on() {
    on_coroutines(|_| {
        struct Sees<'a>(&'a Mutex<u32>, &'a AtomicUsize);
        impl Drop for Sees<'_> {
            fn drop(&mut self) {
                // The guard, declared later, is gone by now; so it was there. The one that was notified may hold the
                // mutex for a moment.
                *self.0.lock_timeout(LONG).expect("unlocked by the unwinding") += 1;
                self.1.fetch_add(1, Ordering::SeqCst);
            }
        }
        let state = shared(0);
        let seen = Arc::new(AtomicUsize::new(0));
        let (of_cancelled, of_seen) = (state.clone(), seen.clone());
        let cancelled = silken::spawn(move || {
            let _sees = Sees(&of_cancelled.0, &of_seen);
            let guard = of_cancelled.0.lock().unwrap();
            drop(of_cancelled.1.wait(guard));
        });
        a_moment();
        let of_waiter = state.clone();
        let waiter = silken::spawn(move || drop(of_waiter.1.wait(of_waiter.0.lock().unwrap()).unwrap()));
        a_moment();
        let guard = state.0.lock().unwrap();
        cancelled.cancel();
        a_moment();
        assert!(!cancelled.is_finished(), "it waits for the mutex, cancelled as it is");
        state.1.notify_one();
        drop(guard);
        assert!(cancelled.join().unwrap_err().is_cancelled());
        waiter.join().unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 1);
        assert!(!state.0.is_poisoned());
    });
}

#[test]
fn a_bounded_queue_of_two_conditions() {
    on_all(|world| {
        const PER_AGENT: usize = 200;
        let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new(), Condvar::new()));
        let of_agents = queue.clone();
        let sums = world.run(8, move |number| {
            let (items, not_empty, not_full) = &*of_agents;
            let mut sum = 0;
            for item in 0..PER_AGENT {
                if number % 2 == 0 {
                    let mut items = not_full
                        .wait_while(items.lock().unwrap(), |items| items.len() == 3)
                        .unwrap();
                    items.push(item);
                    drop(items);
                    not_empty.notify_one();
                } else {
                    let mut items = not_empty
                        .wait_while(items.lock().unwrap(), |items| items.is_empty())
                        .unwrap();
                    sum += items.pop().unwrap();
                    drop(items);
                    not_full.notify_one();
                }
            }
            sum
        });
        assert_eq!(sums.into_iter().sum::<usize>(), 4 * (0..PER_AGENT).sum::<usize>());
        assert!(queue.0.lock().unwrap().is_empty());
    });
}
