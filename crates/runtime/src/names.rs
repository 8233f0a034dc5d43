//! Names that users look for in another module than the one that has them. Nothing of the runtime goes through here.

/// What other libraries have beside their locks.
pub mod sync {
    pub use crate::channel::{broadcast, mpsc, oneshot, watch};
}

/// What users look for beside timers.
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

/// What most programs use, for `use silken::prelude::*`. Not `use silken::*`, by which the name `test` becomes
/// ambiguous: the attribute `#[silken::test]` has it too.
pub mod prelude {
    pub use crate::channel::{Receiver, Sender, bounded, unbounded};
    pub use crate::{
        CancelToken, Elapsed, JoinError, JoinHandle, JoinSet, Runtime, go, join, loop_select, scope, select, sleep,
        spawn, timeout, try_join, try_scope, yield_now,
    };
}
