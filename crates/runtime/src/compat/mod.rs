//! Faces of other coroutine libraries, over silken's own: for programs that come from there. silken's own names stand
//! first in the docs; nothing inside the runtime uses these.

pub mod coio;
pub mod may;
#[cfg(feature = "extras")]
pub mod queue;
