//! Tickers: never early, what becomes of missed ticks, and changing them while somebody waits. Lower bounds and counts
//! only: a busy machine may be late at any time.

use crate::probe::{FAR, SHORT};
use crate::{Executor, join_all};
use silken::time::{MissedTicks, Ticker, interval, interval_at};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(4);

/// Ticks are due a period apart, and none is early.
pub fn never_early(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        let ticker = interval_at(started + PERIOD, PERIOD);
        for number in 1..=5 {
            let due = ticker.tick();
            assert_eq!(due, started + number * PERIOD);
            assert!(Instant::now() >= due);
        }
    })
    .join();
}

/// An interval begins at once, Go's ticker after a period.
pub fn first_tick(ex: &dyn Executor) {
    ex.start(|| {
        let made = Instant::now();
        assert!(interval(FAR).tick() >= made);
        let ticker = Ticker::new(PERIOD);
        assert!(ticker.tick() >= made + PERIOD);
        assert_eq!(ticker.period(), PERIOD);
    })
    .join();
}

/// Missed ticks come at once, one after the other, so that their number is right.
pub fn burst_makes_up(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        let ticker = interval_at(started + PERIOD, PERIOD);
        assert_eq!(ticker.missed_tick_policy(), MissedTicks::Burst);
        sleep(5 * PERIOD);
        for number in 1..=5 {
            // Each is due by now: it does not wait.
            assert_eq!(ticker.tick(), started + number * PERIOD);
        }
    })
    .join();
}

/// After a tick that was asked for too late the next is a whole period away.
pub fn delay_moves_on(ex: &dyn Executor) {
    ex.start(|| {
        let ticker = interval_at(Instant::now(), PERIOD);
        ticker.set_missed_tick_policy(MissedTicks::Delay);
        sleep(3 * PERIOD);
        let late = Instant::now();
        ticker.tick();
        assert!(ticker.tick() >= late + PERIOD);
    })
    .join();
}

/// Missed ticks are left out, and the others stay at multiples of the period.
pub fn skip_keeps_the_rhythm(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        let ticker = interval_at(started, PERIOD);
        ticker.set_missed_tick_policy(MissedTicks::Skip);
        sleep(3 * PERIOD);
        assert_eq!(ticker.tick(), started);
        let next = ticker.tick();
        assert!(next > started + 3 * PERIOD);
        assert_eq!((next - started).as_nanos() % PERIOD.as_nanos(), 0);
    })
    .join();
}

/// A ticker that is stopped ends its iterators, also one that waits; until it is reset it gives no ticks.
pub fn stop_wakes_who_waits(ex: &dyn Executor) {
    let ticker = Arc::new(Ticker::new(FAR));
    let shared = ticker.clone();
    let waiter = ex.start(move || shared.ticks().count());
    sleep(SHORT);
    ticker.stop();
    assert_eq!(waiter.join(), 0);
    assert_eq!((ticker.next_due(), ticker.tick_timeout(PERIOD)), (None, None));
    ticker.reset_after(Duration::ZERO);
    assert!(ticker.tick_timeout(Duration::from_secs(20)).is_some());
}

/// A reset reaches who waits already: a far tick comes near.
pub fn reset_reaches_who_waits(ex: &dyn Executor) {
    let ticker = Arc::new(Ticker::new(FAR));
    let shared = ticker.clone();
    let waiter = ex.start(move || shared.tick());
    sleep(SHORT);
    let before = Instant::now();
    ticker.reset_period(PERIOD);
    assert!(waiter.join() >= before + PERIOD);
    assert_eq!(ticker.period(), PERIOD);
}

/// A reset puts the next tick off.
pub fn reset_puts_off(ex: &dyn Executor) {
    ex.start(|| {
        let ticker = Ticker::new(2 * PERIOD);
        sleep(PERIOD);
        let before = Instant::now();
        ticker.reset();
        assert!(ticker.tick() >= before + 2 * PERIOD);
    })
    .join();
}

/// A limit runs out before a far tick, not early, and leaves the tick.
pub fn tick_timeout_expires(ex: &dyn Executor) {
    ex.start(|| {
        let started = Instant::now();
        let ticker = interval_at(started + 4 * PERIOD, PERIOD);
        assert_eq!(ticker.tick_timeout(PERIOD), None);
        assert!(started.elapsed() >= PERIOD);
        assert_eq!(ticker.tick(), started + 4 * PERIOD);
    })
    .join();
}

/// Who shares a ticker shares its ticks: each goes to one.
pub fn shared_ticks_go_to_one(ex: &dyn Executor) {
    let started = Instant::now();
    let ticker = Arc::new(interval_at(started, Duration::from_millis(1)));
    let units = ex.start_each(4, move |_| [(); 5].map(|()| ticker.tick()));
    let mut ticks = join_all(units).concat();
    ticks.sort_unstable();
    let expected: Vec<_> = (0..20).map(|number| started + Duration::from_millis(number)).collect();
    assert_eq!(ticks, expected);
}
