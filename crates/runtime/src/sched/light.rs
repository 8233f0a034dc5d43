//! Which kinds of coroutine a scheduler makes, and who has vouched for light ones.
//!
//! # Vocabulary
//! A program *vouches* for light coroutines by an `unsafe` call: for one coroutine (`Builder::light`), for one runtime
//! (`RuntimeBuilder::light`), or once for the process ([`allow_light`]). What it vouches for is obligation S12 of
//! SAFETY.md.
//!
//! # Protocol
//! A scheduler learns its [`Kinds`] at the start and asks them at each spawn. No way leads to a light coroutine that
//! nobody has vouched for: where identities cannot be had a runtime is not built, and the default runtime, which must
//! answer a spawn that is vouched for all the same, refuses each that is not. What can be done to make light coroutines
//! like threads is prepared by the same calls (`identity::learn_panic_count`), so it is ready before the first of them
//! starts.
//!
//! # Rejected
//! *To fall back in silence*, as it was: a program that is sound on the developer's machine shares thread-locals on the
//! customer's, whose kernel is older. *To warn and go on*: nobody reads it, and memory is lost all the same. *To let
//! `SILKEN_LIGHT` alone decide*: whoever starts a program is not who knows what its code relies on.

use crate::loom::static_atomic::{AtomicBool, Ordering};
use silken_context::identity;
use std::io;

/// Somebody has vouched for the whole process.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// What a scheduler makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Isolated coroutines; light ones for those who vouch.
    Isolated,
    /// Light ones, vouched for by whoever made the scheduler.
    Light,
    /// Identities cannot be had here: light ones for those who vouch, and an error for all others.
    LightOnRequest,
}

/// Vouches once for every light coroutine of the process: from now on `SILKEN_LIGHT=1` is obeyed, and where coroutines
/// cannot have thread-locals of their own a runtime makes light ones, which share their worker's. Without this call
/// both are errors of [`RuntimeBuilder::build`](crate::RuntimeBuilder::build), and of each spawn in the default
/// runtime.
///
/// To be called first in `main`, before the first spawn. [`Runtime::is_isolated`](crate::Runtime::is_isolated) tells
/// what came of it.
///
/// # Safety
/// The contract of [`RuntimeBuilder::light`](crate::RuntimeBuilder::light), for every coroutine of the process.
///
/// # Examples
/// ```
/// // SAFETY: this program's coroutines run its own code, which keeps nothing in thread-locals over a wait.
/// unsafe { silken::allow_light() };
/// assert_eq!(silken::spawn(|| 6 * 7).join().unwrap(), 42);
/// ```
///
/// It is not a safe call:
/// ```compile_fail,E0133
/// silken::allow_light();
/// ```
pub unsafe fn allow_light() {
    prepare_for_light();
    // Relaxed: a setting that orders nothing.
    ALLOWED.store(true, Ordering::Relaxed);
}

/// Whether somebody has called [`allow_light`].
pub(crate) fn is_light_allowed() -> bool {
    // Relaxed: as in `allow_light`.
    ALLOWED.load(Ordering::Relaxed)
}

/// Learns what light coroutines need; before the first of them is made, in code that may panic and allocate.
pub(crate) fn prepare_for_light() {
    identity::learn_panic_count();
}

/// Why coroutines cannot have identities of their own in this process, if they cannot.
pub(crate) fn why_not_isolated() -> Option<String> {
    match identity::facts() {
        Err(unsupported) => Some(unsupported.to_string()),
        Ok(_) if crate::coroutine::slots_offset().is_none() => {
            let why = "the crate silken lies in a module that was loaded late, whose thread-locals have no fixed place";
            Some(identity::Unsupported(why.to_string()).to_string())
        }
        Ok(_) => None,
    }
}

/// The error of whoever wanted isolated coroutines where there are none.
pub(crate) fn not_isolated(reason: &str) -> io::Error {
    let text = format!(
        "{reason}. Light coroutines would share their worker's thread-locals, on which safe code relies: a program that keeps to their contract says so \
         by `unsafe {{ silken::allow_light() }}` or `#[silken::main(light = unsafe)]`"
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The error of a `SILKEN_LIGHT` for which nobody has vouched.
pub(crate) fn not_allowed(variable: &str) -> io::Error {
    let text = format!(
        "{variable} asks for light coroutines, which share their worker's thread-locals, and this program has not vouched for them: it says so by \
         `unsafe {{ silken::allow_light() }}` before it starts a runtime"
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}
