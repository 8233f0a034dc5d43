//! How does a coroutine join an OS thread? It parks, and a thread of the offload pool makes the `pthread_join` in its
//! stead.
//!
//! The end of a thread is told by a word in the C library's block of it. The kernel clears that word, and wakes it as a
//! futex shared between processes: only a thread in the kernel can wait for that. A thread that has ended already is
//! joined at once.
//!
//! Any thread may join any other, so only the C library's deadlock check changes. It compares with the joining thread.
//! So it does not detect a coroutine that joins a thread which joins the coroutine's worker.
//!
//! `pthread_tryjoin_np` passes for an OS thread, since it does not wait. The joins with a deadline, and C11's, are in
//! `pthread`.

use super::adopt::{self, Patience};
use super::call::caller;
use super::pthread;
use crate::offload;
use libc::{c_int, c_void, pthread_t};
use silken_interpose::next;
use std::ptr;

unsafe extern "C" {
    fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int;
}

/// The hook of `pthread_join(3)`: returns the error number, and leaves errno alone.
///
/// # Safety
/// The contract of the C function.
pub(super) unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    if pthread::is_coroutine(thread) {
        // SAFETY: S7: null, or the caller's place.
        return unsafe { adopt::join(thread, value, Patience::ForEver) };
    }
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::pthread_join(thread, value) };
    }
    // SAFETY: S7: the caller's arguments under the caller's contract; it joins or does nothing.
    match unsafe { pthread_tryjoin_np(thread, value) } {
        libc::EBUSY => {}
        result => return result,
    }
    let value = value.expose_provenance();
    offload::wait(move || {
        // SAFETY: S5: null or the caller's place; the caller waits until this call has ended; S7: the thread is the
        // caller's to join.
        unsafe { next::pthread_join(thread, ptr::with_exposed_provenance_mut(value)) }
    })
}
