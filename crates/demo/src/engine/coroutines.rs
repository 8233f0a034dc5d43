//! The coroutine engine: silken's own calls, one for one.

use super::Engine;
use std::io;

/// One silken coroutine per closure.
pub struct Coroutines;

impl Engine for Coroutines {
    type Handle = silken::JoinHandle<u64>;
    type Unparker = silken::Coroutine;

    fn spawn(body: impl FnOnce() -> u64 + Send + 'static) -> io::Result<Self::Handle> {
        Ok(silken::spawn(body))
    }

    fn join(handle: Self::Handle) -> Result<u64, String> {
        handle.join().map_err(|error| format!("{error:?}"))
    }

    fn current() -> Self::Unparker {
        silken::current()
    }

    fn park() {
        silken::park();
    }

    fn unpark(unparker: &Self::Unparker) {
        unparker.unpark();
    }
}
