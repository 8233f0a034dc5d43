//! What does the outgoing context hand over in a switch? One word says which coroutine leaves, why, and how its
//! successor was found; another names the worker that carries out the switch.
//!
//! Both words travel in registers (`silken_context::switch::Handoff`), so a switch stores nothing for them. The
//! protocol that uses them is at the head of `switch.rs`.

use crate::coroutine::Core;
use std::ptr::{self, NonNull};

/// Why the outgoing coroutine left its stack. Its successor acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum SwitchReason {
    /// It yields: its successor queues it behind all others.
    Yield = 0,
    /// It parks: its successor publishes it as parked.
    Park,
    /// It has ended: its successor gives its stack to the pool.
    Finished,
    /// It has overflowed its stack: its successor finishes it, and the stack is lost.
    Overflowed,
}

/// The outgoing coroutine, its switch reason, and how its successor was found. All fit in one word, since the address
/// of a core is a multiple of 64. The word is passed by the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing(usize);

impl Outgoing {
    const REASON: usize = 3;
    /// The successor is still the first of the worker's pinned queue.
    const FROM_PINNED: usize = 4;
    /// The outgoing coroutine yields and goes into the pinned queue.
    const TO_PINNED: usize = 8;
    const BITS: usize = 15;

    /// No coroutine left: the worker's own context began to run one. It does not count as a yield.
    pub(crate) const fn nobody() -> Self {
        Self(SwitchReason::Park as usize)
    }

    #[inline(always)]
    pub(crate) fn new(core: &Core, leaving: SwitchReason) -> Self {
        Self(ptr::from_ref(core).expose_provenance() | leaving as usize)
    }

    /// The coroutine yields, and its successor is the first of the pinned queue: the two change places.
    #[inline(always)]
    pub(crate) fn in_turn(core: &Core) -> Self {
        Self(ptr::from_ref(core).expose_provenance() | Self::IN_TURN)
    }

    const IN_TURN: usize = SwitchReason::Yield as usize | Self::FROM_PINNED | Self::TO_PINNED;

    /// Adds how the successor was found.
    #[inline(always)]
    pub(crate) fn for_successor(self, from_pinned: bool) -> Self {
        Self(self.0 | (usize::from(from_pinned) * Self::FROM_PINNED))
    }

    #[inline(always)]
    pub(crate) fn successor_is_from_pinned(self) -> bool {
        self.0 & Self::FROM_PINNED != 0
    }

    #[inline(always)]
    pub(crate) fn who(self) -> Option<(NonNull<Core>, SwitchReason)> {
        let leaving = match self.0 & Self::REASON {
            0 => SwitchReason::Yield,
            1 => SwitchReason::Park,
            2 => SwitchReason::Finished,
            _ => SwitchReason::Overflowed,
        };
        let core = ptr::with_exposed_provenance_mut::<Core>(self.0 & !Self::BITS);
        NonNull::new(core).map(|core| (core, leaving))
    }

    /// The outgoing coroutine, if it left as [`in_turn`](Self::in_turn) says.
    #[inline(always)]
    pub(crate) fn who_in_turn(self) -> Option<NonNull<Core>> {
        if self.0 & Self::BITS != Self::IN_TURN {
            return None;
        }
        let core = ptr::with_exposed_provenance_mut::<Core>(self.0 - Self::IN_TURN);
        // SAFETY: S2: `in_turn` made it of a reference.
        Some(unsafe { NonNull::new_unchecked(core) })
    }

    #[inline(always)]
    pub(crate) fn into_word(self) -> usize {
        self.0
    }

    #[inline(always)]
    pub(crate) fn from_word(word: usize) -> Self {
        Self(word)
    }
}
