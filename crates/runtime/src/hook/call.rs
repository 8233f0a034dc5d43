//! What do all hooks share? The question who calls, the way in which a result reaches C, and errno.
//!
//! On a coroutine a hook works with results as values. errno is written once, at the end, where the caller will read
//! it: in the identity that the coroutine has then. On success errno is untouched: C does not promise that, but careful
//! callers expect it.

use crate::coroutine::{Core, Critical, current_core};
use crate::driver::fd_table;
use crate::sys::raw::Errno;
pub(super) use crate::sys::{errno, set_errno};
use std::os::fd::RawFd;

/// The running coroutine, if the hooks are to answer it. `None` in a critical section, where the caller is the runtime.
#[inline(always)]
pub(super) fn caller() -> Option<&'static Core> {
    current_core().filter(|_| !Critical::is_entered())
}

/// Whether the caller is the runtime itself, or a signal handler that has interrupted it. The runtime may then hold a
/// lock that the bookkeeping would take.
#[inline(always)]
pub(super) fn is_runtime() -> bool {
    Critical::is_entered()
}

/// The function that forgets a number for this caller.
#[inline(always)]
pub(super) fn resetting() -> fn(RawFd) {
    if is_runtime() {
        fd_table::reset_later
    } else {
        fd_table::reset
    }
}

/// The function that, for this caller, lets a number become another file. Calls that wait for the number try again.
#[inline(always)]
pub(super) fn replacing() -> fn(RawFd) {
    if is_runtime() {
        fd_table::reset_later
    } else {
        fd_table::replace
    }
}

/// The C form of a result.
#[inline(always)]
pub(super) fn answer(result: Result<usize, Errno>) -> isize {
    match result {
        Ok(value) => value as isize,
        Err(errno) => fail(errno),
    }
}

#[cold]
fn fail(errno: Errno) -> isize {
    set_errno(errno.0);
    -1
}

/// Defines hooks that pass if the caller is no coroutine, and answer a coroutine with a result.
macro_rules! hooks {
    ($(
        $(#[$meta:meta])*
        fn $name:ident($($p:ident: $t:ty),*) -> $r:ty { $answer:expr }
    )*) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        /// S7: the contract of the C function.
        pub(crate) unsafe extern "C" fn $name($($p: $t),*) -> $r {
            if $crate::hook::call::caller().is_none() {
                // SAFETY: S7: the caller's arguments under the caller's contract.
                return unsafe { silken_interpose::next::$name($($p),*) };
            }
            $crate::coroutine::budget::spend();
            // SAFETY: S7: the caller's arguments under the caller's contract.
            $crate::hook::call::answer(unsafe { $answer }) as $r
        }
    )*};
}
pub(super) use hooks;
