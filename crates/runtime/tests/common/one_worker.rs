//! Cases on one worker that is never handed over: a call that blocked it would hang the case.

use silken::RuntimeBuilder;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// Ends a case that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a case as an isolated and as a light coroutine of runtimes with these settings, each on one worker.
pub(crate) fn on_one_worker(settings: &[RuntimeBuilder], case: fn()) {
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE);
        if !seen.load(SeqCst) {
            eprintln!("a call has blocked the only worker");
            std::process::abort();
        }
    });
    for is_light in [false, true] {
        for builder in settings {
            let builder = builder.clone().workers(1).hand_off(None);
            // SAFETY: S12: the cases wait in silken's types only, and keep nothing in thread-locals.
            let builder = if is_light { unsafe { builder.light() } } else { builder };
            let runtime = builder.build().expect("the runtime starts");
            runtime
                .run(case)
                .unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        }
    }
    over.store(true, SeqCst);
}
