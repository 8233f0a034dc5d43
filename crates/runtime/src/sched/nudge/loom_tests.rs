//! Loom model of a nudge: a worker notes a sighting while the monitor looks and goes to its pause.

use super::{Nudge, Sighting};
use loom::sync::Arc;
use loom::thread;

const TICK: u32 = 7;

/// The monitor never pauses without having seen the sighting.
#[test]
fn a_sighting_ends_the_pause_or_is_seen() {
    loom::model(|| {
        let parts = Arc::new((Nudge::new(), Sighting::new()));
        let worker = thread::spawn({
            let parts = parts.clone();
            move || {
                let (nudge, sighting) = &*parts;
                assert!(sighting.begin(TICK));
                sighting.note_blocked(TICK, 1 << 20);
                nudge.give();
            }
        });
        let (nudge, sighting) = &*parts;
        let sees = || sighting.blocked_since(TICK, 2 << 20).is_some();
        nudge.clear();
        let saw = sees();
        let pauses = nudge.is_clear();
        worker.join().unwrap();
        // A nudge after the comparison ends the pause: the wake finds the sleeper.
        assert!(saw || !pauses || !nudge.is_clear(), "it pauses, and nothing wakes it");
        nudge.clear();
        assert!(sees(), "the look after the nudge does not see the sighting");
    });
}

/// Of two workers that look at one pick, one notes it.
#[test]
fn one_worker_looks_at_a_pick() {
    loom::model(|| {
        let sighting = Arc::new(Sighting::new());
        let other = thread::spawn({
            let sighting = sighting.clone();
            move || sighting.begin(TICK)
        });
        let here = sighting.begin(TICK);
        assert!(here ^ other.join().unwrap());
        assert!(!sighting.begin(TICK));
        assert!(sighting.begin(TICK + 1));
    });
}
