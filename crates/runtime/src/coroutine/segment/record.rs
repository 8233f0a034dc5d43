//! What does the runtime know of a segment that is in use, and of any stack that code runs on?

use super::super::pool::stack::PooledStack;
use std::cell::Cell;
use std::ops::Range;
use std::ptr;

/// What lies between a segment's first frame and the end of its slot. It keeps the address of the first frame's end in
/// the slot, so that it is found to be on this stack.
const TOP_BYTES: usize = 64;

/// A part of the address space that is a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackBounds {
    /// The lowest usable byte.
    pub(crate) bottom: usize,
    /// The usable bytes.
    pub(crate) bytes: usize,
    /// The bytes below that fault.
    pub(crate) guard_bytes: usize,
    /// Whether it is a segment, and not a first stack.
    pub(crate) is_segment: bool,
}

impl StackBounds {
    pub(super) fn of(pooled: &PooledStack, is_segment: bool) -> Self {
        Self {
            bottom: pooled.stack.bottom() as usize,
            bytes: pooled.stack.size(),
            guard_bytes: pooled.stack.guard_range().len(),
            is_segment,
        }
    }

    /// The addresses that fault.
    pub(crate) fn guard(&self) -> Range<usize> {
        self.bottom - self.guard_bytes..self.bottom
    }

    /// All of it, with the guard.
    pub(crate) fn whole(&self) -> Range<usize> {
        self.bottom - self.guard_bytes..self.bottom + self.bytes
    }
}

/// The record of a segment in use. It lies in the frame of the call that grew.
pub(in crate::coroutine) struct Segment {
    pub(super) bottom: usize,
    pub(super) bytes: usize,
    pub(super) older: *const Segment,
    /// Taken out when the call is over.
    pub(super) pooled: Cell<Option<PooledStack>>,
    pub(super) class: u8,
}

impl Segment {
    /// The record of a stack on which a call is to continue. `older` is the caller's newest one.
    pub(super) fn new(pooled: PooledStack, class: u8, older: *const Segment) -> Self {
        Self {
            bottom: pooled.stack.bottom() as usize,
            bytes: pooled.stack.size(),
            older,
            pooled: Cell::new(Some(pooled)),
            class,
        }
    }

    /// Where the first frame ends.
    pub(super) fn top(&self) -> *mut u8 {
        // SAFETY: S1: nobody changes the cell meanwhile.
        let pooled = unsafe { &*self.pooled.as_ptr() };
        let top = pooled.as_ref().map_or(ptr::null_mut(), |pooled| pooled.frame_top);
        top.wrapping_sub(TOP_BYTES)
    }

    pub(super) fn bounds(&self) -> Option<StackBounds> {
        // SAFETY: S1: the record is linked, so nobody changes the cell.
        let pooled = unsafe { &*self.pooled.as_ptr() };
        pooled.as_ref().map(|pooled| StackBounds::of(pooled, true))
    }
}
