//! What can a user do with coroutines? The files of this folder make coroutines, wait for them, group them, cancel
//! them, and select among them.

pub mod allocator;
#[forbid(unsafe_code)]
pub mod blocking;
#[forbid(unsafe_code)]
pub mod cancel;
#[forbid(unsafe_code)]
pub mod defer;
#[forbid(unsafe_code)]
pub mod grow;
pub mod handle;
#[forbid(unsafe_code)]
pub mod join_set;
#[forbid(unsafe_code)]
pub mod native;
#[forbid(unsafe_code)]
pub mod par_map;
#[forbid(unsafe_code)]
pub mod park;
pub mod scope;
pub mod select;
// loom's locks cannot be in statics.
#[cfg(all(feature = "signal", not(loom)))]
#[forbid(unsafe_code)]
pub mod signal;
pub mod spawn;
pub mod sync_arms;
#[forbid(unsafe_code)]
pub mod try_scope;
