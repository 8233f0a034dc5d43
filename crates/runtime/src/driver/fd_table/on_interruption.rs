//! What the user has said about interrupted waits for a descriptor. It is kept with the facts of the number, and of the
//! number's later copies.

use super::{FdEntry, INTERRUPTION_FAILS, INTERRUPTION_STAYS, ON_INTERRUPTION, TOUCHED};
use crate::loom::static_atomic::Ordering;

/// What the user has said about interrupted waits for a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum OnInterruption {
    /// Nothing: the kind of file decides, see `io/interruption.rs`.
    ByKind = 0,
    Fails = INTERRUPTION_FAILS,
    Stays = INTERRUPTION_STAYS,
}

impl FdEntry {
    pub(crate) fn on_interruption(&self) -> OnInterruption {
        match self.facts() & ON_INTERRUPTION {
            INTERRUPTION_FAILS => OnInterruption::Fails,
            INTERRUPTION_STAYS => OnInterruption::Stays,
            _ => OnInterruption::ByKind,
        }
    }

    pub(crate) fn set_on_interruption(&self, what: OnInterruption) {
        let set = |facts| Some(facts & !ON_INTERRUPTION | what as u32 | TOUCHED);
        let _ = self.facts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set);
    }
}
