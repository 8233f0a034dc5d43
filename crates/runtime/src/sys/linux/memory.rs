//! Where code that a signal handler may run gets memory: fresh pages that do not come from malloc.

use super::raw::{self, Errno};
use std::ptr::NonNull;

/// Maps zeroed memory on a page boundary. Async-signal-safe.
pub(crate) fn map(bytes: usize) -> Result<NonNull<u8>, Errno> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    // SAFETY: S5: a fresh mapping, placed by the kernel, aliases nothing.
    let address = unsafe { raw::syscall6(libc::SYS_mmap, 0, bytes, protection, kind, usize::MAX, 0) }?;
    NonNull::new(address as *mut u8).ok_or(Errno(libc::ENOMEM))
}

/// # Safety
/// The memory came from [`map`] with this length, and nobody uses it any more.
pub(crate) unsafe fn unmap(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: S5: the caller's contract. A whole mapping can always be unmapped, but for the limit of mappings; then it
    // stays.
    let _ = unsafe { raw::syscall2(libc::SYS_munmap, memory.as_ptr() as usize, bytes) };
}

/// The stack size that the kernel gives a process's main thread, in bytes: 8 MiB as a rule, and also where there is no
/// limit.
pub(crate) fn main_stack_bytes() -> usize {
    const USUAL: u64 = 8 << 20;
    /// A limit above this is taken for no limit.
    const MOST: u64 = 64 << 20;
    let mut limit = libc::rlimit {
        rlim_cur: USUAL,
        rlim_max: USUAL,
    };
    // SAFETY: S5: a live local. On an error, of which there is none, it stays as it is.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) };
    if limit.rlim_cur > MOST {
        USUAL as usize
    } else {
        limit.rlim_cur as usize
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_zeroed_and_ours() {
        let memory = super::map(10_000).unwrap();
        // SAFETY: S5: mapped with this length.
        let bytes = unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), 10_000) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes.fill(7);
        // SAFETY: S5: mapped above, and not used again.
        unsafe { super::unmap(memory, 10_000) };
        assert_eq!(super::map(usize::MAX / 2).unwrap_err().0, libc::ENOMEM);
    }
}
