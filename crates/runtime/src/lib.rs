//! silken.
#![cfg_attr(loom, allow(dead_code, unused_imports))]

pub(crate) mod loom;

pub(crate) mod collections;
pub mod coroutine;
pub(crate) mod driver;
#[cfg(feature = "interpose")]
pub(crate) mod hook;
pub(crate) mod sys;
