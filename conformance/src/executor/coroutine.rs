//! Units that are silken's coroutines, alone or mixed with OS threads.
//!
//! A runtime is built for each case, so that nothing a case leaves behind reaches the next one. The case's body runs
//! on a coroutine of the kind under test. Mixed starts an OS thread and a coroutine in turn; a unit that is an OS
//! thread has no runtime to spawn on, so units that it starts are OS threads.

use super::threads::spawn_thread;
use super::{Executor, Join, Kind};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Runs `case` on a new runtime of this kind.
pub fn run(kind: Kind, case: fn(&dyn Executor)) -> thread::Result<()> {
    let (Kind::Isolated { workers } | Kind::Light { workers } | Kind::Mixed { workers }) = kind else {
        panic!("{kind:?} has no coroutines");
    };
    let runtime = silken::Runtime::builder()
        .workers(workers)
        .build()
        .expect("the runtime starts");
    runtime.run(move || {
        let executor = Coroutines {
            kind,
            turn: Arc::new(AtomicUsize::new(0)),
        };
        if matches!(kind, Kind::Light { .. }) {
            let body = executor.clone();
            let unit = executor.spawn(Box::new(move || case(&body)));
            unit.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        } else {
            case(&executor);
        }
    })
}

#[derive(Clone)]
struct Coroutines {
    kind: Kind,
    turn: Arc<AtomicUsize>,
}

impl Executor for Coroutines {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn spawn(&self, f: Box<dyn FnOnce() + Send>) -> Box<dyn Join> {
        match self.kind {
            Kind::Light { .. } => {
                let builder = crate::probe::light();
                Box::new(CoroutineUnit(builder.spawn(f).expect("a light coroutine starts")))
            }
            // Relaxed: only the alternation matters, not the order with other data.
            Kind::Mixed { .. }
                if !silken::is_coroutine() || self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) =>
            {
                spawn_thread(f)
            }
            _ => Box::new(CoroutineUnit(silken::spawn(f))),
        }
    }

    fn shared(&self) -> Arc<dyn Executor> {
        Arc::new(self.clone())
    }

    fn worker_id(&self) -> Option<usize> {
        silken::worker_id()
    }
}

struct CoroutineUnit(silken::JoinHandle<()>);

impl Join for CoroutineUnit {
    fn join(self: Box<Self>) -> thread::Result<()> {
        self.0.join().map_err(payload)
    }
}

fn payload(error: silken::JoinError) -> Box<dyn Any + Send> {
    match error {
        silken::JoinError::Panicked(payload) => payload.into_inner(),
        other => Box::new(format!("{other:?}")),
    }
}
