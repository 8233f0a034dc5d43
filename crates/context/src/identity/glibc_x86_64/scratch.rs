//! Blocks that no coroutine ever gets: one block for experiments, and fresh blocks to look at.

use super::dtv::Dtv;
use super::{Named, TlsLayout, Unsupported};
use std::ffi::c_void;

/// Memory for the scratch block.
pub(super) struct Scratch {
    pub(super) bottom: usize,
    pub(super) top: usize,
}

impl Scratch {
    pub(super) fn map(block_bytes: usize) -> Result<Scratch, Unsupported> {
        let bytes = (16 * 4096 + block_bytes).next_multiple_of(4096);
        let bottom = map(bytes).ok_or_else(|| Unsupported("no memory for the self-test".to_string()))?;
        Ok(Scratch {
            bottom,
            top: bottom + bytes,
        })
    }

    pub(super) fn allocate(&self, named: &Named, base: usize) -> Result<Dtv, Unsupported> {
        // SAFETY: S7: an address with the static size below and the control block's above, zeroed, as pthread_create
        // passes.
        if unsafe { (named.allocate)(base as *mut c_void) }.is_null() {
            return Err(Unsupported("_dl_allocate_tls failed".to_string()));
        }
        // SAFETY: S3: just allocated.
        let dtv = unsafe { Dtv::of(base) };
        if !dtv.is_plausible() {
            return Err(Unsupported(
                "a block's table of modules is not where it is expected".to_string(),
            ));
        }
        Ok(dtv)
    }
}

fn map(bytes: usize) -> Option<usize> {
    let (protection, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: S1: a fresh anonymous mapping.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, kind, -1, 0) };
    (memory != libc::MAP_FAILED).then_some(memory as usize)
}

/// A block as the C library makes it. Nothing ever runs under it: its bytes are the images of all static modules.
pub(super) struct Fresh<'a> {
    facts: &'a TlsLayout,
    memory: usize,
    bytes: usize,
    pub(super) base: usize,
    pub(super) dtv: Dtv,
}

impl<'a> Fresh<'a> {
    pub(super) fn allocate(facts: &'a TlsLayout) -> Option<Fresh<'a>> {
        let bytes = facts.block_bytes().next_multiple_of(4096);
        let memory = map(bytes)?;
        let base = (memory + bytes - facts.tcb_bytes) & !(facts.alignment - 1);
        // SAFETY: S7: as in `Scratch::allocate`.
        if unsafe { (facts.allocate)(base as *mut c_void) }.is_null() {
            // SAFETY: S1: mapped above.
            unsafe { libc::munmap(memory as *mut c_void, bytes) };
            return None;
        }
        // SAFETY: S3: just allocated.
        let dtv = unsafe { Dtv::of(base) };
        Some(Fresh {
            facts,
            memory,
            bytes,
            base,
            dtv,
        })
    }

    /// The image of a segment.
    pub(super) fn copy(&self, offset: isize, bytes: usize) -> Vec<u8> {
        let start = self.base.wrapping_add_signed(offset) as *const u8;
        // SAFETY: S3: the segment lies in the block, which nobody else knows.
        unsafe { std::slice::from_raw_parts(start, bytes) }.to_vec()
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        // SAFETY: S7: the inverse of the allocation; the block itself is not freed.
        unsafe { (self.facts.deallocate)(self.base as *mut c_void, false) };
        // SAFETY: S1: mapped by `allocate`, and nobody else knows it.
        unsafe { libc::munmap(self.memory as *mut c_void, self.bytes) };
    }
}
