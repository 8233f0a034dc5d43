//! The kernel, as the runtime sees it.
