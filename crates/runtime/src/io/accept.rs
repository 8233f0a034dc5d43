//! How does `accept` wait, which blocks and knows no MSG_DONTWAIT?
//!
//! `poll(0)` tells whether a listener has a connection; then `accept4` takes it. Between the two another acceptor could
//! take the connection and leave this call blocked in the kernel. So both happen under the entry's `accepting` lock.
//! The lock cannot see an acceptor in another process on the same listener. O_NONBLOCK on the listener would prevent
//! the block, but would break that other process, which blocks on purpose. So where there may be such a process (the
//! listener was duplicated and there are child processes, or it was passed on) a thread of the offload pool takes the
//! connection. A listener that this process has inherited looks as if it belonged to this process alone: then the
//! worker may block until the next connection.

use super::transfer::{Try, take};
use crate::coroutine::Critical;
use crate::driver::fd_table::{self, FdEntry, Sharers};
use crate::offload;
use crate::sys::raw::Errno;
use crate::sys::{process, socket};
use libc::{c_int, sockaddr, socklen_t};
use std::ptr;

/// The flags that are known; the kernel refuses others.
const ACCEPT_FLAGS: c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// # Safety
/// S5, S7: the contract of accept4.
pub(crate) unsafe fn accept(
    fd: c_int,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends both.
    let call = || unsafe { socket::accept4(fd, address, address_bytes, flags) };
    let entry = match fd_table::entry(fd) {
        Some(entry) if flags & !ACCEPT_FLAGS == 0 => entry,
        _ => return call(),
    };
    let accepted = take(fd, entry, 0, |how| match how {
        Try::Blocking => call(),
        Try::Now => {
            let is_contended = {
                let _critical = Critical::enter();
                let _accepting = entry.accepting.lock();
                match socket::events_now(fd, libc::POLLIN) {
                    // `listens` is asked before each wait, not for each connection.
                    0 if socket::listens(fd) => return Err(Errno::AGAIN),
                    // A socket that does not listen never becomes ready, and is refused at once.
                    0 => false,
                    _ if has_other_acceptors(entry) => true,
                    _ => return call(),
                }
            };
            if is_contended {
                let (address, address_bytes) = (address.expose_provenance(), address_bytes.expose_provenance());
                // SAFETY: S5: the caller lends both, and waits until the call has ended.
                return offload::try_wait_out(move || unsafe {
                    socket::accept4(
                        fd,
                        ptr::with_exposed_provenance_mut(address),
                        ptr::with_exposed_provenance_mut(address_bytes),
                        flags,
                    )
                });
            }
            call()
        }
    })?;
    begin_accepted(entry, accepted as c_int, flags);
    Ok(accepted)
}

/// Whether another process may accept on the listener too.
#[inline]
fn has_other_acceptors(listener: &FdEntry) -> bool {
    match listener.sharers() {
        Sharers::Nobody => false,
        Sharers::ThisProcess => process::has_children(),
        Sharers::Others => true,
    }
}

/// Notes a new connection. Its kind is the listener's; its mode comes from the flags, and is not inherited.
fn begin_accepted(listener: &FdEntry, accepted: c_int, flags: c_int) {
    if let Some(entry) = fd_table::entry(accepted) {
        entry.begin(accepted, listener.known_kind(), flags & libc::SOCK_NONBLOCK != 0);
        entry.inherit(listener);
    }
}
