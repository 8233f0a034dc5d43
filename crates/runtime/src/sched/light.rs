//! Which kinds of coroutine does a scheduler make, and how does a program vouch for light ones?
//!
//! # Vocabulary
//! A program *vouches* for light coroutines by an `unsafe` call: for one coroutine (`Builder::light`), for one runtime
//! (`RuntimeBuilder::light`), or once for the process ([`allow_light`]). What it vouches for is obligation S12 of
//! SAFETY.md.
//!
//! # Protocol
//! A scheduler learns its [`Kinds`] at the start and consults them at each spawn. No path leads to a light coroutine
//! for which the program has not vouched. Where identities cannot be had, a runtime is not built. The default runtime
//! must still accept a spawn that is vouched for, so it exists and refuses every spawn that is not. The same calls that
//! vouch also prepare what makes light coroutines more like threads (`identity::learn_panic_count`). So it is ready
//! before the first of them starts.
//!
//! # Rejected
//! *To fall back silently*: a program that is sound on the developer's machine shares thread-locals on the customer's,
//! whose kernel is older. *To warn and continue*: the warning is not read, and memory safety is lost all the same. *To
//! let `SILKEN_LIGHT` alone decide*: the person who starts a program does not know what its code relies on.

use crate::loom::static_atomic::{AtomicBool, Ordering};
use silken_context::identity;
use std::io;

/// Whether the program has vouched for the whole process.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// Which kinds of coroutine a scheduler makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Isolated coroutines; light ones where a spawn vouches for them.
    Isolated,
    /// Light ones. The code that made the scheduler has vouched for them.
    Light,
    /// Identities cannot be had here: light ones where a spawn vouches for them, and an error for all other spawns.
    LightOnRequest,
}

/// Vouches once for every light coroutine of the process. From now on `SILKEN_LIGHT=1` is obeyed. Where coroutines
/// cannot have thread-locals of their own, a runtime makes light ones, which share their worker's. Without this call,
/// both cases are errors of [`RuntimeBuilder::build`](crate::RuntimeBuilder::build), and of each spawn in the default
/// runtime.
///
/// Call it first in `main`, before the first spawn. [`Runtime::is_isolated`](crate::Runtime::is_isolated) tells which
/// kind a runtime makes.
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

/// Whether [`allow_light`] was called.
pub(crate) fn is_light_allowed() -> bool {
    // Relaxed: as in `allow_light`.
    ALLOWED.load(Ordering::Relaxed)
}

/// Learns what light coroutines need. Called before the first of them is made, in code that may panic and allocate.
pub(crate) fn prepare_for_light() {
    identity::learn_panic_count();
}

/// Why coroutines cannot have identities of their own in this process; `None` if they can.
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

/// The error where isolated coroutines were asked for and cannot be had.
pub(crate) fn not_isolated(reason: &str) -> io::Error {
    let text = format!(
        "{reason}. Light coroutines would share their worker's thread-locals, on which safe code relies: a program that keeps to their contract says so \
         by `unsafe {{ silken::allow_light() }}` or `#[silken::main(light = unsafe)]`"
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The error of a `SILKEN_LIGHT` for which the program has not vouched.
pub(crate) fn not_allowed(variable: &str) -> io::Error {
    let text = format!(
        "{variable} asks for light coroutines, which share their worker's thread-locals, and this program has not vouched for them: it says so by \
         `unsafe {{ silken::allow_light() }}` before it starts a runtime"
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}
