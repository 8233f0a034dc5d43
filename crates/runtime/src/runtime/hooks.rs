//! What a runtime puts in place in the process: the answers to C symbols, and the line before a panic.

use super::panic_hook;

/// Puts the runtime's answers into the table of interposed symbols, and the line before a panic in place.
pub(super) fn install_hooks() {
    panic_hook::install();
    #[cfg(feature = "interpose")]
    crate::hook::install();
}

/// Why calls of std and of C are not answered, if they are not.
pub(super) fn why_unheard() -> Option<&'static str> {
    #[cfg(feature = "interpose")]
    return crate::hook::why_unheard();
    #[cfg(not(feature = "interpose"))]
    return Some("silken is built without the feature `interpose`");
}
