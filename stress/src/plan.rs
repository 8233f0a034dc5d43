//! What a round does, all of it drawn from the seed: how many coroutines wait for what, and what hits each of them
//! when.
//!
//! The plan is the same for the same seed and round; the interleaving is the machine's. So a failure's seed replays its
//! plan, often enough its race.

use std::time::Duration;

/// The numbers of a round, of a station or of a coroutine. A fork is a sequence of its own.
#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A sequence for somebody else.
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// True so many times of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A moment: nothing, microseconds, or up to `most`, each as likely.
    pub fn moment(&mut self, most: Duration) -> Duration {
        let most_us = usize::try_from(most.as_micros()).unwrap_or(usize::MAX).max(1);
        let us = match self.below(3) {
            0 => 0,
            1 => self.below(most_us.min(100)),
            _ => self.below(most_us),
        };
        Duration::from_micros(us as u64)
    }

    /// Puts the items into some order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }
}

/// About what it takes to start one, twice.
const SETTLE_PER_COROUTINE: Duration = Duration::from_micros(10);

/// What interrupts a coroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Nothing: its wait is satisfied, or its primitive is released at the end of the round.
    Nothing,
    /// It is cancelled by its spawner at once, mostly before it starts.
    BeforeStart,
    /// It is cancelled at some moment.
    Cancel,
    /// Its time is up.
    Deadline(Duration),
    /// Both, in whatever order.
    CancelAndDeadline(Duration),
}

impl Hit {
    fn draw(rng: &mut Rng, settle: Duration, pace: Duration) -> Self {
        match rng.below(10) {
            0..=1 => Hit::Nothing,
            2 => Hit::BeforeStart,
            3..=5 => Hit::Cancel,
            6..=7 => Hit::Deadline(settle + rng.moment(pace)),
            _ => Hit::CancelAndDeadline(settle + rng.moment(pace)),
        }
    }

    /// The time it is given.
    pub fn deadline(self) -> Option<Duration> {
        match self {
            Hit::Deadline(deadline) | Hit::CancelAndDeadline(deadline) => Some(deadline),
            _ => None,
        }
    }

    /// Whether somebody cancels it at some moment.
    pub fn is_cancelled_later(self) -> bool {
        matches!(self, Hit::Cancel | Hit::CancelAndDeadline(_))
    }
}

/// A round.
#[derive(Debug)]
pub struct Plan {
    /// Everybody waits first, and then everything happens. Else it happens from the start.
    pub still: bool,
    /// How long it takes until everybody waits, in a still round; no deadline comes before.
    pub settle: Duration,
    /// How long the random moments are.
    pub pace: Duration,
    /// The groups of coroutines that share a primitive.
    pub stations: Vec<Station>,
}

/// A group of coroutines that share a primitive.
#[derive(Debug)]
pub struct Station {
    /// Index into the kinds of waits that take part.
    pub kind: usize,
    /// For the primitive's own choices.
    pub rng: Rng,
    /// What hits each coroutine, one entry for each.
    pub hits: Vec<(Hit, Rng)>,
}

/// How many stations of a kind there may be, and how many coroutines at each.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Stations of one kind.
    pub stations: usize,
    /// Coroutines at one station.
    pub coroutines: usize,
}

impl Plan {
    /// The plan of one round, for `coroutines` in all, over kinds of waits with these bounds.
    pub fn draw(rng: &mut Rng, coroutines: usize, still: bool, kinds: &[Bounds]) -> Self {
        let settle = if still {
            SETTLE_PER_COROUTINE * u32::try_from(coroutines).unwrap_or(u32::MAX)
        } else {
            Duration::ZERO
        };
        let pace = Duration::from_millis(1 + rng.below(30) as u64);
        let mut counts = vec![0; kinds.len()];
        let mut stations = Vec::new();
        let mut left = coroutines;
        while left > 0 {
            let kind = rng.below(kinds.len());
            if counts[kind] >= kinds[kind].stations && kinds.len() > 1 {
                counts[kind] += 1;
                // Each kind had enough: the bounds are too narrow for so many.
                if counts.iter().all(|&count| count > 2 * coroutines) {
                    break;
                }
                continue;
            }
            counts[kind] += 1;
            let size = (1 + rng.below(kinds[kind].coroutines)).min(left);
            left -= size;
            let hits = (0..size).map(|_| (Hit::draw(rng, settle, pace), rng.fork())).collect();
            stations.push(Station {
                kind,
                rng: rng.fork(),
                hits,
            });
        }
        Self {
            still,
            settle,
            pace,
            stations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_the_wanted_number() {
        let kinds = [
            Bounds {
                stations: 2,
                coroutines: 8,
            },
            Bounds {
                stations: 1000,
                coroutines: 64,
            },
        ];
        let draw = |seed| Plan::draw(&mut Rng::new(seed), 3000, true, &kinds);
        assert_eq!(format!("{:?}", draw(7)), format!("{:?}", draw(7)));
        let plan = draw(7);
        assert_eq!(
            plan.stations.iter().map(|station| station.hits.len()).sum::<usize>(),
            3000
        );
        assert!(plan.stations.iter().filter(|station| station.kind == 0).count() <= 2);
    }
}
