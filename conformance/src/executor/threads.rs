//! Units that are OS threads: the oracle that validates each case.
//!
//! The stack is small because some cases start a thousand units; it is still twice what a coroutine gets.

use super::{Executor, Join, Kind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

const STACK_BYTES: usize = 512 * 1024;

/// Starts OS threads.
#[derive(Clone, Copy, Debug)]
pub struct Threads;

impl Executor for Threads {
    fn kind(&self) -> Kind {
        Kind::Threads
    }

    fn spawn(&self, f: Box<dyn FnOnce() + Send>) -> Box<dyn Join> {
        spawn_thread(f)
    }

    fn shared(&self) -> Arc<dyn Executor> {
        Arc::new(*self)
    }

    fn worker_id(&self) -> Option<usize> {
        None
    }
}

/// Starts one OS thread as a unit.
pub fn spawn_thread(f: Box<dyn FnOnce() + Send>) -> Box<dyn Join> {
    let handle = thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(f)
        .expect("an OS thread starts");
    Box::new(ThreadUnit(handle))
}

struct ThreadUnit(JoinHandle<()>);

impl Join for ThreadUnit {
    fn join(self: Box<Self>) -> thread::Result<()> {
        self.0.join()
    }
}
