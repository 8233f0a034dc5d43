//! How does a caller wait for an asynchronous call of the kernel's? It parks until the driver has settled the call's
//! cell (`driver/ring.rs`). Nothing else ends the wait, so it does not go through [`wait`](super::wait).

use super::{deadline_after, sleep_out};
use crate::coroutine::{Critical, WaitReason, current_core, last_link, park};
use crate::driver::Driver;
use crate::driver::ring::{RingCall, Submitted};
use crate::sys::raw::Errno;
use crate::sys::uring::RingOperation;
use std::time::Duration;

/// How long a caller waits before it offers an operation again that the kernel has not taken.
const PAUSE: Duration = Duration::from_millis(1);

/// Has the kernel make a call, and parks until it has ended. `None`: the kernel has not made this call to its end (some
/// of a read's buffer may be written), and the caller has a thread make it. The wait cannot be cancelled.
///
/// # Safety
/// What the operation names is valid for that until this function returns (S5).
pub(crate) unsafe fn call(operation: &RingOperation) -> Option<Result<usize, Errno>> {
    if current_core().is_none() || Critical::is_entered() {
        return None;
    }
    let call = RingCall::new();
    let (driver, mut submitted) = {
        let _critical = Critical::enter();
        let driver = last_link().and_then(Driver::of)?;
        // SAFETY: S5, S8: the call is on this frame, which stays until the cell is settled; the rest is the caller's.
        (driver, unsafe { driver.submit(operation, &call) })
    };
    while call.done().outcome().is_none() {
        match submitted {
            Submitted::Yes => park(WaitReason::File),
            Submitted::Later(place) => {
                sleep_out(deadline_after(PAUSE), WaitReason::File);
                let _critical = Critical::enter();
                submitted = driver.offer(place);
            }
            Submitted::No => return None,
        }
    }
    call.result()
}
