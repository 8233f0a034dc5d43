//! `pthread_join`: a coroutine that joins an OS thread parks, and a thread of the offload pool joins in its stead.
//!
//! What says that a thread has ended is a word in the C library's block of it, which the kernel clears and wakes as a
//! futex shared between processes: nobody but a thread in the kernel can wait for that. One that has ended already is
//! joined at once.
//!
//! Any thread may join any other, so only the C library's deadlock check changes: it compares with the joining thread,
//! and a coroutine that joins a thread which joins its worker is not found out.
//!
//! `pthread_tryjoin_np` passes: it does not wait. Those with a deadline, and C11's, are in `thread`.

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
/// That of the C function.
pub(super) unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    if pthread::is_coroutine(thread) {
        return pthread::refuse_join(thread);
    }
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::pthread_join(thread, value) };
    }
    // SAFETY: S7: as above; it joins or does nothing.
    match unsafe { pthread_tryjoin_np(thread, value) } {
        libc::EBUSY => {}
        result => return result,
    }
    let value = value.expose_provenance();
    offload::wait(move || {
        // SAFETY: S5: null or the caller's place, who waits until this call has ended; S7: the thread is the caller's
        // to join.
        unsafe { next::pthread_join(thread, ptr::with_exposed_provenance_mut(value)) }
    })
}
