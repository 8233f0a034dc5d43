//! What can a user do with coroutines? The files of this folder make coroutines, wait for them, group them, cancel
//! them, and select among them.

pub mod blocking;
pub mod cancel;
pub mod defer;
pub mod grow;
pub mod handle;
pub mod join_set;
pub mod par_map;
pub mod park;
pub mod scope;
pub mod select;
// loom's locks cannot be in statics.
#[cfg(all(feature = "signal", not(loom)))]
pub mod signal;
pub mod spawn;
pub mod sync_arms;
pub mod try_scope;
