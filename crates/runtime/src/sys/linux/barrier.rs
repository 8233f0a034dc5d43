//! How two sides order their accesses when only one of them pays for the barriers: asymmetric memory barriers.
//!
//! [`heavy`] on the rare side and [`light`] on the hot side together order what two sequentially consistent fences
//! would order. The heavy side is `membarrier(2)` with `PRIVATE_EXPEDITED`: the kernel makes every processor that runs
//! a thread of this process execute a full barrier. So the hot side needs no barrier instruction of its own; only the
//! compiler must not move accesses. Where the kernel has no such call, both sides are fences.

use super::raw;
use crate::loom::static_atomic::{AtomicBool, Ordering};

const MEMBARRIER_CMD_PRIVATE_EXPEDITED: usize = 1 << 3;
const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;

/// Set before any worker runs.
static ASYMMETRIC: AtomicBool = AtomicBool::new(false);

/// Registers the process with the kernel. To be called before code relies on the barriers.
pub(crate) fn init() {
    // SAFETY: S7: membarrier takes no pointers.
    let registered =
        unsafe { raw::syscall3(libc::SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) }.is_ok();
    // Relaxed: threads that rely on it are made after this.
    ASYMMETRIC.store(registered && !cfg!(loom), Ordering::Relaxed);
}

/// Whether the heavy barrier also orders a hot side that has no barrier at all.
pub(crate) fn is_asymmetric() -> bool {
    // Relaxed: as in `light`.
    ASYMMETRIC.load(Ordering::Relaxed)
}

fn fence() {
    // SeqCst: pairs with the fence of the other side.
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(not(loom))]
    std::sync::atomic::fence(Ordering::SeqCst);
}

/// The hot side's barrier.
#[inline(always)]
pub(crate) fn light() {
    // Relaxed: never changes once workers run.
    if ASYMMETRIC.load(Ordering::Relaxed) {
        // SeqCst: pairs with the membarrier in `heavy`, which supplies the CPU's part.
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        fence();
    }
}

/// The rare side's barrier.
pub(crate) fn heavy() {
    // Relaxed: as in `light`.
    if ASYMMETRIC.load(Ordering::Relaxed) {
        // SAFETY: S7: membarrier takes no pointers.
        let done = unsafe { raw::syscall3(libc::SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) };
        debug_assert!(done.is_ok(), "a registered process may use it");
    } else {
        fence();
    }
}
