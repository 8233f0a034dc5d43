//! `getaddrinfo` and `getnameinfo`: a thread of the offload pool looks the name up.
//!
//! The resolver makes its calls inside the C library, where no hook sees them, and loads whatever modules the system is configured with. So the call as a
//! whole is made elsewhere; what it allocates is freed by `freeaddrinfo` from anywhere. It cannot be cancelled: the resolver's own timeouts end it.
//!
//! What needs no look-up passes: no host, or numbers only as the caller's flags promise. Results are error numbers of their own kind; errno counts with
//! `EAI_SYSTEM` only, and is then carried over from the thread to the caller. `gethostbyname` and its relatives, which answer in static or thread-local
//! memory, are left alone and block the worker.

use super::errno::errno;
use super::{on_coroutine, set_errno};
use crate::offload;
use libc::{addrinfo, c_char, c_int, sockaddr, socklen_t};
use silken_interpose::next;
use std::ptr;

/// Makes the call elsewhere and brings back what it said.
fn look_up(call: impl FnOnce() -> c_int + Send + 'static) -> c_int {
    let (result, number) = offload::run(move || {
        let result = call();
        (result, errno())
    });
    if result == libc::EAI_SYSTEM {
        set_errno(number);
    }
    result
}

/// The hook of `getaddrinfo(3)`.
///
/// # Safety
/// That of the C function.
pub(super) unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    results: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: S7: null or the caller's, readable.
    let is_numeric = unsafe { hints.as_ref() }.is_some_and(|hints| hints.ai_flags & libc::AI_NUMERICHOST != 0);
    if on_coroutine().is_none() || node.is_null() || is_numeric {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::getaddrinfo(node, service, hints, results) };
    }
    let texts = [node, service].map(<*const c_char>::expose_provenance);
    let (hints, results) = (hints.expose_provenance(), results.expose_provenance());
    look_up(move || {
        let [node, service] = texts.map(ptr::with_exposed_provenance);
        let (hints, results) = (
            ptr::with_exposed_provenance(hints),
            ptr::with_exposed_provenance_mut(results),
        );
        // SAFETY: S5: all are the caller's, who waits until this call has ended.
        unsafe { next::getaddrinfo(node, service, hints, results) }
    })
}

/// The hook of `getnameinfo(3)`.
///
/// # Safety
/// That of the C function.
pub(super) unsafe extern "C" fn getnameinfo(
    address: *const sockaddr,
    address_bytes: socklen_t,
    host: *mut c_char,
    host_bytes: socklen_t,
    service: *mut c_char,
    service_bytes: socklen_t,
    flags: c_int,
) -> c_int {
    if on_coroutine().is_none() || host.is_null() || flags & libc::NI_NUMERICHOST != 0 {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::getnameinfo(address, address_bytes, host, host_bytes, service, service_bytes, flags) };
    }
    let address = address.expose_provenance();
    let texts = [host, service].map(<*mut c_char>::expose_provenance);
    look_up(move || {
        let address = ptr::with_exposed_provenance(address);
        let [host, service] = texts.map(ptr::with_exposed_provenance_mut);
        // SAFETY: S5: all are the caller's, who waits until this call has ended.
        unsafe { next::getnameinfo(address, address_bytes, host, host_bytes, service, service_bytes, flags) }
    })
}
