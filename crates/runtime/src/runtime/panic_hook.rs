//! How does a panic message say on which coroutine the panic happened? std names the thread, and does not know about
//! coroutines. So a line before the message names the coroutine.
//!
//! std has one panic hook per process. The first runtime installs its hook before the hook that it finds, and calls
//! that one afterwards. A program that sets a hook of its own later replaces both; its hook may call
//! [`try_current`](crate::try_current).
//!
//! The line is written without std's lock of standard error, since the coroutine might wait for that lock. std's flag
//! "a panic hook runs" belongs to the OS thread. If another light coroutine of that thread panicked during the wait,
//! the flag would end the process.

use crate::api::handle::try_current;
use crate::coroutine::inherits_always;
use std::sync::Once;
use std::{panic, thread};

/// Installs the hook, once. std forbids this while a panic is under way; then the next runtime installs it.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    if thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            name_coroutine();
            next(info);
        }));
    });
}

fn name_coroutine() {
    let Some(coroutine) = try_current() else { return };
    let name = match coroutine.name() {
        Some(name) => format!("'{name}'"),
        None => coroutine.id().to_string(),
    };
    let line = match coroutine.location() {
        Some(site) => format!("\ncoroutine {name}, spawned at {site}:\n"),
        None => format!("\ncoroutine {name}:\n"),
    };
    if inherits_always() && coroutine.is_isolated() {
        // In a test the line belongs to the output that may be captured. An isolated coroutine may wait for the lock.
        eprint!("{line}");
    } else {
        crate::sys::report(&[&line]);
    }
}
