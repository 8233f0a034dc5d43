//! What does a runtime install in the process? The hooks for C symbols, and the line that precedes a panic message.

use super::panic_hook;

/// Puts the runtime's hooks into the table of interposed symbols, and installs the line that precedes a panic message.
pub(super) fn install_hooks() {
    panic_hook::install();
    #[cfg(feature = "interpose")]
    crate::hook::install();
}

/// The reason why the hooks do not serve calls of std and of C; `None` if they do.
pub(super) fn why_unheard() -> Option<&'static str> {
    #[cfg(feature = "interpose")]
    return crate::hook::why_unheard();
    #[cfg(not(feature = "interpose"))]
    return Some("silken is built without the feature `interpose`");
}
