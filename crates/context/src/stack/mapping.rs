//! What the arena asks of the kernel: map, unmap, advise, and how much mapping is allowed.
//!
//! `mmap`, `munmap`, `madvise` and `mprotect` are not among the symbols that the runtime hooks, so libc's functions are
//! called as they are. `Arena::new` reads two files of `/proc` with std, in a critical section of the runtime. This
//! happens when a size of stack is first used, so coroutines may be running.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io;

/// The size of a page in bytes; the kernel is asked once.
pub(super) fn page_bytes() -> usize {
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: every thread computes the same value, and nothing else depends on it.
    let known = PAGE_BYTES.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: S7: sysconf has no precondition.
    let asked = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page_bytes = usize::try_from(asked).unwrap_or(4096).max(4096);
    PAGE_BYTES.store(page_bytes, Ordering::Relaxed);
    page_bytes
}

/// Maps `bytes` of zero pages that cost nothing until touched (outside strict overcommit) and never become huge pages:
/// one touched stack would otherwise cost 2 MiB.
pub(super) fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: S8: a fresh mapping at an address of the kernel's choice replaces nothing.
    let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // A kernel built without huge pages answers EINVAL, and then there is nothing to forbid.
    let _ = advise(address as usize, bytes, libc::MADV_NOHUGEPAGE);
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap returned the null page"))
}

/// Gives back a mapping that no other code has seen yet.
pub(super) fn unmap(base: NonNull<u8>, bytes: usize) {
    // SAFETY: S8: only called for a mapping that nobody else has seen: the guard probe's page, or a chunk that
    // `Arena::grow` did not keep.
    let result = unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "munmap of a whole mapping of our own");
}

/// Calls `madvise`, and repeats the call if it is interrupted.
///
/// The kernel restarts most interrupted calls itself; EINTR and EAGAIN (memory control groups, lock contention) come
/// back to the caller. The repetition is bounded: if the call fails this often in a row, the failure is reported.
pub(super) fn advise(start: usize, bytes: usize, advice: i32) -> io::Result<()> {
    const TRIES_MAX: usize = 64;
    let mut tries = 0;
    loop {
        // SAFETY: S9: every caller passes page-aligned ranges inside the arena's own mappings, and advice that drops
        // content only for stacks that nobody runs on (S1; the callers' contracts).
        let result = unsafe { libc::madvise(start as *mut libc::c_void, bytes, advice) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        tries += 1;
        let again = matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN));
        if !again || tries == TRIES_MAX {
            return Err(error);
        }
    }
}

/// The address of the lowest page of a range that is in memory. Swapped pages count as not there.
pub(super) fn lowest_resident(start: usize, bytes: usize) -> io::Result<Option<usize>> {
    const PAGES_PER_CALL: usize = 512;
    let page_bytes = page_bytes();
    let mut present = [0u8; PAGES_PER_CALL];
    for offset in (0..bytes).step_by(PAGES_PER_CALL * page_bytes) {
        let length = (bytes - offset).min(PAGES_PER_CALL * page_bytes);
        let address = (start + offset) as *mut libc::c_void;
        // SAFETY: S5: the kernel writes one byte for each page.
        if unsafe { libc::mincore(address, length, present.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let pages = &present[..length.div_ceil(page_bytes)];
        if let Some(page) = pages.iter().position(|page| page & 1 != 0) {
            return Ok(Some(start + offset + page * page_bytes));
        }
    }
    Ok(None)
}

/// Takes all access away from a range.
pub(super) fn forbid_access(start: usize, bytes: usize) -> io::Result<()> {
    // SAFETY: S9: the range is the guard of a slot that has just been carved: no stack frame lies there.
    let result = unsafe { libc::mprotect(start as *mut libc::c_void, bytes, libc::PROT_NONE) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How many memory maps a process may have (the kernel's own default where /proc is not mounted).
pub(super) fn map_count_max() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    text.trim().parse().unwrap_or(65_530)
}

/// How many memory maps the process has now.
pub(super) fn map_count() -> usize {
    let text = std::fs::read("/proc/self/maps").unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count()
}
