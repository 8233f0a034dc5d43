//! Which names do users look for in another module than the one that defines them? This file re-exports them. Nothing
//! of the runtime imports from here.

/// The names that other libraries have beside their locks.
pub mod sync {
    pub use crate::channel::{broadcast, mpsc, oneshot, watch};
}

/// The names that users look for beside timers.
pub mod time {
    pub use crate::api::cancel::{Elapsed, timeout, timeout_at};
    pub use crate::extras::after_func::{AfterFunc, after_func};
    #[cfg(feature = "extras")]
    pub use crate::extras::date::layout::{ANSIC, DATE, DATE_TIME, KITCHEN, RFC822Z, RFC1123Z, RFC3339, RFC3339_NANO};
    #[cfg(feature = "extras")]
    pub use crate::extras::date::{Month, ParseTimeError, Time, Weekday};
}

/// Collections that coroutines share.
#[cfg(feature = "extras")]
pub mod collections {
    pub use crate::extras::collections::sync_btree_map::{self, SyncBtreeMap};
    pub use crate::extras::collections::sync_map::{self, MapRef, MapRefMut, SyncHashMap};
    pub use crate::extras::collections::sync_vec::{self, SyncVec};
    pub use crate::extras::collections::{Element, ElementMut, Entry, EntryMut, Ref, RefMut};
}

/// The names that most programs use, for `use silken::prelude::*`. Do not write `use silken::*`: it makes the name
/// `test` ambiguous, for the attribute `#[silken::test]` has it too.
///
/// # Examples
/// ```
/// use silken::prelude::*;
/// let (sender, receiver) = unbounded();
/// spawn(move || sender.send(7).unwrap());
/// assert_eq!(receiver.recv(), Ok(7));
/// ```
pub mod prelude {
    pub use crate::channel::{Receiver, Sender, bounded, unbounded};
    pub use crate::{
        CancelToken, Elapsed, JoinError, JoinHandle, JoinSet, Runtime, go, join, loop_select, scope, select, sleep,
        spawn, timeout, try_join, try_scope, yield_now,
    };
}
