//! How does a hook pass memory of the caller to a thread that makes the call in its stead?
//!
//! What glibc itself reads before it asks the kernel (the timeouts of `ppoll`, `select` and `pselect`) faults in glibc,
//! on threads too. What a hook reads itself is looked at first: `io::memory`.

use super::call::errno;
use super::call::set_errno;
use crate::offload;
use libc::c_int;

/// Arguments of a call that is made on another thread while the caller waits: numbers, and addresses of memory that the
/// caller lends.
pub(super) struct Lent<T>(pub(super) T);

// SAFETY: S5: the code that makes one ensures that what it names outlives the call.
unsafe impl<T> Send for Lent<T> {}

impl<T> Lent<T> {
    pub(super) fn get(self) -> T {
        self.0
    }
}

/// Makes a call of the C library on a thread of the offload pool, and sets its errno for the caller.
#[cold]
pub(super) fn elsewhere<T: 'static>(arguments: Lent<T>, call: fn(T) -> c_int) -> c_int {
    let (result, number) = offload::wait_or((-1, libc::ENOMEM), move || {
        let result = call(arguments.get());
        (result, errno())
    });
    if result < 0 {
        set_errno(number);
    }
    result
}
