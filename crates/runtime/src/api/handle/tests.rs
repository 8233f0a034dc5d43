//! Does a join ever end before the coroutine has ended? It must not, whatever happens to the joiner.

use super::JoinHandle;
use crate::Runtime;
use crate::loom::static_atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longer than the joiner takes to wait, be cancelled, and go on.
const LONG: Duration = Duration::from_millis(50);

static ENDED: AtomicBool = AtomicBool::new(false);

fn slow() -> JoinHandle<u64> {
    ENDED.store(false, Ordering::Relaxed);
    crate::spawn(|| {
        crate::sleep(LONG);
        ENDED.store(true, Ordering::Relaxed);
        7
    })
}

/// Joins in a destructor, by a wait that may be interrupted. The raise after it finds that the caller already unwinds,
/// and returns.
struct JoinsInterruptibly(Option<JoinHandle<u64>>);

impl Drop for JoinsInterruptibly {
    fn drop(&mut self) {
        let mut handle = self.0.take().expect("it is there until the drop");
        assert!(std::thread::panicking());
        assert!(handle.wait_with(None, true), "a wait without a deadline has timed out");
        assert!(ENDED.load(Ordering::Relaxed), "the wait ended before the coroutine");
        assert_eq!(handle.take().expect("it returns"), 7);
    }
}

#[test]
fn a_wait_that_is_interrupted_and_cannot_unwind_goes_on() {
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        let outcome = runtime.run(|| {
            let joiner = crate::spawn(|| {
                let _joins = JoinsInterruptibly(Some(slow()));
                crate::current().cancel();
                crate::check_cancelled();
            });
            let error = joiner.join().unwrap_err();
            assert!(error.is_cancelled(), "{error}");
        });
        outcome.unwrap();
    }
}

#[test]
#[should_panic(expected = "before the coroutine's end")]
fn a_result_is_not_taken_before_the_end() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let mut handle = runtime.spawn(crate::park);
    let _ = handle.take();
}
