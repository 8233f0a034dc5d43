//! The line before a panic's message that says on which coroutine it happened: std names the thread, and knows no
//! coroutine.
//!
//! std has one hook per process. The first runtime puts one before the hook that it finds, which it calls afterwards. A
//! program that sets a hook of its own later replaces both, and may ask [`try_current`](crate::try_current). The line
//! is written past std's lock of standard error, for which the coroutine might wait: std's flag "a panic hook runs" is
//! the OS thread's, and another light coroutine that panicked meanwhile would end the process.

use crate::api::handle::try_current;
use crate::coroutine::inherits_always;
use std::sync::Once;
use std::{panic, thread};

/// Puts the hook in place, once. Not while a panic is under way, which std forbids: the next runtime does it.
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
        // In a test it belongs to the output that may be captured. Isolated, the coroutine may wait for the lock.
        eprint!("{line}");
    } else {
        crate::sys::report(&[&line]);
    }
}
