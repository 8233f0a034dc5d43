//! Handlers of the test programs' own.

use libc::{c_int, c_long};

/// Installs a handler.
pub fn handle(signal: c_int, handler: extern "C" fn(c_int), flags: c_int) {
    // SAFETY: S6: all zeros is an action with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: S6: what the handler does is what is tested.
    assert_eq!(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }, 0);
}

/// The kernel's number of the calling thread: on a coroutine of its worker, whose thread has another number than the
/// identity.
pub fn own_thread() -> c_long {
    // SAFETY: S7: asks for a number.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Sends a signal to a thread of this process.
pub fn signal_thread(thread: c_long, signal: c_int) {
    // SAFETY: S7: numbers only.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, signal) };
    assert_eq!(sent, 0);
}
