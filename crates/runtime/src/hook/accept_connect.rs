//! Which symbols accept and open connections? `io::accept` and `io::connect` say how they wait.

use super::call::{answer, caller};
use crate::coroutine::budget;
use crate::io;
use libc::{c_int, sockaddr, socklen_t};
use silken_interpose::next;

/// `accept(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn accept(fd: c_int, address: *mut sockaddr, address_bytes: *mut socklen_t) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        let accepted = unsafe { next::accept(fd, address, address_bytes) };
        return super::fd::made(accepted);
    }
    budget::spend();
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { io::accept::accept(fd, address, address_bytes, 0) }) as c_int
}

/// `accept4(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
    flags: c_int,
) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        let accepted = unsafe { next::accept4(fd, address, address_bytes, flags) };
        return super::fd::made(accepted);
    }
    budget::spend();
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { io::accept::accept(fd, address, address_bytes, flags) }) as c_int
}

/// `connect(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, address_bytes: socklen_t) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::connect(fd, address, address_bytes) };
    }
    budget::spend();
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { io::connect::connect(fd, address, address_bytes) }) as c_int
}
