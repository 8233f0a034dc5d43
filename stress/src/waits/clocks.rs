//! Waits for the time.

use super::{Part, Wait};
use crate::plan::Rng;
use silken::channel::{after, tick};
use silken::time::Ticker;
use std::time::{Duration, Instant};

/// A time that does not come in a round.
const LONG: Duration = Duration::from_secs(3600);

pub(super) struct Sleeps;

impl Wait for Sleeps {
    fn part(&self, part: &mut Part) {
        let (begun, moment) = (Instant::now(), part.moment());
        match part.rng.below(6) {
            0 => silken::sleep(moment),
            1 => silken::sleep_until(begun + moment),
            2 => silken::mask_cancel(|| silken::sleep(moment)),
            3 => assert!(silken::timeout(moment, || silken::sleep(LONG)).is_err()),
            _ => silken::sleep(LONG),
        }
        assert!(
            begun.elapsed() >= moment,
            "a sleep of {moment:?} has ended after {:?}",
            begun.elapsed()
        );
    }

    fn ends_by_cancel(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// One ticker for all, and channels of the clock for each.
pub(super) struct Tickers {
    ticker: Ticker,
}

impl Tickers {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            ticker: Ticker::new(Duration::from_micros(200 + rng.below(20_000) as u64)),
        }
    }
}

impl Wait for Tickers {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            match part.rng.below(6) {
                0 => drop(self.ticker.tick_timeout(part.moment())),
                1 => assert!(after(part.moment()).recv().is_ok()),
                2 => assert!(tick(part.moment().max(Duration::from_micros(50))).recv().is_ok()),
                3 => drop(after(LONG).recv_timeout(part.moment())),
                _ => drop(self.ticker.tick()),
            }
        }
    }

    fn stir(&self, rng: &mut Rng) {
        match rng.below(3) {
            0 => self.ticker.reset(),
            1 => self.ticker.stop(),
            _ => self.ticker.reset_after(rng.moment(Duration::from_millis(2))),
        }
    }

    fn ends_by_cancel(&self) -> bool {
        // It may have been stopped.
        true
    }

    fn check(&self) -> Result<(), String> {
        self.ticker.reset_after(Duration::ZERO);
        match self.ticker.tick_timeout(Duration::from_secs(20)) {
            Some(_) => Ok(()),
            None => Err("the ticker does not tick any more".to_string()),
        }
    }
}
