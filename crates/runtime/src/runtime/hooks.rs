//! What does a runtime install in the process? The hooks for C symbols, and the line that precedes a panic message.

use super::environment::flag_from_environment;
use super::panic_hook;
use crate::sched::Scheduler;
use std::io;

/// Puts the runtime's hooks into the table of interposed symbols, and installs the line that precedes a panic message.
pub(super) fn install_hooks() {
    panic_hook::install();
    #[cfg(feature = "interpose")]
    crate::hook::install();
}

/// The reason why the hooks do not serve calls of std and of C; `None` if they do.
pub(super) fn why_unheard() -> Option<&'static str> {
    #[cfg(feature = "interpose")]
    return crate::hook::why_unheard();
    #[cfg(not(feature = "interpose"))]
    return Some("silken is built without the feature `interpose`");
}

/// Lets threads that the program makes be coroutines of this scheduler.
pub(super) fn adopt_threads(scheduler: &'static Scheduler) -> io::Result<()> {
    let refuse = |reason: &str| {
        let text = format!("threads cannot become coroutines: {reason}");
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    };
    if let Some(reason) = why_unheard() {
        return refuse(reason);
    }
    if !scheduler.isolates() {
        return refuse("the runtime's coroutines are light, and a thread needs thread-locals of its own");
    }
    #[cfg(feature = "interpose")]
    crate::hook::adopt::begin(scheduler);
    Ok(())
}

/// The same, if the environment asks for it.
pub(super) fn adopt_threads_if_asked(scheduler: &'static Scheduler) -> io::Result<()> {
    match flag_from_environment("SILKEN_THREADS")? {
        Some(true) => adopt_threads(scheduler),
        _ => Ok(()),
    }
}
