//! Names that users look for in another module than the one that has them. Nothing of the runtime goes through here.

/// What other libraries have beside their locks.
pub mod sync {
    pub use crate::channel::{broadcast, mpsc, oneshot, watch};
}

/// What other libraries have beside their timers.
pub mod time {
    pub use crate::cancel::{Elapsed, timeout, timeout_at};
}

/// What most programs use, for `use silken::prelude::*`. Not `use silken::*`, by which the name `test` becomes
/// ambiguous: the attribute `#[silken::test]` has it too.
pub mod prelude {
    pub use crate::channel::{Receiver, Sender, bounded, unbounded};
    pub use crate::{
        CancelToken, Elapsed, JoinError, JoinHandle, JoinSet, Runtime, go, join, loop_select, scope, select, sleep,
        spawn, timeout, try_join, try_scope, yield_now,
    };
}
