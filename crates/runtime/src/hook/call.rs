//! What do all hooks share? The question who calls (`io::caller`), the way in which a result reaches C, and errno.
//!
//! On a coroutine a hook works with results as values. errno is written once, at the end, where the caller will read
//! it: in the identity that the coroutine has then. On success errno is untouched: C does not promise that, but careful
//! callers expect it.

pub(super) use crate::io::caller::{caller, is_runtime, replacing, resetting};
use crate::sys::raw::Errno;
pub(super) use crate::sys::{errno, set_errno};

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
