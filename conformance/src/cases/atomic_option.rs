//! silken::sync::AtomicOption: a value that is put and taken whole, each once.

use crate::probe::Tally;
use crate::{Executor, join_all};
use silken::sync::AtomicOption;
use std::sync::Arc;

/// Of many who take one gets it.
pub fn taken_once(ex: &dyn Executor) {
    for _ in 0..30 {
        let cell = AtomicOption::some(7);
        let cell = Arc::new(cell);
        let taken = join_all(ex.start_each(4, move |_| cell.take()));
        assert_eq!(taken.into_iter().flatten().collect::<Vec<_>>(), [7]);
    }
}

/// Values that are swapped, stored and taken all at once: each is had or dropped once.
pub fn drops_are_exact(ex: &dyn Executor) {
    let tally = Tally::default();
    let (cell, values) = (Arc::new(AtomicOption::none()), tally.clone());
    let shared = cell.clone();
    join_all(ex.start_each(6, move |unit| {
        for round in 0..100 {
            match (unit + round) % 3 {
                0 => drop(shared.swap(values.value())),
                1 => shared.store(values.value()),
                _ => drop(shared.take()),
            }
            if round % 10 == 0 {
                silken::yield_now();
            }
        }
    }));
    assert!(tally.made() - tally.dropped() <= 1);
    assert_eq!(cell.is_some(), tally.made() > tally.dropped());
    drop(cell);
    assert_eq!(tally.made(), tally.dropped());
}

/// A value goes round: whoever takes it puts it back, and it is never two.
pub fn one_value_goes_round(ex: &dyn Executor) {
    let cell = Arc::new(AtomicOption::some(Box::new(0)));
    let shared = cell.clone();
    join_all(ex.start_each(4, move |_| {
        let mut rounds = 0;
        while rounds < 100 {
            match shared.take() {
                Some(mut value) => {
                    *value += 1;
                    rounds += 1;
                    assert!(shared.swap(value).is_none());
                }
                None => silken::yield_now(),
            }
        }
    }));
    assert_eq!(cell.take().map(|value| *value), Some(400));
}
