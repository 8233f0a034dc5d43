//! Names that users look for in another module than the one that has them. Nothing of the runtime goes through here.

/// What other libraries have beside their locks.
pub mod sync {
    pub use crate::channel::{broadcast, mpsc, oneshot, watch};
}

/// What other libraries have beside their timers.
pub mod time {
    pub use crate::cancel::{Elapsed, timeout, timeout_at};
}
