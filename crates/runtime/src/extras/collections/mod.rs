//! Which collections may coroutines share? `SyncHashMap`, `SyncBtreeMap` and `SyncVec`. `guards` serves all three.

mod guards;
#[forbid(unsafe_code)]
pub mod sync_btree_map;
#[forbid(unsafe_code)]
pub mod sync_map;
#[forbid(unsafe_code)]
pub mod sync_vec;

pub use guards::{Element, ElementMut, Entry, EntryMut, Ref, RefMut};
