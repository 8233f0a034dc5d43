//! silken::sync::Condvar: notifications reach those who wait, each as many as it should, and limits are kept.

use crate::probe::{FAR, SHORT, coroutine};
use crate::{Executor, join_all};
use silken::sync::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

type State<T> = Arc<(Mutex<T>, Condvar)>;

fn state<T>(value: T) -> State<T> {
    Arc::new((Mutex::new(value), Condvar::new()))
}

/// notify_one wakes one who waits.
pub fn notify_one_wakes_one(ex: &dyn Executor) {
    let state = state((0, 0));
    let shared = state.clone();
    let waiters = ex.start_each(5, move |_| {
        let mut guard = shared.0.lock().unwrap();
        guard.0 += 1;
        // A permit that was taken is another's wake.
        while guard.1 == 0 {
            guard = shared.1.wait(guard).unwrap();
        }
        guard.1 -= 1;
    });
    for _ in 0..5 {
        sleep(Duration::from_millis(1));
        state.0.lock().unwrap().1 += 1;
        state.1.notify_one();
    }
    join_all(waiters);
    assert_eq!(*state.0.lock().unwrap(), (5, 0));
}

/// notify_all wakes all who wait.
pub fn notify_all_wakes_all(ex: &dyn Executor) {
    let state = state(false);
    let shared = state.clone();
    let waiters = ex.start_each(20, move |_| {
        *shared.1.wait_while(shared.0.lock().unwrap(), |open| !*open).unwrap()
    });
    sleep(SHORT);
    *state.0.lock().unwrap() = true;
    state.1.notify_all();
    assert_eq!(join_all(waiters), [true; 20]);
}

/// A limit is never cut short: it is over when it says so.
pub fn timeout_is_never_early(ex: &dyn Executor) {
    let state = state(());
    join_all(ex.start_each(5, move |unit| {
        let limit = Duration::from_millis(3 + unit as u64);
        let started = Instant::now();
        let guard = state.0.lock().unwrap();
        let (guard, outcome) = state.1.wait_timeout_while(guard, limit, |()| true).unwrap();
        assert!(outcome.timed_out() && started.elapsed() >= limit);
        let started = Instant::now();
        let (_guard, outcome) = state.1.wait_timeout(guard, limit).unwrap();
        assert!(!outcome.timed_out() || started.elapsed() >= limit);
    }));
}

/// A notification in time is told from a limit that is over, and the mutex is held again in both cases.
pub fn timeout_notified(ex: &dyn Executor) {
    let state = state(0);
    let shared = state.clone();
    let waiter = ex.start(move || {
        let guard = shared.0.lock().unwrap();
        let (mut guard, outcome) = shared.1.wait_timeout_while(guard, FAR, |value| *value == 0).unwrap();
        assert!(!outcome.timed_out());
        *guard += 1;
        assert!(shared.0.try_lock().is_err());
    });
    sleep(SHORT);
    *state.0.lock().unwrap() = 1;
    state.1.notify_one();
    waiter.join();
    assert_eq!(*state.0.lock().unwrap(), 2);
}

/// A notification that comes before the wait is not stored.
pub fn notification_is_not_stored(ex: &dyn Executor) {
    let state = state(());
    state.1.notify_one();
    state.1.notify_all();
    ex.start(move || {
        let guard = state.0.lock().unwrap();
        assert!(
            state
                .1
                .wait_timeout_while(guard, SHORT, |()| true)
                .unwrap()
                .1
                .timed_out()
        );
    })
    .join();
}

/// A buffer with two conditions passes everything on.
pub fn bounded_buffer(ex: &dyn Executor) {
    let buffer = Arc::new((Mutex::new(VecDeque::new()), Condvar::new(), Condvar::new()));
    let shared = buffer.clone();
    let producers = ex.start_each(4, move |unit| {
        for number in 0..50 {
            let guard = shared.0.lock().unwrap();
            let mut queue = shared.1.wait_while(guard, |queue| queue.len() == 3).unwrap();
            queue.push_back(unit * 50 + number);
            shared.2.notify_one();
        }
    });
    let consumers = ex.start_each(4, move |_| {
        let take = |_| {
            let guard = buffer.0.lock().unwrap();
            let mut queue = buffer.2.wait_while(guard, |queue| queue.is_empty()).unwrap();
            let number = queue.pop_front().unwrap();
            buffer.1.notify_one();
            number
        };
        (0..50).map(take).collect::<Vec<usize>>()
    });
    join_all(producers);
    let mut seen = join_all(consumers).concat();
    seen.sort_unstable();
    assert!((0..200).eq(seen));
}

/// A notification that meets a limit running out wakes somebody, or finds nobody: a waiter without a limit is not
/// forgotten.
pub fn timeouts_race_notifications(ex: &dyn Executor) {
    let state = state(0);
    let shared = state.clone();
    let waiters = ex.start_each(4, move |unit| {
        let mut taken = 0;
        let mut guard = shared.0.lock().unwrap();
        loop {
            while *guard > 0 {
                *guard -= 1;
                taken += 1;
            }
            if *guard < 0 {
                return taken;
            }
            guard = match unit {
                0 => shared.1.wait(guard).unwrap(),
                _ => shared.1.wait_timeout(guard, Duration::from_micros(80)).unwrap().0,
            };
        }
    });
    for _ in 0..80 {
        *state.0.lock().unwrap() += 1;
        state.1.notify_one();
        silken::sleep(Duration::from_micros(60));
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while *state.0.lock().unwrap() > 0 {
        assert!(Instant::now() < deadline, "a notification was lost");
        silken::yield_now();
    }
    *state.0.lock().unwrap() = -1;
    state.1.notify_all();
    assert_eq!(join_all(waiters).iter().sum::<i32>(), 80);
}

/// Coroutines only: a notification that meets a cancellation is used by the cancelled waiter or goes to another, and
/// nobody is left with a poisoned or a held mutex.
pub fn cancelled_waiter(ex: &dyn Executor) {
    for joins_first in [true, false] {
        let state = state((0, 0));
        let mut units: Vec<_> = (0..4)
            .map(|_| {
                let shared = state.clone();
                coroutine(ex, move || {
                    let mut guard = shared.0.lock().unwrap();
                    guard.0 += 1;
                    while guard.1 == 0 {
                        guard = shared.1.wait(guard).unwrap();
                    }
                    guard.1 -= 1;
                })
            })
            .collect();
        // Who has counted itself and let the mutex go waits.
        while state.0.lock().unwrap().0 < 4 {
            silken::yield_now();
        }
        let join = |unit: silken::JoinHandle<()>| unit.join_timeout(Duration::from_secs(20)).expect("it was woken");
        let others = units.split_off(2);
        units.iter().for_each(|unit| unit.cancel());
        if joins_first {
            units.drain(..).for_each(|unit| assert!(join(unit).is_err()));
        }
        state.0.lock().unwrap().1 = 2;
        state.1.notify_one();
        state.1.notify_one();
        let taken = units.into_iter().map(join).filter(Result::is_ok).count();
        // What the cancelled have taken the others get now; their notifications are on the way.
        for _ in 0..taken {
            state.0.lock().unwrap().1 += 1;
            state.1.notify_one();
        }
        assert!(others.into_iter().map(join).all(|ended| ended.is_ok()));
        assert!(state.0.lock().unwrap().1 == 0);
    }
}
