//! A loom model of work whose caller may give up while the job runs.

use super::{Call, Origin, UNDER_WAY, Work};
use loom::thread;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the closure owns and returns.
struct Owned(Arc<AtomicUsize>);

impl Drop for Owned {
    fn drop(&mut self) {
        // Relaxed: read after the threads were joined.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A caller that gives up against the job: what the closure owns is dropped once, whoever comes first; the work is not
/// listed any more; and a caller that finds it ended has the result.
#[test]
fn giving_up_against_the_end() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let owned = Owned(drops.clone());
        let origin = Origin {
            runtime: 1,
            site: Location::caller(),
        };
        let call = Arc::new(Call::new(move || owned, origin));
        let work = Work(call.clone());
        let job = thread::spawn(move || call.run());
        if work.has_ended() {
            // Relaxed: nothing but this thread drops it now.
            assert_eq!(drops.load(Ordering::Relaxed), 0);
            assert!(work.take().is_ok());
        } else {
            drop(work);
        }
        job.join().unwrap();
        // Relaxed: the join orders it.
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        assert!(UNDER_WAY.lock().is_empty());
    });
}
