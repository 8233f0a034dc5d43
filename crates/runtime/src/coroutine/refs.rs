//! Who keeps a control block from being recycled? Counted references do; the last one gives the block back.

use super::core::Core;
use super::current::{Critical, current_link};
use super::pool::pools;
use std::ptr::NonNull;

/// A counted reference to a core.
#[derive(Debug)]
pub(crate) struct CoreRef(NonNull<Core>);

// SAFETY: S2: what a reference offers is atomic, or settled by the lifecycle word.
unsafe impl Send for CoreRef {}
// SAFETY: S2: what a reference offers is atomic, or settled by the lifecycle word.
unsafe impl Sync for CoreRef {}

impl CoreRef {
    /// Takes over one reference.
    ///
    /// # Safety
    /// The caller owns one reference to the core, which this value now stands for (S2).
    pub(crate) unsafe fn adopt(core: NonNull<Core>) -> Self {
        Self(core)
    }

    /// A new reference to a core that the caller knows to be alive.
    pub(crate) fn retain(core: &Core) -> Self {
        core.lifecycle.retain();
        Self(NonNull::from(core))
    }
}

impl std::ops::Deref for CoreRef {
    type Target = Core;

    #[inline(always)]
    fn deref(&self) -> &Core {
        // SAFETY: S2: a counted reference keeps the life that it refers to.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CoreRef {
    fn clone(&self) -> Self {
        Self::retain(self)
    }
}

impl Drop for CoreRef {
    fn drop(&mut self) {
        release(self);
    }
}

/// Drops one reference; the last one sends the core back to the pool.
#[inline]
pub(crate) fn release(core: &Core) {
    if core.lifecycle.release() {
        recycle(core);
    }
}

/// Gives a core back to the pool. Its coroutine has ended, and nothing refers to it any more.
#[inline]
fn recycle(core: &Core) {
    core.clear();
    let core = NonNull::from(core);
    let _critical = Critical::enter();
    match current_link() {
        Some(link) => link.caches.give_core(core),
        None => pools().give_core(core),
    }
}

/// Calls `look` with every core that is not free, for shutdown and reports. Cores may become free, and be taken, during
/// the walk. A reference holds each core during the call, so that its memory cannot pass to another life meanwhile.
pub(crate) fn for_each_core(mut look: impl FnMut(CoreRef)) {
    let chunks = {
        let _critical = Critical::enter();
        pools().chunks()
    };
    for core in chunks.into_iter().flatten() {
        if core.lifecycle.try_retain() {
            // SAFETY: S2: the reference that was just taken.
            look(unsafe { CoreRef::adopt(NonNull::from(core)) });
        }
    }
}
