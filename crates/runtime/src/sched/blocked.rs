//! Does a worker's thread sleep in the kernel? The monitor and the workers ask it of each other.
//!
//! Each thread of a scheduler opens `/proc/thread-self/stat` when it begins, and closes it when it ends. It does not
//! open it for each question: `sys::held` says why. The open files lie in one list, under a lock that whoever asks
//! holds for one `pread`. So a file is never closed while it is read, and its number never belongs to another file by
//! then. A question comes once in a millisecond from each worker, and only about a processor that stands still.

use crate::sys::StaticLock;
use crate::sys::process::ThreadState;
use crate::sys::signal::gettid;
use libc::pid_t;

static STATES: StaticLock<Vec<(pid_t, ThreadState)>> = StaticLock::new(Vec::new());

/// The calling thread can be asked about while this lives.
pub(super) struct AskableThread(pid_t);

/// Lets the others ask about the calling thread. Without a free descriptor nobody learns anything of it.
pub(super) fn make_askable() -> AskableThread {
    let thread = gettid();
    if let Some(state) = ThreadState::of_caller() {
        STATES.lock().push((thread, state));
    }
    AskableThread(thread)
}

impl Drop for AskableThread {
    fn drop(&mut self) {
        STATES.lock().retain(|(thread, _)| *thread != self.0);
    }
}

/// Whether the thread sleeps in the kernel. `None`: that cannot be known.
pub(super) fn is_blocked(thread: pid_t) -> Option<bool> {
    let states = STATES.lock();
    let (_, state) = states.iter().find(|(registered, _)| *registered == thread)?;
    state.is_blocked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_asked_about_while_it_is_registered() {
        let thread = gettid();
        assert_eq!(is_blocked(thread), None);
        let askable = make_askable();
        assert_eq!(is_blocked(thread), Some(false));
        drop(askable);
        assert_eq!(is_blocked(thread), None);
    }
}
