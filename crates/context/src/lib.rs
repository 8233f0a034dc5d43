//! The machine under silken: context switch, identity blocks, stacks.
pub mod stack;
