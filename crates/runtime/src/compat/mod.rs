//! How can programs that were written for other coroutine libraries use silken? This folder has the names of those
//! libraries, over silken's own. silken's own names stand first in the docs; nothing inside the runtime uses these.

pub mod coio;
pub mod may;
#[cfg(feature = "extras")]
pub mod queue;
