//! What is known of a file that decides how it is read without waiting?

use super::{FdEntry, NO_NOWAIT, UNTOLD};
use crate::loom::static_atomic::Ordering;

impl FdEntry {
    /// Whether the file is thought to know RWF_NOWAIT.
    #[inline]
    pub(crate) fn knows_nowait(&self) -> bool {
        self.facts() & NO_NOWAIT == 0
    }

    pub(crate) fn set_no_nowait(&self) {
        self.facts.fetch_or(NO_NOWAIT, Ordering::Relaxed);
    }

    /// Whether the kernel is thought to tell what of the file is in the page cache.
    #[inline]
    pub(crate) fn tells_what_is_cached(&self) -> bool {
        self.facts() & UNTOLD == 0
    }

    pub(crate) fn set_untold(&self) {
        // Relaxed: as the other facts.
        self.facts.fetch_or(UNTOLD, Ordering::Relaxed);
    }
}
