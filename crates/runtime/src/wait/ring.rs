//! How does a caller wait for a call that the kernel makes beside it? The call's cell is settled by the driver
//! (`driver/ring.rs`), and nothing else ends the wait.

use super::{deadline_after, sleep_out};
use crate::coroutine::{Critical, WaitReason, current_core, last_link, park};
use crate::driver::Driver;
use crate::driver::ring::{RingCall, Submitted};
use crate::sys::raw::Errno;
use crate::sys::uring::RingOperation;
use std::time::Duration;

/// How long a caller waits before it offers an operation again that the kernel has not taken.
const PAUSE: Duration = Duration::from_millis(1);

/// Has the kernel make a call, and parks until it has ended. `None`: the kernel cannot make this call here; nothing
/// was done, and the caller makes it otherwise. The wait cannot be cancelled.
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
    if submitted == Submitted::No {
        return None;
    }
    while call.done().outcome().is_none() {
        if submitted == Submitted::Later {
            sleep_out(deadline_after(PAUSE), WaitReason::File);
            let _critical = Critical::enter();
            submitted = driver.offer();
        } else {
            park(WaitReason::File);
        }
    }
    call.result()
}
