//! Tickers.

use super::{LONG, everywhere, ms, on_coroutines};
use silken::time::{MissedTicks, Ticker, interval, interval_at};
use std::sync::Arc;
use std::time::Instant;

#[test]
fn ticks_are_never_early_and_keep_their_distance() {
    everywhere(|_| {
        let begun = Instant::now();
        let ticker = interval(ms(2));
        for number in 0..5 {
            let due = ticker.tick();
            assert!(Instant::now() >= due);
            assert!(due >= begun + ms(2 * number));
        }
        let start = Instant::now() + ms(4);
        assert_eq!(interval_at(start, ms(1)).tick(), start);
        assert!(Instant::now() >= start);
    });
}

#[test]
fn the_first_tick_of_an_interval_is_due_at_once_and_of_a_ticker_after_a_period() {
    everywhere(|_| {
        let begun = Instant::now();
        let ticker = Ticker::new(ms(3));
        ticker.tick();
        assert!(begun.elapsed() >= ms(3));
        assert!(interval(LONG).tick() <= Instant::now());
        assert_eq!(interval(LONG).period(), LONG);
    });
}

#[test]
fn missed_ticks_are_made_up_moved_or_left_out() {
    everywhere(|_| {
        for policy in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            let period = ms(5);
            let ticker = interval(period);
            ticker.set_missed_tick_policy(policy);
            assert_eq!(ticker.missed_tick_policy(), policy);
            let first = ticker.tick();
            silken::sleep(ms(16));
            let before = Instant::now();
            let second = ticker.tick();
            let after = Instant::now();
            let third = ticker.next_due().unwrap();
            assert_eq!(second, first + period);
            match policy {
                MissedTicks::Burst => {
                    assert_eq!(third, first + 2 * period);
                    let made_up = (0..2).map(|_| ticker.tick()).last().unwrap();
                    assert_eq!(made_up, first + 3 * period);
                }
                MissedTicks::Delay => assert!(third >= before + period && third <= after + period),
                MissedTicks::Skip => {
                    assert!(third > before);
                    assert_eq!((third - first).as_nanos() % period.as_nanos(), 0);
                    assert!(third - first >= 4 * period);
                }
            }
        }
    });
}

#[test]
fn reset_and_stop_reach_who_waits() {
    everywhere(|world| {
        let ticker = Arc::new(interval_at(Instant::now() + LONG, LONG));
        let waiting = world.spawn({
            let ticker = ticker.clone();
            move || ticker.tick()
        });
        silken::sleep(ms(1));
        let reset = Instant::now();
        ticker.reset_after(ms(2));
        let due = waiting.join();
        assert!(due >= reset + ms(2) && due < reset + LONG);
        let iterating = world.spawn({
            let ticker = ticker.clone();
            move || ticker.ticks().count()
        });
        silken::sleep(ms(1));
        ticker.stop();
        assert_eq!(iterating.join(), 0);
        assert!(ticker.next_due().is_none());
        assert_eq!(ticker.tick_timeout(ms(1)), None);
        let reset = Instant::now();
        ticker.reset_period(ms(3));
        assert!(ticker.tick_timeout(LONG).unwrap() >= reset + ms(3));
        ticker.reset();
        assert!(ticker.next_due().unwrap() >= reset + ms(6));
        ticker.reset_after(LONG);
        let begun = Instant::now();
        assert_eq!(ticker.tick_timeout(ms(2)), None);
        assert!(begun.elapsed() >= ms(2));
    });
}

#[test]
fn each_tick_goes_to_one_of_those_who_wait() {
    everywhere(|world| {
        let ticker = Arc::new(interval(ms(1)));
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let ticker = ticker.clone();
                world.spawn(move || (0..5).map(|_| ticker.tick()).collect::<Vec<_>>())
            })
            .collect();
        let mut ticks: Vec<Instant> = waiting.into_iter().flat_map(super::Part::join).collect();
        ticks.sort();
        assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] == ms(1)));
    });
}

#[test]
fn a_cancelled_wait_leaves_the_tick() {
    on_coroutines(|| {
        let ticker = Arc::new(interval_at(Instant::now() + LONG, LONG));
        let waiting = silken::spawn({
            let ticker = ticker.clone();
            move || ticker.tick()
        });
        silken::yield_now();
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is_cancelled());
        ticker.reset_after(ms(0));
        assert!(ticker.tick_timeout(LONG).is_some());
    });
}

#[test]
#[should_panic(expected = "longer than nothing")]
fn a_period_of_nothing_is_refused() {
    interval(ms(0));
}
