//! What belongs to a stack that coroutines use in turn? Its identity, and where its first frame goes.

use silken_context::identity::Identity;
use silken_context::stack::Stack;
#[cfg(all(test, not(loom)))]
use silken_context::stack::{Arena, ArenaConfig};

/// A stack, the identity at its top, and where the first frame goes.
pub(crate) struct PooledStack {
    pub(crate) stack: Stack,
    pub(crate) identity: Option<Identity>,
    pub(crate) frame_top: *mut u8,
}

// SAFETY: S1: the value is the right to the stack's memory, which may move between threads.
unsafe impl Send for PooledStack {}

#[cfg(all(test, not(loom)))]
impl PooledStack {
    /// The one stack of an arena of its own, without an identity.
    pub(crate) fn of_own_arena() -> Self {
        let config = ArenaConfig {
            slots_max: 1,
            ..ArenaConfig::default()
        };
        let arena = Box::leak(Box::new(Arena::new(config).expect("an arena of one stack")));
        let stack = arena.take().expect("its one stack");
        Self {
            frame_top: stack.top(),
            stack,
            identity: None,
        }
    }
}
