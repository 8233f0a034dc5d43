//! The coroutine engine of a build whose silken cannot spawn yet: refuses every job, so its cases are reported as not
//! run.

use super::Engine;
use std::io;

/// Refuses every closure.
pub struct Coroutines;

impl Engine for Coroutines {
    type Handle = ();
    type Unparker = ();

    fn spawn(_body: impl FnOnce() -> u64 + Send + 'static) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this build has no coroutines",
        ))
    }

    fn join((): ()) -> Result<u64, String> {
        Err("never spawned".to_owned())
    }

    fn current() {}

    fn park() {}

    fn unpark((): &()) {}
}
