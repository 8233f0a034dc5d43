//! Floors: what the machine costs by itself. A runtime can come near them and not below.

pub mod echo;
pub mod identity;
pub mod switch;
pub mod threads;

use crate::figure::{Options, Sample};
use crate::machine::Memory;

const STACK_SPACING_BYTES: usize = 256 * 1024;
const PAGE_BYTES: usize = 4096;

/// One touched page per coroutine, spaced as default stacks are: the least that a stack can hold resident.
pub fn one_page(options: &Options) -> Sample {
    let before = Memory::now();
    let length = options.coroutines * STACK_SPACING_BYTES;
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
    );
    // SAFETY: S5: a fresh mapping at an address of the kernel's choice; nothing else is touched.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    // SAFETY: S5: advice about the mapping made above; small pages only, as stacks want.
    let status = unsafe { libc::madvise(base, length, libc::MADV_NOHUGEPAGE) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    for slot in 1..=options.coroutines {
        let top_page = base.cast::<u8>().wrapping_add(slot * STACK_SPACING_BYTES - PAGE_BYTES);
        // SAFETY: S5: the page lies within the mapping made above, which only this loop uses.
        unsafe { top_page.write_volatile(1) };
    }
    Memory::now().per_coroutine_since(before, options.coroutines)
}
