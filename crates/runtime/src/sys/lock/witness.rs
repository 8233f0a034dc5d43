//! Does each caller keep the rule that the runtime's locks are taken in critical sections only? Debug builds ask.
//!
//! Critical sections are counted on a higher floor, so that floor hands its question down when the first runtime
//! starts.

#[cfg(all(debug_assertions, not(loom)))]
mod asks {
    use std::sync::OnceLock;

    static MAY_LOCK: OnceLock<fn() -> bool> = OnceLock::new();

    /// Sets the question whether the caller may take a lock.
    pub(crate) fn set(may_lock: fn() -> bool) {
        MAY_LOCK.get_or_init(|| may_lock);
    }

    #[inline]
    #[track_caller]
    pub(in crate::sys::lock) fn check() {
        if MAY_LOCK.get().is_some_and(|may_lock| !may_lock()) {
            eprintln!(
                "silken: fatal: a lock of the runtime is taken outside of a critical section, at {}",
                std::panic::Location::caller()
            );
            std::process::abort();
        }
    }
}

#[cfg(all(debug_assertions, not(loom)))]
pub(super) use asks::check;
#[cfg(all(debug_assertions, not(loom)))]
pub(crate) use asks::set;

#[cfg(not(all(debug_assertions, not(loom))))]
#[inline(always)]
pub(super) fn check() {}
